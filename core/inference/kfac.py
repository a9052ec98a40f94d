"""Noisy K-FAC: a matrix-variate Gaussian posterior, and the K-FAC step."""
from typing import Any, Callable, Dict, Optional, Set, Tuple

import tensorflow.compat.v1 as tf

from core.inference.kronecker import FACTOR_KEYS, Kronecker
from core.inference.linalg import LAPACK_MIN_DIM, eigvalsh, factored_damping
from core.inference.posteriors import MatrixNormal, Posterior
from core.inference.solvers import DEFAULT, Solver, gram
from core.inference.types import Scalar, Shape, State
from misc.config import Config


class KFAC(Kronecker):
    """Noisy K-FAC.

    With A_g = A + pi sqrt(g) I and S_g = S + (sqrt(g) / pi) I (`linalg.factored_damping`):

    q: W ~ MN(mean, (lambda / N) A_g^-1, S_g^-1)  with g = gamma_in
    step: A_g^-1 v S_g^-1                         with g = gamma_in + gamma_ex

    State:
      a_cov, s_cov: A and S; fresh after every step in which "cov" is due.
      root_a, root_s: inverse Cholesky roots C_A, C_S of the posterior; cached until "inverse" is due.
      step_inverse_a, step_inverse_s: the inverses in the step; cached likewise. They exist if gamma_ex > 0, and for
        wide layers under auto_refresh, which do not compute them at every step; otherwise the roots serve the step.

    Reference: Zhang et al. (2018), Sec. 3.3, https://arxiv.org/abs/1712.02390
    """

    updates, reads = ("cov", "inverse"), (*FACTOR_KEYS, "TInv")

    def init(self, shape: Shape, dtype: tf.DType) -> State:
        state = {"a_cov": tf.eye(shape[0], dtype=dtype), "s_cov": tf.eye(shape[1], dtype=dtype)}
        return dict(state, **self._decompositions(DEFAULT, state, {}))

    def _has_inverses(self, state: State) -> bool:
        return keeps_inverses(self._config, (int(state["a_cov"].shape[0]), int(state["s_cov"].shape[0])))

    def posterior(self, mean: tf.Tensor, state: State, temperature: Scalar) -> Posterior:
        return MatrixNormal(mean, state["root_a"], state["root_s"], temperature)

    def precondition(self, grad: tf.Tensor, state: State) -> tf.Tensor:
        """Returns A_g^-1 grad S_g^-1 with g = gamma_in + gamma_ex."""
        if self._has_inverses(state):
            return tf.matmul(state["step_inverse_a"], tf.matmul(grad, state["step_inverse_s"]))
        root_a, root_s = state["root_a"], state["root_s"]
        whitened = tf.matmul(root_a, tf.matmul(grad, root_s, transpose_b=True))
        return tf.matmul(root_a, tf.matmul(whitened, root_s), transpose_a=True)

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        return self._factor_report(state, eigvalsh(state["a_cov"]), eigvalsh(state["s_cov"]))

    def covered_by_mean_check(self, new: Dict[str, Any]) -> Set[str]:
        inverses = {"step_inverse_a", "step_inverse_s"} & set(new)
        refreshed = inverses or {"root_a", "root_s"} & set(new)
        covered = super().covered_by_mean_check(new) | refreshed
        return covered | {"a_cov", "s_cov"} if refreshed else covered

    def _refresh(self, old: State, new: State) -> State:
        return self._decompositions(self._solver, new, old)

    def _decompositions(self, solver: Solver, factors: State, last: State) -> State:
        """Returns the roots of the posterior and, if the step has them, its inverses.

        Args:
          factors: state with the A and S to decompose.
          last: state with the last decompositions, for solvers that fall back to them; {} at step 0.
        """
        a_cov, s_cov = factors["a_cov"], factors["s_cov"]
        root_a, root_s = solve_damped(solver.root, a_cov, s_cov, self._prior.damping,
                                      last.get("root_a"), last.get("root_s"))
        if not self._has_inverses(factors):
            return {"root_a": root_a, "root_s": root_s}
        if not self._config.damping:
            return {"root_a": root_a, "root_s": root_s, "step_inverse_a": gram(root_a), "step_inverse_s": gram(root_s)}
        inverse_a, inverse_s = solve_damped(solver.inverse, a_cov, s_cov, self._step_damping,
                                            last.get("step_inverse_a"), last.get("step_inverse_s"))
        return {"root_a": root_a, "root_s": root_s, "step_inverse_a": inverse_a, "step_inverse_s": inverse_s}


def keeps_inverses(config: Config, shape: Shape) -> bool:
    """Tells whether a layer [d_in + 1, d_out] keeps the inverses of the step beside the roots of the posterior."""
    return config.damping > 0.0 or (config.auto_refresh and max(shape) >= LAPACK_MIN_DIM)


def solve_damped(solve: Callable, a_cov: tf.Tensor, s_cov: tf.Tensor, damping: float,
                 last_a: Optional[tf.Tensor] = None,
                 last_s: Optional[tf.Tensor] = None) -> Tuple[tf.Tensor, tf.Tensor]:
    """Applies `solve` to A + d_a I and S + d_s I; returns both results, as large as A and S.

    Args:
      solve: `Solver.root`, giving C_A with C_A^T C_A = (A + d_a I)^-1 and C_S likewise, or `Solver.inverse`, giving
        the inverses themselves.
      damping: to be split into (d_a, d_s) by `linalg.factored_damping`, in units of the Fisher of one example.
      last_a, last_s: the last results, for solvers that fall back to them.
    """
    d_a, d_s = factored_damping(a_cov, s_cov, damping)
    return solve("A", a_cov, d_a, last_a), solve("S", s_cov, d_s, last_s)
