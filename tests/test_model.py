"""The graph of a run: the variables that a step reads and writes, and that the graph depends on the config alone."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference.optimizer import METHODS
from core.training.design import design_run
from core.training.graph import build_model
from core.training.stepper import Stepper
from core.training.tasks import TASKS
from data_loader.batches import epoch_order, epoch_plan
from data_loader.parts import Spec
from misc.config import TABLE_KEYS, Config, key_mode


class Run:
    """A model on its data in a session, without folder or trainer."""

    def __init__(self, config, data=None):
        self.config, self.data = config, data or TASKS[config.kind].load(config)
        self.model = build_model(design_run(config, self.data.spec))
        self.session = tf.Session(graph=self.model.graph)
        self.stepper = Stepper(self.session, self.model, self.data.train)
        self.restart()

    def restart(self, targets=None):
        """Goes back to the initial state; `targets` replace those of the training rows."""
        rows = self.data.train if targets is None else self.data.train._replace(y=targets)
        self.session.run(self.model.init)
        self.stepper = Stepper(self.session, self.model, rows)
        self.stepper.load_data()

    def steps(self, n):
        """Runs `n` more steps; returns the variables."""
        design, done = self.model.design, self.stepper.step
        per_epoch = design.steps_per_epoch
        while n > 0:
            epoch = done // per_epoch
            last = min(done + n, (epoch + 1) * per_epoch)
            self.stepper.load_epoch(epoch + 1)
            for segment in design.schedule.segments(done + 1, last, self.config.steps_per_run):
                self.stepper.run(segment)
            n, done = n - (last - done), last
        assert self.stepper.step == done
        return self.session.run(self.model.variables)


def flat(variables):
    return {f"{scope}/{name}": value for scope, values in variables.items() for name, value in values.items()}


def assert_identical(one, other):
    one, other = flat(one), flat(other)
    assert one.keys() == other.keys()
    for name in one:
        assert np.array_equal(one[name], other[name]), name


@pytest.mark.parametrize("optimizer", ["ekfac", "kfac", "diag", "bbb"])
def test_steps_per_run_changes_no_bit(config, optimizer):
    run, states = Run(config(optimizer=optimizer, epoch=13)), []
    for limit in (1, 50, 0):  # the graph does not depend on it
        run.config = config(optimizer=optimizer, epoch=13, steps_per_run=limit)
        run.restart()
        states.append(run.steps(100))
    assert_identical(states[0], states[1])
    assert_identical(states[0], states[2])


def test_the_graph_is_a_function_of_the_seed(config):
    first, again, other = (Run(config(seed=seed, split=1, **EKFAC)).steps(9) for seed in (1, 1, 2))
    assert_identical(first, again)
    assert (first["dense0"]["mean"] != other["dense0"]["mean"]).all()


@pytest.mark.parametrize("optimizer", sorted(METHODS))
def test_one_step_written_out(config, optimizer):
    """Compares one step in float64 with numpy: drawn weights, both gradients, the bound's gradient and the mean."""
    cfg = config(optimizer=optimizer, precision="float64", model_name="linear", momentum=0.0, damping=0.2)
    run = Run(cfg)
    before = run.session.run(run.model.variables)["dense0"]
    design = run.model.design
    layer, order = design.layers[0], epoch_order(len(run.data.train.x), cfg.seed, 1)
    after = run.steps(1)["dense0"]
    x, y = run.data.train.x[order[:5]], run.data.train.y[order[:5]]
    a = np.hstack([x, np.ones((5, 1))])
    draws = 2 if layer.noisy else 1
    with run.model.graph.as_default():
        from misc.seeding import stream_seed

        seed = tf.constant([stream_seed(1, "noise", "dense0"), 0])
        posterior = layer.posterior({name: tf.constant(value) for name, value in before.items()},
                                    design.prior.temperature())
        weights = run.session.run(posterior.sample(draws, seed))
        errors = y[None, :, None] - a @ weights  # E[tau] = 1 at the start
        grad = np.mean(np.swapaxes(a[None], 1, 2) @ errors / 5 - design.prior.damping * weights, axis=0)
        old, new = ({name: tf.constant(value) for name, value in state.items()} for state in (before, after))
        direction = layer.family.precondition(layer.family.project(tf.constant(grad), new), new)
        step = layer.family.weights(direction, new)
        means, step = run.session.run([[layer.weights(old), layer.weights(new)], step])
        assert_allclose(means[1], means[0] + 0.02 * step, rtol=1e-9, atol=1e-12)


def test_true_fisher_uses_sampled_targets(config, tiny_data):
    """With targets far from the model, the size of S depends on which targets it is computed from."""
    base = dict(optimizer="kfac", precision="float64", beta=1.0, alpha=1e-12, learning_rate=1e-12, epoch=100)
    s_cov = {}
    for true_fisher in (True, False):
        run = Run(config(true_fisher=true_fisher, **base))
        run.restart(run.data.train.y + 100.0)
        s_cov[true_fisher] = run.steps(1)["dense1"]["s_cov"][0, 0]
    assert s_cov[True] < 10.0
    assert s_cov[False] > 5000.0


def test_a_pass_uses_every_row_once(config):
    """With beta = 1, A of the first layer is that of each batch; the weighted mean of these is that of all rows."""
    run = Run(config(optimizer="kfac", precision="float64", beta=1.0, batch_size=8))
    weights = [8, 8, 8, 8, 7]  # 39 rows
    batches = [run.steps(1)["dense0"]["a_cov"] for _ in weights]
    a = np.hstack([run.data.train.x, np.ones((39, 1))])
    assert_allclose(sum(w * cov for w, cov in zip(weights, batches)) / 39, a.T @ a / 39, rtol=1e-9, atol=1e-12)


def test_refreshes_happen_when_due(config):
    """Over 13 steps with Teigen 5 the basis changes after steps 5 and 10, and only then."""
    run = Run(config(Teigen=5, re_init=False))
    bases = [run.steps(1)["dense0"]["q_a"] for _ in range(13)]
    changed = [i + 1 for i in range(1, 13) if not np.array_equal(bases[i], bases[i - 1])]
    assert changed == [5, 10]


@pytest.mark.parametrize("device", ["/device:CPU:0", "/device:GPU:0"])
@pytest.mark.parametrize("optimizer", ["ekfac", "kfac", "diag"])
def test_curvature_updates_are_placed_on_the_chosen_device(config, optimizer, device):
    cfg = config(optimizer=optimizer)
    graph = build_model(design_run(cfg, Spec(39, (3,), 1, None)), device).graph
    curvature = [op for op in graph.get_operations() if "/curvature/" in op.name]
    kinds = {op.type for op in curvature}
    expected = {"ekfac": {"SelfAdjointEigV2", "MatMul"}, "kfac": {"Cholesky", "MatMul"}, "diag": {"Square"}}
    assert expected[optimizer] <= kinds
    assert {op.device for op in curvature} == {device}


def test_work_that_is_not_due_is_not_in_the_loop(config):
    """The loop of base steps contains no eigendecomposition; K-FAC needs none outside its report."""
    def kinds(optimizer, scope):
        graph = build_model(design_run(config(optimizer=optimizer), Spec(39, (3,), 1, None))).graph
        return [op.type for op in graph.get_operations() if op.name.startswith(scope)]

    assert "SelfAdjointEigV2" not in kinds("ekfac", "steps/")
    assert kinds("ekfac", "steps_then_basis_cov/").count("SelfAdjointEigV2") == 4  # A and S of two layers, once each
    assert "SelfAdjointEigV2" not in kinds("kfac", "steps/")
    assert kinds("kfac", "steps/").count("Cholesky") == 4


def test_a_dead_network_stays_finite(config, tiny_data):
    """No hidden unit is active, so that rows of S and gradients are zero."""
    for optimizer in ("ekfac", "kfac", "diag"):
        run = Run(config(optimizer=optimizer, beta=0.9))
        mean = run.model.variables["dense0"]["mean"]
        with run.model.graph.as_default():
            run.session.run(mean.assign(tf.concat([tf.zeros([3, 4]), tf.fill([1, 4], -50.0)], axis=0)))
        assert all(np.isfinite(value).all() for value in flat(run.steps(20)).values())


HELD_OUT = {"noise_update": "held_out", "held_out_epochs": 1}

# The smallest graph, for what all methods share: one layer, and one kind of step.
SMALL = {"optimizer": "diag", "model_name": "linear"}
TWO_LAYERS = {"model_name": "ffn"}
# All updates after every step, which leaves one kind of step, too.
EKFAC = {"optimizer": "ekfac", "Teigen": 1, "re_init": False, "kfac_init_after_basis": False}
LARGE_LAYERS = dict(EKFAC, model_name="ffn", large_layers="diagonal")
# Updates at different steps.
PERIODS = {"optimizer": "ekfac", "Teigen": 3}

# key -> (value that must change the weights after two epochs, settings that both runs need beside SMALL).
CHANGES = {
    "optimizer": ("kfac", {}), "model_name": ("ffn", {}), "hidden": ([5], TWO_LAYERS),
    "activation": ("tanh", TWO_LAYERS), "batch_size": (7, {}), "train_particles": (3, {}),
    "posterior_layers": ("last", dict(EKFAC, model_name="ffn")),
    "kl": (0.5, EKFAC), "eta": (0.5, EKFAC), "damping": (0.1, EKFAC), "kl_warmup": (2, {}),
    "basis_update": ("orthogonal_iteration", EKFAC), "basis_tolerance": (0.5, EKFAC), "true_fisher": (False, EKFAC),
    "scale_init": ("exact", PERIODS),
    "noise_prior_shape": (3.0, {}), "noise_prior_rate": (3.0, {}), "noise_update": ("conjugate", {}),
    "likelihood": ("student_t", {}), "noise_dof": (3.0, {"likelihood": "student_t"}),
    "held_out": (0.3, HELD_OUT), "held_out_epochs": (2, HELD_OUT),
    "alpha": (0.01, {}), "beta": (0.2, EKFAC), "omega": (0.3, EKFAC), "learning_rate": (0.1, {}),
    "momentum": (0.5, {}), "amor_eigen": (False, PERIODS), "Teigen": (2, PERIODS),
    "curvature_rows": (0.5, EKFAC), "TCov": (2, EKFAC), "TEigen": (2, EKFAC), "TScale": (2, EKFAC),
    "TInv": (2, dict(EKFAC, optimizer="kfac")),
    "re_init": (False, dict(PERIODS, re_init_iters=4)), "re_init_iters": (5, dict(PERIODS, re_init_iters=4)),
    "kfac_init_after_basis": (False, PERIODS), "split": (2, {}), "protocol": ("standard", {"seed": 2}),
    "validation_fraction": (0.2, {}), "validation_fold": (1, {"validation_fraction": 0.2}),
    "seed": (2, {"split": 1}), "precision": ("float64", {}),
    "max_factor_dim": (3, LARGE_LAYERS), "large_layers": ("point", dict(LARGE_LAYERS, max_factor_dim=3)),
}
# Keys that change no weight, such as paths; other tests cover their effects.
NO_CHANGE = {"mode", "exp_name", "dataset", "data_path", "experiments_path", "fisher_approx", "test_batch_size",
             "test_particles", "num_workers", "epoch_rate", "save_interval", "max_to_keep", "steps_per_run", "threads",
             "curvature_device", "epoch", "lr_decay_interval", "lr_decay_ratio", "evaluate_on", "runs",
             "max_skipped_steps", "auto_schedule", "auto_refresh", "kl_candidates", "predictive_noise", "test_fraction",
             "patience", "init_from", "noise_covariance", "predictive", "cache",
             *TABLE_KEYS} - set(CHANGES)


@pytest.fixture(scope="module")
def unchanged():
    """Means of the first layer after two epochs without the change, by their settings."""
    return {}


@pytest.mark.parametrize("key", sorted(CHANGES))
def test_every_option_changes_the_result(config, unchanged, key):
    value, common = CHANGES[key]
    common = dict(SMALL, **common)
    name = repr(sorted(common.items()))
    if name not in unchanged:
        unchanged[name] = Run(config(**common)).steps(16)["dense0"]["mean"]
    one, other = unchanged[name], Run(config(**dict(common, **{key: value}))).steps(16)["dense0"]["mean"]
    assert one.shape != other.shape or np.abs(one - other).max() > 1e-9


def test_a_batch_larger_than_the_data_is_all_of_it(config):
    """This holds also for a size beyond 32 bits."""
    whole, larger = (flat(Run(config(optimizer="kfac", batch_size=size)).steps(4)) for size in (39, 10**12))
    assert all(np.array_equal(whole[name], larger[name]) for name in whole)


def test_held_out_rows_train_only_when_their_time_is_over(config):
    """Until then no epoch trains on them, every other row comes once or twice, and their targets change the noise level
    alone. Afterwards they train like all other rows, and the noise level is constant."""
    settings = config(noise_update="held_out", held_out=0.5, held_out_epochs=2, epoch=4)
    plans = [epoch_plan(settings, 39, epoch) for epoch in (1, 2, 3)]
    for plan in plans[:2]:
        counts = np.bincount(plan["order"], minlength=39)
        assert counts.sum() == 39
        assert not counts[plan["held_out"]].any()
        assert set(np.delete(counts, plan["held_out"])) == {1, 2}
    assert len(plans[0]["held_out"]) == 19
    assert set(np.bincount(plans[2]["order"], minlength=39)) == {1}
    assert [bool(plan["holding_out"]) for plan in plans] == [True, True, False]
    run = Run(settings)
    y = run.data.train.y.copy()
    y[plans[0]["held_out"]] += 3.0
    run.restart(y)
    two = run.steps(1)
    run.restart()
    one = run.steps(1)
    assert one["likelihood"]["mean_square"] < two["likelihood"]["mean_square"]
    assert np.array_equal(one["dense0"]["mean"], two["dense0"]["mean"])  # the first step uses the initial noise level
    one = run.steps(2 * run.model.design.steps_per_epoch - 1)
    two = run.steps(5)
    assert np.array_equal(one["likelihood"]["log_noise"], two["likelihood"]["log_noise"])
    assert not np.array_equal(one["dense0"]["mean"], two["dense0"]["mean"])


def test_every_held_out_row_counts(config):
    """A change of any of them changes the noise level after an epoch."""
    settings = config(noise_update="held_out", held_out=0.4, batch_size=6, optimizer="sgd")
    run, levels = Run(settings), []
    for row in [None, *epoch_plan(settings, 39, 1)["held_out"]]:
        y = run.data.train.y.copy()
        if row is not None:
            y[row] += 3.0
        run.restart(y)
        levels.append(float(run.steps(run.model.design.steps_per_epoch)["likelihood"]["mean_square"]))
    assert len(set(levels)) == len(levels) == 16


def test_steps_per_run_and_a_restart_change_no_bit_where_holding_out_ends(config):
    """Steps run one by one or as many at once as possible; the second run receives only the saved variables."""
    settings = dict(noise_update="held_out", held_out_epochs=2, epoch=5, batch_size=6)
    first, second, whole = Run(config(**settings)), Run(config(**settings)), []
    for limit in (1, 0):
        first.config = config(steps_per_run=limit, **settings)
        first.restart()
        whole.append(first.steps(25))
    assert_identical(*whole)
    first.restart()
    state = first.steps(13)
    saved = first.session.run(first.session.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES))
    for var, value in zip(second.session.graph.get_collection(tf.GraphKeys.GLOBAL_VARIABLES), saved):
        var.load(value, second.session)
    assert_identical(second.session.run(second.model.variables), state)
    assert_identical(second.steps(12), whole[0])


def test_every_option_is_accounted_for():
    regression = {name for name in Config.model_fields if key_mode(name) != "classification"}
    assert regression == set(CHANGES) | NO_CHANGE
