"""What the fields of a few rows tell: whether they are plain numbers, words for true and false, or an index."""
import typing

import numpy as np

from data_loader.table_cells import BadCell
from data_loader.table_header import TRUTH, Layout

Words = typing.List[str]  # the fields of a row


def refuse_truth(fields: np.ndarray) -> None:
    """Raises BadCell for true and false in a column of numbers."""
    for row, word in enumerate(fields):
        if word.strip().lower() in TRUTH:
            raise BadCell(f"{word!r} is not a number, as all fields of this column were in training", row)


def is_index(first_rows: typing.Sequence[Words], layout: Layout) -> bool:
    """Tells whether the first fields number the rows, so that the header may have no name for them."""
    texts = [row[0].strip() for row in first_rows]
    if len(texts) < 2 or not all(text.isdigit() for text in texts):
        return False
    numbers = np.array(texts, np.float64)
    if layout.is_indented:
        return len(set(texts)) == len(texts)
    return bool((np.diff(numbers) == 1).all() and numbers[0] < 2)


def plain_numbers(fields: np.ndarray) -> typing.Optional[np.ndarray]:
    """Returns the numbers that these fields, text [n], spell, or None unless all are finite and in plain digits."""
    text = "".join(fields)
    if "_" in text or not text.isascii():
        return None
    try:
        numbers = fields.astype(np.float64)
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
