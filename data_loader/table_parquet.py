"""Tables in Parquet files, which need pyarrow or fastparquet."""
import pathlib

import pandas

from data_loader.table_file import Table
from data_loader.table_memory import table_of_frame
from misc.errors import UserError


def read_parquet(path: pathlib.Path) -> Table:
    """Reads a Parquet file as `table_of_frame` takes a DataFrame."""
    try:
        frame = pandas.read_parquet(str(path))
    except ImportError:
        raise UserError(f"{path}: Parquet needs a further package: pip install pyarrow, or save the table as CSV"
                        ) from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} cannot be read as Parquet: {error}") from None
    table = table_of_frame(frame, str(path))
    return table._replace(notices=tuple(notice.replace(f"{path}", path.name, 1) for notice in table.notices))
