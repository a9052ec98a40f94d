"""The posterior itself: weight noise and effective parameters per layer, and the precision matrices of small layers."""
from typing import Any, Dict

import numpy as np
from scipy import linalg

from core.assessment.restore import Restored
from core.inference.posteriors import EigenMatrixNormal, FullyFactorized, MatrixNormal

LARGEST = 1500  # weights of a layer, or of all together, whose precision matrix is drawn


def layers(run: Restored) -> Dict[str, Dict[str, Any]]:
    """Returns, for each layer with weight noise, how much noise there is.

    weights: their number. noise_std_5, noise_std_50, noise_std_95: percentiles of their standard deviations.
    noise_to_weight: root mean square of the noise over that of the mean weights. effective_parameters:
    d - tr(covariance) / prior variance, with the covariance at the full weight of the KL term. For noisy
    EK-FAC that is the sum of R / (R + gamma_in). It is the count of the approximation itself: E[.] over q and the
    Kronecker form let it exceed the number of directions that the training rows span.
    """
    evaluate = run.model.evaluate
    stds, posteriors, kl_scale = run.session.run([evaluate.weight_std, evaluate.posteriors, evaluate.kl_scale])
    tempered = {layer.spec.name: layer.family.tempered for layer in run.design.layers}
    noise = {}
    for name, std in stds.items():
        std = std.astype(np.float64)
        variance, low, middle, high = np.mean(std**2), *np.percentile(std, [5, 50, 95])
        ratio = np.sqrt(variance / np.mean(np.square(posteriors[name].mean, dtype=np.float64)))  # same in any basis
        full_variance = variance / (kl_scale if tempered[name] else 1.0)
        noise[name] = {
            "weights": int(std.size), "noise_std_5": float(low), "noise_std_50": float(middle),
            "noise_std_95": float(high), "noise_to_weight": float(ratio),
            "effective_parameters": float(std.size * (1.0 - full_variance / run.config.eta))}
    return noise


def precision(posterior: Any) -> np.ndarray:
    """Returns the inverse covariance [d, d] of the weights of one layer, row by row, in float64.

    posterior: one of core/inference/posteriors.py, of arrays.
    """
    return PRECISIONS[type(posterior)](type(posterior)(*(np.asarray(value, np.float64) for value in posterior)))


def _diagonal(posterior: FullyFactorized) -> np.ndarray:
    return np.diag(1.0 / posterior.variance.ravel())


def _kronecker(posterior: MatrixNormal) -> np.ndarray:
    """Returns kron(A, S) / temperature; the roots C have C^T C = A^-1."""
    factors = [np.linalg.inv(root.T @ root) for root in (posterior.root_a, posterior.root_s)]
    return np.kron(*factors) / posterior.temperature


def _eigen(posterior: EigenMatrixNormal) -> np.ndarray:
    basis = np.kron(posterior.q_a, posterior.q_s)
    return (basis / posterior.variance.ravel()) @ basis.T


PRECISIONS = {FullyFactorized: _diagonal, MatrixNormal: _kronecker, EigenMatrixNormal: _eigen}


def normalised(matrix: np.ndarray) -> np.ndarray:
    """Returns |P_ij| / sqrt(P_ii P_jj): 1 on the diagonal, partial correlations (without sign) off it."""
    root = np.sqrt(np.diag(matrix))
    return np.abs(matrix) / np.outer(root, root)


def precisions(run: Restored) -> Dict[str, np.ndarray]:
    """Returns the normalised precision of each layer that has weight noise and at most LARGEST weights.

    If all layers with noise have it, and there are several, "all noisy layers" is their block-diagonal matrix: q has
    no covariance between layers.
    """
    posteriors = {name: posterior for name, posterior in run.session.run(run.model.evaluate.posteriors).items()
                  if type(posterior) in PRECISIONS}
    matrices = {name: normalised(precision(posterior)) for name, posterior in posteriors.items()
                if posterior.mean.size <= LARGEST}
    if len(matrices) == len(posteriors) > 1 and sum(map(len, matrices.values())) <= LARGEST:
        matrices["all noisy layers"] = linalg.block_diag(*matrices.values())
    return matrices
