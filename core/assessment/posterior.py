"""The posterior itself: weight noise and effective parameters per layer, and the precision of small networks."""
import numpy as np
from scipy import linalg

from core.inference.posteriors import EigenMatrixNormal, FullyFactorized, MatrixNormal

LARGEST = 1500  # weights of a layer, or of all together, whose precision matrix is drawn


def layers(run):
    """{layer: {weights, noise_std_5, _50, _95 (percentiles), noise_to_weight, effective_parameters}} of a Restored run.

    noise_to_weight: root mean square of the noise over that of the mean weights. effective_parameters:
    d - tr(covariance) / prior variance, with the covariance at the whole weight of the KL term. For noisy
    EK-FAC that is the sum of R / (R + gamma_in). It is the count of the approximation itself: E[.] over q and the
    Kronecker form let it exceed the number of directions that the training rows span.
    """
    evaluate = run.model.evaluate
    stds, posteriors, warmth = run.session.run([evaluate.weight_std, evaluate.posteriors, evaluate.warmth])
    tempered = {layer.spec.name: layer.family.tempered for layer in run.design.layers}
    found = {}
    for name, std in stds.items():
        std = std.astype(np.float64)
        variance, low, middle, high = np.mean(std**2), *np.percentile(std, [5, 50, 95])
        ratio = np.sqrt(variance / np.mean(np.square(posteriors[name].mean, dtype=np.float64)))  # same in any basis
        whole = variance / (warmth if tempered[name] else 1.0)
        found[name] = {
            "weights": int(std.size), "noise_std_5": float(low), "noise_std_50": float(middle),
            "noise_std_95": float(high), "noise_to_weight": float(ratio),
            "effective_parameters": float(std.size * (1.0 - whole / run.config.eta))}
    return found


def precision(posterior):
    """Inverse covariance of the weights of one layer, row by row, [d, d], from a posterior of arrays, float64."""
    return PRECISIONS[type(posterior)](type(posterior)(*(np.asarray(value, np.float64) for value in posterior)))


def _diagonal(posterior):
    return np.diag(1.0 / posterior.variance.ravel())


def _kronecker(posterior):
    """kron(A, S) / temper; the roots C have C^T C = A^-1."""
    factors = [np.linalg.inv(root.T @ root) for root in (posterior.root_a, posterior.root_s)]
    return np.kron(*factors) / posterior.temper


def _eigen(posterior):
    basis = np.kron(posterior.q_a, posterior.q_s)
    return (basis / posterior.variance.ravel()) @ basis.T


PRECISIONS = {FullyFactorized: _diagonal, MatrixNormal: _kronecker, EigenMatrixNormal: _eigen}


def normalised(matrix):
    """|P_ij| / sqrt(P_ii P_jj): 1 on the diagonal, partial correlations (without sign) off it."""
    root = np.sqrt(np.diag(matrix))
    return np.abs(matrix) / np.outer(root, root)


def precisions(run):
    """{layer: normalised precision} of the layers with noise that are small enough; {} where there is none.

    "all noisy layers", too, if all are and there are several: q has no covariance between layers.
    """
    posteriors = {name: posterior for name, posterior in run.session.run(run.model.evaluate.posteriors).items()
                  if type(posterior) in PRECISIONS}
    found = {name: normalised(precision(posterior)) for name, posterior in posteriors.items()
             if posterior.mean.size <= LARGEST}
    if len(found) == len(posteriors) > 1 and sum(map(len, found.values())) <= LARGEST:
        found["all noisy layers"] = linalg.block_diag(*found.values())
    return found
