"""The Python interface: scikit-learn estimators, and trained runs. Importing it prepares TensorFlow (graph mode).

    from core.api import NoisyRegressor, load_run, train

    model = NoisyRegressor(method="ekfac").fit(X, y)
    mean, std = model.predict(X_new, return_std=True)

    run = load_run("experiments/concrete/ekfac_concrete")
    run.predict(X_new)["upper"]

Read in this order:

posterior     the Gaussian posterior of one layer, as arrays
trained_run   a trained run: predictions, weights, densities, exports
training      from a config to a trained run
settings      from an estimator's arguments to a config
estimators    NoisyRegressor and NoisyClassifier
"""
from misc import backend

backend.prepare()

from core.api.estimators import NoisyClassifier, NoisyRegressor  # noqa: E402  (TensorFlow comes after prepare())
from core.api.trained_run import TrainedRun, load_run  # noqa: E402
from core.api.training import train  # noqa: E402

__all__ = ["NoisyClassifier", "NoisyRegressor", "TrainedRun", "load_run", "train"]
