"""Slow, obvious numpy versions of the formulas in core/: loops and dense matrices, float64."""
import numpy as np


def per_example_gradients(a, ds):
    """All outer products: a [K, n, i], ds [K, n, j] -> [K * n, i * j], vec row-major."""
    return np.array([np.outer(a[k, e], ds[k, e]).ravel() for k in range(len(ds)) for e in range(ds.shape[1])])


def dense_fisher(a, ds):
    """E[vec(g) vec(g)^T] over particles and examples: [i * j, i * j]."""
    rows = per_example_gradients(a, ds)
    return sum(np.outer(row, row) for row in rows) / len(rows)


def damping_split(a_cov, s_cov, damping):
    pi = np.sqrt((np.trace(a_cov) / len(a_cov)) / (np.trace(s_cov) / len(s_cov)))
    return pi * np.sqrt(damping), np.sqrt(damping) / pi


def damped_kron(a_cov, s_cov, damping):
    """kron(A + d_a I, S + d_s I)."""
    d_a, d_s = damping_split(a_cov, s_cov, damping)
    return np.kron(a_cov + d_a * np.eye(len(a_cov)), s_cov + d_s * np.eye(len(s_cov)))


def gaussian_kl(mean, covariance, prior_var):
    """KL(N(mean, covariance) || N(0, prior_var I)) with dense matrices."""
    d = len(mean)
    return 0.5 * (np.trace(covariance) / prior_var + mean @ mean / prior_var - d
                  + d * np.log(prior_var) - np.linalg.slogdet(covariance)[1])


def random_cov(rng, d, n=None):
    root = rng.randn(n or d + 2, d)
    return root.T @ root / len(root)


def with_one(rng, *shape):
    """Random inputs with a last column of ones."""
    a = rng.randn(*shape)
    a[..., -1] = 1.0
    return a
