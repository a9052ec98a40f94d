"""Kronecker-factored Laplace approximation, prior and noise by marginal likelihood, as in the package laplace-torch.

A block for each of the weights and biases of both layers has a prior precision of its own. With one output the
generalised Gauss-Newton matrix of the output layer is exact; that of the first layer is (1 / n) sum g g^T (x) sum x x^T
with g = df / d(pre-activation), as in K-FAC. Written out, it takes a hundredth of the time of the package, with which
tests compare it.

Reference: Immer et al. (2021), Algorithm 1, https://arxiv.org/abs/2104.04975
"""
from typing import List, NamedTuple

import numpy as np

from benchmarks.peer_training import HIDDEN, descend, initial_weights, outputs_of

ROUNDS, HYPERSTEPS, BURN_IN = 100, 10, 0.05  # updates of prior and noise, Adam steps in each, share without them


class Curvature(NamedTuple):
    """The Gauss-Newton matrix, without the noise precision: a list over the blocks, each eigenvalues and bases."""

    eigenvalues: List[np.ndarray]  # [HIDDEN, d - 1], [HIDDEN], [HIDDEN], [1]
    of_back: np.ndarray            # [HIDDEN, HIDDEN], eigenvectors of sum g g^T
    of_inputs: np.ndarray          # [d - 1, d - 1], of sum x x^T
    of_hidden: np.ndarray          # [HIDDEN, HIDDEN], of sum h h^T


def blocks(weights):
    """Returns the blocks of weights [P]: first layer [d - 1, HIDDEN], its biases, output weights, output bias."""
    first = weights[:-HIDDEN - 1].reshape(-1, HIDDEN)
    return [first[:-1], first[-1], weights[-HIDDEN - 1:-1], weights[-1:]]


def derivatives(weights, x):
    """Returns (g [n, HIDDEN], hidden units [n, HIDDEN]) in float64; x: [n, d], with the column of ones."""
    first, biases, last, _ = blocks(np.float64(weights))
    hidden = np.maximum(x[:, :-1] @ first + biases, 0.0)
    return last * (hidden > 0), hidden


def curvature(weights, x):
    """Returns the Curvature at weights [P]."""
    back, hidden = derivatives(weights, x)
    inputs = np.float64(x[:, :-1])
    (b, of_back), (a, of_inputs), (h, of_hidden) = (np.linalg.eigh(part.T @ part) for part in (back, inputs, hidden))
    b, a, h = (np.maximum(values, 0.0) for values in (b, a, h))
    return Curvature([np.outer(b, a) / len(x), b, h, np.full(1, float(len(x)))], of_back, of_inputs, of_hidden)


def log_evidence(weights, x, y, found, logs):
    """Returns (the log marginal likelihood, its gradient by `logs`).

    Args:
      found: the Curvature at the weights.
      logs: logs of the prior precision of each block and of the standard deviation of the noise, [5].
    """
    deltas, precision = np.exp(logs[:-1]), np.exp(-2.0 * logs[-1])
    squares = np.sum((outputs_of(weights[None], x)[0] - np.float64(y))**2)
    value = -0.5 * len(x) * (np.log(2.0 * np.pi) + 2.0 * logs[-1]) - 0.5 * precision * squares
    slopes = [0.0] * 4 + [precision * squares - len(x)]
    for i, (block, values, delta) in enumerate(zip(blocks(np.float64(weights)), found.eigenvalues, deltas)):
        posterior, norm = precision * values + delta, delta * np.sum(block**2)
        value -= 0.5 * (np.sum(np.log(posterior / delta)) + norm)
        slopes[i] = -0.5 * (np.sum(delta / posterior) - values.size + norm)
        slopes[-1] += np.sum(precision * values / posterior)
    return value, np.array(slopes)


def output_variance(weights, x, found, logs):
    """Returns the variance [n] of the linearised outputs under the Laplace approximation."""
    deltas, precision = np.exp(logs[:-1]), np.exp(-2.0 * logs[-1])
    variances = [1.0 / (precision * values + delta) for values, delta in zip(found.eigenvalues, deltas)]
    back, hidden = derivatives(weights, x)
    back, hidden = (back @ found.of_back)**2, (hidden @ found.of_hidden)**2
    inputs = (np.float64(x[:, :-1]) @ found.of_inputs)**2
    return (back @ variances[0] * inputs).sum(axis=1) + back @ variances[1] + hidden @ variances[2] + variances[3]


def output_deviations(weights, x, found, logs, n_draws, rng):
    """Returns draws [n_draws, n] of the linearised outputs from their mean: a draw of all weights for all rows."""
    deltas, precision = np.exp(logs[:-1]), np.exp(-2.0 * logs[-1])
    stds = [1.0 / np.sqrt(precision * values + delta) for values, delta in zip(found.eigenvalues, deltas)]
    first, biases, last, last_bias = (rng.standard_normal((n_draws, *std.shape)) * std for std in stds)
    back, hidden = derivatives(weights, x)
    back, hidden = back @ found.of_back, hidden @ found.of_hidden
    inputs = np.float64(x[:, :-1]) @ found.of_inputs
    per_unit = np.einsum("khd,nd->knh", first, inputs) + biases[:, None]
    return np.einsum("knh,nh->kn", per_unit, back) + last @ hidden.T + last_bias


def train_laplace(x, y, epochs, rng):
    """Trains weights with the prior and noise that maximise the evidence; returns (weights, Curvature, logs).

    The weights are those of the highest evidence of all updates, as in the package.
    """
    weights = initial_weights(x.shape[1], rng)
    moments, logs, best = np.zeros((2, len(weights)), np.float32), np.zeros(5), None
    of_logs, n_steps, every = np.zeros((2, 5)), 0, max(1, epochs // ROUNDS)
    for start in range(0, epochs, every):
        decay = np.concatenate([np.full(block.size, delta)
                                for block, delta in zip(blocks(weights), np.exp(logs[:-1] + 2.0 * logs[-1]))])
        span = (start, min(start + every, epochs), epochs)
        descend(weights, moments, x, y, span, 1e-2, np.float32(decay), 0.0, rng)
        if start + every < BURN_IN * epochs:
            continue
        found = curvature(weights, x)
        for _ in range(HYPERSTEPS):
            value, slope = log_evidence(weights, x, y, found, logs)
            n_steps += 1
            of_logs += np.array([[0.1], [0.001]]) * (np.stack([slope, slope**2]) - of_logs)
            first, second = of_logs[0] / (1.0 - 0.9**n_steps), of_logs[1] / (1.0 - 0.999**n_steps)
            logs = logs + 0.1 * first / (np.sqrt(second) + 1e-8)
        if best is None or value > best[0]:
            best = value, weights.copy(), found, logs
    return best[1:]
