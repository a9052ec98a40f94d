"""What noisy K-FAC and noisy EK-FAC share: the factors A and S of a layer's Fisher matrix."""
import contextlib
from typing import AbstractSet, ContextManager, Dict

import tensorflow.compat.v1 as tf

from core.inference.adam import ema
from core.inference.families import FISHER_KEYS, Batch, Family
from core.inference.linalg import factored_damping
from core.inference.step_sizes import StepSizes
from core.inference.types import State

FACTOR_KEYS = (*FISHER_KEYS, "curvature_device", "max_factor_dim", "large_layers", "auto_refresh")
"""Config keys that affect every family with Kronecker factors."""

REFRESH_DEVICES = {"auto": None, "cpu": "/device:CPU:0", "gpu": "/device:GPU:0"}
"""Config's `curvature_device` -> device of the decompositions; None: the device of the other ops."""


class Kronecker(Family):
    """A family whose state has a_cov = A, [d_in + 1, d_in + 1], and s_cov = S, [d_out, d_out], not damped.

    A <- (1 - beta) A + beta E[a a^T],  S <- (1 - beta) S + beta E[ds ds^T],  with beta = step_sizes.cov

    kron(A, S) approximates the Fisher matrix of vec(W).

    Reference: Martens and Grosse (2015), Sec. 3, https://arxiv.org/abs/1503.05671
    """

    needs_factors = True

    def update(self, state: State, batch: Batch, step_sizes: StepSizes, due: AbstractSet[str]) -> State:
        new = dict(state)
        if "cov" in due:
            new.update(self._averaged_factors(state, batch, step_sizes))
        if "inverse" in due:
            with self._refresh_device():
                new.update(self._refresh(state, new))
        return new

    def _refresh(self, old: State, new: State) -> State:
        """Returns the entries that follow from decomposing A and S.

        Args:
          old: state before the step.
          new: the same with the current A and S.
        """
        raise NotImplementedError

    def _averaged_factors(self, state: State, batch: Batch, step_sizes: StepSizes) -> State:
        """Returns A and S after one more minibatch."""
        a_cov, s_cov = batch.stats.second_moments(*map(self._fisher_rows, (batch.a, batch.ds_fisher)))
        return {"a_cov": ema(state["a_cov"], a_cov, step_sizes.cov),
                "s_cov": ema(state["s_cov"], s_cov, step_sizes.cov)}

    def _refresh_device(self) -> ContextManager:
        """Returns the device scope in which factors are decomposed."""
        device = REFRESH_DEVICES[self._config.curvature_device]
        return tf.device(device) if device else contextlib.nullcontext()

    def _factor_report(self, state: State, values_a: tf.Tensor, values_s: tf.Tensor) -> Dict[str, tf.Tensor]:
        """Returns the traces of A and S, the split of gamma_in, and the condition numbers of the damped factors.

        Args:
          values_a, values_s: eigenvalues of A and S, not damped.
        """
        d_a, d_s = factored_damping(state["a_cov"], state["s_cov"], self._prior.damping)
        return {"trace_a": tf.linalg.trace(state["a_cov"]), "trace_s": tf.linalg.trace(state["s_cov"]),
                "damping_a": d_a, "damping_s": d_s,
                "condition_a": damped_condition(values_a, d_a), "condition_s": damped_condition(values_s, d_s)}


def damped_condition(values: tf.Tensor, damping: tf.Tensor) -> tf.Tensor:
    """Returns the condition number of a factor plus damping I, a scalar, from the factor's eigenvalues [d]."""
    return (tf.reduce_max(values) + damping) / (tf.maximum(tf.reduce_min(values), 0.0) + damping)
