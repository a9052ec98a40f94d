"""p(y | outputs). Pure functions of a state dict; LIKELIHOODS: name -> class.

A likelihood has: n_outputs, `target_type`, `init`, `score` and `sampled_score` (d log p / d outputs
for observed and for sampled targets, per example), `kl` of its own parameters, `update`, their
training step, `held_out`, whether that goes by rows the weights do not train on, `report`, numbers to
watch, and `shown`, entries of its state that show in others if they are not finite.
"""
import collections

import numpy as np
import tensorflow.compat.v1 as tf

from core.adam import adam_step, moved
from core.metrics import student_constant

HeldOut = collections.namedtuple("HeldOut", ["outputs", "targets", "n_rows", "on"])
"""Some of the `n_rows` rows that the weights do not train on, outputs [K, b, 1] and targets [b]; on: a scalar, false
when they train, too."""


class GaussianLikelihood:
    """y ~ N(f, 1/tau), tau ~ Gamma(alpha_0, beta_0), with posterior q(tau) = Gamma(alpha, beta).

    q(tau) is independent of the weights' posterior, so every expectation over it is in
    closed form. State: `log_noise` = (log alpha, log beta), current after every step, and what
    its update (NOISE_UPDATES) keeps.
    """

    shown, dof = ("average", "mean_square"), np.inf

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
        return tf.exp(state["log_noise"][0] - state["log_noise"][1])

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

    def update(self, state, outputs, targets, temper, step, held_out=None):
        """One step of q(tau) towards the maximum of E[log p] - temper KL.

        Args:
          outputs, targets: [K, n, 1] and [n].
          temper: lambda / N.
          step: number of the step, from 1, as a float.
          held_out: HeldOut, if `self.held_out`: then q(tau) goes by their density under the mixture over draws
            instead, and stays where `on` is false.

        Returns:
          The new state, and E[log p] per example of `targets` before it, mean over particles and examples.
        """
        mean_square, log_prob = self._fit(state, tf.square(targets[None, :, None] - outputs))
        if held_out is None:
            return self._update(state, log_prob, mean_square, temper, step), log_prob
        return self._update(state, held_out, self.precision(state), step), log_prob

    def _fit(self, state, squares):
        """(E[(y - f)^2], E[log p]), scalars: means over the squares [K, n, 1]."""
        mean_square = tf.reduce_mean(squares)
        return mean_square, expected_log_prob(state["log_noise"], mean_square)

    def report(self, state):
        return {"kl/noise_precision": self.kl(state), "train/noise_precision": self.precision(state)}

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


class AdamNoise:
    """One Adam step of (log alpha, log beta) with step size `learning_rate`, from the prior, as published."""

    def __init__(self, likelihood, config):
        self._kl, self._learning_rate = likelihood.kl_of, config.learning_rate
        self._start = np.log([likelihood.shape, likelihood.rate])

    def init(self, dtype):
        return {"log_noise": tf.constant(self._start, dtype), "average": tf.zeros([2], dtype),
                "square": tf.zeros([2], dtype)}

    def __call__(self, state, log_prob, mean_square, temper, step):
        log_noise = state["log_noise"]
        grad = tf.gradients(log_prob - temper * self._kl(log_noise), log_noise)[0]
        direction, average, square = adam_step(grad, state["average"], state["square"], step)
        return {"log_noise": log_noise + self._learning_rate * direction, "average": average, "square": square}


class ConjugateNoise:
    """The maximum itself, Gamma(alpha_0 + 1 / (2 temper), beta_0 + m / (2 temper)); of Student's t, that given q(u).

    m: moving average of E[(y - f)^2] (Student's t: of E[u] times that), which weighs a step by `learning_rate` and
    begins as a plain average. So the noise level starts at that of the untrained network and comes down no faster
    than the residuals do. (Before the first step it is that of one row with the squared error 1: under a weak prior
    its mean would mean nothing.)
    """

    def __init__(self, likelihood, config):
        self._shape, self._rate, self._learning_rate = likelihood.shape, likelihood.rate, config.learning_rate

    def init(self, dtype):
        return {"log_noise": self._posterior(tf.ones([], dtype), 0.5), "mean_square": tf.ones([], dtype)}

    def __call__(self, state, log_prob, mean_square, temper, step):
        average = moved(state["mean_square"], mean_square, tf.maximum(1.0 / step, self._learning_rate))
        return {"log_noise": self._posterior(average, 0.5 / temper), "mean_square": average}

    def _posterior(self, average, half_count):
        """(log alpha, log beta) after 2 half_count rows with that mean square."""
        shape = tf.convert_to_tensor(self._shape + half_count, average.dtype)
        return tf.log(tf.stack([shape, self._rate + half_count * average]))


class HeldOutNoise(ConjugateNoise):
    """The same for m rows that the weights do not train on: Gamma(alpha_0 + m / 2, beta_0 + m v / 2).

    v: average of `mixture_squared_error` that weighs step n by 16 / (n + 15), as polynomial-decay averaging does
    (Shamir and Zhang 2013): 95 % of it are the last sixth of the steps, whatever their number; with the default
    periods, those after the step sizes have decayed.
    """

    def __init__(self, likelihood, config):
        super().__init__(likelihood, config)
        self._dof = likelihood.dof

    def __call__(self, state, held_out, precision, step):
        error = mixture_squared_error(held_out.outputs, held_out.targets, precision, self._dof)
        average = moved(state["mean_square"], error, 16.0 / (step + 15.0))
        new = {"log_noise": self._posterior(average, 0.5 * held_out.n_rows), "mean_square": average}
        return {name: tf.where(held_out.on, value, state[name]) for name, value in new.items()}


NOISE_UPDATES = {"adam": AdamNoise, "conjugate": ConjugateNoise, "held_out": HeldOutNoise}


class Categorical:
    """y ~ softmax(outputs), `n_outputs` classes. It has no parameters of its own."""

    shown, held_out = (), False

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

    def update(self, state, outputs, targets, temper, step, held_out=None):
        """Nothing to train; log p per example, mean over particles and examples."""
        log_prob = tf.reduce_sum(tf.one_hot(targets, self.n_outputs, dtype=outputs.dtype)
                                 * tf.nn.log_softmax(outputs), axis=-1)
        return state, tf.reduce_mean(log_prob)


def mixture_squared_error(outputs, targets, precision, dof=np.inf):
    """mean_i sum_k w_ik (y_i - f_ik)^2 with w_ik proportional to N(y_i; f_ik, 1 / precision), sum_k w_ik = 1.

    The noise variance after an EM step for the mixture over draws, prod_i mean_k N(y_i; f_ik, 1 / precision): what
    the draws' spread explains already is not counted again. With a finite `dof`, N is Student's t and the squares count
    as E[u_ik]. [K, n, 1], [n] -> a scalar.
    """
    squares = tf.square(targets[None, :, None] - outputs)
    scaled, counted = precision * squares, squares
    log_density = -0.5 * scaled
    if np.isfinite(dof):
        log_density, counted = student_kernel(scaled, dof), student_weight(scaled, dof) * squares
    return tf.reduce_mean(tf.reduce_sum(tf.nn.softmax(log_density, axis=0) * counted, axis=0))


def student_weight(scaled, dof):
    """E[u | y], u the row's factor of the precision, for the scaled squares tau (y - f)^2; elementwise."""
    return (dof + 1.0) / (dof + scaled)


def student_kernel(scaled, dof):
    """log t_nu up to what does not depend on the scaled squares; elementwise."""
    return -0.5 * (dof + 1.0) * tf.log1p(scaled / dof)


def student_log_prob(log_noise, squares, dof):
    """max over q(u) of E_tau,u[log N(y; f, 1 / (tau u))] - KL(q(u) || p(u)), for tau ~ Gamma(alpha, beta); elementwise.

    = log t_nu(y - f) at the precision alpha / beta, with E[log tau] for the log of it
    """
    log_alpha, log_beta = log_noise[0], log_noise[1]
    mean_log_tau = tf.digamma(tf.exp(log_alpha)) - log_beta
    return student_constant(dof) + 0.5 * mean_log_tau + student_kernel(tf.exp(log_alpha - log_beta) * squares, dof)


def expected_log_prob(log_noise, mean_square):
    """E_tau[log N(y; f, 1/tau)] for tau ~ Gamma(alpha, beta), given the mean of (y - f)^2; a scalar.

    = 1/2 [ psi(alpha) - log beta - log 2 pi - (alpha / beta) mean (y - f)^2 ]
    """
    log_alpha, log_beta = log_noise[0], log_noise[1]
    mean_log_tau = tf.digamma(tf.exp(log_alpha)) - log_beta
    return 0.5 * (mean_log_tau - np.log(2.0 * np.pi) - tf.exp(log_alpha - log_beta) * mean_square)


def kl_gamma(alpha, beta, alpha_0, beta_0):
    """KL(Gamma(alpha, beta) || Gamma(alpha_0, beta_0)), shape and rate.

    = (alpha - alpha_0) psi(alpha) - log G(alpha) + log G(alpha_0)
      + alpha_0 (log beta - log beta_0) + alpha (beta_0 - beta) / beta
    """
    alpha_0, beta_0 = tf.constant(alpha_0, alpha.dtype), tf.constant(beta_0, alpha.dtype)
    return (
        (alpha - alpha_0) * tf.digamma(alpha) - tf.lgamma(alpha) + tf.lgamma(alpha_0)
        + alpha_0 * (tf.log(beta) - tf.log(beta_0)) + alpha * (beta_0 - beta) / beta
    )


LIKELIHOODS = {"gaussian": GaussianLikelihood, "student_t": StudentTLikelihood, "categorical": Categorical}
