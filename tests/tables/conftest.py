"""Fixtures: tables as files, and what is read from them."""
import pytest

from data_loader.table_file import read_table
from data_loader.table_text import TableFormat
from data_loader.tables import load_split_table
from misc.config import Config
from misc.errors import UserError


@pytest.fixture
def write(tmp_path):
    """Function (content, name) -> path of a file of this text or these bytes."""

    def make(content, name="houses.csv"):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8"))
        return path

    return make


@pytest.fixture
def read(write):
    """Function (content, words_in, **how it is written) -> Table."""
    return lambda content, words_in=(), **form: read_table(write(content), TableFormat(**form), words_in)


@pytest.fixture
def table_config(write, tmp_path):
    """Function (content, **overrides) -> Config of a small run on a file."""

    def make(content, **overrides):
        values = dict(dataset="houses", data_file=str(write(content)), optimizer="sgd", model_name="linear",
                      experiments_path=str(tmp_path / "experiments"))
        values.update(overrides)
        return Config.from_dict(values)

    return make


@pytest.fixture
def split_table(table_config):
    """Function (content, **overrides) -> SplitTable."""
    return lambda content, class_target=False, **overrides: load_split_table(
        table_config(content, **overrides), class_target)


@pytest.fixture
def refused(table_config):
    """Function (content, **overrides) -> the one line with which a table is refused."""

    def message(content, class_target=False, **overrides):
        with pytest.raises(UserError) as error:
            load_split_table(table_config(content, **overrides), class_target)
        assert "\n" not in str(error.value)
        return str(error.value)

    return message


def csv_of(columns, n_rows, separator=","):
    """Text of a table: columns is {name: function of the row number from 0}."""
    lines = [separator.join(columns)]
    lines += [separator.join(str(make(row)) for make in columns.values()) for row in range(n_rows)]
    return "\n".join(lines) + "\n"
