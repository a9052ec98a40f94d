"""p(y | outputs). Pure functions of a state dict; LIKELIHOODS: name -> class.

A likelihood has: n_outputs, `target_type`, `init`, `score` and `sampled_score` (d log p / d outputs
for observed and for sampled targets, per example), `kl` of its own parameters, `update`, their
training step, `held_out`, whether that goes by rows the weights do not train on, `report`, numbers to
watch, and `covered_by_mean_check`, entries of its state that need no check for non-finite values.
"""
import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.noise_precision import (
    NOISE_UPDATES,
    Seen,
    expected_log_prob,
    kl_gamma,
    precision_of,
    predictive_noise,
    student_log_prob,
    student_weight,
)


class GaussianLikelihood:
    """y ~ N(f, 1/tau), tau ~ Gamma(alpha_0, beta_0), with posterior q(tau) = Gamma(alpha, beta).

    q(tau) is independent of the weights' posterior, so every expectation over it is in
    closed form. State: `log_noise` = (log alpha, log beta), current after every step, and what
    its update (NOISE_UPDATES, core/inference/noise_precision.py) keeps.
    """

    covered_by_mean_check, dof = ("average", "mean_square", "predictive_mean_square"), np.inf

    def __init__(self, config, n_outputs):
        self.n_outputs = n_outputs
        self.shape, self.rate = config.noise_prior_shape, config.noise_prior_rate
        self._update = NOISE_UPDATES[config.noise_update](self, config)
        self.held_out = config.holds_out

    def target_type(self, dtype):
        return dtype

    def init(self, dtype):
        """The state at step 0."""
        return self._update.init(dtype)

    def precision(self, state):
        """E[tau] = alpha / beta."""
        return precision_of(state["log_noise"])

    def score(self, state, outputs, targets):
        """E_tau[d log p / d f] = E[tau] (y - f). outputs: [K, n, 1]; targets: [n]."""
        return self.precision(state) * (targets[None, :, None] - outputs)

    def sampled_score(self, state, outputs, seed):
        """The same for targets drawn from N(f, 1 / E[tau]): E[tau]^(1/2) times standard normal noise."""
        noise = tf.random.stateless_normal(tf.shape(outputs), seed=seed, dtype=outputs.dtype)
        return tf.sqrt(self.precision(state)) * noise

    def kl(self, state):
        """KL(q(tau) || prior), a scalar."""
        return self.kl_of(state["log_noise"])

    def update(self, state, outputs, targets, temperature, kl_weight, step, held_out=None):
        """One step of q(tau) towards the maximum of E[log p] - (lambda / N) KL.

        Args:
          outputs, targets: [K, n, 1] and [n].
          temperature, kl_weight: lambda / N and lambda, both times the current KL scale.
          step: number of the step, from 1, as a float.
          held_out: HeldOut, if `self.held_out`: then q(tau) goes by their density under the mixture over draws
            instead, and stays where `on` is false.

        Returns:
          The new state, and E[log p] per example of `targets` before it, mean over particles and examples.
        """
        mean_square, log_prob = self._fit(state, tf.square(targets[None, :, None] - outputs))
        seen = Seen(outputs, targets, log_prob, mean_square, temperature, kl_weight, step)
        return self._update(state, seen, held_out), log_prob

    def _fit(self, state, squares):
        """(E[(y - f)^2], E[log p]), scalars: means over the squares [K, n, 1]."""
        mean_square = tf.reduce_mean(squares)
        return mean_square, expected_log_prob(state["log_noise"], mean_square)

    def report(self, state):
        found = {"kl/noise_precision": self.kl(state), "train/noise_precision": self.precision(state)}
        if predictive_noise(state) is not state["log_noise"]:
            found["train/predictive_noise_precision"] = precision_of(predictive_noise(state))
        return found

    def kl_of(self, log_noise):
        """KL(q(tau) || prior) for (log alpha, log beta)."""
        return kl_gamma(tf.exp(log_noise[0]), tf.exp(log_noise[1]), self.shape, self.rate)


class StudentTLikelihood(GaussianLikelihood):
    """y ~ f + tau^(-1/2) t_nu: a Gaussian whose precision is tau u_i, u_i ~ Gamma(nu / 2, nu / 2), in every row.

    q(u_i) is the best for every row and draw, given q(tau), so all is in closed form again; what stands for E[log p]
    here, and is reported as that, is the bound on E_tau[log p] with this q(u). A row counts as
    E[u] = (nu + 1) / (nu + E[tau] (y - f)^2), one far off less than the others, in the mean's step and in the noise
    level alike. So a noise level far below the first errors (noise_update adam begins at the prior's) holds the
    mean back: there every row is far off.

    Reference: Lange, Little and Taylor (1989), Robust statistical modeling using the t distribution: Sec. 2 the
    model, Sec. 3 the weights and the information (nu + 1) / (nu + 3)
    """

    def __init__(self, config, n_outputs):
        self.dof = config.noise_dof
        super().__init__(config, n_outputs)

    def score(self, state, outputs, targets):
        """d E[log p] / d f = E[tau] E[u] (y - f). outputs: [K, n, 1]; targets: [n]."""
        residual = targets[None, :, None] - outputs
        weight = student_weight(self.precision(state) * tf.square(residual), self.dof)
        return self.precision(state) * weight * residual

    def sampled_score(self, state, outputs, seed):
        """Normal noise of the variance of the score of targets drawn from the model, E[tau] (nu + 1) / (nu + 3).

        Only that variance, the Fisher of an output, enters a curvature.
        """
        return ((self.dof + 1.0) / (self.dof + 3.0))**0.5 * super().sampled_score(state, outputs, seed)

    def _fit(self, state, squares):
        """(E[E[u] (y - f)^2], E[log p]), scalars."""
        weighted = student_weight(self.precision(state) * squares, self.dof) * squares
        return tf.reduce_mean(weighted), tf.reduce_mean(student_log_prob(state["log_noise"], squares, self.dof))


class Categorical:
    """y ~ softmax(outputs), `n_outputs` classes. It has no parameters of its own."""

    covered_by_mean_check, held_out = (), False

    def __init__(self, config, n_outputs):
        self.n_outputs = n_outputs

    def target_type(self, dtype):
        return tf.int32

    def init(self, dtype):
        return {}

    def score(self, state, outputs, targets):
        """d log p / d outputs = [c = y] - p_c. outputs: [K, n, C]; targets: [n] ints."""
        return tf.one_hot(targets, self.n_outputs, dtype=outputs.dtype) - tf.nn.softmax(outputs)

    def sampled_score(self, state, outputs, seed):
        """The same for labels drawn from softmax(outputs), by the Gumbel-max trick; one per particle and example."""
        tiny = np.finfo(outputs.dtype.as_numpy_dtype).tiny
        uniform = tf.random.stateless_uniform(tf.shape(outputs), seed=seed, minval=tiny, dtype=outputs.dtype)
        labels = tf.argmax(outputs - tf.log(-tf.log(uniform)), axis=-1, output_type=tf.int32)
        return tf.one_hot(labels, self.n_outputs, dtype=outputs.dtype) - tf.nn.softmax(outputs)

    def kl(self, state):
        return 0.0

    def report(self, state):
        return {}

    def update(self, state, outputs, targets, temperature, kl_weight, step, held_out=None):
        """Nothing to train; log p per example, mean over particles and examples."""
        log_prob = tf.reduce_sum(tf.one_hot(targets, self.n_outputs, dtype=outputs.dtype)
                                 * tf.nn.log_softmax(outputs), axis=-1)
        return state, tf.reduce_mean(log_prob)


LIKELIHOODS = {"gaussian": GaussianLikelihood, "student_t": StudentTLikelihood, "categorical": Categorical}
