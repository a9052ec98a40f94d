"""Columns of dates: told from other words, expanded as the calendar says, or refused."""
import datetime

import numpy as np
import pandas
import pytest

from data_loader.table_dates import irregular_dates, is_date
from misc.errors import UserError
from tests.tables.conftest import csv_of

START = datetime.datetime(2019, 12, 25, 22, 30)
STAMPS = [START + datetime.timedelta(hours=7 * row, minutes=5 * (row % 3)) for row in range(60)]
PARTS = {"year": lambda stamp: stamp.year, "month": lambda stamp: stamp.month, "day": lambda stamp: stamp.day,
         "weekday": lambda stamp: stamp.weekday(), "hour": lambda stamp: stamp.hour,
         "minute": lambda stamp: stamp.minute}


def table_of(words):
    return csv_of({"when": lambda row: words[row], "a": lambda row: row * row % 11, "y": lambda row: row % 13},
                  len(words), ";")


@pytest.mark.parametrize("form, n_parts", [
    ("%Y-%m-%d", 4), ("%Y-%m-%d %H:%M", 6), ("%Y-%m-%dT%H:%M:%S", 6), ("%Y-%m-%dT%H:%M:%SZ", 6), ("%Y/%m/%d", 4),
    ("%d/%m/%Y", 4), ("%m/%d/%Y", 4), ("%d.%m.%Y", 4), ("%d.%m.%y", 4), ("%d.%m.%Y %H:%M", 6), ("%m-%d-%Y %H:%M:%S", 6),
    ("%d %b %Y", 4), ("%d-%b-%Y", 4), ("%B %d, %Y", 4)])
def test_dates_are_expanded(split_table, form, n_parts):
    words = [stamp.strftime(form) for stamp in STAMPS]
    loaded = split_table(table_of(words), dates="expand", separator=";")
    names = list(PARTS)[:n_parts]
    assert loaded.transform.names == [f"when {name}" for name in names] + ["a"]
    expected = [[PARTS[name](stamp) for name in names] for stamp in STAMPS]
    assert np.array_equal(loaded.inputs[:, :-1], expected)


def test_dates_of_one_kind_may_be_more_and_less_precise(split_table):
    words = [stamp.strftime(["%Y-%m-%d", "%Y-%m-%d %H:%M"][row % 2]) for row, stamp in enumerate(STAMPS)]
    inputs = split_table(table_of(words), dates="expand", separator=";").inputs
    assert inputs[:2].tolist() == [[2019, 12, 25, 2, 0, 0, 0], [2019, 12, 26, 3, 5, 35, 1]]


def test_parts_that_are_constant_are_no_inputs(split_table):
    words = [f"2020-01-{day:02d}" for day in range(1, 31)]
    assert split_table(table_of(words), dates="expand", separator=";").transform.names == [
        "when day", "when weekday", "a"]


TWO_FORMATS = [f"2020-01-{row + 1:02d}" if row != 4 else "31/01/2020" for row in range(30)]
NO_DATE = [f"2020-01-{row + 1:02d}" if row != 4 else "unsold" for row in range(30)]


def test_dates_in_two_formats_are_told_from_words():
    assert irregular_dates(pandas.Series(TWO_FORMATS)) == (0, 4)
    assert irregular_dates(pandas.Series([None, "x", *TWO_FORMATS[5:]], dtype=object)) == (2, 1)
    assert irregular_dates(pandas.Series(TWO_FORMATS[5:])) is None
    assert irregular_dates(pandas.Series(["x", "y", "2020-01-01"])) is None
    assert irregular_dates(pandas.Series([], dtype=object)) is None


AMBIGUOUS = [f"{row % 12 + 1:02d}/{row % 7 + 1:02d}/2020" for row in range(30)]


@pytest.mark.parametrize("words, keys, message", [
    ([f"2020-01-{day:02d}" for day in range(1, 31)], {}, "houses.csv: column 1 ('when') holds dates, such as "
     "'2020-01-01': set dates to expand, which makes year, month, day and weekday of it, or list it in drop"),
    (AMBIGUOUS, {"dates": "expand"}, "houses.csv line 2: column 1 ('when'): the order of day and month in '01/01/2020' "
     "cannot be told: write dates as 2020-01-31"),
    ([*AMBIGUOUS, "31/12/2020", "12/31/2020"], {"dates": "expand"}, "houses.csv line 33: column 1 ('when'): "
     "'12/31/2020' is not a date, because day and month stand in this order in other rows: write it as 2020-01-31"),
    (TWO_FORMATS, {"dates": "expand"}, "houses.csv line 6: column 1 ('when') holds dates in two formats, such as "
     "'2020-01-01' and '31/01/2020': write all of them as 2020-01-31, or list it in drop, or in categories"),
    (NO_DATE, {}, "houses.csv line 6: column 1 ('when') holds dates and other words, such as '2020-01-01' and "
     "'unsold'"),
    (["2020-02-28"] * 20 + ["2020-02-30"], {"dates": "expand"}, "houses.csv line 22: column 1 ('when'): '2020-02-30' "
     "is not a date: write it as 2020-01-31"),
    (["2020-02-28"] * 1100 + ["soon"], {"dates": "expand"}, "houses.csv line 1102: column 1 ('when'): 'soon' is not a "
     "date"),
    (["2020-02-28"] * 20 + [""], {"dates": "expand", "missing": "mean"}, "houses.csv: column 1 ('when') holds dates, "
     "and some are missing: remove these rows, or list it in drop"),
])
def test_dates_are_refused(refused, words, keys, message):
    assert message in refused(table_of(words), separator=";", **keys)


def test_dates_that_are_categories(split_table):
    words = [f"2020-01-{row % 3 + 1:02d}" for row in range(30)]
    assert split_table(table_of(words), categories=["when"], separator=";").transform.names == [
        "when=2020-01-01", "when=2020-01-02", "when=2020-01-03", "a"]


@pytest.mark.parametrize("words, expected", [
    (["2020-01-31", "2021-1-1"], True), (["31/01/2020", None], True), (["2020-01-31", "31/01/2020"], False),
    (["1-2-3"], False), (["12:30"], False), (["red"], False), ([None], False), (["2020"], False)])
def test_words_that_are_dates(words, expected):
    assert is_date(pandas.Series(words, dtype=object)) is expected


def test_other_rows_are_read_in_the_order_of_the_training_rows(split_table):
    """Alone, 01/02/2020 could be either."""
    words = [f"{row % 28 + 1:02d}/{row % 2 + 1:02d}/2020" for row in range(60)]
    transform = split_table(table_of(words), dates="expand", separator=";").transform
    frame = pandas.DataFrame({0: ["01/02/2020"], 1: [0.0]})
    assert transform.encode(frame)[0][0, :2].tolist() == [2, 1]
    with pytest.raises(UserError, match="'01/13/2020' is not a date, because day and month stand in this order"):
        transform.encode(pandas.DataFrame({0: ["01/02/2020", "01/13/2020"], 1: [0.0, 0.0]}))
