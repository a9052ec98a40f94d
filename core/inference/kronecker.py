"""The curvature families with Kronecker factors: noisy K-FAC and noisy EK-FAC. As in core/inference/families.py."""
import contextlib
import functools

import tensorflow.compat.v1 as tf

from core.inference.adam import ema as moved
from core.inference.families import OF_FISHER, Family
from core.inference.gaussian import damped_values, eigen_scale, noisy_kfac_roots
from core.inference.linalg import diagonal_in, eigvalsh, factored_damping, off_diagonal_share, project, rotate
from core.inference.posteriors import EigenMatrixNormal, MatrixNormal
from core.inference.solvers import PLAIN

OF_FACTORS = (*OF_FISHER, "curvature_device", "max_factor_dim", "large_layers")
"""Keys that both families read."""


class Kronecker(Family):
    """Noisy K-FAC: the factors A and S, and the inverse Cholesky roots of their damped forms.

    Current after every step in which they are due: a_cov, s_cov. Stale by design: the roots and
    inverses, until "inverse" is due. With gamma_ex = 0 the posterior's roots serve the step too.

    Reference: Zhang et al. (2018), Sec. 3.3, https://arxiv.org/abs/1712.02390
    """

    updates, reads = ("cov", "inverse"), (*OF_FACTORS, "TInv")
    needs_factors = True

    def init(self, shape, dtype):
        a_cov, s_cov = (tf.eye(dim, dtype=dtype) for dim in shape)
        return dict(a_cov=a_cov, s_cov=s_cov, **self._roots(PLAIN, a_cov, s_cov, {}))

    def update(self, state, batch, rates, due):
        new = dict(state)
        if "cov" in due:
            new.update(moved_factors(state, batch, rates))
        if "inverse" in due:
            with refresh_device(self._config):
                new.update(self._roots(self._solver, new["a_cov"], new["s_cov"], state))
        return new

    def covered_by_mean_check(self, new):
        kind = "step_inverse_" if self._config.damping else "root_"  # what `precondition` reads
        used = {name for name in new if name.startswith(kind)}
        return super().covered_by_mean_check(new) | used | ({"a_cov", "s_cov"} if used else set())

    def posterior(self, mean, state, temperature):
        return MatrixNormal(mean, state["root_a"], state["root_s"], temperature)

    def precondition(self, grad, state):
        """A_g^-1 grad S_g^-1 with g = gamma_in + gamma_ex."""
        if self._config.damping:
            return tf.matmul(state["step_inverse_a"], tf.matmul(grad, state["step_inverse_s"]))
        root_a, root_s = state["root_a"], state["root_s"]
        whitened = tf.matmul(root_a, tf.matmul(grad, root_s, transpose_b=True))
        return tf.matmul(root_a, tf.matmul(whitened, root_s), transpose_a=True)

    def report(self, state):
        values = [eigvalsh(state[name]) for name in ("a_cov", "s_cov")]
        return factor_report(state, values[0], values[1], self._prior.damping)

    def _roots(self, solver, a_cov, s_cov, last):
        kinds = [("root_", solver.root, self._prior.damping)]
        if self._config.damping:
            kinds.append(("step_inverse_", solver.inverse, self._step_damping))
        found = {}
        for kind, solve, damping in kinds:
            solves = [functools.partial(solve, name.upper(), last=last.get(kind + name)) for name in "as"]
            found.update(zip((kind + "a", kind + "s"), noisy_kfac_roots(a_cov, s_cov, damping, solves)))
        return found


BASIS = ("q_a", "values_a", "q_s", "values_s")


class EigenKronecker(Family):
    """Noisy EK-FAC: A and S, their eigenbases and eigenvalues, and R, the Fisher's diagonal there.

    Current after every step in which they are due: a_cov, s_cov, scale (R). Stale by design:
    q_a, values_a, q_s, values_s, until "basis" is due. R always belongs to the basis that it
    is stored with: when the basis changes, R is set anew from the eigenvalues of the same
    factors (kfac_init_after_basis) or carried over into the new basis, except for the first one.
    With basis_tolerance a basis that still nearly diagonalises its factors stays, and R with it;
    `refreshed` and `kept` count. Mean and momentum are kept in the eigenbasis: a step projects the
    gradient and rotates the drawn weights, and nothing else.

    Reference: Bae et al. (2018), Sec. 3, https://arxiv.org/abs/1811.12565
    """

    updates = ("cov", "basis", "reinit", "scale")
    reads = (*OF_FACTORS, "basis_update", "basis_tolerance", "scale_init", "kfac_init_after_basis", "omega",
             "amor_eigen", "Teigen", "re_init", "re_init_iters", "TEigen", "TScale", "scale_ema_decay")
    needs_factors = True

    def init(self, shape, dtype):
        state = {"a_cov": tf.eye(shape[0], dtype=dtype), "s_cov": tf.eye(shape[1], dtype=dtype),
                 "q_a": tf.eye(shape[0], dtype=dtype), "q_s": tf.eye(shape[1], dtype=dtype),
                 "values_a": tf.ones(shape[:1], dtype), "values_s": tf.ones(shape[1:], dtype)}
        state["scale"] = self._initial_scale(state)
        return dict(state, refreshed=tf.zeros([], dtype), kept=tf.zeros([], dtype))

    def update(self, state, batch, rates, due):
        new = dict(state)
        if "cov" in due:
            new.update(moved_factors(state, batch, rates))
        if "basis" in due:
            with refresh_device(self._config):
                new.update(self._tolerant_refresh(state, new))
        if "reinit" in due:
            new["scale"] = self._initial_scale(new)
        if "scale" in due:
            value = batch.stats.eigenbasis_scale(batch.a, batch.ds_fisher, q_a=new["q_a"], q_s=new["q_s"])
            new["scale"] = moved(new["scale"], value, rates.scale)
        return new

    def posterior(self, mean, state, temperature):
        variance = temperature / (state["scale"] + self._prior.damping)
        return EigenMatrixNormal(mean, state["q_a"], state["q_s"], variance)

    def weights(self, mean, state):
        """Q_A mean Q_S^T."""
        return rotate(mean, state["q_a"], state["q_s"])

    def project(self, grad, state):
        """Q_A^T grad Q_S."""
        return project(grad, state["q_a"], state["q_s"])

    def turn(self, tensor, old, new):
        if new["q_a"] is old["q_a"]:
            return tensor
        return self.project(self.weights(tensor, old), new)

    def precondition(self, grad, state):
        """grad / (R + gamma_in + gamma_ex), all in the eigenbasis."""
        return grad / (state["scale"] + self._step_damping)

    def report(self, state):
        report = factor_report(state, state["values_a"], state["values_s"], self._prior.damping)
        return dict(report, refreshed=state["refreshed"], kept=state["kept"])

    def _tolerant_refresh(self, old, new):
        """The refreshed basis and R, or the old ones (with their eigenvalues now) while they are good enough."""
        if not self._config.basis_tolerance:
            return dict(self._refresh(old, new), refreshed=old["refreshed"] + 1.0)
        worst = tf.maximum(off_diagonal_share(new["a_cov"], old["q_a"]), off_diagonal_share(new["s_cov"], old["q_s"]))
        keep = tf.logical_and(worst < self._config.basis_tolerance, old["refreshed"] > 0.0)
        names = (*BASIS, "scale")

        def values(state):
            return [tf.identity(state[name]) for name in names]

        def kept():
            return dict(old, values_a=diagonal_in(new["a_cov"], old["q_a"]),
                        values_s=diagonal_in(new["s_cov"], old["q_s"]))

        chosen = tf.cond(keep, lambda: values(kept()), lambda: values(self._refresh(old, new)))
        count = tf.cast(keep, old["kept"].dtype)
        return dict(zip(names, chosen), kept=old["kept"] + count, refreshed=old["refreshed"] + 1.0 - count)

    def _refresh(self, old, new):
        update = self._solver.bases[self._config.basis_update]
        basis = {}
        for name in "as":
            basis["values_" + name], basis["q_" + name] = update(name.upper(), new[name + "_cov"], old["q_" + name])
        anew = self._initial_scale(basis)
        if self._config.kfac_init_after_basis:
            return dict(basis, scale=anew)
        return dict(basis, scale=tf.cond(old["refreshed"] > 0.0, lambda: carry_scale(old, basis), lambda: anew))

    def _initial_scale(self, state):
        values_a, values_s = state["values_a"], state["values_s"]
        if self._config.scale_init == "damped":
            values_a, values_s = damped_values(values_a, values_s, self._prior.damping)
        return eigen_scale(values_a, values_s)


# config's `curvature_device` -> where inverses and eigenbases are made; None: where everything else is.
REFRESH_DEVICES = {"auto": None, "cpu": "/device:CPU:0", "gpu": "/device:GPU:0"}


def refresh_device(config):
    """The device scope of a refresh."""
    device = REFRESH_DEVICES[config.curvature_device]
    return tf.device(device) if device else contextlib.nullcontext()


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
        report[name] = (tf.reduce_max(values) + extra) / (tf.maximum(tf.reduce_min(values), 0.0) + extra)
    return report
