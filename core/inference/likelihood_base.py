"""What every likelihood p(y | outputs of the network) has. The likelihoods themselves are in likelihoods.py."""
from typing import Any, Dict, FrozenSet, Mapping, Optional, Tuple, Union

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.noise_model import GammaPrior
from core.inference.noise_precision import HeldOut
from core.inference.types import Scalar, State
from core.metrics.draws import Draws, FixedLevel, GammaLevel, WishartLevel
from core.metrics.predictive import Values
from misc.config import Config

Level = Union[GammaLevel, WishartLevel, FixedLevel]


class Likelihood:
    """Base class of the likelihoods. Its own parameters, if any, have a posterior of their own in a `State`.

    Shapes: outputs [K, n, n_outputs] for K particles and n examples; targets [n], or [n, m] for m > 1 of a regression.

    Class attributes:
      reads: config keys of the noise that it uses; setting another one of them gives a notice.
      covered_by_mean_check: entries of the state that need no check of their own for non-finite values, because such
        a value also makes a checked entry non-finite.
      held_out: whether `update` uses rows on which the weights do not train.
      restarted: entries of the state that a warm start begins anew, see `Family.restarted`.
      target_shape: shape of the target of one example: () or (m,).
      has_precision: whether it has a noise precision with a posterior, from which predictions draw.
    """

    reads: FrozenSet[str] = frozenset({"learning_rate"})
    covered_by_mean_check: Tuple[str, ...] = ()
    held_out: bool = False
    restarted: Tuple[str, ...] = ()
    target_shape: Tuple[int, ...] = ()
    has_precision: bool = False

    def __init__(self, config: Config, n_outputs: int) -> None:
        self.n_outputs = n_outputs

    @staticmethod
    def noise_name(settings: Mapping[str, Any]) -> str:
        """Returns what the noise of a run with these settings is called in tables and messages, if there is any."""
        return ""

    def target_type(self, dtype: tf.DType) -> tf.DType:
        """Returns the type of the targets in a graph of floating-point type `dtype`."""
        return dtype

    def init(self, dtype: tf.DType) -> State:
        """Returns the state at step 0."""
        return {}

    def initial_weights(self, weights: tf.Tensor) -> tf.Tensor:
        """Returns the initial weights of the last layer, given those of its initialiser, [d_in + 1, n_outputs]."""
        return weights

    def score(self, state: State, outputs: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
        """Returns the gradient of E[log p(y | outputs)] with respect to outputs per example, [K, n, n_outputs].

        The expectation is over the posterior of the likelihood's own parameters, such as a noise precision.
        """
        raise NotImplementedError

    def sampled_score(self, state: State, outputs: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the `score` of targets that are drawn from the model at these outputs.

        The true Fisher is the mean of the outer products of these scores.

        Args:
          seed: int32 pair (stream, step), see misc/seeding.py.
        """
        raise NotImplementedError

    def kl(self, state: State) -> Scalar:
        """Returns the KL divergence of the likelihood's own parameters from their prior, a scalar in nats."""
        return 0.0

    def update(self, state: State, outputs: tf.Tensor, targets: tf.Tensor, temperature: Scalar, kl_weight: Scalar,
               step: tf.Tensor, held_out: Optional[HeldOut] = None) -> Tuple[State, tf.Tensor]:
        """Trains the likelihood's own parameters by one step.

        Args:
          temperature: lambda / N times the current KL scale.
          kl_weight: lambda times the current KL scale.
          step: number of the step, from 1, a float.
          held_out: rows on which the weights do not train, if `self.held_out`.

        Returns:
          (new state, E[log p] per example of `targets` under the old state, mean over particles and examples).
        """
        raise NotImplementedError

    def report(self, state: State) -> Dict[str, tf.Tensor]:
        """Returns {tag: scalar} to watch during training."""
        return {}


class RegressionLikelihood(Likelihood):
    """Base class of the likelihoods of a regression: what predictions and their noise must know of them.

    Args:
      n_outputs: number of targets, m.

    Attributes:
      dof: degrees of freedom of the noise under which the weights train; infinite: Gaussian.
      prior: prior over the noise precision, or over the common factor of precisions that the network puts out.
      log_variance_bound: where the second half of the network's outputs are log variances, the bound b of
        b tanh(r / b), which is made of an output r; None: it puts out no variances.
    """

    dof: float = np.inf
    prior = GammaPrior(0.0, 0.0)
    log_variance_bound: Optional[float] = None

    def __init__(self, config: Config, n_outputs: int) -> None:
        super().__init__(config, n_outputs)
        self.target_shape = () if n_outputs == 1 else (n_outputs,)

    def about(self, config: Config) -> str:
        """Returns what `--explain` says of the noise."""
        raise NotImplementedError

    def level(self, state: Mapping[str, np.ndarray]) -> Level:
        """Returns the distribution of the noise precision that training has fitted; state: arrays."""
        return FixedLevel(self.dof, {})

    def mean_precision(self, state: Mapping[str, np.ndarray]) -> Values:
        """Returns E[tau] under which the weights train, a number or [m]; 1 if it is an output of the network."""
        return 1.0

    def draws(self, outputs: np.ndarray, precisions: np.ndarray, dof: Values) -> Draws:
        """Returns the Draws of a network's outputs, [K or 1, n, n_outputs].

        precisions, dof: what was drawn from a Level, [K], [K, m] or [K, m, m], and its degrees of freedom.
        """
        raise NotImplementedError
