"""The graph of a run: data -> network -> likelihood -> step, and the ops that a trainer runs.

`advance` runs many steps in one call. A step is built once for every set of updates that is ever due
together (`Schedule.due_sets`), so that a base step carries nothing that it does not run.
"""
import functools
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf

from core.inference import optimizer
from core.inference.adam import ema
from core.inference.batch import Score, layer_batch
from core.inference.solvers import check_finite
from core.inference.step_sizes import kl_scale, norm_rate
from core.inference.types import Scalar
from core.training.design import CURVATURE, NORMS, Design, without_start
from core.training.initial import averaged_norms, initial_state
from core.training.inputs import Load, TrainingData
from core.training.predictions import Linearised, Predictions, build_linearised, build_predictions
from core.training.schedule import Due
from core.training.variables import Nested, assign, changed_entries, make_variables, read, repeat
from misc.seeding import stream_seed
from networks.layers import ACTIVATIONS, LayerBuilder, LayerRecord
from networks.normalisation import Moments


class RunArguments(NamedTuple):
    """Placeholders of `advance`."""

    n_rounds: tf.Tensor      # see schedule.Segment
    n_base_steps: tf.Tensor
    epoch: tf.Tensor         # number of the epoch that all steps of the call are in, from 1


class Evaluate(NamedTuple):
    """How to predict, and numbers to watch."""

    predictions: Predictions
    likelihood: Dict[str, tf.Tensor]  # the likelihood's state
    report: Dict[str, tf.Tensor]      # {tag: scalar}
    weight_std: Dict[str, tf.Tensor]  # {layer: elementwise standard deviation of its weights}
    reset: tf.Operation               # sets the running sums of a report to 0
    posteriors: Dict[str, Any]        # {layer: its posterior, of tensors}
    kl_scale: tf.Tensor               # current fraction of the KL weight, in (0, 1]
    linearised: Optional[Linearised]  # outputs of the linearised network, if predictions are made of them


class Model(NamedTuple):
    """What a trainer needs of a graph."""

    design: Design
    graph: tf.Graph
    init: tf.Operation                # initialises all variables but the data's
    load: Load                        # how the training data and the plan of an epoch get into the graph
    run_arguments: RunArguments
    advance: Dict[Optional[Due], tf.Operation]  # due set -> op; None: base steps only. Empty without training
    global_step: tf.Variable
    evaluate: Evaluate
    saver: tf.train.Saver
    variables: Nested                 # the state: {scope: {name: variable}}


def build_model(design: Design, device: str = "/device:CPU:0", training: bool = True) -> Model:
    """Builds the graph of a run on `device`; without `training` there is no step in it.

    Raises UserError if a layer is refused (large_layers).
    """
    optimizer.check_layers(design.layers, design.config)
    graph = tf.Graph()
    with graph.as_default(), tf.device(device):
        return _Builder(design, device).model(graph, training)


class _Builder:
    """Holds what the parts of one graph share while it is built."""

    def __init__(self, design: Design, device: str) -> None:
        self.config, self.design, self.device = design.config, design, device
        self.dtype = tf.as_dtype(design.config.precision)
        self.specs = [layer.spec for layer in design.layers]
        self.averaged = averaged_norms(design)
        self.n_train_particles = self.config.train_particles if any(layer.noisy for layer in design.layers) else 1

    def model(self, graph: tf.Graph, training: bool) -> Model:
        with tf.name_scope("data"):
            self.data = TrainingData(self.design, self.dtype)
        with tf.device("/device:CPU:0"):
            self.global_step = tf.train.get_or_create_global_step()
            self.run_arguments = RunArguments(tf.placeholder(tf.int32, [], "n_rounds"),
                                              tf.placeholder(tf.int32, [], "n_base_steps"),
                                              tf.placeholder(tf.int32, [], "epoch"))
        self.variables = make_variables(initial_state(self.design, self.dtype))
        advance = self._advance_ops() if training else {}
        with tf.name_scope("evaluate"):
            evaluate = self._evaluate()
        saver = tf.train.Saver(tf.global_variables(), max_to_keep=None, save_relative_paths=True)
        return Model(self.design, graph, tf.global_variables_initializer(), self.data.load, self.run_arguments,
                     advance, self.global_step, evaluate, saver, self.variables)

    # Training.

    def _advance_ops(self) -> Dict[Optional[Due], tf.Operation]:
        """Builds {due set: op that runs a Segment with it}; None: base steps only."""
        base = self.design.schedule.base
        start = tf.cast(self.global_step.read_value(), tf.int32)

        def run_base_steps(step):
            return repeat(functools.partial(self._step, due=base), self.run_arguments.n_base_steps, step)

        def run_round(step, due):
            return self._step(run_base_steps(step), due)

        ops = {}
        n_steps = self.design.n_epochs * self.design.steps_per_epoch
        for due in [None] + self.design.schedule.due_sets(n_steps):
            name = "steps" if due is None else "steps_then_" + "_".join(sorted(due - base))
            with tf.name_scope(name), tf.device("/device:CPU:0"):
                if due is None:
                    end = run_base_steps(start)
                else:
                    end = repeat(functools.partial(run_round, due=due), self.run_arguments.n_rounds, start)
                ops[due] = self.global_step.assign(tf.cast(end, tf.int64), read_value=False)
        return ops

    def _step(self, step: tf.Tensor, due: Due) -> tf.Tensor:
        """Takes one training step after `step` steps; returns step + 1, which depends on all that it wrote."""
        with tf.control_dependencies([step]), tf.device(self.device):
            state = read(self.variables)
            x, y = self.data.minibatch(step)
            new = self._checked(changed_entries(state, self._new_state(state, x, y, step, due)))
            # NOTE: a new basis does not depend on the old one, so its write must be told to wait for the reads;
            # and nothing is written before everything is known to be finite.
            with tf.control_dependencies(tf.nest.flatten(state) + tf.nest.flatten(new)):
                written = assign(self.variables, new)
        with tf.control_dependencies([written]):
            return step + 1

    def _checked(self, new: Nested) -> Nested:
        """Returns the new state; running it raises, before anything is written, if an entry is not finite."""
        covered = {layer.spec.name: layer.family.covered_by_mean_check(new[layer.spec.name])
                   for layer in self.design.layers}
        covered.update(likelihood=self.design.likelihood.covered_by_mean_check, train=("steps",))
        return {scope: {name: value if name in covered[scope] else check_finite(value, f"{name} of {scope}")
                        for name, value in entries.items()} for scope, entries in new.items()}

    def _new_state(self, state: Nested, x: tf.Tensor, y: tf.Tensor, step: tf.Tensor, due: Due) -> Nested:
        config, design = self.config, self.design
        likelihood, prior, now = design.likelihood, design.prior, tf.cast(step, self.dtype) + 1.0
        averaging = config if design.goes_on(CURVATURE) else without_start(config)
        sizes = design.task.step_sizes(averaging, self.run_arguments.epoch, now, design.steps_per_epoch,
                                       design.refreshes)
        temperature = prior.temperature(sizes.kl_scale)
        weights = [layer.draw(state[layer.spec.name], temperature, self.n_train_particles,
                              self._seed(step, "noise", layer.spec.name), design.batch_size)
                   for layer in design.layers]
        outputs, records = self.forward(x, weights, averages=self._averages_of_norms(state))
        scores = gradients(outputs, records, likelihood.score(state["likelihood"], outputs, y))
        fisher_scores = scores
        if due and config.true_fisher:
            seed = self._seed(step, "fisher")
            fisher_scores = gradients(outputs, records, likelihood.sampled_score(state["likelihood"], outputs, seed))
        names = [spec.name for spec in self.specs]
        with tf.name_scope("curvature"):
            batches = [layer_batch(*of_layer, state[name]["mean"], prior, sizes.kl_scale)
                       for name, *of_layer in zip(names, records, scores, fisher_scores, weights)]
            states = [state[name] for name in names]
            stepped = design.task.step_rule(design.layers, states, batches, sizes, config.momentum, due)
        new = dict(zip(names, stepped))
        self._update_norms(state, new, records, x, now)
        held_out = self._held_out(step, weights) if likelihood.held_out else None
        new["likelihood"], log_prob = likelihood.update(
            state["likelihood"], outputs, y, temperature, sizes.kl_scale * prior.kl_weight, now, held_out)
        new["train"] = {"log_prob": state["train"]["log_prob"] + log_prob, "steps": state["train"]["steps"] + 1.0}
        return new

    def _update_norms(self, state: Nested, new: Nested, records: List[LayerRecord], x: tf.Tensor, now: Scalar) -> None:
        """Adds the moving averages of batch normalisations to the new state of the layers that have them."""
        if not self.averaged:
            return  # no op may be added in vain: it can change how TensorFlow groups the others, and so the rounding
        rate = norm_rate(now, self.design.goes_on(NORMS)) * self.data.share_of_batch(x)
        for record in records:
            if record.spec in self.averaged:
                for key, value in zip(("moving_mean", "moving_variance"), record.moments):
                    over_particles = tf.reduce_mean(tf.reshape(value, [-1, record.spec.d_out]), axis=0)
                    new[record.spec.name][key] = ema(state[record.spec.name][key], over_particles, rate)

    def _averages_of_norms(self, state: Nested) -> Dict[str, Moments]:
        """Returns the moving averages, by which single values are normalised."""
        return {spec.name: (state[spec.name]["moving_mean"], state[spec.name]["moving_variance"])
                for spec in self.averaged}

    def _held_out(self, step: tf.Tensor, weights: List[tf.Tensor]) -> Any:
        """Returns the HeldOut of this step: held-out rows under the weights of this step."""
        x, y = self.data.held_out_batch(step)
        return self.data.held_out(self.forward(x, weights)[0], y)

    def draw_weights(self, state: Nested, temperature: Scalar, n_particles: int, purpose: str,
                     step: tf.Tensor) -> List[tf.Tensor]:
        """Draws the weights of all layers, [n_particles, d_in + 1, d_out] each, as functions of (seed, step)."""
        return [layer.posterior(state[layer.spec.name], temperature).sample(
            n_particles, self._seed(step, purpose, layer.spec.name)) for layer in self.design.layers]

    def forward(self, x: tf.Tensor, weights: List[tf.Tensor],
                moments: Optional[Dict[str, Moments]] = None,
                averages: Optional[Dict[str, Moments]] = None) -> Tuple[tf.Tensor, List[LayerRecord]]:
        """Returns the network's outputs [K, n, n_outputs] and the LayerRecords of its layers.

        moments, averages: as in LayerBuilder.
        """
        layers = LayerBuilder(self.specs, weights, ACTIVATIONS[self.config.activation], moments, averages)
        return self.design.network(x[None], layers, self.design.likelihood.n_outputs), layers.records

    def _seed(self, step: tf.Tensor, *names: str) -> tf.Tensor:
        return tf.stack([stream_seed(self.config.seed, *names), step])

    # Evaluation.

    def _evaluate(self) -> Evaluate:
        state, design = read(self.variables), self.design
        step = tf.cast(self.global_step.read_value(), tf.int32)
        scale = kl_scale(self.config, tf.cast(step, self.dtype), design.steps_per_epoch)
        posteriors, report, weight_std = self._report(state, scale)
        zeros = {name: tf.zeros_like(value) for name, value in state["train"].items()}
        reset = assign(self.variables, {"train": zeros})
        predictions = self._predictions(state, design.prior.temperature(scale), step)
        as_tensors = {name: type(posterior)(*map(tf.convert_to_tensor, posterior))
                      for name, posterior in posteriors.items()}
        linearised = None
        if design.linearised:
            means = [layer.weights(state[layer.spec.name])[None] for layer in design.layers]
            linearised = build_linearised(design, self.data, predictions.inputs, means, posteriors, self.forward)
        return Evaluate(predictions, state["likelihood"], report, weight_std, reset, as_tensors,
                        tf.convert_to_tensor(scale), linearised)

    def _predictions(self, state: Nested, temperature: Scalar, step: tf.Tensor) -> Predictions:
        design, n_draws = self.design, self.design.particles_at_once
        n_groups = design.n_test_particles // n_draws

        def draw(group):
            return self.draw_weights(state, temperature, n_draws, "test", step * n_groups + group)

        means = [layer.weights(state[layer.spec.name])[None] for layer in design.layers]
        return build_predictions(design, self.data, means, draw, self.forward)

    def _report(self, state: Nested,
                scale: Scalar) -> Tuple[Dict[str, Any], Dict[str, tf.Tensor], Dict[str, tf.Tensor]]:
        """Returns ({layer: its posterior}, {tag: scalar}, {layer: standard deviation of its weights}).

        NOTE: TensorFlow's graph optimizer adds the KL terms in the order of their ops' names, and these count the ops
        before them: another order here changes the last bit of train/kl.
        """
        likelihood, prior = self.design.likelihood, self.design.prior
        kl, posteriors, weight_std = likelihood.kl(state["likelihood"]), {}, {}
        report = likelihood.report(state["likelihood"])
        for layer in self.design.layers:
            name = layer.spec.name
            report.update({f"{name}/{tag}": value for tag, value in layer.family.report(state[name]).items()})
            if not layer.spec.has_weights:
                continue
            temperature = prior.temperature(scale) if layer.noisy and layer.family.tempered else None
            posteriors[name] = layer.posterior(state[name], temperature)
            report[f"kl/{name}"] = posteriors[name].kl(prior.prior_var)
            kl += report[f"kl/{name}"]
            if layer.noisy:
                weight_std[name] = posteriors[name].std()
        log_prob = state["train"]["log_prob"] / tf.maximum(state["train"]["steps"], 1.0)
        report.update({"train/expected_log_likelihood": log_prob, "train/kl": kl,
                       "train/lower_bound": log_prob - prior.temperature(scale) * kl})
        return posteriors, report, weight_std


def gradients(outputs: tf.Tensor, records: List[LayerRecord], score: tf.Tensor) -> List[Score]:
    """Returns d log p / d s of every layer, given d log p / d outputs."""
    cores = [record.core.preactivations for record in records if record.core]
    found = tf.gradients(outputs, [*(record.preactivations for record in records), *cores], grad_ys=score)
    of_cores = iter(found[len(records):])
    return [Score(ds, next(of_cores) if record.core else None) for record, ds in zip(records, found)]
