"""The graph of a run: data -> network -> likelihood -> step; and the ops a trainer runs.

The training data live in the graph. `advance` runs many steps in one call; a step is built
once for every set of updates that is ever due together (`Schedule.due_sets`), so that a plain
step carries nothing it does not run.
"""
import collections
import contextlib
import functools

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference import optimizer
from core.inference.adam import moved
from core.inference.noise_precision import HeldOut
from core.inference.solvers import finite, plain
from core.inference.step_sizes import RATES, norm_rate
from core.training.design import design_run, n_test_draws
from core.training.variables import assign, changed, make_variables, read, repeat
from data_loader.batches import crop_and_flip, epoch_plan
from misc.seeding import stream_seed
from networks.layers import ACTIVATIONS, LayerBuilder

Model = collections.namedtuple(
    "Model", ["design", "graph", "init", "load", "knobs", "advance", "global_step", "evaluate", "saver", "variables"]
)
"""What a trainer needs. advance: due set -> op, fed with `knobs`; the rest: see the types below."""

Load = collections.namedtuple("Load", ["x", "y", "data_op", "epoch", "epoch_op", "preview"])
"""Placeholders and ops that put the training data and the plan of an epoch (`epoch`: the arrays of
`batches.epoch_plan`) into the graph; preview: the first rows of the epoch as the network sees them."""

Knobs = collections.namedtuple("Knobs", ["rounds", "plain", "decay"])
"""Placeholders of `advance`: see schedule.Segment; decay multiplies alpha, beta and omega."""

Evaluate = collections.namedtuple(
    "Evaluate", ["group", "draw", "draw_mean", "inputs", "outputs", "likelihood", "report", "weight_std", "reset",
                 "posteriors", "warmth"])
"""draw, draw_mean: ops that make the group of weight draws number `group` (a placeholder, from 0), or
the posterior mean, the weights of `outputs` [draws_at_once, m, n_outputs] for the placeholder `inputs`
[m, ...]; likelihood: its state; report: {tag: scalar}; weight_std: {layer: elementwise std}; reset: op
that sets the running sums to 0; posteriors: {layer: its posterior, of tensors}; warmth: that
of the prior, see core/inference/gaussian.py."""

PREVIEW_ROWS = 36


def build_model(config, spec, device="/device:CPU:0", training=True, solver=plain):
    """Builds the graph of a run on `device`; without `training` there is no step in it (`advance` is empty).

    solver: how the factors of a layer are decomposed, see core/inference/solvers.py.
    """
    design = design_run(config, spec, solver)
    optimizer.check_layers(design.layers, config)
    graph = tf.Graph()
    with graph.as_default(), tf.device(device):
        return _Builder(config, design, device).model(graph, training)


class _Builder:
    """Holds what the parts of one graph share while it is built."""

    def __init__(self, config, design, device):
        self.config, self.design, self.device = config, design, device
        self.dtype = tf.as_dtype(config.precision)
        self.specs = [layer.spec for layer in design.layers]
        self.n_train_draws = config.train_particles if any(layer.noisy for layer in design.layers) else 1

    def model(self, graph, training):
        with tf.name_scope("data"):
            self.load = self._data()
        with tf.device("/device:CPU:0"):
            global_step = tf.train.get_or_create_global_step()
            self.global_step = global_step
            self.knobs = Knobs(tf.placeholder(tf.int32, [], "rounds"), tf.placeholder(tf.int32, [], "plain"),
                               tf.placeholder(self.dtype, [], "decay"))
        self.variables = make_variables(self._initial_state())
        advance = self._advance_ops() if training else {}
        with tf.name_scope("evaluate"):
            evaluate = self._evaluate()
        saver = tf.train.Saver(tf.global_variables(), max_to_keep=None, save_relative_paths=True)
        return Model(self.design, graph, tf.global_variables_initializer(), self.load, self.knobs, advance,
                     global_step, evaluate, saver, self.variables)

    def _data(self):
        """Variables for data and the epoch's plan. Not saved: they are functions of the config."""
        spec = self.design.spec

        def local(name, shape, dtype):
            return tf.get_variable(name, initializer=tf.zeros(shape, dtype), trainable=False, use_resource=True,
                                   collections=[tf.GraphKeys.LOCAL_VARIABLES])

        pixels = "/device:CPU:0" if spec.pixels else None  # bytes: gathered where every TensorFlow can
        with tf.device(pixels) if pixels else contextlib.nullcontext():
            self.x = local("x", [spec.n_rows, *spec.shape], tf.uint8 if spec.pixels else self.dtype)
            self.y = local("y", [spec.n_rows], self.design.likelihood.target_type(self.dtype))
            self.epoch = {name: local(name, array.shape, array.dtype)
                          for name, array in epoch_plan(self.config, spec.n_rows, 1).items()}
            planned = list(self.epoch.values())
            feeds = {var: tf.placeholder(var.dtype.base_dtype, var.shape) for var in [self.x, self.y, *planned]}
            put = {var: var.assign(feed, read_value=False) for var, feed in feeds.items()}
            preview = self._rows(self.epoch["order"].read_value()[:PREVIEW_ROWS])
        return Load(feeds[self.x], feeds[self.y], tf.group(put[self.x], put[self.y]),
                    [feeds[var] for var in planned], tf.group([put[var] for var in planned]), preview)

    def _initial_state(self):
        """Initial means, the families' states, the likelihood's, and the running sums of a report."""
        state = {}
        for layer in self.design.layers:
            name = layer.spec.name
            with tf.name_scope(name + "_init"):
                if layer.spec.has_weights:
                    mean = glorot(layer.spec, [stream_seed(self.config.seed, "init", name), 0], self.dtype)
                    state[name] = optimizer.initial_state(layer, mean)
                else:
                    state[name] = optimizer.initial_state(layer, tf.stack([tf.ones([layer.spec.d_out], self.dtype),
                                                                           tf.zeros([layer.spec.d_out], self.dtype)]))
                    state[name].update(moving_mean=tf.zeros([layer.spec.d_out], self.dtype),
                                       moving_variance=tf.ones([layer.spec.d_out], self.dtype))
        state["likelihood"] = self.design.likelihood.init(self.dtype)
        state["train"] = {"log_prob": tf.zeros([], self.dtype), "steps": tf.zeros([], self.dtype)}
        return state

    def _advance_ops(self):
        """due set -> op; None -> the loop of plain steps."""
        base = self.design.schedule.base
        start = tf.cast(self.global_step.read_value(), tf.int32)

        def plain(step):
            return repeat(functools.partial(self._step, due=base), self.knobs.plain, step)

        def round_of(step, due):
            return self._step(plain(step), due)

        ops = {}
        n_steps = self.config.epoch * self.design.steps_per_epoch
        for due in [None] + self.design.schedule.due_sets(n_steps):
            name = "steps" if due is None else "steps_then_" + "_".join(sorted(due - base))
            with tf.name_scope(name), tf.device("/device:CPU:0"):
                if due is None:
                    end = plain(start)
                else:
                    end = repeat(functools.partial(round_of, due=due), self.knobs.rounds, start)
                ops[due] = self.global_step.assign(tf.cast(end, tf.int64), read_value=False)
        return ops

    def _step(self, step, due):
        """One training step after `step` steps; returns step + 1, which depends on all it wrote."""
        with tf.control_dependencies([step]), tf.device(self.device):
            state = read(self.variables)
            x, y = self._minibatch(step)
            new = self._checked(changed(state, self._new_state(state, x, y, step, due)))
            # NOTE: a new basis does not depend on the old one, so its write must be told to wait for the reads;
            # and nothing is written before all is known to be finite.
            with tf.control_dependencies(tf.nest.flatten(state) + tf.nest.flatten(new)):
                written = assign(self.variables, new)
        with tf.control_dependencies([written]):
            return step + 1

    def _checked(self, new):
        """The new state; running it raises, before anything is written, if an entry is not finite."""
        shown = {layer.spec.name: layer.family.shown(new[layer.spec.name]) for layer in self.design.layers}
        shown.update(likelihood=self.design.likelihood.shown, train=("steps",))
        return {scope: {name: value if name in shown[scope] else finite(value, f"{name} of {scope}")
                        for name, value in entries.items()} for scope, entries in new.items()}

    def _minibatch(self, step):
        size = min(self.config.batch_size, self.design.spec.n_rows)
        start = (step % self.design.steps_per_epoch) * size
        with tf.device(self.x.device):
            rows = self.epoch["order"].read_value()[start:start + size]
            x, y = self._rows(rows), tf.gather(self.y, rows)
        return self._prepared(x), y

    def _rows(self, rows):
        """Rows of the training data; pictures cropped and flipped, if so configured, but bytes still."""
        x = tf.gather(self.x, rows)
        return crop_and_flip(x, tf.gather(self.epoch["crops"], rows)) if self.config.data_aug else x

    def _prepared(self, x):
        """What the network sees: pixels standardised per channel."""
        pixels = self.design.spec.pixels
        if pixels is None:
            return x
        mean, std = (tf.constant(value, self.dtype) for value in pixels)
        return (tf.cast(x, self.dtype) - mean) / std

    def _prior(self, now):
        """The prior at step `now` (a float, from 1): its weight grows while kl_warmup lasts."""
        warmup = self.config.warmup_epochs * self.design.steps_per_epoch
        warmth = tf.clip_by_value(now / warmup, 1.0 / warmup, 1.0) if warmup else 1.0
        return self.design.prior._replace(warmth=warmth)

    def _new_state(self, state, x, y, step, due):
        config, design = self.config, self.design
        likelihood, now = design.likelihood, tf.cast(step, self.dtype) + 1.0
        prior, rates = self._prior(now), RATES[config.mode](config, now, self.knobs.decay, design.steps_per_epoch)
        layers = [layer.under(prior) for layer in design.layers]
        weights = self._draw_weights(layers, state, self.n_train_draws, "noise", step)
        outputs, records = self._forward(x, weights)
        ds = gradients(outputs, records, likelihood.score(state["likelihood"], outputs, y))
        ds_fisher = ds
        if due and config.true_fisher:
            seed = self._seed(step, "fisher")
            ds_fisher = gradients(outputs, records, likelihood.sampled_score(state["likelihood"], outputs, seed))
        names = [spec.name for spec in self.specs]
        with tf.name_scope("curvature"):
            batches = [optimizer.layer_batch(record, d, d_fisher, weight, state[name]["mean"], prior)
                       for name, record, weight, d, d_fisher in zip(names, records, weights, ds, ds_fisher)]
            take = optimizer.STEPS[config.mode]
            new = dict(zip(names, take(layers, [state[name] for name in names], batches, rates, config.momentum, due)))
        norms = norm_rate(now)
        for name, record in zip(names, records):
            if record.moments:
                for key, value in zip(("moving_mean", "moving_variance"), record.moments):
                    new[name][key] = moved(state[name][key], value, norms)
        held_out = self._held_out(step, weights) if likelihood.held_out else None
        new["likelihood"], log_prob = likelihood.update(state["likelihood"], outputs, y, prior, now, held_out)
        new["train"] = {"log_prob": state["train"]["log_prob"] + log_prob, "steps": state["train"]["steps"] + 1.0}
        return new

    def _held_out(self, step, weights):
        """HeldOut of as many rows as a minibatch has, the next ones in every step, with the weights of this step."""
        n_held = int(self.epoch["held_out"].shape[0])
        size = min(self.config.batch_size, n_held)
        rows = tf.gather(self.epoch["held_out"], (step % n_held * size + tf.range(size)) % n_held)
        outputs = self._forward(self._prepared(self._rows(rows)), weights)[0]
        return HeldOut(outputs, tf.gather(self.y, rows), n_held, self.epoch["holding_out"].read_value())

    def _draw_weights(self, layers, state, n_particles, purpose, step):
        return [layer.posterior(state[layer.spec.name]).sample(n_particles, self._seed(step, purpose, layer.spec.name))
                for layer in layers]

    def _forward(self, x, weights, moments=None):
        layers = LayerBuilder(self.specs, weights, ACTIVATIONS[self.config.activation], moments)
        return self.design.network(x[None], layers, self.design.likelihood.n_outputs), layers.records

    def _seed(self, step, *names):
        return tf.stack([stream_seed(self.config.seed, *names), step])

    def _evaluate(self):
        state, design = read(self.variables), self.design
        step = tf.cast(self.global_step.read_value(), tf.int32)
        prior = self._prior(tf.cast(step, self.dtype))
        layers = [layer.under(prior) for layer in design.layers]
        report, weight_std, kl = self._report(state, layers, prior)
        train = state["train"]
        log_prob = train["log_prob"] / tf.maximum(train["steps"], 1.0)
        report.update({"train/expected_log_likelihood": log_prob, "train/kl": kl,
                       "train/lower_bound": log_prob - prior.temper * kl})
        reset = assign(self.variables, {"train": {name: tf.zeros_like(value) for name, value in train.items()}})
        group = tf.placeholder(tf.int32, [], "group")
        n_draws = design.draws_at_once
        n_groups = n_test_draws(self.config, layers) // n_draws
        weights = self._draw_weights(layers, state, n_draws, "test", step * n_groups + group)
        means = [tf.tile(layer.weights(state[layer.spec.name])[None], [n_draws, 1, 1]) for layer in layers]
        held = [tf.get_variable(f"drawn_{layer.spec.name}", initializer=tf.zeros([n_draws, *layer.shape], self.dtype),
                                trainable=False, use_resource=True, collections=[tf.GraphKeys.LOCAL_VARIABLES])
                for layer in layers]
        draw, draw_mean = (tf.group([var.assign(value, read_value=False) for var, value in zip(held, values)])
                           for values in (weights, means))
        moments = {spec.name: (state[spec.name]["moving_mean"], state[spec.name]["moving_variance"])
                   for spec in self.specs if not spec.has_weights}
        inputs = tf.placeholder(self.x.dtype.base_dtype, [None, *design.spec.shape], "inputs")
        outputs = self._forward(self._prepared(inputs), [var.read_value() for var in held], moments)[0]
        posteriors = {layer.spec.name: type(posterior)(*map(tf.convert_to_tensor, posterior)) for layer, posterior in (
            (layer, layer.posterior(state[layer.spec.name])) for layer in layers if layer.spec.has_weights)}
        return Evaluate(group, draw, draw_mean, inputs, outputs, state["likelihood"], report, weight_std, reset,
                        posteriors, tf.convert_to_tensor(prior.warmth))

    def _report(self, state, layers, prior):
        """({tag: scalar}, {layer: std of its weights}, the whole KL) of the state."""
        likelihood = self.design.likelihood
        kl, weight_std = likelihood.kl(state["likelihood"]), {}
        report = likelihood.report(state["likelihood"])
        for layer in layers:
            name = layer.spec.name
            report.update({f"{name}/{tag}": value for tag, value in layer.family.report(state[name]).items()})
            if not layer.spec.has_weights:
                continue
            posterior = layer.posterior(state[name])
            report[f"kl/{name}"] = posterior.kl(prior.prior_var)
            kl += report[f"kl/{name}"]
            if layer.noisy:
                weight_std[name] = posterior.std()
        return report, weight_std, kl


def gradients(outputs, records, score):
    """d log p / d s of every layer, given d log p / d outputs."""
    return tf.gradients(outputs, [record.preactivations for record in records], grad_ys=score)


def glorot(spec, seed, dtype):
    """Glorot-uniform weights [d_in + 1, d_out], the bias row 0."""
    limit = np.sqrt(6.0 / sum(spec.fans))
    weights = tf.random.stateless_uniform([spec.d_in, spec.d_out], seed=seed, minval=-limit, maxval=limit, dtype=dtype)
    return tf.concat([weights, tf.zeros([1, spec.d_out], dtype)], axis=0)
