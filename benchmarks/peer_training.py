"""Training loops of benchmarks.peers, compiled by numba: a network of one hidden ReLU layer, trained as plain loops.

Networks of 50 units are too small for the libraries of tensors, which spend their time on starting operations. Weights
are one vector: the first layer [d, HIDDEN], inputs outermost, then the output weights [HIDDEN] and the output bias.
`x` [n, d] ends with a column of ones, for the biases of the first layer. Steps see BATCH rows, and the
step size decays from `learning_rate` to 0 along a cosine. All arrays are float32, and `rng` is a numpy Generator.
"""
import math

import numba
import numpy as np

HIDDEN, BATCH = 50, 32
compiled = numba.njit(fastmath=True, error_model="numpy")


def initial_weights(n_inputs, rng):
    """Returns weights [P], uniform within 1 / sqrt(fan-in) as those of torch; n_inputs: d, with the column of ones."""
    first = rng.uniform(-1.0, 1.0, n_inputs * HIDDEN) / math.sqrt(n_inputs - 1)
    return np.float32(np.concatenate([first, rng.uniform(-1.0, 1.0, HIDDEN + 1) / math.sqrt(HIDDEN)]))


def outputs_of(weights, x):
    """Returns the outputs [K, n] of networks with weights [K, P]."""
    first = weights[:, :-HIDDEN - 1].reshape(len(weights), -1, HIDDEN)
    return np.stack([np.maximum(x @ w, 0.0) @ last[:-1] + last[-1] for w, last in zip(first, weights[:, -HIDDEN - 1:])])


@compiled
def cosine(learning_rate, step, steps):
    """Returns the step size of a step, counted from 0."""
    return np.float32(0.5 * learning_rate * (1.0 + math.cos(math.pi * step / steps)))


@compiled
def adam(weights, gradient, moments, step, step_size):
    """Changes weights [P] by Adam's rule (Kingma and Ba 2015), and moments [2, P]; step counts from 0."""
    first, second = np.float32(1.0 / (1.0 - 0.9**(step + 1))), np.float32(1.0 / (1.0 - 0.999**(step + 1)))
    for i in range(len(weights)):
        g = gradient[i]
        moments[0, i] += np.float32(0.1) * (g - moments[0, i])
        moments[1, i] += np.float32(0.001) * (g * g - moments[1, i])
        weights[i] -= step_size * first * moments[0, i] / (np.sqrt(second * moments[1, i]) + np.float32(1e-8))


@compiled
def add_gradient(weights, x, y, rows, scale, rate, rng, gradient):
    """Adds to gradient [P] that of scale * mean (y - f)^2 / 2 over the rows; returns the mean of (y - f)^2.

    A hidden unit of a row is dropped with probability `rate`, and the others are divided by 1 - rate. The distance
    from one dropped unit to the next is geometric, which needs fewer random numbers than one per unit.
    """
    n_inputs, size = x.shape[1], np.float32(len(rows))
    first, last = weights[:n_inputs * HIDDEN], weights[n_inputs * HIDDEN:]
    of_first, of_last = gradient[:n_inputs * HIDDEN], gradient[n_inputs * HIDDEN:]
    hidden, back, zero = np.empty(HIDDEN, np.float32), np.empty(HIDDEN, np.float32), np.float32(0.0)
    kept = np.float32(1.0 / (1.0 - rate))
    dropped = rng.geometric(rate) - 1 if rate > 0 else HIDDEN
    total = zero
    for row in rows:
        hidden[:] = zero
        for i in range(n_inputs):
            for k in range(HIDDEN):
                hidden[k] += x[row, i] * first[i * HIDDEN + k]
        for k in range(HIDDEN):
            hidden[k] = max(hidden[k], zero) * kept
        if rate > 0:
            while dropped < HIDDEN:
                hidden[dropped] = zero
                dropped += rng.geometric(rate)
            dropped -= HIDDEN
        error = last[HIDDEN] - y[row]
        for k in range(HIDDEN):
            error += hidden[k] * last[k]
        total += error * error
        error *= np.float32(scale) / size
        of_last[HIDDEN] += error
        for k in range(HIDDEN):
            of_last[k] += error * hidden[k]
            back[k] = error * kept * last[k] if hidden[k] > zero else zero
        for i in range(n_inputs):
            for k in range(HIDDEN):
                of_first[i * HIDDEN + k] += x[row, i] * back[k]
    return total / size


@compiled
def descend(weights, moments, x, y, span, learning_rate, decay, rate, rng):
    """Minimises mean (y - f)^2 / 2 + sum decay w^2 / (2 n) by Adam, with dropout at `rate`.

    Args:
      weights, decay: [P]; moments: [2, P], of Adam, zeros at first.
      span: (first epoch, the one after the last, epochs of the schedule).
    """
    n_rows = len(x)
    per_epoch = (n_rows + BATCH - 1) // BATCH
    gradient = np.empty_like(weights)
    for epoch in range(span[0], span[1]):
        order = rng.permutation(n_rows)
        for batch in range(per_epoch):
            step = epoch * per_epoch + batch
            for i in range(len(weights)):
                gradient[i] = decay[i] * weights[i] / np.float32(n_rows)
            add_gradient(weights, x, y, order[batch * BATCH:(batch + 1) * BATCH], 1.0, rate, rng, gradient)
            adam(weights, gradient, moments, step, cosine(learning_rate, step, span[2] * per_epoch))


@compiled
def ivon_step(weights, hessian, momentum, gradient, noise, step, step_size, settings):
    """Changes mean weights, Hessian and momentum, all [P], by the rule of IVON (Shen et al. 2024, Algorithm 1).

    Args:
      gradient: at weights + noise. step: counted from 0.
      settings: (rows n, initial Hessian, prior precision / n).
    """
    n_rows, initial, delta = np.float32(settings[0]), np.float32(settings[1]), np.float32(settings[2])
    debias, beta = np.float32(1.0 / (1.0 - 0.9**(step + 1))), np.float32(1e-3)
    for i in range(len(weights)):
        momentum[i] += np.float32(0.1) * (gradient[i] - momentum[i])
        sampled = noise[i] * gradient[i] * (hessian[i] + delta) * n_rows
        away = hessian[i] - sampled
        hessian[i] += beta * (sampled - hessian[i]) + np.float32(0.5) * beta * beta * away * away / (hessian[i] + delta)
        move = (momentum[i] * debias + delta * weights[i]) / (hessian[i] + delta)
        weights[i] -= step_size * (initial + delta) * min(max(move, np.float32(-0.1)), np.float32(0.1))


@compiled
def train_ivon(weights, hessian, x, y, epochs, learning_rate, settings, rng):
    """Trains by IVON, and the log precision of the noise beside it by Adam; returns that log precision."""
    n_rows = len(x)
    per_epoch = (n_rows + BATCH - 1) // BATCH
    momentum, gradient = np.zeros_like(weights), np.empty_like(weights)
    log_precision, moments = np.zeros(1, np.float32), np.zeros((2, 1), np.float32)
    for epoch in range(epochs):
        order = rng.permutation(n_rows)
        for batch in range(per_epoch):
            step = epoch * per_epoch + batch
            noise = rng.standard_normal(len(weights), np.float32)
            for i in range(len(weights)):
                noise[i] /= np.sqrt(np.float32(n_rows) * (hessian[i] + np.float32(settings[2])))
            gradient[:] = np.float32(0.0)
            precision = np.exp(log_precision[0])
            square = add_gradient(weights + noise, x, y, order[batch * BATCH:(batch + 1) * BATCH], precision, 0.0, rng,
                                  gradient)
            ivon_step(weights, hessian, momentum, gradient, noise, step,
                      cosine(learning_rate, step, epochs * per_epoch), settings)
            slope = np.full(1, np.float32(0.5) * (precision * square - np.float32(1.0)))
            adam(log_precision, slope, moments, step, np.float32(1e-2))
    return log_precision[0]


@compiled
def add_mean_field_gradient(posterior, x, y, rows, normals, gradient):
    """Adds to gradient [2 P + 1] that of the mean negative log-likelihood, by local reparameterisation.

    Args:
      posterior: means [P], log standard deviations [P] and the log precision of the noise, one vector.
      normals: [rows, HIDDEN + 1], standard normal: one for each sum over weights (Kingma et al. 2015).
    """
    n_inputs, size, zero, tiny = x.shape[1], np.float32(len(rows)), np.float32(0.0), np.float32(1e-12)
    width = n_inputs * HIDDEN
    n_weights = width + HIDDEN + 1
    mean, precision = posterior[:n_weights], np.exp(posterior[2 * n_weights])
    variance = np.exp(np.float32(2.0) * posterior[n_weights:2 * n_weights])
    of_mean, of_variance = gradient[:n_weights], np.zeros(n_weights, np.float32)
    hidden, deviation, back = (np.empty(HIDDEN, np.float32), np.empty(HIDDEN, np.float32),
                               np.empty(HIDDEN, np.float32))
    total, half = zero, np.float32(0.5)
    for r in range(len(rows)):
        row = rows[r]
        hidden[:] = zero
        deviation[:] = tiny
        for i in range(n_inputs):
            for k in range(HIDDEN):
                hidden[k] += x[row, i] * mean[i * HIDDEN + k]
                deviation[k] += x[row, i] * x[row, i] * variance[i * HIDDEN + k]
        output, square = mean[width + HIDDEN], variance[width + HIDDEN] + tiny
        for k in range(HIDDEN):
            deviation[k] = np.sqrt(deviation[k])
            hidden[k] = max(hidden[k] + deviation[k] * normals[r, k], zero)
            output += hidden[k] * mean[width + k]
            square += hidden[k] * hidden[k] * variance[width + k]
        error = output + np.sqrt(square) * normals[r, HIDDEN] - y[row]
        total += error * error
        error *= precision / size
        slope = half * error * normals[r, HIDDEN] / np.sqrt(square)  # by the variance of the output
        of_mean[width + HIDDEN] += error
        of_variance[width + HIDDEN] += slope
        for k in range(HIDDEN):
            of_mean[width + k] += error * hidden[k]
            of_variance[width + k] += slope * hidden[k] * hidden[k]
            by_hidden = error * mean[width + k] + np.float32(2.0) * slope * hidden[k] * variance[width + k]
            back[k] = by_hidden if hidden[k] > zero else zero
            deviation[k] = half * back[k] * normals[r, k] / deviation[k]
        for i in range(n_inputs):
            for k in range(HIDDEN):
                of_mean[i * HIDDEN + k] += x[row, i] * back[k]
                of_variance[i * HIDDEN + k] += x[row, i] * x[row, i] * deviation[k]
    for i in range(n_weights):
        gradient[n_weights + i] += np.float32(2.0) * variance[i] * of_variance[i]
    gradient[2 * n_weights] += half * (precision * total / size - np.float32(1.0))


@compiled
def train_mean_field(posterior, x, y, epochs, learning_rate, prior_variance, rng):
    """Maximises the evidence lower bound by Adam over posterior [2 P + 1]; the prior is N(0, prior_variance)."""
    n_rows, n_weights = len(x), len(posterior) // 2
    per_epoch = (n_rows + BATCH - 1) // BATCH
    gradient, moments = np.empty_like(posterior), np.zeros((2, len(posterior)), np.float32)
    inverse, size = np.float32(1.0 / prior_variance), np.float32(n_rows)
    for epoch in range(epochs):
        order = rng.permutation(n_rows)
        for batch in range(per_epoch):
            step, rows = epoch * per_epoch + batch, order[batch * BATCH:(batch + 1) * BATCH]
            for i in range(n_weights):  # of the Kullback-Leibler divergence, per row
                log = posterior[n_weights + i]
                gradient[i] = posterior[i] * inverse / size
                gradient[n_weights + i] = (np.exp(np.float32(2.0) * log) * inverse - np.float32(1.0)) / size
            gradient[2 * n_weights] = np.float32(0.0)
            normals = rng.standard_normal((len(rows), HIDDEN + 1), np.float32)
            add_mean_field_gradient(posterior, x, y, rows, normals, gradient)
            adam(posterior, gradient, moments, step, cosine(learning_rate, step, epochs * per_epoch))
