"""Curvature statistics against per-example loops, cases in which K-FAC is exact, and a guarantee of EK-FAC."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf
from numpy.testing import assert_allclose

from core.inference import factors
from tests import reference

K, N, I, J = 3, 5, 4, 2


@pytest.fixture(params=["own inputs", "shared inputs"])
def batch(request, rng):
    """(a, ds, a repeated for every particle); the first layer's inputs are shared by all particles."""
    shared = request.param == "shared inputs"
    a, ds = reference.with_one(rng, 1 if shared else K, N, I), rng.randn(K, N, J)
    return a, ds, np.broadcast_to(a, (K, N, I))


def run(session, function, *arrays):
    return session.run(function(*[tf.constant(array) for array in arrays]))


def test_gradients(session, batch):
    a, ds, a_full = batch
    rows = reference.per_example_gradients(a_full, ds)
    assert_allclose(run(session, factors.gradient, a, ds).ravel(), rows.mean(axis=0), rtol=1e-10, atol=1e-14)
    per_particle = rows.reshape(K, N, -1).mean(axis=1)
    assert_allclose(run(session, factors.particle_gradients, a, ds).reshape(K, -1), per_particle, rtol=1e-10)


def test_second_moments(session, batch):
    a, ds, a_full = batch
    a_cov, s_cov = run(session, factors.second_moments, a, ds)
    assert_allclose(a_cov, np.mean([np.outer(r, r) for r in a_full.reshape(-1, I)], axis=0), rtol=1e-10)
    assert_allclose(s_cov, np.mean([np.outer(r, r) for r in ds.reshape(-1, J)], axis=0), rtol=1e-10)


def test_squared_gradient_is_the_fisher_diagonal(session, batch):
    a, ds, a_full = batch
    diagonal = np.diag(reference.dense_fisher(a_full, ds))
    assert_allclose(run(session, factors.squared_gradient, a, ds).ravel(), diagonal, rtol=1e-10)


def bases(a, ds):
    """Dense A, S and their eigenbases."""
    covs = [np.mean([np.outer(r, r) for r in t.reshape(-1, t.shape[-1])], axis=0) for t in (a, ds)]
    return covs + [np.linalg.eigh(cov)[1] for cov in covs]


def test_scale_is_the_exact_diagonal_in_its_basis(session, batch):
    a, ds, a_full = batch
    _, _, q_a, q_s = bases(a_full, ds)
    scale = run(session, factors.eigenbasis_scale, a, ds, q_a, q_s).ravel()
    q = np.kron(q_a, q_s)
    assert_allclose(scale, np.diag(q.T @ reference.dense_fisher(a_full, ds) @ q), rtol=1e-10)


@pytest.mark.parametrize("n_inputs, n_errors", [(1, 1), (4, 3)])
def test_kron_is_exact_if_inputs_and_errors_are_independent(session, rng, n_inputs, n_errors):
    a = np.repeat(reference.with_one(rng, 1, n_inputs, I), n_errors, axis=1)
    ds = np.tile(rng.randn(1, n_errors, J), (1, n_inputs, 1))
    a_cov, s_cov = run(session, factors.second_moments, a, ds)
    assert_allclose(np.kron(a_cov, s_cov), reference.dense_fisher(a, ds), rtol=1e-10, atol=1e-12)


def test_eigenvalue_correction_is_never_further_from_the_fisher(session):
    for seed in range(20):
        rng = np.random.RandomState(seed)
        a, ds = reference.with_one(rng, K, N, I), rng.randn(K, N, J)
        a_cov, s_cov, q_a, q_s = bases(a, ds)
        fisher, q = reference.dense_fisher(a, ds), np.kron(q_a, q_s)
        scale = run(session, factors.eigenbasis_scale, a, ds, q_a, q_s).ravel()
        kfac = np.linalg.norm(np.kron(a_cov, s_cov) - fisher)
        ekfac = np.linalg.norm((q * scale) @ q.T - fisher)
        assert ekfac < kfac
