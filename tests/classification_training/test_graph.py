"""The graph of a classification, and what every key changes."""
import collections

import numpy as np
import pytest
from numpy.testing import assert_allclose

from core.training.design import design_run
from core.training.evaluation import network_outputs
from core.training.graph import build_model
from data_loader.parts import Pixels, Spec
from misc.config import Config, key_mode
from tests.test_model import Run, assert_identical, flat


@pytest.mark.parametrize("optimizer, network", [
    ("ekfac", {"model_name": "ffn", "hidden": [5], "TCov": 1, "TScale": 1, "TEigen": 4}),
    ("kfac", {"model_name": "ffn", "hidden": [5], "TCov": 1, "TInv": 4}),
    ("diag", {"model_name": "lenet", "width": 0.3})])
def test_steps_per_run_changes_no_bit(config, optimizer, network):
    keys = dict(network, optimizer=optimizer, batch_norm=True, data_aug=True)
    run, states = Run(config(**keys)), []
    for limit in (0, 1, 2):  # the graph does not know the limit
        run.config = config(steps_per_run=limit, **keys)
        run.session.run(run.model.init)
        states.append(run.steps(8))
    assert_identical(states[0], states[1])
    assert_identical(states[0], states[2])
    assert all(np.isfinite(value).all() for value in flat(states[0]).values())


@pytest.mark.parametrize("network", [{"model_name": "lenet", "width": 0.3}, {"model_name": "ffn", "hidden": [5]}])
def test_evaluation_batches_change_no_result(config, network):
    """Results agree up to rounding, with draws one by one (convolutions) and all at once."""
    keys = dict(network, optimizer="diag", batch_norm=True)
    run, evaluations = Run(config(**keys)), []
    run.steps(3)
    assert run.model.design.particles_at_once == (3 if "hidden" in network else 1)
    draws = network_outputs(run.session, run.model, run.data.test.x[:5], run.data.train.x)
    mean = network_outputs(run.session, run.model, run.data.test.x[:5], run.data.train.x, mean=True)
    assert draws.shape == (3, 5, 10) and mean.shape == (1, 5, 10)
    assert all((one != other).any() for one, other in zip(draws, [draws[1], draws[2], mean[0]]))
    for size in (1000, 64, 7):
        design = run.model.design._replace(config=config(test_batch_size=size, **keys))
        model = run.model._replace(design=design)
        evaluations.append(design.task.evaluate(run.session, model, run.data.test, run.data))
    for other in evaluations[1:]:
        assert_allclose(other.prediction, evaluations[0].prediction, rtol=1e-4, atol=1e-5)
        assert other.metrics == pytest.approx(evaluations[0].metrics, rel=1e-4)


def test_work_that_is_not_due_is_not_in_the_loop(config):
    spec = Spec(100, (3, 2, 1), 4, Pixels(np.zeros(1), np.ones(1)))
    made = config(TCov=2, TScale=4, TEigen=8, epoch=9, hidden=[5], model_name="ffn")
    graph = build_model(design_run(made, spec)).graph
    ops = collections.defaultdict(list)
    for op in graph.get_operations():
        ops[op.name.split("/")[0]].append(op.type)
    loops = {name: kinds for name, kinds in ops.items() if name.startswith("steps")}
    n_bases = {name: kinds.count("SelfAdjointEigV2") for name, kinds in loops.items()}
    assert n_bases == {"steps": 0, "steps_then_cov": 0, "steps_then_cov_scale": 0, "steps_then_basis_cov_scale": 4}
    sampled = {name for name, kinds in loops.items() if any("RandomUniform" in kind for kind in kinds)}
    assert sampled == set(loops) - {"steps"}  # labels of the Fisher


def test_kfac_factorises_when_due(config):
    spec = Spec(100, (3, 2, 1), 4, Pixels(np.zeros(1), np.ones(1)))
    graph = build_model(design_run(config(optimizer="kfac", TCov=2, TInv=8, epoch=9), spec)).graph
    n_roots = collections.Counter(op.name.split("/")[0] for op in graph.get_operations() if op.type == "Cholesky")
    assert n_roots["steps"] == n_roots["steps_then_cov"] == 0 and n_roots["steps_then_cov_inverse"] == 2


FFN = {"model_name": "ffn", "hidden": [5]}


@pytest.mark.parametrize("optimizer", ["ekfac", "sgd"])
def test_float64_goes_with_batch_norm(config, optimizer):
    state = Run(config(optimizer=optimizer, precision="float64", batch_norm=True, **FFN)).steps(1)
    assert {value.dtype for value in flat(state).values()} == {np.dtype("float64")}


UNCLIPPED = {"kl_clip": 1e6}  # a clipped step has the same length whatever the learning rate
# All updates after every step: a graph with one kind of step only, which is built fastest.
EVERY_STEP = {"TCov": 1, "TInv": 1, "TEigen": 1, "TScale": 1}
# key -> (value that must change the weights after eight steps, settings that both runs need beside EVERY_STEP).
CHANGES = {
    "width": (0.5, {"model_name": "lenet", "width": 0.3, "optimizer": "diag"}),
    "data_aug": (True, {}), "batch_norm": (True, FFN), "decay_every_itr": (4, UNCLIPPED), "cov_ema_decay": (0.5, {}),
    "scale_ema_decay": (0.5, {"TEigen": 6}), "kl_clip": (1e-2, {}), "clip_decay": (0.5, {"batch_size": 512}),
    "clip_warmup": (0, {}), "TCov": (2, {}),
    "TInv": (4, {"optimizer": "kfac"}), "TEigen": (4, {}), "TScale": (2, {}),
    "early_refresh": (False, {"TCov": 2, "TEigen": 4}),
    "kl_warmup": (1, {}), "learning_rate": (1e-2, UNCLIPPED), "momentum": (0.5, {}), "kl": (0.5, {}), "eta": (0.5, {}),
    "damping": (0.1, {}), "train_particles": (2, {}), "true_fisher": (False, {}),
    "basis_update": ("orthogonal_iteration", {}), "basis_tolerance": (0.9, {}), "kfac_init_after_basis": (False, {}),
    "test_fraction": (0.3, {}), "stratified": (True, {}),
}


# Keys that change the images themselves, for dataset images alone; tests/images covers their effects.
OWN_IMAGES = {"image_size", "image_fit", "labels_file", "image_cache"}
INTERIM = {"interim_particles"}  # changes evaluations alone; test_interim.py covers it


@pytest.fixture(scope="module")
def unchanged():
    """Weights of the unchanged runs, by their settings."""
    return {}


@pytest.mark.parametrize("key", sorted(CHANGES))
def test_every_option_changes_the_result(config, unchanged, key):
    value, common = CHANGES[key]
    common = dict(EVERY_STEP, **common)
    name = repr(sorted(common.items()))
    if name not in unchanged:
        unchanged[name] = Run(config(**common)).steps(8)
    one, other = (state[sorted(state)[0]]["mean"] for state in (
        unchanged[name], Run(config(**dict(common, **{key: value}))).steps(8)))
    assert one.shape != other.shape or np.abs(one - other).max() > 1e-7


def test_every_option_is_accounted_for():
    keys = {name for name in Config.model_fields if key_mode(name) == "classification"}
    assert keys <= set(CHANGES) | OWN_IMAGES | INTERIM
