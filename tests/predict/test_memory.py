"""Memory and speed of predict.py for millions of rows."""
import tracemalloc

import numpy as np
import pytest

from benchmarks.predict_rows import measure
from data_loader.other_rows import Expected
from data_loader.row_stream import stream_table
from data_loader.table_text import ANY_FORMAT


@pytest.mark.slow
def test_two_million_rows():
    """Beside a numpy forward pass of the same weight draws, which writes nothing and has no quantiles."""
    found = measure(2_000_000, 8, 100)
    assert found["memory_mb"] < 1500
    assert found["rows_per_second"] > 0.5 * found["numpy_rows_per_second"], found


@pytest.mark.parametrize("word", ["", "x"])
def test_a_file_is_not_held_in_memory(tmp_path, word):
    """Of 150 blocks, one is in memory at a time: its numbers, or its words, and its lines."""
    path, n_rows = tmp_path / "rows.csv", 150000
    np.savetxt(str(path), np.random.RandomState(0).randn(n_rows, 3), fmt=["%.9f", "%.9f", word + "%.9f"], delimiter=",",
               header="a,b,c", comments="")
    expected = Expected(frozenset({0, 1}), frozenset())
    tracemalloc.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("data_loader.row_stream.BLOCK_ROWS", 1000)
            n_read = sum(len(block.table.frame) for block in stream_table(str(path), ANY_FORMAT, lambda _: expected))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert n_read == n_rows and peak < path.stat().st_size / 2, peak
