"""Noisy EK-FAC: a Gaussian posterior that is independent in the Kronecker eigenbasis, and the EK-FAC step."""
from typing import AbstractSet, Dict, List

import tensorflow.compat.v1 as tf

from core.inference.adam import ema
from core.inference.eigenbasis import BASIS, InEigenbasis
from core.inference.families import Batch
from core.inference.gaussian import damped_values, eigen_scale
from core.inference.kronecker import FACTOR_KEYS
from core.inference.linalg import diagonal_in, off_diagonal_share, rotate
from core.inference.posteriors import EigenMatrixNormal, Posterior
from core.inference.step_sizes import StepSizes
from core.inference.types import Scalar, Shape, State


class EKFAC(InEigenbasis):
    """Noisy EK-FAC.

    With A = Q_A diag(l_A) Q_A^T and S = Q_S diag(l_S) Q_S^T, both not damped:

    R <- (1 - omega) R + omega E[(Q_A^T grad_W Q_S)^2], elementwise squares of per-example gradients;
      omega = step_sizes.scale
    q: W = Q_A (mean + noise sqrt((lambda / N) / (R + gamma_in))) Q_S^T
    step: (Q_A^T v Q_S) / (R + gamma_in + gamma_ex), in the eigenbasis

    R always belongs to the basis that it is stored with. When the basis changes, R is either set from the eigenvalues
    of the same factors (kfac_init_after_basis; `scale_init` says how), or carried over into the new basis; the first
    basis always starts from the eigenvalues. With basis_tolerance, a basis that still nearly diagonalises A and S is
    kept, and R with it.

    State:
      a_cov, s_cov, q_a, values_a, q_s, values_s: A and S; Q_A, l_A, Q_S and l_S, cached until "basis" is due.
      scale: R, [d_in + 1, d_out], not damped; fresh after every step in which "scale" is due.
      refreshed, kept: how often the basis was recomputed, and how often kept.

    Reference: Bae et al. (2018), Sec. 3, https://arxiv.org/abs/1811.12565
    """

    updates = ("cov", "basis", "reinit", "scale")
    reads = (*FACTOR_KEYS, "basis_update", "basis_tolerance", "scale_init", "kfac_init_after_basis", "omega",
             "amor_eigen", "Teigen", "re_init", "re_init_iters", "TEigen", "TScale", "scale_ema_decay")

    def init(self, shape: Shape, dtype: tf.DType) -> State:
        state = super().init(shape, dtype)
        state["scale"] = self._initial_scale(state)
        return dict(state, refreshed=tf.zeros([], dtype), kept=tf.zeros([], dtype))

    def update(self, state: State, batch: Batch, step_sizes: StepSizes, due: AbstractSet[str]) -> State:
        new = dict(state)
        if "cov" in due:
            new.update(self._averaged_factors(state, batch, step_sizes))
        if "basis" in due:
            with self._refresh_device():
                new.update(self._tolerant_refresh(state, new))
        if "reinit" in due:
            new["scale"] = self._initial_scale(new)
        if "scale" in due:
            new["scale"] = ema(new["scale"], self._measured_scale(batch, state, new), step_sizes.scale)
        return new

    def posterior(self, mean: tf.Tensor, state: State, temperature: Scalar) -> Posterior:
        variance = temperature / (state["scale"] + self._prior.damping)
        return EigenMatrixNormal(mean, state["q_a"], state["q_s"], variance)

    def precondition(self, grad: tf.Tensor, state: State) -> tf.Tensor:
        """Returns grad / (R + gamma_in + gamma_ex); all in the eigenbasis."""
        return grad / (state["scale"] + self._step_damping)

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        return dict(super().report(state), refreshed=state["refreshed"], kept=state["kept"])

    def _tolerant_refresh(self, old: State, new: State) -> State:
        """Returns a new basis and its R; while the old basis is good enough, keeps both and updates the eigenvalues.

        Args:
          old: state before the step.
          new: the same with the current A and S.
        """
        if not self._config.basis_tolerance:
            return dict(self._refresh(old, new), refreshed=old["refreshed"] + 1.0)
        worst = tf.maximum(off_diagonal_share(new["a_cov"], old["q_a"]), off_diagonal_share(new["s_cov"], old["q_s"]))
        keep = tf.logical_and(worst < self._config.basis_tolerance, old["refreshed"] > 0.0)
        names = (*BASIS, "scale")

        def entries(state: State) -> List[tf.Tensor]:
            return [tf.identity(state[name]) for name in names]

        def kept() -> State:
            return dict(old, values_a=diagonal_in(new["a_cov"], old["q_a"]),
                        values_s=diagonal_in(new["s_cov"], old["q_s"]))

        chosen = tf.cond(keep, lambda: entries(kept()), lambda: entries(self._refresh(old, new)))
        count = tf.cast(keep, old["kept"].dtype)
        return dict(zip(names, chosen), kept=old["kept"] + count, refreshed=old["refreshed"] + 1.0 - count)

    def _refresh(self, old: State, new: State) -> State:
        """Returns the eigenbasis of the current factors and the R that goes with it."""
        basis = self._eigenbasis(new, old, self._config.basis_update)
        initial = self._initial_scale(basis)
        if self._config.kfac_init_after_basis:
            return dict(basis, scale=initial)
        return dict(basis, scale=tf.cond(old["refreshed"] > 0.0, lambda: carry_scale(old, basis), lambda: initial))

    def _measured_scale(self, batch: Batch, old: State, new: State) -> tf.Tensor:
        """Returns R of one minibatch in the basis of `new`, from known projections if that is the basis of `old`."""
        if batch.rotated is not None and all(new[name] is old[name] for name in ("q_a", "q_s")):
            return batch.stats.core_squared_gradient(*map(self._fisher_rows, batch.rotated))
        a, ds = map(self._fisher_rows, (batch.a, batch.ds_fisher))
        return batch.stats.eigenbasis_scale(a, ds, q_a=new["q_a"], q_s=new["q_s"])

    def _initial_scale(self, basis: State) -> tf.Tensor:
        """Returns R from the eigenvalues alone, [d_in + 1, d_out].

        scale_init exact: l_A l_S^T; scale_init damped: the same of A_g and S_g with g = gamma_in + gamma_ex, so that R
        includes the damping of the K-FAC step, as in the published code.
        """
        values_a, values_s = basis["values_a"], basis["values_s"]
        if self._config.scale_init == "damped":
            values_a, values_s = damped_values(values_a, values_s, self._step_damping)
        return eigen_scale(values_a, values_s)


def carry_scale(old: State, new: State) -> tf.Tensor:
    """Returns R in a new eigenbasis: the diagonal there of the matrix that is diag(R) in the old eigenbasis.

    R_new = (Q_A,new^T Q_A,old)^2 R_old ((Q_S,new^T Q_S,old)^2)^T, with elementwise squares; [d_in + 1, d_out].

    Args:
      old: state with q_a, q_s and scale.
      new: state with q_a and q_s.
    """
    overlap_a = tf.matmul(new["q_a"], old["q_a"], transpose_a=True)
    overlap_s = tf.matmul(new["q_s"], old["q_s"], transpose_a=True)
    return rotate(old["scale"], tf.square(overlap_a), tf.square(overlap_s))
