"""Noisy EK-FAC: a matrix-variate Gaussian posterior, corrected in the eigenbasis of its Kronecker factors.

A = Q_A diag(l_A) Q_A^T                        S = Q_S diag(l_S) Q_S^T, both undamped
R <- decay R + (1 - decay) E[(Q_A^T G Q_S)^2]  with the per-example gradient G; set from l_A and l_S with a new basis
q: W = M + Q_A (noise * sqrt((lambda / N) / (R + gamma_in))) Q_S^T
M <- M + alpha Q_A [(Q_A^T v Q_S) / (R + gamma_in + gamma_ex)] Q_S^T

Reference: Bae et al. (2018), Sec. 3, https://arxiv.org/abs/1811.12565
"""
from typing import Any, Dict, List, Tuple

import tensorflow.compat.v1 as tf

from core.inference.adam import ema
from core.inference.families import Batch, Family
from core.inference.gaussian import damped_values, eigen_scale
from core.inference.kfac import OF_FACTORS, factor_report, refresh_device, updated_factors
from core.inference.linalg import diagonal_in, off_diagonal_share, project, rotate
from core.inference.posteriors import EigenMatrixNormal, Posterior
from core.inference.step_sizes import StepSizes
from core.inference.types import Due, Number, State, Tensor

BASIS_KEYS = ("q_a", "values_a", "q_s", "values_s")


class EKFAC(Family):
    """A and S, their eigenbases and eigenvalues, and R, the Fisher's diagonal there.

    State:
      a_cov, s_cov: A and S, current after every step in which "cov" is due.
      q_a, values_a, q_s, values_s: eigenbases and eigenvalues, stale until "basis" is due.
      scale: R, current after every step in which "scale" is due, and always in the basis it is stored with. When
        the basis changes, R is set from the eigenvalues of the same factors (kfac_init_after_basis) or carried
        into the new basis, except for the first one.
      refreshed, kept: how often a due basis was refreshed, or kept under basis_tolerance because it still nearly
        diagonalised its factors; R is then kept, too.
      mean, momentum: in the eigenbasis, so that a step only projects the gradient and rotates the drawn weights.
    """

    updates = ("cov", "basis", "reinit", "scale")
    reads = (*OF_FACTORS, "basis_update", "basis_tolerance", "scale_init", "kfac_init_after_basis", "omega",
             "amor_eigen", "Teigen", "re_init", "re_init_iters", "TEigen", "TScale", "scale_ema_decay")
    needs_factors = True

    def init(self, shape: Tuple[int, int], dtype: tf.DType) -> State:
        state = {"a_cov": tf.eye(shape[0], dtype=dtype), "s_cov": tf.eye(shape[1], dtype=dtype),
                 "q_a": tf.eye(shape[0], dtype=dtype), "q_s": tf.eye(shape[1], dtype=dtype),
                 "values_a": tf.ones(shape[:1], dtype), "values_s": tf.ones(shape[1:], dtype)}
        state["scale"] = self._initial_scale(state["values_a"], state["values_s"])
        return dict(state, refreshed=tf.zeros([], dtype), kept=tf.zeros([], dtype))

    def update(self, state: State, batch: Batch, sizes: StepSizes, due: Due) -> State:
        new = dict(state)
        if "cov" in due:
            new.update(updated_factors(state, batch, sizes))
        if "basis" in due:
            with refresh_device(self._config):
                new.update(self._refreshed_unless_good(state, new["a_cov"], new["s_cov"]))
        if "reinit" in due:
            new["scale"] = self._initial_scale(new["values_a"], new["values_s"])
        if "scale" in due:
            eigenbasis_scale: Any = batch.stats.eigenbasis_scale
            value = eigenbasis_scale(batch.a, batch.ds_fisher, q_a=new["q_a"], q_s=new["q_s"])
            new["scale"] = ema(new["scale"], value, sizes.scale)
        return new

    def posterior(self, mean: Tensor, state: State, temperature: Number) -> Posterior:
        variance = temperature / (state["scale"] + self._prior.damping)
        return EigenMatrixNormal(mean, state["q_a"], state["q_s"], variance)

    def precondition(self, grad: Tensor, state: State) -> Tensor:
        """Returns grad / (R + gamma_in + gamma_ex), all in the eigenbasis."""
        return grad / (state["scale"] + self._step_damping)

    def report(self, state: State) -> State:
        report = factor_report(state, state["values_a"], state["values_s"], self._prior.damping)
        return dict(report, refreshed=state["refreshed"], kept=state["kept"])

    def weights(self, mean: Tensor, state: State) -> Tensor:
        """Returns Q_A mean Q_S^T."""
        return rotate(mean, state["q_a"], state["q_s"])

    def project(self, grad: Tensor, state: State) -> Tensor:
        """Returns Q_A^T grad Q_S."""
        return project(grad, state["q_a"], state["q_s"])

    def change_basis(self, tensor: Tensor, old: State, new: State) -> Tensor:
        if new["q_a"] is old["q_a"]:
            return tensor
        return self.project(self.weights(tensor, old), new)

    def _refreshed_unless_good(self, old: State, a_cov: Tensor, s_cov: Tensor) -> Dict[str, Tensor]:
        """Returns the refreshed basis and R, or the old ones (with new eigenvalues) while they are good enough."""
        if not self._config.basis_tolerance:
            return dict(self._refreshed(old, a_cov, s_cov), refreshed=old["refreshed"] + 1.0)
        worst = tf.maximum(off_diagonal_share(a_cov, old["q_a"]), off_diagonal_share(s_cov, old["q_s"]))
        keep = tf.logical_and(worst < self._config.basis_tolerance, old["refreshed"] > 0.0)
        names = (*BASIS_KEYS, "scale")

        def values_of(state: State) -> List[Tensor]:
            return [tf.identity(state[name]) for name in names]

        def kept() -> State:
            return dict(old, values_a=diagonal_in(a_cov, old["q_a"]), values_s=diagonal_in(s_cov, old["q_s"]))

        chosen = tf.cond(keep, lambda: values_of(kept()), lambda: values_of(self._refreshed(old, a_cov, s_cov)))
        count = tf.cast(keep, old["kept"].dtype)
        return dict(zip(names, chosen), kept=old["kept"] + count, refreshed=old["refreshed"] + 1.0 - count)

    def _refreshed(self, old: State, a_cov: Tensor, s_cov: Tensor) -> Dict[str, Tensor]:
        """Returns the eigenbases and eigenvalues of A and S, and R in the new basis."""
        update = self._solver.bases[self._config.basis_update]
        values_a, q_a = update("A", a_cov, old["q_a"])
        values_s, q_s = update("S", s_cov, old["q_s"])
        basis = {"values_a": values_a, "q_a": q_a, "values_s": values_s, "q_s": q_s}
        initial = self._initial_scale(values_a, values_s)
        if self._config.kfac_init_after_basis:
            return dict(basis, scale=initial)
        scale = tf.cond(old["refreshed"] > 0.0, lambda: carried_scale(old, basis), lambda: initial)
        return dict(basis, scale=scale)

    def _initial_scale(self, values_a: Tensor, values_s: Tensor) -> Tensor:
        """Returns R from the eigenvalues of A and S: as they are, or of the damped factors (`scale_init`)."""
        if self._config.scale_init == "damped":
            values_a, values_s = damped_values(values_a, values_s, self._prior.damping)
        return eigen_scale(values_a, values_s)


def carried_scale(old: State, new: State) -> Tensor:
    """Returns the diagonal, in the new eigenbasis, of the curvature whose eigenvalues in the old one are R.

    With the rotations U = Q_new^T Q_old of both sides it is (U_A * U_A) R (U_S * U_S)^T, * elementwise.
    """
    rotation_a = tf.matmul(new["q_a"], old["q_a"], transpose_a=True)
    rotation_s = tf.matmul(new["q_s"], old["q_s"], transpose_a=True)
    return rotate(old["scale"], tf.square(rotation_a), tf.square(rotation_s))
