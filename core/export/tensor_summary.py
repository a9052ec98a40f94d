"""From the outputs of weight draws to predictions, as tensors in float64."""
from typing import Dict, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.export.frozen import Frozen, Noise
from core.metrics.quantiles import noise_quantile
from core.training.row_columns import INTERVAL

N_BISECTIONS = 60

Results = Dict[str, tf.Tensor]


def summary(outputs: tf.Tensor, frozen: Frozen) -> Results:
    """Returns the columns of predict.py, [n] each; [n, m] with several targets; all probabilities as one, [n, C].

    outputs: of the network, [K or 1, n, n_outputs].
    """
    if frozen.noise is None:
        return _of_classes(outputs, frozen)
    results = _of_numbers(outputs, frozen.noise)
    return results if frozen.targets else {name: value[:, 0] for name, value in results.items()}


def _of_classes(logits: tf.Tensor, frozen: Frozen) -> Results:
    each = tf.nn.softmax(logits)
    mixed = tf.reduce_mean(each, axis=0)
    total, expected = _entropy(mixed), tf.reduce_mean(_entropy(each), axis=0)
    return {"predicted": tf.gather(tf.constant(frozen.classes), tf.argmax(mixed, axis=-1)),
            "confidence": tf.reduce_max(mixed, axis=-1), "entropy": total,
            "mutual_information": tf.maximum(total - expected, 0.0), "probabilities": mixed}


def _entropy(p: tf.Tensor) -> tf.Tensor:
    """Returns the entropy over the last axis, in nats."""
    return -tf.reduce_sum(p * tf.log(tf.maximum(p, 1e-300)), axis=-1)


def _of_numbers(outputs: tf.Tensor, noise: Noise) -> Results:
    variances = tf.constant(1.0 / noise.precisions[:, None])
    if noise.bound is not None:
        outputs, raw = tf.split(outputs, 2, axis=-1)
        variances = variances * tf.exp(noise.bound * tf.tanh(raw / noise.bound))
    mean, epistemic = tf.nn.moments(outputs, [0])
    variance = epistemic + tf.reduce_mean(variances, axis=0) / (1.0 - 2.0 / noise.dof)
    lower, upper = _interval(outputs, tf.sqrt(variances), noise.dof)
    results = {name: noise.location + noise.scale * value
               for name, value in (("mean", mean), ("lower", lower), ("upper", upper))}
    return dict(results, std=noise.scale * tf.sqrt(variance), epistemic_std=noise.scale * tf.sqrt(epistemic))


def _interval(f: tf.Tensor, scales: tf.Tensor, dof: np.ndarray) -> Tuple[tf.Tensor, tf.Tensor]:
    """Returns the ends of the central interval of mixtures, [n, m] each, by bisection.

    f: [K or 1, n, m]; scales: of the noise, [K, 1 or n, m]. A quantile of a mixture lies between those of its parts.
    """
    levels = np.array([0.5 - 0.5 * INTERVAL, 0.5 + 0.5 * INTERVAL])
    unit = np.array([noise_quantile(level, dof) for level in levels])[:, None, None]
    each = f + scales * unit

    def halve(low: tf.Tensor, high: tf.Tensor) -> Tuple[tf.Tensor, tf.Tensor]:
        middle = 0.5 * (low + high)
        above = tf.reduce_mean(_cdf((middle[:, None] - f) / scales, dof), axis=1) > levels[:, None, None]
        return tf.where_v2(above, low, middle), tf.where_v2(above, middle, high)

    low, _ = tf.while_loop(lambda *_: True, halve, (tf.reduce_min(each, axis=1), tf.reduce_max(each, axis=1)),
                           maximum_iterations=N_BISECTIONS)
    return low[0], low[1]


def _cdf(t: tf.Tensor, dof: np.ndarray) -> tf.Tensor:
    """Returns the distribution function of the noise of scale 1; t: [..., m]."""
    return tf.stack([_normal_cdf(t[..., j]) if np.isinf(each) else _student_cdf(t[..., j], each)
                     for j, each in enumerate(dof)], axis=-1)


def _normal_cdf(t: tf.Tensor) -> tf.Tensor:
    return 0.5 * tf.math.erfc(-t / np.sqrt(2.0))


def _student_cdf(t: tf.Tensor, dof: float) -> tf.Tensor:
    a, b = (tf.constant(value, tf.float64) for value in (0.5 * dof, 0.5))
    tail = 0.5 * tf.math.betainc(a, b, dof / (dof + tf.square(t)))
    return tf.where_v2(t < 0.0, tail, 1.0 - tail)
