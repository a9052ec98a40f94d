"""Checks of what estimators are given, as scikit-learn 1.0 and later versions make them."""
import contextlib
from typing import Any, Iterator, List, Optional, Tuple

import numpy as np
import pandas
from sklearn.utils import check_array, check_consistent_length, column_or_1d, validation

from data_loader.table_labels import MOST_CLASSES, find_classes
from misc.errors import UserError

LEAST_ROWS = 2  # to train on


@contextlib.contextmanager
def value_errors() -> Iterator[None]:
    """Turns a UserError into a ValueError, as scikit-learn's tools expect."""
    try:
        yield
    except UserError as error:
        raise ValueError(str(error)) from None


def checked_rows(estimator: Any, X: Any, allows_missing: bool, reset: bool) -> Any:
    """Returns X, a DataFrame as it is or else an array [n, d] of numbers; sets or checks names and number of columns.

    Raises ValueError or TypeError for everything else, sparse matrices among it.
    """
    if isinstance(X, pandas.DataFrame):
        _remember(estimator, X, reset)
        if X.shape[1] == 0 or X.shape[0] == 0:
            check_array(X)  # raises the error
        return X
    finite: Any = "allow-nan" if allows_missing else True
    asked = {"reset": reset, "dtype": np.float64, "ensure_min_samples": LEAST_ROWS if reset else 1}
    if hasattr(validation, "validate_data"):
        return validation.validate_data(estimator, X, ensure_all_finite=finite, **asked)
    return estimator._validate_data(X, force_all_finite=finite, **asked)


def checked_numbers(y: Any, X: Any) -> np.ndarray:
    """Returns the targets of a regression, float64 [n] or [n, m]. Raises ValueError for words and missing values."""
    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    y = check_array(y, ensure_2d=False, dtype=np.float64, allow_nd=False)
    check_consistent_length(X, y)
    return y


def checked_labels(y: Any, X: Any) -> Tuple[np.ndarray, np.ndarray]:
    """Returns (classes, sorted [C]; labels as their numbers, int [n]). Raises ValueError for what is no class."""
    from sklearn.utils.multiclass import check_classification_targets

    if y is None:
        raise ValueError("requires y to be passed, but the target y is None")
    if isinstance(y, (list, tuple)) and any(pandas.isna(label) is True for label in y):
        raise ValueError("y contains missing labels (NaN): leave these rows out")
    y = column_or_1d(y, warn=True)
    check_consistent_length(X, y)
    check_array(y, ensure_2d=False, dtype=None)
    check_classification_targets(y)
    try:
        classes, labels = np.unique(y, return_inverse=True)
    except TypeError:
        raise ValueError("y holds labels of different types, which cannot be sorted: make them all text, or all "
                         "numbers") from None
    if len(classes) < 2:
        raise ValueError(f"y has 1 class, {classes.tolist()[0]!r}: there is nothing to learn")
    return classes, labels


def y_names(y: Any) -> List[str]:
    """Returns the names of the targets if y is a Series or a DataFrame with such; target0, target1, ... otherwise."""
    given = [y.name] if isinstance(y, pandas.Series) else list(getattr(y, "columns", []))
    if given and len(set(given)) == len(given) and all(isinstance(name, str) and name.strip() for name in given):
        return given
    shape = np.asarray(y).shape
    return [f"target{number}" for number in range(shape[1] if len(shape) == 2 else 1)]


def label_names(classes: np.ndarray) -> np.ndarray:
    """Returns what the run calls the classes [C], texts [C]: their labels, or else their numbers from 0.

    Numbers are taken where the run would not tell the labels apart, or not sort them as `classes` are.
    """
    labels = classes.tolist()
    names = [f"{label:.15g}" if isinstance(label, float) else str(label) for label in labels]
    usable = len(names) <= MOST_CLASSES and all(name.strip() for name in names)
    if not usable or find_classes(pandas.Series(names * 2), "y", "y").names != names:
        names = [str(number) for number in range(len(names))]
    return np.array(names, object)


def seed_of(random_state: Optional[Any]) -> int:
    """Returns the seed of a run: an int as it is, or one that is drawn."""
    from sklearn.utils import check_random_state

    if isinstance(random_state, (int, np.integer)):
        return int(random_state)
    return int(check_random_state(random_state).randint(2**31 - 1))


def _remember(estimator: Any, X: pandas.DataFrame, reset: bool) -> None:
    """Sets or checks feature_names_in_ and n_features_in_."""
    if hasattr(validation, "validate_data"):
        validation.validate_data(estimator, X, reset=reset, skip_check_array=True)
    else:
        estimator._check_feature_names(X, reset=reset)
        estimator._check_n_features(X, reset=reset)
