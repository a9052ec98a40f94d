"""The graph of a run: data -> network -> likelihood -> step; and the ops a trainer runs.

The training data live in the graph. `advance` runs many steps in one call; a step is built
once for every set of updates that is ever due together (`Schedule.due_sets`), so that a plain
step carries nothing it does not run.
"""
import collections
import functools

import numpy as np
import tensorflow.compat.v1 as tf

from core import optimizer
from core.curvature import Rates
from core.gaussian import Prior
from core.likelihood import LIKELIHOODS
from core.schedule import Schedule, update_periods
from core.variables import assign, make_variables, read, repeat
from data_loader.batches import steps_per_epoch
from misc.seeding import stream_seed
from misc.table import lookup
from networks import NETWORKS
from networks.layers import ACTIVATIONS, LayerBuilder, layer_specs

Design = collections.namedtuple("Design", ["network", "layers", "prior", "likelihood", "schedule", "steps_per_epoch"])
"""Everything about a run that is known before the graph: see `design_run`."""

Model = collections.namedtuple(
    "Model", ["design", "graph", "init", "load", "knobs", "advance", "global_step", "evaluate", "saver", "variables"]
)
"""What a trainer needs. advance: due set -> op, fed with `knobs`; the rest: see the types below."""

Load = collections.namedtuple("Load", ["x", "y", "data_op", "order", "order_op"])
"""Placeholders and ops that put the training data and the order of an epoch into the graph."""

Knobs = collections.namedtuple("Knobs", ["rounds", "plain", "decay"])
"""Placeholders of `advance`: see schedule.Segment; decay multiplies alpha, beta and omega."""

Evaluate = collections.namedtuple("Evaluate", ["inputs", "outputs", "noise", "report", "weight_std", "reset"])
"""inputs: placeholder [m, d]; outputs: [K, m]; noise: (alpha, beta) of the precision; report:
{tag: scalar}; weight_std: {layer: elementwise std}; reset: op that sets the running sums to 0."""


def design_run(config, n_rows, n_inputs):
    """Looks everything up and checks it; builds nothing. UserError for what does not exist."""
    network = lookup(NETWORKS, config.model_name, "model_name").make(config)
    likelihood = lookup(LIKELIHOODS, config.mode, "mode")(config)
    prior = Prior(n_rows, config.kl, config.eta)
    layers = optimizer.layer_methods(config, layer_specs(network, n_inputs, likelihood.n_outputs), prior)
    updates = {name: None for layer in layers if layer.family for name in layer.family.updates}
    schedule = Schedule(update_periods(config, list(updates)))
    return Design(network, layers, prior, likelihood, schedule, steps_per_epoch(n_rows, config.batch_size))


def build_model(config, n_rows, n_inputs, device="/device:CPU:0"):
    """Builds the graph of a run on `device`."""
    design = design_run(config, n_rows, n_inputs)
    optimizer.check_layers(design.layers, config)
    graph = tf.Graph()
    with graph.as_default(), tf.device(device):
        return _Builder(config, design, n_rows, n_inputs, device).model(graph)


class _Builder:
    """Holds what the parts of one graph share while it is built."""

    def __init__(self, config, design, n_rows, n_inputs, device):
        self.config, self.design, self.device = config, design, device
        self.dtype = tf.as_dtype(config.precision)
        self.n_rows, self.n_inputs = n_rows, n_inputs
        noisy = any(layer.noisy for layer in design.layers)
        self.n_train_draws, self.n_test_draws = (config.train_particles, config.test_particles) if noisy else (1, 1)

    def model(self, graph):
        with tf.name_scope("data"):
            self.load = self._data()
        with tf.device("/device:CPU:0"):
            global_step = tf.train.get_or_create_global_step()
            self.global_step = global_step
            self.knobs = Knobs(tf.placeholder(tf.int32, [], "rounds"), tf.placeholder(tf.int32, [], "plain"),
                               tf.placeholder(self.dtype, [], "decay"))
        self.variables = make_variables(self._initial_state())
        advance = self._advance_ops()
        with tf.name_scope("evaluate"):
            evaluate = self._evaluate()
        saver = tf.train.Saver(tf.global_variables(), max_to_keep=self.config.max_to_keep,
                               save_relative_paths=True)
        return Model(self.design, graph, tf.global_variables_initializer(), self.load, self.knobs, advance,
                     global_step, evaluate, saver, self.variables)

    def _data(self):
        """Variables for data and order. Not saved: they are functions of the config."""
        def local(name, shape, dtype):
            return tf.get_variable(name, initializer=tf.zeros(shape, dtype), trainable=False, use_resource=True,
                                   collections=[tf.GraphKeys.LOCAL_VARIABLES])

        x, y = local("x", [self.n_rows, self.n_inputs], self.dtype), local("y", [self.n_rows], self.dtype)
        order = local("order", [self.n_rows], tf.int32)
        self.data = x, y, order
        feeds = [tf.placeholder(var.dtype.base_dtype, var.shape) for var in self.data]
        put = [var.assign(feed, read_value=False) for var, feed in zip(self.data, feeds)]
        return Load(feeds[0], feeds[1], tf.group(put[:2]), feeds[2], tf.group(put[2]))

    def _initial_state(self):
        """Glorot means, the families' states, the likelihood's, and the running sums of a report."""
        state = {}
        for layer in self.design.layers:
            with tf.name_scope(layer.spec.name + "_init"):
                mean = glorot(layer.shape, [stream_seed(self.config.seed, "init", layer.spec.name), 0], self.dtype)
                state[layer.spec.name] = optimizer.initial_state(layer, mean)
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
            new = changed(state, self._new_state(state, x, y, step, due))
            # NOTE: a new basis does not depend on the old one, so its write must be told to wait for the reads.
            with tf.control_dependencies(tf.nest.flatten(state)):
                written = assign(self.variables, new)
        with tf.control_dependencies([written]):
            return step + 1

    def _minibatch(self, step):
        x, y, order = self.data
        start = (step % self.design.steps_per_epoch) * self.config.batch_size
        rows = order.read_value()[start:start + self.config.batch_size]
        return tf.gather(x, rows), tf.gather(y, rows)

    def _new_state(self, state, x, y, step, due):
        config, design = self.config, self.design
        likelihood = design.likelihood
        now = tf.cast(step, self.dtype) + 1.0
        rates = Rates(config.alpha * self.knobs.decay, config.beta * self.knobs.decay,
                      config.omega * self.knobs.decay, now)
        weights = self._draw_weights(state, self.n_train_draws, "noise", step)
        outputs, records = self._forward(x, weights)
        ds = gradients(outputs, records, likelihood.score(state["likelihood"], outputs, y))
        ds_fisher = ds
        if due and config.true_fisher:
            seed = self._seed(step, "fisher")
            ds_fisher = gradients(outputs, records, likelihood.sampled_score(state["likelihood"], outputs, seed))
        new = {}
        with tf.name_scope("curvature"):
            for layer, record, weight, d, d_fisher in zip(design.layers, records, weights, ds, ds_fisher):
                with tf.name_scope(layer.spec.name):
                    old = state[layer.spec.name]
                    batch = optimizer.layer_batch(record, d, d_fisher, weight, old["mean"], design.prior)
                    new[layer.spec.name] = optimizer.step(layer, old, batch, rates, config.momentum, due)
        new["likelihood"], log_prob = likelihood.update(state["likelihood"], outputs, y, design.prior.temper, now)
        new["train"] = {"log_prob": state["train"]["log_prob"] + log_prob, "steps": state["train"]["steps"] + 1.0}
        return new

    def _draw_weights(self, state, n_particles, purpose, step):
        return [layer.posterior(state[layer.spec.name]).sample(n_particles, self._seed(step, purpose, layer.spec.name))
                for layer in self.design.layers]

    def _forward(self, x, weights):
        specs = [layer.spec for layer in self.design.layers]
        layers = LayerBuilder(specs, weights, ACTIVATIONS[self.config.activation])
        return self.design.network(x[None], layers, self.design.likelihood.n_outputs), layers.records

    def _seed(self, step, *names):
        return tf.stack([stream_seed(self.config.seed, *names), step])

    def _evaluate(self):
        state = read(self.variables)
        design = self.design
        inputs = tf.placeholder(self.dtype, [None, self.n_inputs], "inputs")
        step = tf.cast(self.global_step.read_value(), tf.int32)
        weights = self._draw_weights(state, self.n_test_draws, "test", step)
        outputs = self._forward(inputs, weights)[0][..., 0]
        train = state["train"]
        log_prob = train["log_prob"] / tf.maximum(train["steps"], 1.0)
        kl_noise = design.likelihood.kl(state["likelihood"])
        report, weight_std, kl = {"kl/noise_precision": kl_noise}, {}, kl_noise
        for layer in design.layers:
            name = layer.spec.name
            posterior = layer.posterior(state[name])
            layer_kl = posterior.kl(design.prior.prior_var)
            kl += layer_kl
            report[f"kl/{name}"] = layer_kl
            report.update({f"{name}/{tag}": value for tag, value in layer.family.report(state[name]).items()})
            if layer.noisy:
                weight_std[name] = posterior.std()
        report.update({"train/expected_log_likelihood": log_prob, "train/kl": kl,
                       "train/lower_bound": log_prob - design.prior.temper * kl,
                       "train/noise_precision": design.likelihood.precision(state["likelihood"])})
        reset = assign(self.variables, {"train": {name: tf.zeros_like(value) for name, value in train.items()}})
        return Evaluate(inputs, outputs, tf.exp(state["likelihood"]["log_noise"]), report, weight_std, reset)


def gradients(outputs, records, score):
    """d log p / d s of every layer, given d log p / d outputs."""
    return tf.gradients(outputs, [record.preactivations for record in records], grad_ys=score)


def changed(old, new):
    """The entries of `new` that are not the very tensors of `old`."""
    return {scope: {name: value for name, value in entries.items() if value is not old[scope].get(name)}
            for scope, entries in new.items()}


def glorot(shape, seed, dtype):
    """Glorot-uniform weights [d_in + 1, d_out], the bias row 0."""
    d_in, d_out = shape[0] - 1, shape[1]
    limit = np.sqrt(6.0 / (d_in + d_out))
    weights = tf.random.stateless_uniform([d_in, d_out], seed=seed, minval=-limit, maxval=limit, dtype=dtype)
    return tf.concat([weights, tf.zeros([1, d_out], dtype)], axis=0)
