"""Whatever pandas writes is read back as it was, or refused in one line."""
import itertools
import pathlib

import numpy as np
import pandas
import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from data_loader.table_cells import convert
from data_loader.table_file import read_table
from data_loader.table_header import MISSING, number
from data_loader.table_text import TableFormat
from misc.errors import UserError

MANY = settings(deadline=None, suppress_health_check=list(HealthCheck), derandomize=True,
                phases=(Phase.explicit, Phase.generate))  # the examples are small as they are
NUMBERS = st.one_of(
    st.integers(-10**6, 10**6).map(float), st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-1e6, 1e6).map(lambda value: round(value, 3)), st.sampled_from([0.0, -0.0, 1.0, 1e-300, 1.5e300]))
WORDS = st.one_of(
    st.text(st.characters(blacklist_categories=("Cs", "Cc")), max_size=8).filter(
        lambda word: not word.strip().startswith("#")),  # a comment, at the beginning of a line
    st.sampled_from(["red", "a b", "x, y", "p; q", "5\" pipe", "it's", "two\nlines", "tab\there", "|", "Größe",
                     "no. #1", "NA", "nan", "true", "1,5", "2020-01-31", "10 km", "_", "''", '""', "sep=;", "=1"]))
NAMES = st.one_of(st.from_regex(r"[A-Za-z][a-z_ ]{0,8}[a-z]", fullmatch=True), WORDS,
                  st.sampled_from(["2019", "größe"])).filter(
                      lambda name: name.strip().lower() not in MISSING | {"nan"})


@st.composite
def frames(draw):
    """A DataFrame of columns of numbers, of words, and of both with missing values."""
    n_rows, kinds = draw(st.integers(1, 12)), draw(st.lists(st.sampled_from("nnwm"), min_size=2, max_size=5))
    names = draw(st.lists(NAMES, min_size=len(kinds), max_size=len(kinds), unique=True))
    make = {"n": NUMBERS, "w": WORDS, "m": st.one_of(NUMBERS, st.none())}
    columns = [draw(st.lists(make[kind], min_size=n_rows, max_size=n_rows)) for kind in kinds]
    return pandas.DataFrame({name: pandas.Series(column, dtype=object if kind == "w" else np.float64)
                             for name, kind, column in zip(names, kinds, columns)}, columns=names)


WAYS = st.fixed_dictionaries(dict(
    sep=st.sampled_from([",", ";", "\t", "|", " "]), decimal=st.sampled_from([".", ","]),
    quoting=st.sampled_from([0, 1, 2]), encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "cp1252"]),
    line=st.sampled_from(["\n", "\r\n"]), suffix=st.sampled_from(["", ".gz", ".bz2", ".xz", ".zip"]),
    index=st.booleans(), header=st.booleans()))
END_OF_LINE = "line_terminator" if int(pandas.__version__.split(".")[0]) < 2 else "lineterminator"


def write(frame, folder, way):
    """Writes the frame as pandas does in this way; returns its path."""
    path = folder / ("table.csv" + way["suffix"])
    options = {name: way[name] for name in ("sep", "decimal", "quoting", "encoding", "index", "header")}
    frame.to_csv(str(path), **options, **{END_OF_LINE: way["line"]})
    return path


def is_same(read, frame, row, column, decimal):
    """Whether a field was read as it was written.

    Words lose the space around them, may mark missing values, and are numbers if all of a column could be.
    """
    written, found = frame.iloc[row, column], read.iloc[row, column]
    if isinstance(written, float):
        return written == found or (np.isnan(written) and pandas.isna(found))
    word = written.strip()
    return found == word or (pandas.isna(found) and word.lower() in MISSING | {"nan"}) or found == number(word, decimal)


def is_empty(column):
    """Whether nothing is written for a column, as if separators ended the lines."""
    return all(pandas.isna(value) or not str(value).strip() for value in column)


@settings(MANY, max_examples=150)
@given(frame=frames(), way=WAYS, told=st.booleans())
def test_what_pandas_writes_is_read_back_or_refused(tmp_path_factory, frame, way, told):
    if way["sep"] == " " and any(is_empty(frame.iloc[row:row + 1, column]) for row, column in
                                 itertools.product(*map(range, frame.shape))):
        return  # nothing between spaces cannot be told from their width
    folder = tmp_path_factory.mktemp("t")
    try:
        path = write(frame, folder, way)
    except (UnicodeEncodeError, ValueError):
        return  # cp1252 does not have all characters
    form = TableFormat(separator=way["sep"], decimal=way["decimal"], encoding=way["encoding"],
                       header=way["header"]) if told else TableFormat()
    try:
        table = read_table(path, form)
    except UserError as error:
        assert "\n" not in str(error) and str(path) in str(error)
        return
    if not way["header"] and any("taken for a header" in notice for notice in table.notices):
        return  # a table of words, whose first row looks like names
    expected, read = frame, table.frame
    if way["header"] and table.names is None:  # numbers among the names, and too few rows to tell
        assert not told and any(number(name) is not None for name in frame.columns) and len(frame) < 2
        return
    if way["sep"] == "\t" and len(read) < len(frame):  # a row without values is a blank line
        expected = frame[[not is_empty(frame.iloc[row]) for row in range(len(frame))]]
    if way["header"]:
        assert [name.split() for name in table.names] == [name.split() for name in frame.columns]
    else:
        read = read.iloc[:, int(way["index"]):]  # an index without a name cannot be told from other columns
        while expected.shape[1] > read.shape[1] and is_empty(expected.iloc[:, -1]):
            expected = expected.iloc[:, :-1]
        if expected.shape[1] > read.shape[1] and way["sep"] == "\t":  # tabs around nothing only align columns
            expected = expected.loc[:, [not is_empty(expected[name]) for name in expected.columns]]
    assert read.shape == expected.shape
    for row, column in itertools.product(*map(range, expected.shape)):
        assert is_same(read, expected, row, column, way["decimal"]), (row, column)


SPELLINGS = st.one_of(
    NUMBERS.map(repr), st.floats().map(repr), st.from_regex(r"[-+]?[0-9_.,eE ]{1,8}", fullmatch=True), WORDS,
    st.sampled_from(["inf", "Infinity", "-nan", "1e400", "1e", "0x10", "1_0", "\uff11", "1d3", "True", ".", "1.",
                     "+1"]))


@settings(MANY, max_examples=200)
@given(words=st.lists(SPELLINGS.filter(lambda word: "\n" not in word and '"' not in word and word.strip()), min_size=1,
                      max_size=3))
@example(words=["1e5"])
def test_a_number_is_one_however_it_is_read(tmp_path_factory, words):
    """The fast way, by pandas, and the way of tables with words agree on what is a number, and on every bit of it."""
    path = pathlib.Path(str(tmp_path_factory.mktemp("t"))) / "table.csv"
    path.write_text("a;y\n" + "".join(f"{word};1.0\n" for word in words), encoding="utf-8")
    results, plain = [], TableFormat(separator=";", decimal=".")
    for form in (plain, plain._replace(missing_marks=("@",))):
        try:
            results.append(read_table(path, form).frame.iloc[:, 0].tolist())
        except UserError as error:
            results.append(str(error))
    assert repr(results[0]) == repr(results[1])


@pytest.mark.parametrize("word, value", [("1.5", 1.5), ("-.5e-3", -0.0005), ("1e22", 1e22), ("0.1", 0.1), ("x", None),
                                         ("1_0", None), ("\uff11", None), ("true", 1.0), ("FALSE", 0.0)])
def test_numbers(word, value):
    assert number(word) == value
    assert number(word.replace(".", ","), ",") == value


def test_missing_words_are_none_and_missing_numbers_nan():
    assert convert(np.array(["x", "NA", " "], object), ".", {"na", ""}).tolist() == ["x", None, None]
    assert np.isnan(convert(np.array(["1", "NA"], object), ".", {"na", ""})[1])
