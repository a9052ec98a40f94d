"""Fixtures: likelihoods."""
import pytest

from core.inference.likelihoods import GaussianLikelihood


@pytest.fixture
def held_out(config):
    return GaussianLikelihood(config(noise_update="held_out", noise_prior_shape=2.0, noise_prior_rate=3.0), 1)
