"""Layers, batches and step sizes for single steps."""
import tensorflow.compat.v1 as tf

from core.inference.factors import STATISTICS
from core.inference.families import Batch
from core.inference.gaussian import Prior
from core.inference.step_sizes import StepSizes

PRIOR = Prior(n_data=40, kl_weight=0.8, prior_var=0.5)  # gamma_in = 0.04
K, N = 2, 6


def batch_of(a, ds, grad=None):
    a, ds = tf.constant(a), tf.constant(ds)
    return Batch(a, ds, ds, None, None if grad is None else tf.constant(grad), STATISTICS["dense"](None))


def rates_of(mean=0.1, cov=0.25, scale=0.4, step=1.0, clip=None):
    rates = (mean, cov, scale, step, 1.0, clip)
    return StepSizes(*(None if rate is None else tf.constant(rate, tf.float64) for rate in rates))
