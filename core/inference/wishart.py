"""A regression of several targets whose noise is correlated, with a Wishart posterior of its precision matrix.

q(Lambda) = W(nu, B) has the density proportional to |Lambda|^((nu - m - 1) / 2) exp(-tr(B Lambda) / 2), with nu degrees
of freedom and the rate matrix B [m, m] (the inverse of the usual scale matrix), so that E[Lambda] = nu B^-1. B is kept
by its eigenvalues `rates` [m] and eigenvectors `basis` [m, m]: B = basis diag(rates) basis^T. With m = 1 this is
Gamma(nu / 2, B / 2).
"""
from typing import Any, Dict, FrozenSet, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.adam import ema
from core.inference.likelihood_base import Level, RegressionLikelihood
from core.inference.linalg import eigh
from core.inference.noise_model import GammaPrior, as_outputs
from core.inference.noise_precision import HeldOut
from core.inference.types import Scalar, State
from core.metrics.draws import Draws, WishartLevel, draws_of_roots
from core.metrics.predictive import Values, noise_name
from misc.config import Config

SMALLEST_SHARE = 1e-6  # of the largest eigenvalue of B that each has at least, so that rounding makes none 0


class WishartPrior(NamedTuple):
    """The prior W(dof, rate I) over the noise precision matrix of m targets."""

    dof: float
    rate: float

    @classmethod
    def of_gamma(cls, prior: GammaPrior, n_targets: int) -> "WishartPrior":
        """Returns the prior under which each target's own noise precision, 1 / (Lambda^-1)_jj, ~ `prior`."""
        return cls(2.0 * prior.shape + n_targets - 1.0, 2.0 * prior.rate)

    def kl(self, dof: tf.Tensor, rates: tf.Tensor) -> tf.Tensor:
        """Returns KL(W(dof, B) || prior), a scalar in nats; rates: eigenvalues of B, [m].

        = (nu - nu_0) / 2 (E[log |Lambda|] - m log 2) + nu / 2 log |B| - nu_0 / 2 log |B_0|
          - log G_m(nu / 2) + log G_m(nu_0 / 2) - nu m / 2 + nu / 2 tr(B_0 B^-1)

        with the multivariate Gamma function G_m.
        """
        m = int(rates.shape[0])
        dof_0, rate_0 = (tf.constant(value, rates.dtype) for value in self)
        return (0.5 * (dof - dof_0) * (mean_log_det(dof, rates) - m * np.log(2.0))
                + 0.5 * dof * tf.reduce_sum(tf.log(rates)) - 0.5 * dof_0 * m * tf.log(rate_0)
                - log_multivariate_gamma(0.5 * dof, m) + log_multivariate_gamma(0.5 * dof_0, m)
                - 0.5 * dof * m + 0.5 * dof * rate_0 * tf.reduce_sum(1.0 / rates))


def mean_log_det(dof: tf.Tensor, rates: tf.Tensor) -> tf.Tensor:
    """Returns E[log |Lambda|] = sum_i psi((nu + 1 - i) / 2) + m log 2 - log |B|, a scalar; rates: as in `kl`."""
    m = int(rates.shape[0])
    return tf.reduce_sum(tf.digamma(0.5 * (dof - np.arange(m)))) + m * np.log(2.0) - tf.reduce_sum(tf.log(rates))


def log_multivariate_gamma(value: tf.Tensor, m: int) -> tf.Tensor:
    """Returns log G_m(value) = m (m - 1) / 4 log pi + sum_i log G(value + (1 - i) / 2), a scalar."""
    return 0.25 * m * (m - 1) * np.log(np.pi) + tf.reduce_sum(tf.lgamma(value - 0.5 * np.arange(m)))


class WishartLikelihood(RegressionLikelihood):
    """y ~ N(f, Lambda^-1), Lambda ~ W(nu_0, B_0) of `WishartPrior.of_gamma`, with posterior q(Lambda) = W(nu, B).

    As for a single target, q(Lambda) maximises E[log p] - temperature KL(q(Lambda) || prior) (noise_update conjugate),
    or is the posterior given r rows on which the weights do not train (held_out):

        conjugate: W(nu_0 + 1 / temperature, B_0 + C / temperature), for a moving average C of E[(y - f) (y - f)^T]
        held_out:  W(nu_0 + r, B_0 + r C), for the average of the mixture's outer products, `mixture_outer`

    Averages are those of noise_precision.ConjugateNoise and HeldOutNoise.

    State: dof, rates, basis of q(Lambda), fresh after every step; mean_outer, C.
    """

    reads: FrozenSet[str] = frozenset({"noise_prior_shape", "noise_prior_rate", "noise_update", "noise_covariance",
                                       "learning_rate", "held_out", "held_out_epochs"})
    has_precision = True

    def __init__(self, config: Config, n_outputs: int) -> None:
        super().__init__(config, n_outputs)
        self.prior = GammaPrior(config.noise_prior_shape, config.noise_prior_rate)
        self.wishart = WishartPrior.of_gamma(self.prior, n_outputs)
        self.held_out, self._rate = config.holds_out, config.learning_rate
        self._warm = config.init_from is not None

    @staticmethod
    def noise_name(settings: Mapping[str, Any]) -> str:
        return f"correlated {noise_name(np.inf)}"

    def about(self, config: Config) -> str:
        return (f"{self.noise_name({})} noise, precision matrix ~ Wishart({self.wishart.dof:g}, "
                f"{self.wishart.rate:g} I), estimated by noise_update {config.noise_update}")

    def init(self, dtype: tf.DType) -> State:
        """Returns the posterior after one row with the outer product I."""
        outer = tf.eye(self.n_outputs, dtype=dtype)
        return dict(self._posterior(outer, 1.0), mean_outer=outer)

    def precision(self, state: State) -> tf.Tensor:
        """Returns E[Lambda] = nu B^-1, [m, m]."""
        return tf.matmul(state["basis"] * (state["dof"] / state["rates"]), state["basis"], transpose_b=True)

    def score(self, state: State, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns E[Lambda] (y - f) per example, [K, n, m]."""
        return tf.einsum("kni,ij->knj", as_outputs(targets) - outputs, self.precision(state))

    def sampled_score(self, state: State, outputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the score of targets drawn from N(f, E[Lambda]^-1): normal noise with covariance E[Lambda]."""
        noise = tf.random.stateless_normal(tf.shape(outputs), seed=seed, dtype=outputs.dtype)
        return tf.einsum("kni,ji->knj", noise, state["basis"] * tf.sqrt(state["dof"] / state["rates"]))

    def kl(self, state: State) -> tf.Tensor:
        return self.wishart.kl(state["dof"], state["rates"])

    def update(self, state: State, outputs: tf.Tensor, targets: tf.Tensor, temperature: Scalar, kl_weight: Scalar,
               step: tf.Tensor, held_out: Optional[HeldOut] = None) -> Tuple[State, tf.Tensor]:
        """Trains q(Lambda) by one step; see `Likelihood.update`."""
        residual = as_outputs(targets) - outputs
        outer = _mean_outer(residual, 1.0 / tf.cast(tf.size(residual[..., 0]), residual.dtype))
        log_prob = 0.5 * (mean_log_det(state["dof"], state["rates"]) - self.n_outputs * np.log(2.0 * np.pi)
                          - tf.reduce_sum(self.precision(state) * outer))
        if held_out is None:
            rate = self._rate if self._warm else tf.maximum(1.0 / step, self._rate)
            average = ema(state["mean_outer"], outer, rate)
            return dict(self._posterior(average, 1.0 / temperature), mean_outer=average), log_prob
        average = ema(state["mean_outer"], self._mixture_outer(state, held_out), 16.0 / (step + 15.0))
        new = dict(self._posterior(average, float(held_out.n_rows)), mean_outer=average)
        return {name: tf.where(held_out.on, value, state[name]) for name, value in new.items()}, log_prob

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        """Returns KL, and precisions and correlations of E[Lambda]^-1; the tags are those of independent noise."""
        covariance = tf.matmul(state["basis"] * (state["rates"] / state["dof"]), state["basis"], transpose_b=True)
        variances = tf.unstack(tf.linalg.diag_part(covariance))
        values = {"kl/noise_precision": self.kl(state),
                  "train/noise_precision": len(variances) / tf.add_n(variances)}
        for i, one in enumerate(variances):
            values[f"train/noise_precision_{i + 1}"] = 1.0 / one
            values.update({f"train/noise_correlation_{i + 1}_{j + 1}": covariance[i, j] / tf.sqrt(one * variances[j])
                           for j in range(i + 1, len(variances))})
        return values

    def level(self, state: Mapping[str, np.ndarray]) -> Level:
        """Returns q(Lambda)."""
        rates, basis = (np.asarray(state[name], np.float64) for name in ("rates", "basis"))
        return WishartLevel(float(state["dof"]), rates, basis, {})

    def draws(self, outputs: np.ndarray, precisions: np.ndarray, dof: Values) -> Draws:
        """Returns the Draws; precisions: roots of precision matrices, [K, m, m], as WishartLevel draws them."""
        return draws_of_roots(outputs, precisions)

    def _posterior(self, outer: tf.Tensor, count: Scalar) -> State:
        """Returns q(Lambda) after `count` rows with this mean outer product, [m, m]."""
        values, basis = eigh(self.wishart.rate * tf.eye(self.n_outputs, dtype=outer.dtype) + count * outer)
        dof = tf.convert_to_tensor(self.wishart.dof + count, outer.dtype)
        return {"dof": dof, "rates": tf.maximum(values, SMALLEST_SHARE * values[-1]), "basis": basis}

    def _mixture_outer(self, state: State, held_out: HeldOut) -> tf.Tensor:
        """Returns Lambda^-1 after one EM step for the mixture over weight draws, [m, m].

        = mean_i sum_k w_ik (y_i - f_ik) (y_i - f_ik)^T with w_ik proportional to N(y_i; f_ik, E[Lambda]^-1)
        """
        residual = as_outputs(held_out.targets) - held_out.outputs
        scaled = tf.einsum("kni,ij->knj", residual, self.precision(state))
        weights = tf.nn.softmax(-0.5 * tf.reduce_sum(scaled * residual, axis=-1), axis=0)
        return _mean_outer(residual, weights / tf.cast(tf.shape(residual)[1], residual.dtype))


def _mean_outer(residual: tf.Tensor, weights: tf.Tensor) -> tf.Tensor:
    """Returns sum_kn weight r r^T, [m, m], for residuals [K, n, m] and weights [K, n] or a scalar."""
    weighted = residual * (weights[..., None] if weights.shape.ndims else weights)
    return tf.einsum("kni,knj->ij", weighted, residual)
