"""Missing values that are replaced: how many there are, and in which columns."""
import typing

import numpy as np

from data_loader.table_transform import TableTransform

if typing.TYPE_CHECKING:
    import pandas

MOST_NAMED = 10  # columns that a notice names


class Filled(typing.NamedTuple):
    """Counts of missing fields among the inputs."""

    n_rows: int                           # rows that have some
    of_columns: typing.Dict[str, int]     # fields of each column, by what messages call it, in their order

    def plus(self, other: "Filled") -> "Filled":
        """Returns the counts of both; other: of the same columns, which the first one may lack."""
        return Filled(self.n_rows + other.n_rows, {
            name: count + self.of_columns.get(name, 0) for name, count in other.of_columns.items()})

    def about(self, n_rows: int, missing: str) -> typing.List[str]:
        """Returns a notice, or nothing if no field is missing.

        Args:
          n_rows: number of all rows.
          missing: as config's key.
        """
        if not self.n_rows:
            return []
        n_fields = sum(self.of_columns.values())
        words = [f"{name} {count}" for name, count in self.of_columns.items() if count]
        named = ", ".join(words[:MOST_NAMED])
        more = f" and {len(words) - MOST_NAMED} more" if len(words) > MOST_NAMED else ""
        return [f"note: {n_fields} missing field{'s' if n_fields > 1 else ''} of {self.n_rows} of {n_rows} rows "
                f"{'are' if n_fields > 1 else 'is'} filled (missing {missing}): {named}{more}"]


NONE = Filled(0, {})


def filled(transform: TableTransform, frame: "pandas.DataFrame") -> Filled:
    """Returns the counts of the fields that the transform fills.

    frame: the columns of the transform, in their order.
    """
    gone = frame.isna().to_numpy()
    return Filled(int(gone.any(axis=1).sum()), {
        column.label: int(count) for column, count in zip(transform.columns, np.sum(gone, axis=0))})
