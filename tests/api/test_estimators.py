"""NoisyRegressor and NoisyClassifier among scikit-learn's tools, and beside train.py."""
import json
import pickle
import resource

import joblib
import numpy as np
import pandas
import pytest
import sklearn
from numpy.testing import assert_allclose
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks

import predict
from core.api import NoisyClassifier, NoisyRegressor
from core.api.checks import label_names
from data_loader.regression import load_regression
from misc.config import Config
from tests.conftest import REAL_DATA
from tests.predict.houses import read_csv, train_on, write_table

pytestmark = pytest.mark.usefixtures("shared_graphs")

SHORT = dict(method="kfac", epochs=5, batch_size=16, hidden=(6,), n_draws=7, random_state=3)
CHECKED = dict(method="diag", epochs=3, batch_size=8, hidden=(4,), n_draws=5, random_state=0)
QUICK = ("check_estimators_dtypes", "check_estimators_nan_inf", "check_fit2d_1sample", "check_fit1d",
         "check_n_features_in", "check_estimators_unfitted", "check_estimators_pickle", "check_dict_unchanged",
         "check_regressor_data_not_an_array", "check_classifier_data_not_an_array")


def checks(estimator):
    """Yields (estimator, check) of scikit-learn's check_estimator."""
    if hasattr(estimator_checks, "estimator_checks_generator"):
        yield from estimator_checks.estimator_checks_generator(estimator)
    else:
        yield from estimator_checks.check_estimator(estimator, generate_only=True)


@pytest.mark.parametrize("kind", [NoisyRegressor, pytest.param(NoisyClassifier, marks=pytest.mark.slow)])
def test_some_checks_of_scikit_learn(kind):
    done = [check(estimator) for estimator, check in checks(kind(**CHECKED)) if name_of(check) in QUICK]
    assert len(done) >= len(QUICK) - 1  # one of the last two is for the other kind


@pytest.mark.slow
@pytest.mark.parametrize("kind", [NoisyRegressor, NoisyClassifier])
def test_all_checks_of_scikit_learn(kind):
    estimator_checks.check_estimator(kind(**CHECKED))


def name_of(check):
    return getattr(check, "func", check).__name__


def test_the_numbers_are_those_of_train_on_the_same_rows(frame, rows, tmp_path):
    values = dict(target="y", row_id=None, optimizer="kfac", hidden=[6], epoch=5, batch_size=16, seed=3, split=0,
                  missing="mean", test_particles=7, protocol="random", test_fraction=0.3)
    recipe = json.loads((predict.pathlib.Path(__file__).parents[2] / "config/overlays/recipe.json").read_text())
    values.update({name: value for name, value in recipe.items() if value is not None and name != "description"
                   and name != "exp_name_suffix"}, train_particles=None, alpha=None, beta=None, omega=None,
                  epoch_rate=None, save_interval=None)
    root = train_on(write_table(tmp_path, frame.assign(y=rows[1]), "rows.csv"), "same", **values)
    data = load_regression(Config.from_dict(json.loads((tmp_path / "same.json").read_text())))
    train, test = data.split.train, data.split.test
    model = NoisyRegressor(missing="mean", **SHORT).fit(frame.iloc[train], rows[1][train])
    mean, std = model.predict(frame.iloc[test], return_std=True)
    written = read_csv(root / "predictions.csv")
    assert_allclose(mean, written["mean"], rtol=1e-6)
    assert_allclose(std, written["std"], rtol=1e-6)
    assert_allclose(model.log_prob(frame.iloc[test], rows[1][test]), written["log_prob"], rtol=1e-5)
    assert_allclose(model.predict_quantiles(frame.iloc[test], [0.05, 0.95]).T, [written["lower"], written["upper"]],
                    rtol=1e-6)


@pytest.mark.parametrize("n_jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_tools_of_scikit_learn(rows, n_jobs):
    X, y = rows
    model = make_pipeline(StandardScaler(), NoisyRegressor(**SHORT))
    search = GridSearchCV(model, {"noisyregressor__kl": [0.5, 1.0]}, cv=2, n_jobs=n_jobs).fit(X, y)
    assert set(search.best_params_) == {"noisyregressor__kl"} and np.isfinite(search.best_score_)
    assert len(cross_val_score(NoisyRegressor(**SHORT), X, y, cv=2)) == 2
    same = clone(search.best_estimator_).fit(X, y)
    assert (same.predict(X) == search.best_estimator_.predict(X)).all()  # a function of data, arguments and seed


def test_pickles_and_joblib(rows, tmp_path):
    X, y = rows
    model = NoisyRegressor(**SHORT).fit(X, y)
    joblib.dump(model, str(tmp_path / "model"))
    for other in (pickle.loads(pickle.dumps(model)), joblib.load(str(tmp_path / "model"))):
        assert (other.predict(X) == model.predict(X)).all()


def test_several_targets(rows):
    X, y = rows
    Y = np.stack([y, X[:, 2]], axis=1)
    model = NoisyRegressor(**SHORT).fit(X, Y)
    mean, std = model.predict(X[:5], return_std=True)
    assert mean.shape == std.shape == (5, 2) and model.n_outputs_ == 2
    assert model.predict_quantiles(X[:5], [0.1, 0.9]).shape == (5, 2, 2)
    assert model.sample_y(X[:5], 3, random_state=1).shape == (5, 2, 3) and model.log_prob(X, Y).shape == (len(X),)
    frame = pandas.DataFrame(X, columns=["a", "target0", "c"])  # a name that the targets would have, too
    assert_allclose(NoisyRegressor(**SHORT).fit(frame, Y).predict(frame[:5]), mean, rtol=1e-6)


def test_targets_of_another_shape_have_no_density(rows):
    """They must not be broadcast over the targets of the model."""
    X, y = rows
    of_one, of_two = (NoisyRegressor(**SHORT).fit(X, targets) for targets in (y, np.stack([y, X[:, 2]], axis=1)))
    assert (of_one.log_prob(X, y[:, None]) == of_one.log_prob(X, y)).all()
    for model, wrong in ((of_two, y[:, None]), (of_two, y), (of_two, np.stack([y] * 3, axis=1)),
                         (of_one, np.stack([y] * 2, axis=1))):
        with pytest.raises(ValueError, match=rf"must have {model.n_outputs_} target"):
            model.log_prob(X, wrong)
    with pytest.raises(ValueError, match="must have 2 targets"):
        of_two.log_prob(X[:2], y[:2])  # as many rows as targets


def test_seeds_of_samples(rows):
    X, y = rows
    model = NoisyRegressor(**SHORT).fit(X, y)
    generator = np.random.RandomState(1)
    first, second, again, of_run = (model.sample_y(X[:5], random_state=state) for state in (
        generator, generator, np.random.RandomState(1), None))
    assert (first == again).all() and (first != second).all()
    assert (of_run == model.sample_y(X[:5], random_state=3)).all()


def test_arguments_may_be_numbers_of_numpy(rows):
    """As searches over np.arange or scipy's distributions give them."""
    numbers = dict(method="kfac", epochs=np.int64(5), batch_size=np.int32(16), hidden=np.array([6]),
                   n_draws=np.int64(7), random_state=np.int64(3), kl=np.float64(0.5),
                   settings={"epoch_rate": np.int64(2)})
    plain = dict(SHORT, kl=0.5, settings={"epoch_rate": 2})
    for kind, y in ((NoisyRegressor, rows[1]), (NoisyClassifier, rows[1] > 0)):
        assert kind(**numbers).fit(rows[0], y).run_.config == kind(**plain).fit(rows[0], y).run_.config


def test_a_fit_that_failed_leaves_no_model(rows):
    X, y = rows
    model = NoisyRegressor(**dict(SHORT, epochs=0))
    with pytest.raises(ValueError, match="epoch"):
        model.fit(X, y)
    with pytest.raises(NotFittedError):
        model.predict(X)


def test_classes_of_any_kind(frame, rows):
    labels = np.array(["no", "perhaps", "yes"], object)[np.digitize(rows[1], [0.0, 2.0])]
    model = NoisyClassifier(missing="indicator", **dict(SHORT, epochs=40)).fit(frame, labels)
    probabilities = model.predict_proba(frame)
    assert list(model.classes_) == ["no", "perhaps", "yes"] and probabilities.shape == (90, 3)
    assert_allclose(probabilities.sum(axis=1), 1.0, rtol=1e-6)
    assert model.score(frame, labels) > 0.7
    assert (model.predict(frame) == model.classes_[probabilities.argmax(axis=1)]).all()
    assert (model.predict_uncertainty(frame)["entropy"] >= 0).all()
    numbers = np.digitize(rows[1], [0.0, 2.0]) * 10 - 5
    assert (NoisyClassifier(missing="indicator", **dict(SHORT, epochs=40)).fit(frame, numbers).predict_proba(frame)
            == probabilities).all()
    assert (model.run_.predict(frame)["predicted"] == model.predict(frame)).all()


def test_targets_are_called_as_y(rows):
    X, y = rows
    frame = pandas.DataFrame(X, columns=["a", "b", "c"])
    for target, name in ((pandas.Series(y, name="price"), "price"), (pandas.Series(y, name="a"), "a_"), (y, "target0"),
                         (pandas.Series(y), "target0"), (pandas.DataFrame({"price": y}), "price")):
        assert NoisyRegressor(**SHORT).fit(frame, target).run_.data.transform.target.name == name
    labels = pandas.Series(y > 0, name="good")
    assert NoisyClassifier(**SHORT).fit(frame, labels).run_.data.transform.target.name == "good"


@pytest.mark.parametrize("labels, names", [
    (["b", "a"], ["a", "b"]), ([7, -1, 10], ["-1", "7", "10"]), ([2.5, 1.0], ["1", "2.5"]),
    ([True, False], ["False", "True"]), (["9", "10"], ["0", "1"]), (["", "a"], ["0", "1"]),
    (["nan", "curry", "x"], ["curry", "nan", "x"])])
def test_the_run_calls_classes_by_their_labels_where_it_can(labels, names):
    assert label_names(np.unique(labels)).tolist() == names


@pytest.mark.parametrize("arguments, message", [
    (dict(method="ekfca"), "ekfac"), (dict(epochs=0), "^epochs: "), (dict(epochs="many"), "^epochs: "),
    (dict(settings={"seed": 3}), "set by an argument"), (dict(n_draws=0), "^n_draws: "),
    (dict(hidden=(0,)), "^hidden.0: "), (dict(settings={"alpha": "x"}), "^settings: alpha"),
    (dict(settings={"alpah": 3}), "alpha"), (dict(patience=2), "validation_fraction"), (dict(hidden=()), "hidden")])
def test_bad_arguments_are_value_errors(rows, arguments, message):
    with pytest.raises(ValueError, match=message):
        NoisyRegressor(**dict(SHORT, **arguments)).fit(*rows)
    with pytest.raises(ValueError, match=message):
        NoisyClassifier(**dict(SHORT, **arguments)).fit(rows[0], rows[1] > 0)


def test_bad_rows_are_value_errors(rows, frame):
    X, y = rows
    with pytest.raises((ValueError, TypeError), match="(?i)sparse"):
        NoisyRegressor(**SHORT).fit(sparse.csr_matrix(X), y)
    with pytest.raises(ValueError, match="missing"):
        NoisyRegressor(**SHORT).fit(frame, y)
    with pytest.raises(ValueError, match="y has 1 class, 1.0:"):
        NoisyClassifier(**SHORT).fit(X, np.ones(90))
    with pytest.raises(ValueError, match="inconsistent"):
        NoisyRegressor(**SHORT).fit(X, y[:-1])
    model = NoisyRegressor(missing="mean", **SHORT).fit(frame, y)
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "z"})) if sklearn.__version__ >= "1.2" else model.predict(
            _warned(frame))


def _warned(frame):  # scikit-learn 1.0 only warns of other names
    raise ValueError("feature names")


def test_early_stopping_and_settings(rows):
    X, y = rows
    model = NoisyRegressor(validation_fraction=0.2, patience=1, settings={"epoch_rate": 1}, **dict(SHORT, epochs=50))
    model.fit(X, y)
    assert model.run_.config.patience == 1 and model.run_._result["stopped_early"]


@pytest.mark.slow
def test_memory_is_flat_over_a_hundred_fits(rows):
    X, y = rows
    most = []
    for seed in range(100):
        NoisyRegressor(**dict(SHORT, epochs=1, random_state=seed)).fit(X, y).predict(X)
        most.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)  # MB
    assert most[-1] - most[9] < 20.0, most[9::10]


@pytest.mark.slow
def test_housing_at_length():
    values = np.loadtxt(str(REAL_DATA / "housing.data"))
    order = np.random.RandomState(1).permutation(len(values))
    train, test = values[order[:455]], values[order[455:]]
    model = NoisyRegressor(random_state=1).fit(train[:, :-1], train[:, -1])
    assert model.score(test[:, :-1], test[:, -1]) > 0.8
