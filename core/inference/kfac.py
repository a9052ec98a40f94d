"""Noisy K-FAC: a matrix-variate Gaussian posterior from Kronecker factors. See families.py for what a family is.

A <- decay A + (1 - decay) E[a a^T]            S <- decay S + (1 - decay) E[ds ds^T]
A_g = A + pi sqrt(g) I                         S_g = S + sqrt(g) / pi I
q(W) = MN(M, (lambda / N) A_g^-1, S_g^-1)      with g = gamma_in
M <- M + alpha A_g^-1 v S_g^-1                 with g = gamma_in + gamma_ex

Reference: Zhang et al. (2018), Sec. 3.3, https://arxiv.org/abs/1712.02390
"""
import contextlib
from typing import Any, Dict, Optional, Set, Tuple

import tensorflow.compat.v1 as tf

from core.inference.adam import ema
from core.inference.families import OF_FISHER, Batch, Family
from core.inference.linalg import eigvalsh, factored_damping
from core.inference.posteriors import MatrixNormal, Posterior
from core.inference.solvers import DEFAULT
from core.inference.step_sizes import StepSizes
from core.inference.types import Due, Number, Solve, State, Tensor
from misc.config import Config

OF_FACTORS = (*OF_FISHER, "curvature_device", "max_factor_dim", "large_layers")
"""Config keys that both families with Kronecker factors read."""


class KFAC(Family):
    """The factors A and S, and factorisations of their damped forms.

    State:
      a_cov, s_cov: A and S, current after every step in which "cov" is due.
      root_a, root_s: inverse Cholesky roots C_A and C_S of A_g and S_g with g = gamma_in, for the posterior.
      step_inverse_a, step_inverse_s: A_g^-1 and S_g^-1 with g = gamma_in + gamma_ex, for the step. They exist only
        if gamma_ex > 0; without it the step uses the roots.
      Roots and inverses are stale until "inverse" is due.
    """

    updates, reads = ("cov", "inverse"), (*OF_FACTORS, "TInv")
    needs_factors = True

    def init(self, shape: Tuple[int, int], dtype: tf.DType) -> State:
        a_cov, s_cov = (tf.eye(dim, dtype=dtype) for dim in shape)
        state = {"a_cov": a_cov, "s_cov": s_cov}
        state["root_a"], state["root_s"] = self._roots(DEFAULT.root, a_cov, s_cov)
        if self._config.damping:
            state["step_inverse_a"], state["step_inverse_s"] = self._step_inverses(DEFAULT.inverse, a_cov, s_cov)
        return state

    def update(self, state: State, batch: Batch, sizes: StepSizes, due: Due) -> State:
        new = dict(state)
        if "cov" in due:
            new.update(updated_factors(state, batch, sizes))
        if "inverse" in due:
            a_cov, s_cov = new["a_cov"], new["s_cov"]
            with refresh_device(self._config):
                new["root_a"], new["root_s"] = self._roots(
                    self._solver.root, a_cov, s_cov, state["root_a"], state["root_s"])
                if self._config.damping:
                    new["step_inverse_a"], new["step_inverse_s"] = self._step_inverses(
                        self._solver.inverse, a_cov, s_cov, state["step_inverse_a"], state["step_inverse_s"])
        return new

    def posterior(self, mean: Tensor, state: State, temperature: Number) -> Posterior:
        return MatrixNormal(mean, state["root_a"], state["root_s"], temperature)

    def precondition(self, grad: Tensor, state: State) -> Tensor:
        """Returns A_g^-1 grad S_g^-1 with g = gamma_in + gamma_ex."""
        if self._config.damping:
            return tf.matmul(state["step_inverse_a"], tf.matmul(grad, state["step_inverse_s"]))
        root_a, root_s = state["root_a"], state["root_s"]
        whitened = tf.matmul(root_a, tf.matmul(grad, root_s, transpose_b=True))
        return tf.matmul(root_a, tf.matmul(whitened, root_s), transpose_a=True)

    def report(self, state: State) -> State:
        return factor_report(state, eigvalsh(state["a_cov"]), eigvalsh(state["s_cov"]), self._prior.damping)

    def covered_by_mean_check(self, new: State) -> Set[str]:
        used_in_step = {"step_inverse_a", "step_inverse_s"} if self._config.damping else {"root_a", "root_s"}
        if not used_in_step <= set(new):  # not refreshed in this step: new factors do not reach the mean
            return super().covered_by_mean_check(new)
        return super().covered_by_mean_check(new) | used_in_step | {"a_cov", "s_cov"}

    def _roots(self, solve: Solve, a_cov: Tensor, s_cov: Tensor, last_a: Optional[Tensor] = None,
               last_s: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Returns the roots (C_A, C_S): C_A^T C_A = A_g^-1 and C_S^T C_S = S_g^-1 with g = gamma_in."""
        d_a, d_s = factored_damping(a_cov, s_cov, self._prior.damping)
        return solve("A", a_cov, d_a, last_a), solve("S", s_cov, d_s, last_s)

    def _step_inverses(self, solve: Solve, a_cov: Tensor, s_cov: Tensor, last_a: Optional[Tensor] = None,
                       last_s: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
        """Returns (A_g^-1, S_g^-1) with g = gamma_in + gamma_ex."""
        d_a, d_s = factored_damping(a_cov, s_cov, self._step_damping)
        return solve("A", a_cov, d_a, last_a), solve("S", s_cov, d_s, last_s)


# What noisy K-FAC shares with noisy EK-FAC.

# config's `curvature_device` -> where inverses and eigenbases are computed; None: where everything else is.
REFRESH_DEVICES = {"auto": None, "cpu": "/device:CPU:0", "gpu": "/device:GPU:0"}


def refresh_device(config: Config) -> Any:
    """Returns the device scope of a refresh."""
    device = REFRESH_DEVICES[config.curvature_device]
    return tf.device(device) if device else contextlib.nullcontext()


def updated_factors(state: State, batch: Batch, sizes: StepSizes) -> Dict[str, Tensor]:
    """Returns the moving averages of A and S after one more minibatch."""
    second_moments: Any = batch.stats.second_moments
    a_cov, s_cov = second_moments(batch.a, batch.ds_fisher)
    return {"a_cov": ema(state["a_cov"], a_cov, sizes.cov), "s_cov": ema(state["s_cov"], s_cov, sizes.cov)}


def factor_report(state: State, values_a: Tensor, values_s: Tensor, damping: Number) -> Dict[str, Tensor]:
    """Returns traces, damping split and damped condition numbers of A and S, given their eigenvalues."""
    d_a, d_s = factored_damping(state["a_cov"], state["s_cov"], damping)
    report = {"trace_a": tf.linalg.trace(state["a_cov"]), "trace_s": tf.linalg.trace(state["s_cov"]),
              "damping_a": d_a, "damping_s": d_s}
    for name, values, extra in (("condition_a", values_a, d_a), ("condition_s", values_s, d_s)):
        report[name] = (tf.reduce_max(values) + extra) / (tf.maximum(tf.reduce_min(values), 0.0) + extra)
    return report
