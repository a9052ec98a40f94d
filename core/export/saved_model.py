"""A SavedModel of TensorFlow: from raw inputs and a seed to predictions, with weights that it draws itself."""
import contextlib
import json
import os
import pathlib
import shutil
from typing import Any, Dict, Iterator, List, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.assessment.restore import Restored
from core.export.frozen import Frozen, Inputs
from core.export.tensor_summary import summary
from core.inference.posteriors import PointMass
from core.training.evaluation import rows_of
from core.training.outputs import NORM_ROWS
from core.training.variables import Nested, make_variables, put, read
from misc import backend
from misc.errors import UserError
from misc.seeding import stream_seed
from networks.layers import ACTIVATIONS, LayerBuilder, LayerRecord
from networks.normalisation import Moments

SIGNATURE = "predict"
EXTRA = "assets.extra"  # where TensorFlow wants further files to be


def write_saved_model(frozen: Frozen, run: Restored, folder: pathlib.Path) -> None:
    """Writes the model into a new folder. Raises UserError if that is impossible."""
    values = _values(frozen, run)
    graph = tf.Graph()
    with graph.as_default():
        variables = make_variables({scope: {name: tf.zeros(array.shape, array.dtype) for name, array in arrays.items()}
                                    for scope, arrays in values.items()})
        is_image = run.data.spec.pixels is not None
        inputs = {"inputs": tf.placeholder(tf.uint8 if is_image else tf.float64, [None, *run.design.spec.shape]),
                  "seed": tf.placeholder(tf.int32, [])}
        x = _as_in_training(inputs["inputs"] if is_image else _standardised(inputs["inputs"], frozen.inputs), run)
        outputs = _Draws(run, read(variables)).outputs(x, inputs["seed"])
        results = summary(tf.cast(outputs, tf.float64), frozen)
    with _new_folder(folder) as part, backend.session(graph, run.config.n_threads) as session:
        put(session, variables, values)
        with graph.as_default():
            signature = tf.saved_model.predict_signature_def(inputs, results)
            builder = tf.saved_model.Builder(str(part))
            builder.add_meta_graph_and_variables(session, ["serve"], {SIGNATURE: signature}, strip_default_attrs=True)
            builder.save()
        transform = getattr(run.data, "transform", None)
        about = {"run": run.config.name, "seed": run.config.seed, "step": run.step,
                 "inputs": transform.names if transform else [], "classes": frozen.classes, "targets": frozen.targets}
        (part / EXTRA).mkdir()
        (part / EXTRA / "description.json").write_text(json.dumps(about, indent=2), encoding="utf-8")


def _values(frozen: Frozen, run: Restored) -> Nested:
    """Returns the posterior's parameters of every layer, and rows whose moments batch normalisations use."""
    posteriors = run.session.run(run.model.evaluate.posteriors)
    values = {name: {field: np.asarray(value) for field, value in posteriors[name]._asdict().items()}
              if name in posteriors else {"mean": mean} for name, mean in frozen.means.items()}
    if frozen.moments:
        values["reference"] = {"rows": rows_of(run.data)[:NORM_ROWS]}
    return values


class _Draws:
    """Draws weights as the run itself does, and runs the network with them."""

    def __init__(self, run: Restored, values: Nested) -> None:
        self._run, self._values, self._design = run, values, run.design
        self._types = {name: type(posterior) for name, posterior in run.model.evaluate.posteriors.items()}

    def outputs(self, x: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
        """Returns the outputs [K, n, n_outputs] of standardised inputs, [n, ...]."""
        design, n_at_once = self._design, self._design.particles_at_once
        n_groups = design.n_test_particles // n_at_once

        def of_group(group: tf.Tensor) -> tf.Tensor:
            weights = self._weights(seed, self._run.step * n_groups + group)
            moments: Dict[str, Moments] = {}
            if "reference" in self._values:
                rows = _as_in_training(self._values["reference"]["rows"], self._run)
                moments = {record.spec.name: record.moments for record in self._forward(rows, weights, None)[1]
                           if not record.spec.has_weights}
            return self._forward(x, weights, moments)[0]

        if n_groups == 1:
            return of_group(tf.constant(0))
        outputs = tf.map_fn(of_group, tf.range(n_groups), dtype=x.dtype, parallel_iterations=1)
        return tf.reshape(outputs, [n_groups * n_at_once, -1, design.likelihood.n_outputs])

    def _weights(self, seed: tf.Tensor, number: tf.Tensor) -> List[tf.Tensor]:
        """Draws a group of weights; another seed than the run's shifts its stream of random numbers."""
        weights, of_run = [], self._run.config.seed
        for layer in self._design.layers:
            name = layer.spec.name
            posterior = self._types.get(name, PointMass)(**self._values[name])
            stream = stream_seed(of_run, "test", name) + (seed - of_run)
            weights.append(posterior.sample(self._design.particles_at_once, tf.stack([stream, number])))
        return weights

    def _forward(self, x: tf.Tensor, weights: List[tf.Tensor], moments: Any) -> Tuple[tf.Tensor, List[LayerRecord]]:
        specs = [layer.spec for layer in self._design.layers]
        layers = LayerBuilder(specs, weights, ACTIVATIONS[self._run.config.activation], moments)
        return self._design.network(x[None], layers, self._design.likelihood.n_outputs), layers.records


def _standardised(x: tf.Tensor, inputs: Inputs) -> tf.Tensor:
    """Standardises numbers, float64 [n, d]."""
    if not np.isnan(inputs.fill).all():
        x = tf.where_v2(tf.math.is_nan(x), inputs.fill, x)
    return tf.where_v2(inputs.constant, tf.zeros([], x.dtype), (x - inputs.mean) / inputs.std)


def _as_in_training(x: tf.Tensor, run: Restored) -> tf.Tensor:
    """Returns what the network sees of rows as a run's data have them: standardised numbers, or bytes of images."""
    x, pixels = tf.cast(x, run.config.precision), run.data.spec.pixels
    if pixels is None:
        return x
    mean, std = (tf.constant(value, x.dtype) for value in pixels)
    return (x - mean) / std


@contextlib.contextmanager
def _new_folder(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a folder beside it to write to, which gets its name at the end. Raises UserError if it cannot be written.
    """
    part = folder.with_name(f".{folder.name}.part")
    try:
        shutil.rmtree(str(part), ignore_errors=True)
        yield part
        os.replace(str(part), str(folder))
    except (OSError, tf.errors.OpError) as error:
        raise UserError(f"cannot write {folder}: {getattr(error, 'strerror', None) or error}") from None
    finally:
        shutil.rmtree(str(part), ignore_errors=True)
