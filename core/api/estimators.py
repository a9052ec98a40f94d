"""Estimators of scikit-learn: regression and classification of table rows."""
import pathlib
import shutil
import tempfile
from typing import Any, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import pandas
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from core.api.checks import checked_labels, checked_numbers, checked_rows, label_names, seed_of, value_errors, y_names
from core.api.settings import AUTO, class_config, regression_config
from core.api.trained_run import TrainedRun
from core.assessment.importance import log_probs
from core.metrics.predictive import log_mean_exp
from core.training import run
from data_loader.table_file import Table
from data_loader.table_memory import table_of_frame, table_of_rows
from misc.config import Config
from misc.folders import folder_at


class _Noisy(BaseEstimator):
    """What both estimators share.

    Parameters:
      method: ekfac, kfac, diag (noisy Adam), and all other names of config's key `optimizer`.
      hidden: units of the hidden layers.
      activation: of the hidden units: relu, tanh, elu.
      epochs, batch_size, kl, prior_variance, likelihood: keys epoch, batch_size, kl, eta and likelihood; "auto": as
        `train.py --init` chooses them.
      missing: what happens to missing values: refuse, mean, median or indicator.
      categories: columns of numbers that are categories, by name or number from 1; columns of words are anyway.
      validation_fraction, patience: early stopping by the log-likelihood of a share of the rows.
      n_draws: weight draws of predictions.
      settings: further keys of the config, docs/configuration.md.
      random_state: an int is the run's seed.
      device: auto, cpu or gpu.
      verbose: 1 shows the log and a progress bar.

    Attributes:
      run_: the TrainedRun.
      n_features_in_, feature_names_in_: of X.
    """

    def __init__(self, method: str = "ekfac", hidden: Sequence[int] = (50,), activation: str = "relu",
                 epochs: Union[int, str] = AUTO, batch_size: Union[int, str] = AUTO, kl: Union[float, str] = AUTO,
                 prior_variance: Union[float, str] = AUTO, likelihood: str = AUTO, missing: str = "refuse",
                 categories: Optional[Sequence[Union[str, int]]] = None, validation_fraction: float = 0.0,
                 patience: Optional[int] = None, n_draws: int = 100, settings: Optional[Dict[str, Any]] = None,
                 random_state: Any = None, device: str = "cpu", verbose: int = 0) -> None:
        self.method = method
        self.hidden = hidden
        self.activation = activation
        self.epochs = epochs
        self.batch_size = batch_size
        self.kl = kl
        self.prior_variance = prior_variance
        self.likelihood = likelihood
        self.missing = missing
        self.categories = categories
        self.validation_fraction = validation_fraction
        self.patience = patience
        self.n_draws = n_draws
        self.settings = settings
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def sample_weights(self, n: Optional[int] = None) -> Dict[str, np.ndarray]:
        """Returns n draws of the weights, {layer: [n, d_in + 1, d_out]}; see TrainedRun.sample_weights."""
        check_is_fitted(self, "run_")
        with value_errors():
            return self.run_.sample_weights(n)

    def _fit(self, X: Any, config: Config, targets: Dict[str, np.ndarray]) -> None:
        """Trains on X and the target columns, in a folder of its own that is then deleted."""
        place = pathlib.Path(tempfile.mkdtemp(prefix="fit"))
        try:
            with value_errors():
                plan = run.plan(config, self.device, _with_targets(X, targets))
                run.train(plan, folder_at(place), quiet=not self.verbose)
                self.run_ = TrainedRun(place, device=self.device).pack()
        finally:
            shutil.rmtree(str(place), ignore_errors=True)

    def _columns(self, X: Any, **asked: Any) -> Dict[str, np.ndarray]:
        """Returns TrainedRun.predict's columns."""
        rows = self._checked(X)
        with value_errors():
            return self.run_.predict(rows, **asked)

    def _checked(self, X: Any) -> Any:
        check_is_fitted(self, "run_")
        return checked_rows(self, X, self.missing != "refuse", reset=False)

    def _more_tags(self) -> Dict[str, Any]:  # of scikit-learn before 1.6
        return {"allow_nan": self.missing != "refuse", "poor_score": True}

    def __sklearn_tags__(self) -> Any:  # since 1.6
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing != "refuse"
        return tags


class NoisyRegressor(RegressorMixin, _Noisy):
    __doc__ = f"""Regression by a Bayesian neural network, with one target or several.
    {_Noisy.__doc__.split('What both estimators share.', 1)[1]}"""

    def fit(self, X: Any, y: Any) -> "NoisyRegressor":
        """Trains on rows X, a DataFrame or an array [n, d], and targets y, [n] or [n, m]. Returns self.

        Raises ValueError for what cannot be trained on.
        """
        X = checked_rows(self, X, self.missing != "refuse", reset=True)
        names, y = y_names(y), checked_numbers(y, X)
        self.n_outputs_ = 1 if y.ndim == 1 else y.shape[1]
        self._is_column = y.ndim == 2
        d = X.shape[1]
        with value_errors():
            config = regression_config(self.get_params(), list(range(d + 1, d + 1 + self.n_outputs_)), len(X),
                                       seed_of(self.random_state))
        self._fit(X, config, dict(zip(names, y.reshape(len(y), -1).T)))
        return self

    def predict(self, X: Any, return_std: bool = False) -> Union[np.ndarray, Tuple[np.ndarray, np.ndarray]]:
        """Returns the predictive mean, in the shape of y, and with `return_std` the predictive standard deviation."""
        columns = self._columns(X)
        mean = self._of_targets(columns, "mean")
        return (mean, self._of_targets(columns, "std")) if return_std else mean

    def predict_quantiles(self, X: Any, quantiles: Sequence[float] = (0.05, 0.5, 0.95)) -> np.ndarray:
        """Returns quantiles of the predictive distribution, [n, Q], or [n, m, Q] of several targets."""
        levels = np.atleast_1d(np.asarray(quantiles, float)).tolist()
        columns = self._columns(X, quantiles=tuple(dict.fromkeys(levels)))
        found = [self._of_targets(columns, f"quantile_{level:.15g}") for level in levels]
        return np.stack(found, axis=-1) if found else np.zeros((*self._of_targets(columns, "mean").shape, 0))

    def sample_y(self, X: Any, n_samples: int = 1, random_state: Any = None) -> np.ndarray:
        """Returns draws from the predictive distribution, [n, n_samples], or [n, m, n_samples] of several targets.

        random_state: their seed, or a generator that it is drawn from; default: the seed of the run.
        """
        if n_samples < 1:
            raise ValueError(f"n_samples must be at least 1, got {n_samples}")
        columns = self._columns(X, samples=n_samples, seed=None if random_state is None else seed_of(random_state))
        return np.stack([self._of_targets(columns, f"sample_{number}") for number in range(1, n_samples + 1)], axis=-1)

    def log_prob(self, X: Any, y: Any) -> np.ndarray:
        """Returns the log density of the targets y under the predictive distribution, [n], in nats.

        Raises ValueError for another number of targets than the model has.
        """
        X = self._checked(X)
        y = checked_numbers(y, X)
        if y.size != len(y) * self.n_outputs_:
            raise ValueError(f"y must have {self.n_outputs_} target{'s' * (self.n_outputs_ > 1)}, got an array of "
                             f"{list(y.shape)}")
        with value_errors():
            draws, data = self.run_.draws(X), self.run_.data
        y = y.reshape(len(y)) if self.n_outputs_ == 1 else y
        return (log_mean_exp(log_probs(draws, (y - data.target_mean) / data.target_std))
                - np.sum(np.log(data.target_std)))

    def _of_targets(self, columns: Dict[str, np.ndarray], name: str) -> np.ndarray:
        if self.n_outputs_ == 1:
            return columns[name][:, None] if self._is_column else columns[name]
        names = [place.name or str(number) for number, place in enumerate(self.run_.data.transform.targets, start=1)]
        return np.stack([columns[f"{name}_{target}"] for target in names], axis=1)

    def _more_tags(self) -> Dict[str, Any]:
        return dict(super()._more_tags(), multioutput=True)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output, tags.regressor_tags.poor_score = True, True
        return tags


class NoisyClassifier(ClassifierMixin, _Noisy):
    __doc__ = f"""Classification by a Bayesian neural network. `likelihood` has no effect.
    {_Noisy.__doc__.split('What both estimators share.', 1)[1]}  classes_: the labels, sorted.
    """

    def fit(self, X: Any, y: Any) -> "NoisyClassifier":
        """Trains on rows X, a DataFrame or an array [n, d], and labels y of any kind, [n]. Returns self.

        Raises ValueError for what cannot be trained on.
        """
        X = checked_rows(self, X, self.missing != "refuse", reset=True)
        self.classes_, labels = checked_labels(y, X)
        arguments = dict(self.get_params(), likelihood=None)
        with value_errors():
            config = class_config(arguments, X.shape[1] + 1, len(X), seed_of(self.random_state))
        self._fit(X, config, {y_names(y)[0]: label_names(self.classes_)[labels]})
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Returns the class of the highest probability, [n]."""
        probabilities = self.predict_proba(X)
        return self.classes_[probabilities.argmax(axis=1)]

    def predict_proba(self, X: Any) -> np.ndarray:
        """Returns the probabilities of the classes, in the order of classes_, [n, C]: means over the weight draws."""
        columns = self._columns(X)
        return np.stack([columns[f"p_{name}"] for name in self.run_.data.classes], axis=1)

    def predict_uncertainty(self, X: Any) -> Dict[str, np.ndarray]:
        """Returns {"entropy": of the class, "mutual_information": between class and weights}, [n] each, in nats."""
        columns = self._columns(X)
        return {name: columns[name] for name in ("entropy", "mutual_information")}

    def _more_tags(self) -> Dict[str, Any]:
        return super()._more_tags()

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.poor_score = True
        return tags


def _with_targets(X: Any, targets: Dict[str, np.ndarray]) -> Table:
    """Returns the Table of X and, in the last columns, the targets; an array's columns have no names."""
    if isinstance(X, pandas.DataFrame):
        given = {str(name) for name in X.columns}
        names = [_unused(name, given) for name in targets]
        further = pandas.DataFrame(dict(zip(names, targets.values())), index=X.index)
        return table_of_frame(pandas.concat([X, further], axis=1), "X")
    table = table_of_rows(X, "X")
    width = table.frame.shape[1]
    frame = table.frame.assign(**targets)
    return table._replace(frame=frame.set_axis(range(width + len(targets)), axis=1))


def _unused(name: str, given: Any) -> str:
    return _unused(f"{name}_", given) if name in given else name


__all__: List[str] = ["NoisyClassifier", "NoisyRegressor"]
