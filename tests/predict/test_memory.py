"""Memory and speed of predict.py for millions of rows, beside a numpy forward pass of the same weight draws."""
import pytest

from benchmarks.predict_rows import measure


@pytest.mark.slow
def test_two_million_rows():
    found = measure(2_000_000, 8, 100)
    assert found["memory_mb"] < 1500
    assert found["rows_per_second"] > 0.5 * found["numpy_rows_per_second"], found


def test_memory_does_not_grow_with_the_rows():
    """A file of ten blocks, of which two at a time are in memory."""
    assert measure(100_000, 3, 10)["memory_mb"] < 1000
