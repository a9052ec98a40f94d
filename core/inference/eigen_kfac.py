"""Noisy K-FAC in the eigenbasis of its factors: the same posterior and step, for wide layers in small minibatches."""
import tensorflow.compat.v1 as tf

from core.inference.eigenbasis import InEigenbasis
from core.inference.gaussian import damped_values, eigen_scale
from core.inference.kfac import KFAC
from core.inference.posteriors import EigenMatrixNormal, Posterior
from core.inference.types import Scalar, State


class EigenKFAC(InEigenbasis):
    """Noisy K-FAC, whose posterior and step (see `KFAC`) are diagonal in the eigenbasis.

    With d_a and d_s of `linalg.factored_damping`, a diagonal matrix with the entries (l_A + d_a) (l_S + d_s)^T:

    q: W = Q_A (mean + noise sqrt((lambda / N) / ((l_A + d_a) (l_S + d_s)^T))) Q_S^T  with damping gamma_in
    step: (Q_A^T v Q_S) / ((l_A + d_a) (l_S + d_s)^T)                                 with gamma_in + gamma_ex

    An eigendecomposition costs more than a Cholesky factorisation. But where a minibatch has fewer rows than the layer
    has units, a step needs no product of two matrices of the layer's size: the rows are rotated (`FactoredWeights`),
    gradient and prior are in the eigenbasis already, and dividing takes the place of the inverses.

    State: that of `InEigenbasis`; the basis is cached until "inverse" is due.
    """

    updates, reads = KFAC.updates, KFAC.reads

    def posterior(self, mean: tf.Tensor, state: State, temperature: Scalar) -> Posterior:
        variance = temperature / _damped_scale(state, self._prior.damping)
        return EigenMatrixNormal(mean, state["q_a"], state["q_s"], variance)

    def precondition(self, grad: tf.Tensor, state: State) -> tf.Tensor:
        """Returns Q_A^T A_g^-1 V S_g^-1 Q_S for grad = Q_A^T V Q_S, with g = gamma_in + gamma_ex."""
        return grad / _damped_scale(state, self._step_damping)

    def _refresh(self, old: State, new: State) -> State:
        return self._eigenbasis(new, old, "eigh")


def _damped_scale(state: State, damping: float) -> tf.Tensor:
    """Returns (l_A + d_a) (l_S + d_s)^T, [d_in + 1, d_out], for a damping in units of the Fisher of one example."""
    return eigen_scale(*damped_values(state["values_a"], state["values_s"], damping))
