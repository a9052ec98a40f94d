"""Where the columns of a run stand in a table that does not name them."""
import typing

from data_loader.table_transform import TableTransform

Reading = typing.Tuple[typing.List[int], typing.Tuple[typing.Tuple[int, ...], typing.Optional[typing.Tuple[int, ...]],
                                                       typing.Optional[int]]]


def readings(transform: TableTransform, needs_target: bool) -> typing.Iterator[Reading]:
    """Yields which columns of the run's table, by their numbers, a table may have, and where it then has which."""
    everything = list(range(1, transform.n_columns + 1))
    targets = [place.number for place in transform.targets]
    used = sorted([*(column.number for column in transform.columns), *targets])
    for columns in (everything, used):
        yield columns, _places(transform, columns)
        if not needs_target:
            without = [number for number in columns if number not in targets]
            yield without, _places(transform, without)


def _places(transform: TableTransform, columns: typing.List[int]) -> typing.Any:
    """Returns the positions, from 0, of (inputs, targets or None, row_id or None) among these columns."""
    place = {number: position for position, number in enumerate(columns)}
    targets = tuple(place[of.number] for of in transform.targets if of.number in place)
    return (tuple(place[column.number] for column in transform.columns), targets or None,
            None if transform.row_id is None else place.get(transform.row_id.number))
