"""The state of a run at step 0: initial means, the states of families and likelihood, the running sums of a report."""
from typing import List

import tensorflow.compat.v1 as tf

from core.inference import optimizer
from core.training.design import Design
from core.training.variables import Nested
from misc.seeding import stream_seed
from networks.layers import LayerSpec, glorot


def averaged_norms(design: Design) -> List[LayerSpec]:
    """Returns the batch normalisations that get one value per channel, which has no variance, in the last minibatch."""
    specs = [layer.spec for layer in design.layers]
    return [spec for spec in specs if not spec.has_weights and design.last_batch_size * spec.n_locations == 1]


def initial_state(design: Design, dtype: tf.DType) -> Nested:
    """Returns the state at step 0, as tensors: {"dense0": {"mean": ..., ...}, "likelihood": {...}, "train": {...}}."""
    state, averaged = {}, averaged_norms(design)
    for layer in design.layers:
        name = layer.spec.name
        with tf.name_scope(name + "_init"):
            if layer.spec.has_weights:
                mean = glorot(layer.spec, [stream_seed(design.config.seed, "init", name), 0], dtype)
                if layer is design.layers[-1]:
                    mean = design.likelihood.initial_weights(mean)
                state[name] = optimizer.initial_state(layer, mean)
            else:
                zeros, ones = (tf.fill([layer.spec.d_out], tf.constant(value, dtype)) for value in (0.0, 1.0))
                state[name] = optimizer.initial_state(layer, tf.stack([ones, zeros]))  # scales and shifts
                if layer.spec in averaged:
                    state[name].update(moving_mean=zeros, moving_variance=ones)
    state["likelihood"] = design.likelihood.init(dtype)
    state["train"] = {"log_prob": tf.zeros([], dtype), "steps": tf.zeros([], dtype)}
    return state
