"""Key `init_from`: a run that begins with the posterior of another one."""
import json
import shutil

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import train
from core.inference import optimizer
from core.inference.likelihoods import WishartLikelihood
from core.inference.noise_model import GammaPrior
from core.inference.noise_precision import ConjugateNoise, NoiseBatch
from core.inference.step_sizes import Refreshes, classification_step_sizes, norm_rate
from core.training import run, warm_start
from core.training.design import design_run
from core.training.initial import initial_state
from data_loader.parts import Pixels, Spec
from misc.config import Config
from misc.errors import RunError, UserError
from misc.folders import run_folder
from tests.classification_runs.short import settings as digits
from tests.golden_runs import interrupted
from tests.test_checkpoints import assert_same, steps
from tests.written import weights

pytestmark = pytest.mark.usefixtures("shared_graphs")  # most tests train the same few settings
OPTIMIZER = "kfac"

# Averages that begin anew: their bias correction counts steps from 0.
ANEW = ("momentum", "square", "root", "std_average", "std_square", "average")


@pytest.fixture
def source(finished_run):
    """Function (**settings) -> Folder of a finished run, whose path other runs can name."""
    return lambda **settings: finished_run(exp_name="source", **settings)[1]


@pytest.fixture
def started(config, config_file, source):
    """Function (more={}, **settings) -> (Folder of the source, Folder of a run that began with it and has `more`)."""

    def make(more=(), **settings):
        first = source(**settings)
        own = dict(settings, exp_name="warm", init_from=str(first.root), **dict(more))
        train.main(["--config", str(config_file(**own))])
        return first, run_folder(config(**own))

    return make


def at_the_start(plan):
    """All variables of a plan's run before its first step, by their names."""
    model = run.build_model(plan.design)  # that of shared_graphs
    with tf.Session(graph=model.graph) as session:
        session.run(model.init)
        if plan.start:
            warm_start.load(session, model, plan.start)
        variables = {var.op.name: var for var in model.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)}
        return session.run(variables)


CASES = {
    "ekfac": {"optimizer": "ekfac", "noise_update": "leave_one_out"},
    "kfac": {"optimizer": "kfac", "damping": 0.1},
    "diag": {"optimizer": "diag", "noise_update": "held_out"},
    "bbb": {"optimizer": "bbb"},
    "adam": {"optimizer": "adam"},
    "sgd": {"optimizer": "sgd", "noise_update": "conjugate"},
    "large layers": {"optimizer": "ekfac", "max_factor_dim": 3, "large_layers": "diagonal"},
}


@pytest.mark.parametrize("case", sorted(CASES))
def test_all_variables_are_those_of_the_source(source, config, case):
    first = source(**CASES[case])
    made = config(init_from=str(first.root), seed=2, split=1, **CASES[case])
    plan = warm_start.begun(run.plan(made))
    warm, fresh, theirs = at_the_start(plan), at_the_start(run.plan(made)), weights(first)
    assert warm.keys() == theirs.keys() and plan.start.step == 32
    anew = {name for name in warm if name.split("/")[-1] in ANEW or name.startswith("train/") or name == "global_step"}
    for name in warm:
        assert np.array_equal(warm[name], (fresh if name in anew else theirs)[name]), name
    assert warm["global_step"] == 0 and not np.array_equal(warm["dense0/mean"], fresh["dense0/mean"])
    assert not np.array_equal(warm["likelihood/log_noise"], fresh["likelihood/log_noise"])


def test_a_run_goes_on_from_there(started):
    """With a tiny step size, the means stay those of the source to the end."""
    first, folder = started({"alpha": 1e-9}, optimizer="kfac", epoch=2)
    there, here = weights(first), weights(folder)
    np.testing.assert_allclose(here["dense0/mean"], there["dense0/mean"], rtol=1e-5, atol=1e-6)
    assert here["global_step"] == there["global_step"] == 16
    other = here["dense0/s_cov"] - there["dense0/s_cov"]
    assert 0 < np.abs(other).max() < np.abs(there["dense0/s_cov"]).max()


def test_the_record_of_the_start(started, config):
    first, folder = started()
    result, about = (json.loads(path.read_text()) for path in (folder.result, folder.config))
    assert about["start"] == result["start"]
    assert (about["start"]["run"], about["start"]["step"], about["start"]["checkpoint"]) == (
        str(first.root), 32, "model-32")
    assert about["config"]["init_from"] == str(first.root) and len(about["start"]["sha256"]) == 64
    assert result["steps"] == 32
    assert about["start"]["sha256"] == warm_start.begun(run.plan(config(init_from=str(first.root)))).start.sha256
    for other in first.checkpoint.glob("model-32*"):
        other.unlink()
    earlier = warm_start.begun(run.plan(config(init_from=str(first.root)))).start
    assert earlier.step == 16 and earlier.sha256 != about["start"]["sha256"]


def test_resuming_needs_the_source_no_more(started, config, config_file):
    first, whole = started(steps_per_run=1)
    settings = dict(exp_name="cut", init_from=str(first.root), steps_per_run=1)
    path, folder = config_file(**settings), run_folder(config(**settings))
    with interrupted(20), pytest.raises(SystemExit):
        train.main(["--config", str(path)])
    assert 0 < steps(folder)[0] < 32
    shutil.rmtree(str(first.root))
    train.main(["--config", str(path), "--resume"])
    assert_same(weights(folder), weights(whole))
    one, other = (json.loads(place.result.read_text()) for place in (whole, folder))
    assert one["metrics"] == other["metrics"] and one["start"] == other["start"]
    train.main(["--config", str(path), "--resume", "--epochs", "6"])
    assert json.loads(folder.result.read_text())["start"] == one["start"]


def test_it_changes_the_result(started, finished_run):
    _, folder = started()
    _, fresh = finished_run()
    assert not np.array_equal(weights(folder)["dense0/mean"], weights(fresh)["dense0/mean"])


def test_another_source_is_another_run(started, config_file, capsys):
    first, _ = started()
    capsys.readouterr()
    path = config_file(exp_name="warm", init_from=str(first.root) + "/../source")
    with pytest.raises(SystemExit) as stop:
        train.main(["--config", str(path), "--resume"])
    assert stop.value.code == 2 and "the config has changed since this run began: init_from" in capsys.readouterr().err


def test_the_newest_intact_checkpoint_is_taken(source, config):
    first = source()
    (first.checkpoint / "model-32.index").write_bytes(b"")
    assert warm_start.begun(run.plan(config(init_from=str(first.root)))).start.step == 16


def test_a_source_that_changes_meanwhile(source, config):
    first = source()
    plan = warm_start.begun(run.plan(config(init_from=str(first.root))))
    shutil.rmtree(str(first.checkpoint))
    with pytest.raises(RunError, match="checkpoint model-32 of .* has been changed or removed meanwhile: start again"):
        at_the_start(plan)


@pytest.mark.parametrize("theirs, ours, words", [
    ({}, {"hidden": [5]}, "has another network: layer dense0 has 4 x 4 there, 4 x 5 here"),
    ({}, {"hidden": [4, 3]}, "has another network: layer dense1 has 5 x 1 there, 5 x 3 here"),
    ({"hidden": [4, 1]}, {}, "has another network: layer dense2 has 2 x 1 there, nothing here"),
    ({"optimizer": "adam"}, {"hidden": [5]}, "has another network: layer dense0 has 4 x 4 there, 4 x 5 here"),
    ({"noise_update": "conjugate"}, {}, "has noise_update conjugate, whose state does not fit noise_update adam"),
    ({"optimizer": "kfac"}, {"optimizer": "kfac", "damping": 0.1},
     "keeps another state: step_inverse_a of dense0 is nothing there, 4 x 4 here: set damping"),
    ({"optimizer": "kfac", "hidden": [200]}, {"optimizer": "kfac", "hidden": [200], "auto_refresh": True},
     "keeps another state: step_inverse_a of dense0 is nothing there, 4 x 4 here: set damping, auto_refresh,"),
    ({}, {"max_factor_dim": 3, "large_layers": "diagonal"},
     "keeps another state: fisher of dense0 is nothing there, 4 x 4 here"),
])
def test_what_does_not_fit_is_refused(source, config, config_file, capsys, theirs, ours, words):
    first = source(**dict(theirs, epoch=2))
    capsys.readouterr()
    ours = dict(ours, init_from=str(first.root), epoch=2)
    for more in ([], ["--explain"]):
        with pytest.raises(SystemExit) as stop:
            train.main(["--config", str(config_file(**ours)), *more])
        error = capsys.readouterr().err
        assert stop.value.code == 2 and error.count("\n") == 1 and f"init_from: {first.root} {words}" in error
    assert not run_folder(config(**ours)).root.exists()


def test_another_number_of_inputs_is_refused(source, config, tiny_data):
    first = source(epoch=2)
    rows = np.loadtxt(str(tiny_data / "tiny.data"))
    np.savetxt(str(tiny_data / "wide.data"), np.column_stack([rows[:, :1]**2, rows]))
    with pytest.raises(UserError, match=r"layer dense0 has 4 x 4 there, 5 x 4 here \(another number of inputs: 3 "
                                        r"there, 4 here\)$"):
        warm_start.begun(run.plan(config(dataset="wide", init_from=str(first.root))))


def test_no_run_and_no_checkpoint_are_refused(source, config, tmp_path, capsys):
    first = source(epoch=2)
    with pytest.raises(UserError, match="init_from: .*nowhere holds no run"):
        run.execute(run.plan(config(init_from=str(tmp_path / "nowhere"))))
    for path in first.checkpoint.glob("*.index"):
        path.write_bytes(b"")
    with pytest.raises(UserError, match="source cannot be a start: none of its checkpoints is intact"):
        run.execute(run.plan(config(init_from=str(first.root))))
    shutil.rmtree(str(first.checkpoint))
    with pytest.raises(UserError, match="source cannot be a start: it has no checkpoint"):
        run.execute(run.plan(config(init_from=str(first.root))))
    assert not run_folder(config()).root.exists()


def test_the_run_itself_is_refused(source, config):
    first = source(epoch=2)
    with pytest.raises(UserError, match="is the folder of this run itself: set another exp_name"):
        run.execute(run.plan(config(exp_name="source", init_from=str(first.root))))
    assert first.result.is_file()


def test_a_choice_of_kl_is_refused(config):
    with pytest.raises(UserError, match="kl_candidates cannot be used with init_from"):
        config(kl_candidates=[1.0, 0.1], init_from="somewhere")


@pytest.mark.parametrize("theirs, ours, words", [
    ({}, {}, []), ({}, {"seed": 2}, ["it was trained on some of this run's test rows"]),
    ({}, {"seed": 2, "split": 1}, []),
    ({}, {"validation_fraction": 0.2}, ["has other validation rows: it was trained on some of this run's"]),
    ({"validation_fraction": 0.2}, {"validation_fraction": 0.2}, []),
    ({"noise_update": "held_out"}, {"noise_update": "held_out"}, ["the noise would come out too low"])])
def test_rows_that_the_source_has_seen_are_named(source, config, theirs, ours, words):
    first = source(epoch=2, **theirs)
    notices = warm_start.begun(run.plan(config(init_from=str(first.root), **ours))).start.notices
    assert len(notices) == len(words) and all(word in notice for word, notice in zip(words, notices))


def test_explain(source, config_file, capsys):
    first = source()
    train.main(["--config", str(config_file(init_from=str(first.root), seed=2)), "--explain"])
    text = capsys.readouterr().out
    assert f"start      step 32 of {first.root} (init_from): means, curvature, noise level; steps and epochs" in text
    assert "warning: init_from" in text


# A run by another family of methods: its weights alone.

PAIRS = [("adam", "kfac"), ("sgd", "ekfac"), ("ekfac", "kfac"), ("ekfac_point", "diag"), ("kfac", "bbb"),
         ("bbb", "adam")]


@pytest.mark.parametrize("theirs, ours", PAIRS)
def test_weights_of_another_method_are_taken_over(source, config, theirs, ours):
    first = source(optimizer=theirs)
    made = config(init_from=str(first.root), optimizer=ours, split=1)
    plan = warm_start.begun(run.plan(made))
    warm, fresh, there = at_the_start(plan), at_the_start(run.plan(made)), weights(first)
    for layer in ("dense0", "dense1"):
        mean = there[f"{layer}/mean"]
        if f"{layer}/q_a" in there:
            mean = there[f"{layer}/q_a"] @ mean @ there[f"{layer}/q_s"].T
        np.testing.assert_allclose(warm[f"{layer}/mean"], mean, rtol=1e-4, atol=1e-6)
    for name in warm:
        if not name.endswith("/mean"):
            expected = there if name == "likelihood/log_noise" else fresh
            assert np.array_equal(warm[name], expected[name]), name
    assert plan.start.notices == (
        f"note: init_from {first.root} was trained by optimizer {theirs}, which keeps another state than {ours}: the "
        "weights are taken over; curvature begins anew",)


@pytest.mark.parametrize("theirs, ours", [
    (dict(optimizer="kfac_point"), {}), ({}, dict(optimizer="kfac_point")), (dict(posterior_layers="last"), {}),
    ({}, dict(batch_size=30))])
def test_weights_of_the_same_method_in_other_coordinates_are_taken_over(source, config, monkeypatch, theirs, ours):
    """Wide layers of noisy K-FAC are in the eigenbasis where their rows are rotated."""
    monkeypatch.setattr(optimizer, "LEAST_FACTORED", 1000)
    wide = dict(optimizer="kfac", hidden=[60, 60], batch_size=5, auto_refresh=True, epoch=1)
    first = source(**dict(wide, **theirs))
    made = config(**dict(wide, init_from=str(first.root), split=1, **ours))
    plan = warm_start.begun(run.plan(made))
    warm, there = at_the_start(plan), weights(first)
    mean = there["dense1/mean"]
    assert ("dense1/q_a" in warm) != ("dense1/q_a" in there)
    if "dense1/q_a" in there:
        mean = there["dense1/q_a"] @ mean @ there["dense1/q_s"].T
    np.testing.assert_allclose(warm["dense1/mean"], mean, rtol=1e-4, atol=1e-6)
    assert "with wide layers in other coordinates" in plan.start.notices[0]


def test_a_source_that_lacks_the_bases_of_its_config(source, config, monkeypatch):
    """Such as one of a version that kept wide layers in other coordinates."""
    wide = dict(optimizer="kfac", hidden=[61, 60], batch_size=5, auto_refresh=True, epoch=1)
    first = source(**wide)
    monkeypatch.setattr(optimizer, "LEAST_FACTORED", 1000)
    with pytest.raises(UserError, match="has no dense1/q_a in its checkpoint: it is of another version"):
        warm_start.begun(run.plan(config(**dict(wide, optimizer="ekfac", init_from=str(first.root)))))


def test_noise_of_another_kind_begins_anew(source, config):
    first = source(optimizer="adam", noise_update="held_out")
    made = config(init_from=str(first.root), optimizer="kfac", noise_update="conjugate", split=1)
    plan = warm_start.begun(run.plan(made))
    warm, fresh = at_the_start(plan), at_the_start(run.plan(made))
    for name in ("log_noise", "mean_square"):
        assert np.array_equal(warm[f"likelihood/{name}"], fresh[f"likelihood/{name}"])
    assert "curvature and noise level begin anew" in plan.start.notices[0]
    assert not plan.design.goes_on("noise level") and not plan.design.goes_on("curvature")


def test_resuming_remembers_what_began_anew(source, config, config_file):
    """The noise level begins as a plain average in both, although the resumed run does not look at the source."""
    first, folders = source(optimizer="adam"), []
    for name in ("whole", "cut"):
        settings = dict(exp_name=name, init_from=str(first.root), optimizer="kfac", noise_update="conjugate",
                        steps_per_run=1)
        path = config_file(**settings)
        folders.append(run_folder(config(**settings)))
        if name == "whole":
            train.main(["--config", str(path)])
            continue
        with interrupted(3), pytest.raises(SystemExit):
            train.main(["--config", str(path)])
        shutil.rmtree(str(first.root))
        train.main(["--config", str(path), "--resume"])
    assert_same(weights(folders[1]), weights(folders[0]))
    starts = [json.loads(folder.result.read_text())["start"] for folder in folders]
    assert starts[0] == starts[1] and starts[0]["anew"] == ["curvature", "noise level"]


def test_a_pretrained_classifier_gets_a_posterior_of_its_last_layer(tmp_path):
    """Weights, moments of single values and accuracy are those of the source; A and S begin as plain averages."""
    def settings(**more):
        return digits(tmp_path, batch_size=1437, batch_norm=True, kl_warmup=0, **more)

    first = Config.from_dict(settings(exp_name="source", epoch=6, optimizer="adam"))
    before = run.execute(run.plan(first))
    made = Config.from_dict(settings(exp_name="warm", epoch=1, optimizer="kfac", posterior_layers="last",
                                     learning_rate=1e-9, init_from=str(run_folder(first).root)))
    plan = warm_start.begun(run.plan(made))
    start, there = at_the_start(plan), weights(run_folder(first))
    for name in start:
        if name.endswith(("/mean", "/moving_mean", "/moving_variance")):
            np.testing.assert_allclose(start[name], there[name], rtol=1e-6)
    after = run.execute(run.plan(made))
    assert abs(after["metrics"]["test_mean_accuracy"] - before["metrics"]["test_mean_accuracy"]) < 0.02
    here = weights(run_folder(made))
    assert np.abs(here["dense1/s_cov"]).max() < 0.5  # nothing is left of the initial identity


# Averages that a fresh run begins as plain averages go on instead.

def test_averages_go_on(config, tmp_path):
    values = digits(tmp_path)
    with tf.Graph().as_default(), tf.Session() as session:
        now, epoch = tf.constant(1.0, tf.float64), tf.constant(1)
        rates = [classification_step_sizes(Config.from_dict(dict(values, init_from=root)), epoch, now, 9,
                                           Refreshes({"cov": 10})).cov
                 for root in (None, "somewhere")]
        rates += [norm_rate(now), norm_rate(now, warm=True)]
        np.testing.assert_allclose(session.run([tf.convert_to_tensor(rate, tf.float64) for rate in rates]),
                                   [1.0, 0.01, 1.0, 0.1])


@pytest.mark.parametrize("init_from, mean_square", [(None, 9.0), ("somewhere", 0.75 * 1.0 + 0.25 * 9.0)])
def test_the_noise_level_goes_on(config, session, init_from, mean_square):
    made = config(noise_update="conjugate", learning_rate=0.25, init_from=init_from)
    update, scalar = ConjugateNoise(GammaPrior(6.0, 6.0), np.inf, made), tf.constant(9.0, tf.float64)
    batch = NoiseBatch(None, None, scalar, scalar, 0.1, 1.0, tf.constant(1.0, tf.float64))
    assert session.run(update(update.init(tf.float64), batch)["mean_square"]) == pytest.approx(mean_square)


def test_a_classification(tmp_path):
    """A and S of the source are still there after the first steps, and so are moments of single values."""
    def settings(**more):
        return digits(tmp_path, batch_size=1437, epoch=6, batch_norm=True, kl_warmup=0, **more)

    first = Config.from_dict(settings(exp_name="source"))
    run.execute(run.plan(first))
    made = Config.from_dict(dict(settings(exp_name="warm", init_from=str(run_folder(first).root)), epoch=1))
    run.execute(run.plan(made))
    there, here = weights(run_folder(first)), weights(run_folder(made))
    assert here["global_step"] == 2
    (moment,) = [name for name in there if name.endswith("moving_mean")]
    for name, share in (("dense0/a_cov", 0.02), ("dense1/s_cov", 0.02), (moment, 0.2)):
        gap, size = (np.abs(values).max() for values in (here[name] - there[name], [here[name], there[name]]))
        assert 0 < gap <= share * size


def test_the_state_at_step_0_has_the_shapes_of_the_variables(config, tmp_path):
    """The check of the shapes does not build the graph."""
    for made, spec in ((config(optimizer="ekfac", damping=0.1), Spec(39, (3,), 1, None)),
                       (Config.from_dict(digits(tmp_path, batch_norm=True, batch_size=38)),
                        Spec(39, (8, 8, 1), 10, Pixels(np.zeros(1), np.ones(1))))):
        design = design_run(made, spec)
        with tf.Graph().as_default():
            state = initial_state(design, tf.float32)
            shapes = {f"{scope}/{name}": value.shape.as_list() for scope, entries in state.items()
                      for name, value in entries.items()}
        variables = run.build_model(design).graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES)
        assert shapes == {var.op.name: var.shape.as_list() for var in variables if var.op.name != "global_step"}


# Several targets.

@pytest.mark.parametrize("init_from, diagonal", [(None, 9.0), ("somewhere", 0.7 * 1.0 + 0.3 * 9.0)])
def test_correlated_noise_goes_on(config, session, init_from, diagonal):
    made = config(noise_update="conjugate", noise_covariance="full", learning_rate=0.3, init_from=init_from)
    likelihood = WishartLikelihood(made, 2)
    outputs, targets = tf.zeros([1, 4, 2], tf.float64), tf.constant([[3.0, 3.0], [3.0, -3.0]] * 2, tf.float64)
    state, _ = likelihood.update(likelihood.init(tf.float64), outputs, targets, 0.1, 1.0, tf.constant(1.0, tf.float64))
    np.testing.assert_allclose(session.run(state["mean_outer"]), diagonal * np.eye(2), atol=1e-12)


def test_noise_of_another_kind_is_refused(config):
    values = dict(target=[3, 4], noise_update="conjugate", epoch=1)
    first = config(exp_name="source", noise_covariance="full", **values)
    run.execute(run.plan(first))
    root = str(run_folder(first).root)
    warm = at_the_start(warm_start.begun(run.plan(config(init_from=root, noise_covariance="full", **values))))
    there = weights(run_folder(first))
    for name in ("dof", "rates", "basis", "mean_outer"):
        assert np.array_equal(warm[f"likelihood/{name}"], there[f"likelihood/{name}"])
    with pytest.raises(UserError, match="of likelihood is nothing there, .* here: set likelihood, noise_update and "
                                        "noise_covariance as there"):
        warm_start.begun(run.plan(config(init_from=root, **values)))
