"""Families that keep mean and momentum in the eigenbasis of a layer's Kronecker factors."""
from typing import Dict

import tensorflow.compat.v1 as tf

from core.inference.kronecker import Kronecker
from core.inference.linalg import project, rotate
from core.inference.types import Shape, State

BASIS = ("q_a", "values_a", "q_s", "values_s")
"""State entries of the eigenbasis: eigenvectors and eigenvalues of A and S."""


class InEigenbasis(Kronecker):
    """A family whose coordinates are the eigenbasis, A = Q_A diag(l_A) Q_A^T and S = Q_S diag(l_S) Q_S^T.

    A step projects the gradient and rotates the drawn weights; mean and momentum are rotated only when the basis
    changes.

    State:
      a_cov, s_cov: A and S, not damped; fresh after every step in which "cov" is due.
      q_a, values_a, q_s, values_s: Q_A, l_A, Q_S, l_S; cached.
    """

    in_eigenbasis = True

    def init(self, shape: Shape, dtype: tf.DType) -> State:
        return {"a_cov": tf.eye(shape[0], dtype=dtype), "s_cov": tf.eye(shape[1], dtype=dtype),
                "q_a": tf.eye(shape[0], dtype=dtype), "q_s": tf.eye(shape[1], dtype=dtype),
                "values_a": tf.ones(shape[:1], dtype), "values_s": tf.ones(shape[1:], dtype)}

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        return self._factor_report(state, state["values_a"], state["values_s"])

    def weights(self, mean: tf.Tensor, state: State) -> tf.Tensor:
        """Returns Q_A mean Q_S^T."""
        return rotate(mean, state["q_a"], state["q_s"])

    def project(self, grad: tf.Tensor, state: State) -> tf.Tensor:
        """Returns Q_A^T grad Q_S."""
        return project(grad, state["q_a"], state["q_s"])

    def change_basis(self, tensor: tf.Tensor, old: State, new: State) -> tf.Tensor:
        if new["q_a"] is old["q_a"]:
            return tensor
        return self.project(self.weights(tensor, old), new)

    def _eigenbasis(self, factors: State, old: State, basis_update: str) -> State:
        """Returns the BASIS entries of the factors' eigenbasis.

        Args:
          factors: state with the A and S to decompose.
          old: state with the last basis, where `basis_update` (of `Solver.bases`) may begin.
        """
        solve = self._solver.bases[basis_update]
        values_a, q_a = solve("A", factors["a_cov"], old["q_a"])
        values_s, q_s = solve("S", factors["s_cov"], old["q_s"])
        return {"q_a": q_a, "values_a": values_a, "q_s": q_s, "values_s": values_s}
