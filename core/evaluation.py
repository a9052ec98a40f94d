"""Predictions and metrics of a model in a session."""
import numpy as np

from core.metrics import predict, regression_metrics
from misc.seeding import stream

TINIEST_PRECISION = 1e-30  # draws of a Gamma with a tiny shape underflow to 0


def evaluate(session, model, part, data, config):
    """(Prediction, metrics, targets in the data's own units) of one Part, at the current step.

    Weight draws and noise precisions are functions of (seed, step): the same for all rows,
    however they are batched.
    """
    step, (alpha, beta) = session.run([model.global_step, model.evaluate.noise])
    precisions = stream(config.seed, "test_precision", step).gamma(alpha, 1.0 / beta, config.test_particles)
    precisions = np.maximum(precisions, TINIEST_PRECISION)
    batches = [part.x[start:start + config.test_batch_size]
               for start in range(0, len(part.x), config.test_batch_size)]
    outputs = [session.run(model.evaluate.outputs, {model.evaluate.inputs: batch}) for batch in batches]
    outputs = np.concatenate(outputs, axis=1)
    prediction = predict(outputs, precisions, part.y, data.target_mean, data.target_std)
    targets = data.target_mean + data.target_std * part.y
    return prediction, regression_metrics(prediction, targets), targets
