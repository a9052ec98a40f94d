"""evaluate.py --data with tables: columns matched by name, constant columns, and rows that were trained on."""
import json

import numpy as np
import pandas
import pytest
from numpy.testing import assert_allclose

import evaluate
from data_loader.ood import other_table
from data_loader.regression import load_regression
from misc.errors import UserError

pytestmark = pytest.mark.usefixtures("shared_graphs")

COLUMNS = ["a", "b", "c", "y"]


@pytest.fixture
def frame(tiny_data):
    """The rows of tiny.data, whose file gets a header."""
    frame = pandas.DataFrame(np.loadtxt(str(tiny_data / "tiny.data")), columns=COLUMNS)
    frame.to_csv(str(tiny_data / "tiny.data"), index=False)
    return frame


@pytest.fixture
def other(tiny_data, config, frame):
    """Function (frame, **options of to_csv) -> Part of these rows, as --data loads them."""

    def make(rows, **options):
        path = tiny_data / "other.data"
        rows.to_csv(str(path), **dict({"index": False}, **options))
        return other_table(str(path), config(), load_regression(config()))

    return make


def test_columns_are_matched_by_name(other, frame):
    rows = frame.head(20) + 0.01
    clean, mixed = other(rows), other(rows[["c", "y", "a", "b"]])
    assert (clean.x == mixed.x).all() and (clean.y == mixed.y).all()
    assert clean.notices == () and "columns are matched by their names" in mixed.notices[0]


@pytest.mark.parametrize("columns, message", [
    (["a", "b", "c", "z"], "misses 'y' and has the further 'z'"),
    (["a", "b", "y"], "misses 'c': its columns must be those of the run's table"),
    (["a", "b", "c", "a", "y"], "names 2 columns 'a'")])
def test_missing_and_further_names_are_refused(other, frame, columns, message):
    rows = pandas.DataFrame(np.random.RandomState(0).randn(12, len(columns)), columns=columns)
    with pytest.raises(UserError, match=message) as error:
        other(rows)
    assert "\n" not in str(error.value)


def test_further_columns_are_not_used_and_said(other, frame):
    rows = frame.head(20) + 0.01
    further = rows.assign(d=1.0)[["d", "a", "b", "c", "y"]]
    part = other(further)
    assert (part.x == other(rows).x).all()
    assert any("columns that the run does not know are not used: 'd'" in notice for notice in part.notices)


def test_words_of_a_comment_are_no_names_that_must_fit(other, frame, tiny_data, config):
    rows = frame.head(20) + 0.01
    clean, path = other(rows), tiny_data / "commented.data"
    for comment in ("# made on a monday", "# y a b c"):
        columns = COLUMNS if "monday" in comment else ["y", "a", "b", "c"]
        path.write_text(comment + "\n" + rows[columns].to_csv(index=False, header=False, sep=" "))
        part = other_table(str(path), config(), load_regression(config()))
        assert (part.x == clean.x).all()
        how = "their order, because the words of a comment" if "monday" in comment else "their names"
        assert f"columns are matched by {how}" in part.notices[0]


def test_without_names_the_order_counts_and_this_is_said(other, frame):
    rows = frame.head(20) + 0.01
    plain = other(rows, header=False)
    assert (plain.x == other(rows).x).all()
    assert "matched by their order, because" in plain.notices[0] and "other.data does not name" in plain.notices[0]


def test_an_index_is_left_out_of_other_rows(other, frame):
    rows = frame.head(20) + 0.01
    assert (other(rows, index=True).x == other(rows).x).all()


def test_rows_that_were_trained_on_are_counted(other, frame, config):
    split = load_regression(config()).split
    rows = frame.iloc[[*split.train[:3], *split.test[:2]]]
    assert other(rows).n_in_train == 3
    assert other(rows[["y", "b", "a", "c"]]).n_in_train == 3
    assert other(frame.iloc[::-1]).n_in_train == len(split.train)
    assert other(frame + 0.01).n_in_train == 0


def test_a_column_constant_in_training_is_zero_in_other_rows(tiny_data, other, frame):
    frame["b"] = 200.0
    frame.to_csv(str(tiny_data / "tiny.data"), index=False)
    rows = frame.head(5).assign(b=[200.0, 200.0, 5000.0, 0.0, 200.0], y=0.0)
    part = other(rows)
    assert (part.x[:, 1] == 0).all()
    assert part.notices == ("note: constant over the training rows, so other values here are not used: column 2 ('b')",)
    assert other(rows.assign(b=200.0)).notices == ()


@pytest.mark.usefixtures("no_figures")
def test_evaluate_says_what_it_found(tiny_data, frame, finished_run, config, capsys):
    _, folder = finished_run(optimizer="sgd")
    evaluate.main([str(folder.root)])
    own = json.loads((folder.root / "evaluation" / "metrics.json").read_text())
    capsys.readouterr()
    split = load_regression(config()).split
    frame.iloc[[*split.test, *split.train[:2]]][["c", "b", "a", "y"]].to_csv(str(tiny_data / "o.data"), index=False)
    evaluate.main([str(folder.root), "--data", str(tiny_data / "o.data")])
    said = capsys.readouterr().out
    assert "2 of the 6 rows (sgd_tiny) are rows that the run was trained on" in said
    assert "columns are matched by their names" in said
    assert json.loads((folder.root / "evaluation" / "metrics.json").read_text())["n_in_train"] == 2
    frame.iloc[split.test][["c", "b", "a", "y"]].to_csv(str(tiny_data / "o.data"), index=False)
    evaluate.main([str(folder.root), "--data", str(tiny_data / "o.data")])
    mixed = json.loads((folder.root / "evaluation" / "metrics.json").read_text())
    assert_allclose(mixed["metrics"]["rmse"]["value"], own["metrics"]["rmse"]["value"])


def test_columns_called_by_numbers_in_another_order_are_refused(other, frame, tiny_data):
    numbered = frame.rename(columns=dict(zip(COLUMNS, range(4))))
    numbered.to_csv(str(tiny_data / "tiny.data"), index=False)
    in_order = other(numbered.head(20) + 0.01)
    assert len(in_order.x) == 20
    with pytest.raises(UserError, match="the first line holds the numbers 0 to 3, each once: remove it if"):
        other(numbered.head(20)[[2, 0, 1, 3]] + 0.01)
