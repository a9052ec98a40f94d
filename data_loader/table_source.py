"""Where the rows of a config's table come from: its file, or a known data set."""
import pathlib
import typing

from data_loader import DATASETS, IMAGE_SETS
from data_loader.table_cells import LAST
from data_loader.table_file import Table, read_table, table_of
from data_loader.table_text import TableFormat
from misc.config import Config
from misc.errors import UserError
from misc.lookup import did_you_mean

CACHE = ".cache"  # folder in experiments_path

def read_rows(config: Config, class_target: bool = False) -> Table:
    """Returns the rows of the config's data set.

    They are read from data_file, or from NAME.data in data_path if there is such a file; otherwise a known data set is
    fetched. Raises a UserError if there is none of these.
    """
    path = pathlib.Path(config.data_file or pathlib.Path(config.data_path) / f"{config.dataset}.data")
    words_in = [*(config.categories or ()), *(reference for reference in (config.row_id, config.group) if reference)]
    if class_target:
        words_in += config.targets or [LAST]
    if path.is_file():
        return read_table(path, TableFormat(**config.table_format), words_in, config.drop or (),
                          kept_in=kept_tables(config))
    if config.data_file:
        raise UserError(f"data_file {path}: {'this is a folder' if path.is_dir() else 'there is no such file'}")
    if config.dataset in IMAGE_SETS:
        raise UserError(f"dataset {config.dataset} is for mode classification, but this config's mode is regression")
    if config.dataset not in DATASETS:
        _raise_unknown(config.dataset, path)
    return fetch_known(config.dataset, config.data_path)


def kept_tables(config: Config) -> typing.Optional[pathlib.Path]:
    """Returns the folder of the tables that were parsed before; None if the config does not want it."""
    return pathlib.Path(config.experiments_path) / CACHE if config.cache else None


def fetch_known(name: str, data_path: str) -> Table:
    """Returns the rows of a known data set that data_path has no file of."""
    try:
        values, source = DATASETS[name].fetch()
    except UserError as error:
        path = pathlib.Path(data_path) / f"{name}.data"
        raise UserError(f"data set {name}: there is no file {path}, and {error}; "
                        "put the file there (numbers, target last), or set data_path to its folder") from None
    return table_of(values, source)


def _raise_unknown(name: str, path: pathlib.Path) -> typing.NoReturn:
    """Raises the UserError for a name that is neither a file nor known; it names the file or set that was meant."""
    for other in (path.parent / name, path.parent / f"{name}.csv", path.parent / f"{name}.txt"):
        if other.is_file():
            remedy = f"set dataset to {other.stem}" if other.suffix == ".data" else "set data_file to it"
            raise UserError(f"unknown dataset {name!r}, but there is a file {other}: {remedy}")
    names = [*DATASETS, *(file.stem for file in path.parent.glob("*.data") if file.is_file())]
    raise UserError(f"unknown dataset {name!r}{did_you_mean(name, names)}: there is no file {path}, and no known data "
                    "set has that name (--list shows them)")
