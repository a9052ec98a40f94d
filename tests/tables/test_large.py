"""Large tables: read and standardised in blocks of rows, kept once they are parsed, and shared with the graph."""
import functools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from core.training import run
from core.training.graph import build_model
from core.training.stepper import Stepper
from data_loader import row_blocks, table_cache, table_data, table_file
from data_loader.ood import ood_rows
from data_loader.regression import load_regression
from data_loader.row_blocks import ALIGNMENT, Numbers, slices, stack_rows, sum_of_rows
from data_loader.splits import training_rows
from data_loader.table_classes import load_class_table
from data_loader.table_file import read_table
from data_loader.table_notices import about_copies
from data_loader.table_text import TableFormat
from misc import backend
from misc.errors import UserError

pytestmark = pytest.mark.usefixtures("shared_graphs")


@pytest.fixture
def small_blocks(monkeypatch):
    """Every table has many blocks of rows."""
    monkeypatch.setattr(row_blocks, "BLOCK_NUMBERS", 30)
    monkeypatch.setattr(table_file, "BLOCK_NUMBERS", 30)


@pytest.fixture
def all_large(monkeypatch, small_blocks):
    """Every table counts as large."""
    monkeypatch.setattr(table_data, "LARGE_NUMBERS", 0)
    monkeypatch.setattr(table_cache, "LEAST_BYTES", 0)


@pytest.fixture
def content():
    """Text of a table of 67 rows, three inputs and a target."""
    rng = np.random.RandomState(2)
    x = 10.0**rng.uniform(-3, 3, (67, 3)) * rng.standard_normal((67, 3))
    rows = np.column_stack([x, x[:, 0] + x[:, 1] * 1e-3 + rng.standard_normal(67)])
    return "a,b,c,y\n" + "".join(",".join(map(repr, row)) + "\n" for row in rows.tolist())


# Blocks of rows.

@pytest.mark.parametrize("n_columns", [1, 2, 5, 91])
def test_sums_over_blocks_are_those_over_all_rows_to_the_last_bit(n_columns, small_blocks, rng):
    values = 10.0**rng.uniform(-8, 8, (1201, n_columns)) * rng.standard_normal((1201, n_columns))
    rows = rng.permutation(1201)[:1100]
    for numbers in (Numbers((values,)), Numbers((np.asfortranarray(values),))):
        assert (sum_of_rows(numbers.blocks(rows)) == values[rows].sum(axis=0)).all()
    if n_columns > 1:
        assert len(list(Numbers((values,)).blocks())) > 70
        parts = Numbers((values[:, :1], values[:, 1:-1], values[:, -1]))
        assert parts.n_columns == n_columns and parts.n_rows == 1201
        assert (sum_of_rows(parts.blocks(rows)) == values[rows].sum(axis=0)).all()
        assert np.array_equal(np.concatenate(list(parts.blocks())), values)
        in_columns = (np.asfortranarray(block) for block in parts.blocks(rows))
        assert (sum_of_rows(in_columns) == values[rows].sum(axis=0)).all()


def test_slices_hold_every_row_once(small_blocks):
    assert [(part.start, part.stop) for part in slices(67, 4)] == [(start, min(start + 7, 67))
                                                                   for start in range(0, 67, 7)]
    assert list(slices(67, 1)) == [slice(0, 67)] and list(slices(0, 4)) == []
    assert list(slices(2, 1000)) == [slice(0, 1), slice(1, 2)]


def test_rows_are_stacked_in_order(rng):
    blocks = [rng.standard_normal((size, 3)) for size in (4, 1, 7)]
    assert np.array_equal(stack_rows(iter(blocks)), np.concatenate(blocks))
    with pytest.raises(ValueError, match="2 columns after 3"):
        stack_rows([blocks[0], blocks[0][:, :2]])
    with pytest.raises(ValueError, match="no rows"):
        stack_rows([])


def test_blocks_change_no_number_of_a_table(content, table_config, monkeypatch):
    """Statistics, inputs, targets, ranges, hashes and counts of repeated rows are those of one block."""
    config = table_config(content + content.splitlines()[1] + "\n", protocol="ordered")
    one = load_regression(config)
    monkeypatch.setattr(row_blocks, "BLOCK_NUMBERS", 9)
    monkeypatch.setattr(table_file, "BLOCK_NUMBERS", 9)
    other = load_regression(config)
    assert one.rows_hash == other.rows_hash and one.n_test_in_train == other.n_test_in_train == 1
    for name in ("input_mean", "input_std", "input_range", "target_mean", "target_std", "train_hashes"):
        assert np.array_equal(getattr(one, name), getattr(other, name))
    values = np.loadtxt(config.data_file, delimiter=",", skiprows=1)
    train = values[training_rows(one.split, config)[0]]  # in the order in which they are added up
    assert np.array_equal(np.append(one.input_mean, one.target_mean), train.mean(axis=0))
    assert np.array_equal(np.append(one.input_std, one.target_std), train.std(axis=0))
    for part in ("train", "test"):
        assert np.array_equal(getattr(one, part).x, getattr(other, part).x) and other.train.x.dtype == np.float64
        assert np.array_equal(getattr(one, part).y, getattr(other, part).y)
    assert np.array_equal(other.test.x, ((values - train.mean(axis=0)) / train.std(axis=0))[one.split.test, :3])


@pytest.mark.parametrize("line, where", [("1,2,x,4", " line 69 column 3 ('c'): 'x' is not a number"),
                                         ("1,2,inf,4", " line 69 column 3 ('c'): inf is not finite"),
                                         ("1,2,3", " line 69: 3 columns where the lines before have 4"),
                                         ("1,2,3,4,5", " line 69: 5 columns where the lines before have 4"),
                                         ("1,2,,4", " line 69 column 3: the field is empty"),
                                         ("1,2,1e308,4", "too large or too small to standardise")])
def test_a_bad_line_in_a_later_block_is_named(content, table_config, small_blocks, line, where):
    with pytest.raises(UserError) as error:
        load_regression(table_config(content + line + "\n"))
    assert where in str(error.value)


def test_test_rows_that_cannot_be_standardised_are_refused(table_config, small_blocks):
    rows = [f"{row * 1e-6!r},{row}" for row in range(50)]
    with pytest.raises(UserError, match="too large or too small to standardise"):
        load_regression(table_config("a,y\n" + "\n".join([*rows, "1e308,3"]), protocol="ordered"))


def test_missing_marks_are_counted_over_all_blocks(read, small_blocks):
    lines = ["a,b"] + [f"{row},{row % 7}" for row in range(40)] + ["-999,2", "-999,3"]
    assert any("('a') holds -999 in 2 of 42 rows and is 0 or more" in notice
               for notice in read("\n".join(lines)).notices)


def test_a_copy_of_the_target_is_found_over_blocks(split_table, rng):
    x = rng.standard_normal((50, 2))
    transform = split_table("a,b,y\n" + "".join("1,2,3\n" * 12)).transform
    y = 3.0 * x[:, 1] - 1.0
    assert about_copies(transform, [x[:20], x[20:]], y)[0].startswith("note: the target can be read from column 2")
    assert not about_copies(transform, [x[:20], x[20:]], x.sum(axis=1))


# Large tables.

def test_inputs_of_a_large_table_are_those_that_the_graph_would_round_to(content, table_config, monkeypatch):
    config = table_config(content, validation_fraction=0.2)
    small = load_regression(config)
    monkeypatch.setattr(table_data, "LARGE_NUMBERS", 67 * 3)
    large = load_regression(config)
    for name in ("train", "valid", "test"):
        x, rounded = getattr(large, name).x, getattr(small, name).x.astype(np.float32)
        assert x.dtype == np.float32 and np.array_equal(x, rounded) and not x.flags.writeable
        assert x.ctypes.data % ALIGNMENT == 0 and np.array_equal(getattr(large, name).y, getattr(small, name).y)
    monkeypatch.setattr(table_data, "LARGE_NUMBERS", 67 * 3 + 1)
    assert load_regression(config).train.x.dtype == np.float64
    monkeypatch.setattr(table_data, "LARGE_NUMBERS", 0)
    assert load_regression(table_config(content, precision="float64")).train.x.dtype == np.float64
    classes = content.replace("\n", ",u\n", 30).replace("u", "cls", 1)
    lines = [line if line.endswith(("u", "cls")) else line + ",v" for line in classes.splitlines()]
    assert load_class_table(table_config("\n".join(lines), mode="classification", model_name="mlp")).train.x.dtype \
        == np.float32


def test_a_large_table_trains_to_the_same_result(content, table_config, tmp_path, request):
    keys = dict(epoch=2, optimizer="kfac", model_name="ffn", hidden=[3], test_particles=5, validation_fraction=0.2)
    results = []
    for name in ("small", "large"):
        if name == "large":
            request.getfixturevalue("all_large")
        config = table_config(content, exp_name=name, **keys)
        results.append(run.execute(run.plan(config, "cpu"))["metrics"])
    assert results[0] == results[1]
    small, large = (tmp_path / "experiments" / "houses" / name / "predictions.csv" for name in ("small", "large"))
    assert small.read_text() == large.read_text()
    assert len(list((tmp_path / "experiments" / ".cache").iterdir())) == 1


def test_the_graph_holds_no_second_copy_of_a_large_table(content, table_config, all_large):
    """What is written into the array afterwards is what the graph reads."""
    config = table_config(content)
    data = run.plan(config, "cpu").data
    model = build_model(run.plan(config, "cpu").design)
    with backend.session(model.graph, 1) as session:
        session.run(model.init)
        stepper = Stepper(session, model, data.train)
        stepper.load_data()
        stepper.load_epoch(1)
        before = session.run(model.load.preview)
        data.train.x.flags.writeable = True
        data.train.x[:] = 7.0
        assert (before != 7.0).all() and (session.run(model.load.preview) == 7.0).all()


def test_rows_of_a_large_table_are_recognised(content, table_config, write, all_large):
    config = table_config(content)
    data = load_regression(config)
    part = ood_rows(str(write(content, "again.csv")), config, data, 0)
    assert part.n_in_train == len(data.split.train)


# The cache.

@pytest.fixture
def kept(write, tmp_path, monkeypatch):
    """Function (content, **form) -> (Table, whether it was parsed)."""
    parsed = []

    def counted(original, *args):
        parsed.append(1)
        return original(*args)

    for name in ("_read_numbers", "read_texts"):
        monkeypatch.setattr(table_file, name, functools.partial(counted, getattr(table_file, name)))

    def make(text, words_in=(), **form):
        del parsed[:]
        path = write(text)
        return read_table(path, TableFormat(**form), words_in, kept_in=tmp_path / "kept"), bool(parsed)

    return make


def test_a_large_table_is_parsed_once(content, kept, tmp_path, all_large):
    table, parsed = kept(content)
    again, parsed_again = kept(content)
    assert parsed and not parsed_again and again.names == table.names == ("a", "b", "c", "y")
    assert np.array_equal(again.values, table.values) and again.field(3, 1) == table.field(3, 1)
    assert again.notices[:-1] == table.notices and "its numbers were parsed before" in again.notices[-1]
    assert [path.name.split("-")[0] for path in (tmp_path / "kept").iterdir()] == ["houses"]


def test_missing_values_and_truth_are_kept(kept, all_large):
    rows = [f"{row},{'true' if row % 2 else 'false'},{'' if row == 3 else row}" for row in range(20)]
    text = "\n".join(["a,b,y", *rows])
    table, again = kept(text)[0], kept(text)[0]
    assert_array_equal(table.values, again.values)  # nan equals nan here
    assert np.isnan(again.values).sum() == 1 and "true and false are read as 1 and 0" in table.notices[0]
    assert set(table.notices) < set(again.notices) and len(again.notices) == len(table.notices) + 1


def test_a_file_that_changed_is_parsed_again(content, kept, tmp_path, all_large):
    kept(content)
    changed = content[:-2] + ("1" if content[-2] != "1" else "2") + "\n"
    table, parsed = kept(changed)
    assert parsed and table.values[-1, -1] != kept(content)[0].values[-1, -1] and len(changed) == len(content)
    assert len(list((tmp_path / "kept").iterdir())) == 1


def test_other_reading_keys_are_parsed_again(kept, all_large):
    text = "a;y\n" + "".join(f"{row},5;{row}\n" for row in range(20))
    assert kept(text)[0].values[2, 0] == 2.5
    assert kept(text, decimal=",")[1] and not kept(text, decimal=",")[1]
    assert kept(text, missing_marks=("3,5",))[1]
    assert kept(text, words_in=["a"])[1]


def test_a_damaged_table_is_parsed_again(content, kept, tmp_path, all_large):
    values = kept(content)[0].values
    (place,) = (tmp_path / "kept").iterdir()
    intact = place.read_bytes()
    for damaged in (intact[:-1], intact[:-9] + b"\x00" + intact[-8:], b"", b"nothing", intact[:200]):
        place.write_bytes(damaged)
        table, parsed = kept(content)
        assert parsed and np.array_equal(table.values, values) and place.read_bytes() == intact


def test_words_and_small_files_are_not_kept(content, kept, tmp_path, monkeypatch, all_large):
    kept("a,y\n" + "".join(f"w{row % 3},{row}\n" for row in range(20)))
    assert not (tmp_path / "kept").exists()
    monkeypatch.setattr(table_cache, "LEAST_BYTES", len(content) + 1)
    assert kept(content)[1] and kept(content)[1] and not (tmp_path / "kept").exists()


def test_a_folder_that_cannot_be_written_is_done_without(content, kept, tmp_path, monkeypatch, all_large):
    (tmp_path / "kept").write_text("a file")
    assert kept(content)[1] and kept(content)[1]
    (tmp_path / "kept").unlink()

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(table_cache.os, "replace", full)
    assert kept(content)[1] and not list((tmp_path / "kept").iterdir())


def test_the_key_cache_turns_it_off(content, table_config, write, tmp_path, all_large):
    folder = tmp_path / "experiments" / ".cache"
    load_regression(table_config(content, cache=False))
    assert not folder.exists()
    load_regression(table_config(content))
    assert folder.is_dir()
    load_regression(table_config(content, protocol="file", test_file=str(write(content, "test.csv"))))
    assert sorted(path.name.split("-")[0] for path in folder.iterdir()) == ["houses", "test"]


def test_scaled_values_of_an_encoded_table(table_config, small_blocks):
    """Categories stay 0 and 1; the numbers beside them are standardised as in one block."""
    rows = [f"{row * row},{'uvw'[row % 3]},{row}" for row in range(40)]
    data = load_regression(table_config("n,c,y\n" + "\n".join(rows)))
    numbers = np.arange(40.0)[data.split.train]**2
    assert_allclose(data.train.x[:, 0], (numbers - numbers.mean()) / numbers.std(), rtol=1e-12)
    assert set(np.unique(data.train.x[:, 1:])) == {0.0, 1.0}
