"""Numbers of a table, some rows at a time, so that no step needs a second copy of a large table."""
import typing

import numpy as np

BLOCK_NUMBERS = 2**19  # numbers of a block: 4 MiB in float64
LARGE_NUMBERS = 2**24  # numbers from which inputs are kept in the precision of the graph: 64 MiB in float32
ALIGNMENT = 64         # bytes: TensorFlow takes arrays that begin at a multiple as they are, and copies others

Rows = typing.Union[slice, np.ndarray]  # some rows: consecutive ones, or their numbers


class Numbers(typing.NamedTuple):
    """Columns of a table that may lie in several arrays."""

    arrays: typing.Tuple[np.ndarray, ...]  # [n, c] or [n] each

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.arrays[0])

    @property
    def n_columns(self) -> int:
        """Number of columns of all arrays."""
        return sum(1 if array.ndim == 1 else array.shape[1] for array in self.arrays)

    def rows(self, rows: Rows) -> np.ndarray:
        """Returns the values of some rows, [len(rows), c]."""
        if len(self.arrays) == 1 and self.arrays[0].ndim == 2:
            return self.arrays[0][rows]
        return np.column_stack([array[rows] for array in self.arrays])

    def blocks(self, rows: typing.Optional[np.ndarray] = None) -> typing.Iterator[np.ndarray]:
        """Yields the values of these rows (None: of all) in their order, about BLOCK_NUMBERS at a time."""
        n_rows = self.n_rows if rows is None else len(rows)
        for part in slices(n_rows, self.n_columns):
            yield self.rows(part if rows is None else rows[part])


def slices(n_rows: int, n_columns: int) -> typing.Iterator[slice]:
    """Yields consecutive rows of a table of so many columns, about BLOCK_NUMBERS numbers at a time.

    A single column is one block: numpy adds it up pairwise, in an order that depends on its length.
    """
    size = max(1, BLOCK_NUMBERS // n_columns) if n_columns > 1 else max(1, n_rows)
    for start in range(0, n_rows, size):
        yield slice(start, min(start + size, n_rows))


def sum_of_rows(blocks: typing.Iterable[np.ndarray]) -> np.ndarray:
    """Returns the sum over all rows of blocks [n, c], to the last bit that of numpy over the rows in one array."""
    total: typing.Optional[np.ndarray] = None
    for block in blocks:
        total = np.add.reduce(block if total is None else np.concatenate([total[None], block]), axis=0)
    assert total is not None, "there are rows"
    return total


def stack_rows(blocks: typing.Iterable[np.ndarray]) -> np.ndarray:
    """Returns the rows of all blocks [n, c] in one array, which grows in place where the system can do so.

    Raises ValueError if they differ in their numbers of columns, or if there is none.
    """
    values: typing.Optional[np.ndarray] = None
    for block in blocks:
        if values is None:
            values = np.array(block, order="C")
            continue
        n_rows = len(values)
        if block.shape[1:] != values.shape[1:]:
            raise ValueError(f"{block.shape[1]} columns after {values.shape[1]}")
        values.resize((n_rows + len(block), *values.shape[1:]), refcheck=False)
        values[n_rows:] = block
    if values is None:
        raise ValueError("there are no rows")
    return values


def aligned_empty(shape: typing.Tuple[int, ...], dtype: typing.Any) -> np.ndarray:
    """Returns an array of any values that TensorFlow takes without a copy."""
    n_bytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
    memory = np.empty(n_bytes + ALIGNMENT, np.uint8)
    start = -memory.ctypes.data % ALIGNMENT
    return memory[start:start + n_bytes].view(dtype).reshape(shape)
