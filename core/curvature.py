"""Curvature families: what shapes the step, and the posterior that follows from it.

Each is pure: hyper-parameters in the constructor, everything that moves in a state dict of
tensors, and in this order `init` (state at step 0), `update` (state after a minibatch),
`posterior` (state -> q(W)), `precondition` (gradient -> step), `report` (numbers to watch).
`updates` names what a schedule may ask of `update`; the periods are in core/schedule.py.
"""
import collections

import tensorflow.compat.v1 as tf

from core.adam import adam_step, moved_square, root
from core.gaussian import damped_values, eigen_scale, noisy_kfac_roots
from core.linalg import eigh, factored_damping, project, rotate
from core.posterior import EigenMatrixNormal, FullyFactorized, MatrixNormal, PointMass

Batch = collections.namedtuple("Batch", ["a", "ds", "ds_fisher", "noise", "grad", "stats"])
"""One layer's minibatch at the drawn weights.

a, ds: inputs and gradients of log p, see core/factors.py; ds_fisher: the same for the targets
that define the Fisher; noise: [K, d_in + 1, d_out], drawn weights minus their mean; grad:
[d_in + 1, d_out], the mean's gradient, prior included; stats: the layer kind's statistics.
"""

Rates = collections.namedtuple("Rates", ["mean", "cov", "scale", "step"])
"""Scalars of one step: step size of the mean, 1 - decay of the moving averages of A and S (or
f) and of R, and the step's number from 1, all as the graph's floats."""


def moved(average, value, rate):
    """A moving average after one more value: (1 - rate) average + rate value."""
    return average + rate * (value - average)


class Identity:
    """No curvature: plain gradient ascent (with the optimizer's momentum)."""

    updates = ()
    needs_factors = False

    def __init__(self, prior, config):
        self._prior = prior

    def init(self, shape, dtype):
        return {}

    def update(self, state, batch, rates, due):
        return state

    def posterior(self, mean, state):
        return PointMass(mean)

    def precondition(self, grad, state):
        return grad

    def report(self, state):
        return {}


class Adam(Identity):
    """Adam's second moment of the minibatch gradient; its first is the optimizer's momentum."""

    def init(self, shape, dtype):
        return {"square": tf.zeros(shape, dtype), "root": tf.ones(shape, dtype)}

    def update(self, state, batch, rates, due):
        square = moved_square(state["square"], batch.grad)
        return {"square": square, "root": root(square, rates.step)}

    def precondition(self, grad, state):
        return grad / state["root"]


class MeanField(Adam):
    """Bayes by backprop: mean and log std of a fully factorised Gaussian, both by Adam.

    d ELBO / d log std = std E[g eps] - (lambda / N) (std^2 / eta - 1), with g the gradient of
    log p at w = mean + std eps.

    Reference: Blundell et al. (2015), Sec. 3.2, https://arxiv.org/abs/1505.05424
    """

    _initial_log_std = -3.0

    def init(self, shape, dtype):
        state = super().init(shape, dtype)
        state["log_std"] = tf.fill(shape, tf.constant(self._initial_log_std, dtype))
        state.update(std_average=tf.zeros(shape, dtype), std_square=tf.zeros(shape, dtype))
        return state

    def update(self, state, batch, rates, due):
        likelihood_part = tf.reduce_mean(batch.stats.particle_gradients(batch.a, batch.ds) * batch.noise, axis=0)
        variance = tf.exp(2.0 * state["log_std"])
        grad = likelihood_part - self._prior.temper * (variance / self._prior.prior_var - 1.0)
        direction, average, square = adam_step(grad, state["std_average"], state["std_square"], rates.step)
        new = super().update(state, batch, rates, due)
        new.update(log_std=state["log_std"] + rates.mean * direction, std_average=average, std_square=square)
        return new

    def posterior(self, mean, state):
        return FullyFactorized(mean, tf.exp(2.0 * state["log_std"]))


class Diagonal:
    """Noisy Adam: f, the diagonal of the Fisher.

    q: w ~ N(mean, (lambda / N) / (f + gamma_in)); step: grad / (f + gamma_in + gamma_ex).

    Reference: Zhang et al. (2018), Sec. 3.1, https://arxiv.org/abs/1712.02390
    """

    updates = ("cov",)
    needs_factors = False

    def __init__(self, prior, config):
        self._prior, self._damping = prior, config.damping

    def init(self, shape, dtype):
        return {"fisher": tf.ones(shape, dtype)}

    def update(self, state, batch, rates, due):
        if "cov" not in due:
            return state
        return {"fisher": moved(state["fisher"], batch.stats.squared_gradient(batch.a, batch.ds_fisher), rates.cov)}

    def posterior(self, mean, state):
        return FullyFactorized(mean, self._prior.temper / (state["fisher"] + self._prior.damping))

    def precondition(self, grad, state):
        return grad / (state["fisher"] + (self._prior.damping + self._damping))

    def report(self, state):
        return {"fisher_mean": tf.reduce_mean(state["fisher"])}


class Kronecker:
    """Noisy K-FAC: the factors A and S, and the inverse Cholesky roots of their damped forms.

    Current after every step in which they are due: a_cov, s_cov. Stale by design: the roots,
    until "inverse" is due. With gamma_ex = 0 posterior and step share one pair of roots.

    Reference: Zhang et al. (2018), Sec. 3.3, https://arxiv.org/abs/1712.02390
    """

    updates = ("cov", "inverse")
    needs_factors = True

    def __init__(self, prior, config):
        self._prior, self._damping = prior, config.damping

    def init(self, shape, dtype):
        a_cov, s_cov = (tf.eye(dim, dtype=dtype) for dim in shape)
        return dict(a_cov=a_cov, s_cov=s_cov, **self._roots(a_cov, s_cov))

    def update(self, state, batch, rates, due):
        new = dict(state)
        if "cov" in due:
            new.update(moved_factors(state, batch, rates))
        if "inverse" in due:
            new.update(self._roots(new["a_cov"], new["s_cov"]))
        return new

    def posterior(self, mean, state):
        return MatrixNormal(mean, state["root_a"], state["root_s"], self._prior.temper)

    def precondition(self, grad, state):
        """A_g^-1 grad S_g^-1 with g = gamma_in + gamma_ex."""
        prefix = "step_" if self._damping else ""
        root_a, root_s = state[prefix + "root_a"], state[prefix + "root_s"]
        whitened = tf.matmul(root_a, tf.matmul(grad, root_s, transpose_b=True))
        return tf.matmul(root_a, tf.matmul(whitened, root_s), transpose_a=True)

    def report(self, state):
        values = [tf.linalg.eigvalsh(state[name]) for name in ("a_cov", "s_cov")]
        return factor_report(state, values[0], values[1], self._prior.damping)

    def _roots(self, a_cov, s_cov):
        root_a, root_s = noisy_kfac_roots(a_cov, s_cov, self._prior.damping)
        roots = {"root_a": root_a, "root_s": root_s}
        if self._damping:
            root_a, root_s = noisy_kfac_roots(a_cov, s_cov, self._prior.damping + self._damping)
            roots.update(step_root_a=root_a, step_root_s=root_s)
        return roots


class EigenKronecker:
    """Noisy EK-FAC: A and S, their eigenbases and eigenvalues, and R, the Fisher's diagonal there.

    Current after every step in which they are due: a_cov, s_cov, scale (R). Stale by design:
    q_a, values_a, q_s, values_s, until "basis" is due. R always belongs to the basis that it
    is stored with: when the basis changes, R is set anew from the eigenvalues of the same
    factors (kfac_init_after_basis) or carried over into the new basis.

    Reference: Bae et al. (2018), Sec. 3, https://arxiv.org/abs/1811.12565
    """

    updates = ("cov", "basis", "reinit", "scale")
    needs_factors = True

    def __init__(self, prior, config):
        self._prior, self._damping = prior, config.damping
        self._init_damping = {"damped": prior.damping, "exact": None}[config.scale_init]
        self._reset_with_basis = config.kfac_init_after_basis

    def init(self, shape, dtype):
        state = {"a_cov": tf.eye(shape[0], dtype=dtype), "s_cov": tf.eye(shape[1], dtype=dtype),
                 "q_a": tf.eye(shape[0], dtype=dtype), "q_s": tf.eye(shape[1], dtype=dtype),
                 "values_a": tf.ones(shape[:1], dtype), "values_s": tf.ones(shape[1:], dtype)}
        state["scale"] = self._initial_scale(state)
        return state

    def update(self, state, batch, rates, due):
        new = dict(state)
        if "cov" in due:
            new.update(moved_factors(state, batch, rates))
        if "basis" in due:
            new["values_a"], new["q_a"] = eigh(new["a_cov"])
            new["values_s"], new["q_s"] = eigh(new["s_cov"])
            new["scale"] = self._initial_scale(new) if self._reset_with_basis else carry_scale(state, new)
        if "reinit" in due:
            new["scale"] = self._initial_scale(new)
        if "scale" in due:
            value = batch.stats.eigenbasis_scale(batch.a, batch.ds_fisher, new["q_a"], new["q_s"])
            new["scale"] = moved(new["scale"], value, rates.scale)
        return new

    def posterior(self, mean, state):
        variance = self._prior.temper / (state["scale"] + self._prior.damping)
        return EigenMatrixNormal(mean, state["q_a"], state["q_s"], variance)

    def precondition(self, grad, state):
        """Q_A [ (Q_A^T grad Q_S) / (R + gamma_in + gamma_ex) ] Q_S^T."""
        q_a, q_s = state["q_a"], state["q_s"]
        damped = state["scale"] + (self._prior.damping + self._damping)
        return rotate(project(grad, q_a, q_s) / damped, q_a, q_s)

    def report(self, state):
        return factor_report(state, state["values_a"], state["values_s"], self._prior.damping)

    def _initial_scale(self, state):
        values_a, values_s = state["values_a"], state["values_s"]
        if self._init_damping is not None:
            values_a, values_s = damped_values(values_a, values_s, self._init_damping)
        return eigen_scale(values_a, values_s)


def carry_scale(old, new):
    """The diagonal, in a new eigenbasis, of the curvature that `scale` describes in the old one."""
    turn_a = tf.matmul(new["q_a"], old["q_a"], transpose_a=True)
    turn_s = tf.matmul(new["q_s"], old["q_s"], transpose_a=True)
    return rotate(old["scale"], tf.square(turn_a), tf.square(turn_s))


def moved_factors(state, batch, rates):
    """Moving averages of A and S after one more minibatch."""
    a_cov, s_cov = batch.stats.second_moments(batch.a, batch.ds_fisher)
    return {"a_cov": moved(state["a_cov"], a_cov, rates.cov), "s_cov": moved(state["s_cov"], s_cov, rates.cov)}


def factor_report(state, values_a, values_s, damping):
    """Traces, damping split and damped condition numbers of A and S."""
    d_a, d_s = factored_damping(state["a_cov"], state["s_cov"], damping)
    report = {"trace_a": tf.linalg.trace(state["a_cov"]), "trace_s": tf.linalg.trace(state["s_cov"]),
              "damping_a": d_a, "damping_s": d_s}
    for name, values, extra in (("condition_a", values_a, d_a), ("condition_s", values_s, d_s)):
        report[name] = (values[-1] + extra) / (tf.maximum(values[0], 0.0) + extra)
    return report
