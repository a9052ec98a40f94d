"""Warm starts: a run whose posterior begins as that of the newest checkpoint of another run (config's `init_from`).

All variables are taken over, except for averages whose bias correction counts steps from 0 (`Family.restarted`), such
as the momentum: these begin anew, as do the number of the step and the epoch. Of a run by another family of methods,
only the weights are taken over, and what does not depend on the family: the noise level and the moments of batch
normalisations, where both runs keep the same; the rest begins anew (`design.ANEW`).
"""
import pathlib
from typing import Any, Dict, List, Optional, Tuple

import numpy as np
import tensorflow.compat.v1 as tf

from core.inference.likelihoods import LIKELIHOODS
from core.inference.optimizer import METHODS, LayerMethod, check_layers, layer_methods
from core.training import checkpoints
from core.training.design import CURVATURE, NOISE, NORMS, Design, Plan, Start, with_anew
from core.training.initial import initial_state
from core.training.tasks import TASKS
from core.training.variables import put
from misc import backend
from misc.config import Config
from misc.errors import RunError, UserError
from misc.folders import Folder, folder_at, read_config, run_folder
from misc.lookup import lookup
from misc.records import read_json, read_result

START = "start"  # entry of config.json
MOMENTS = ("moving_mean", "moving_variance")  # entries of a batch normalisation's state, see core/training/initial.py

# Keys on which the state of a layer, and that of the noise, depends.
LAYER_KEYS = "damping, auto_refresh, max_factor_dim, large_layers and batch_size"
NOISE_KEYS = "likelihood, noise_update and noise_covariance"
Shapes = Dict[str, Tuple[int, ...]]  # name of a variable, LAYER/ENTRY -> its shape


def begun(plan: Plan) -> Plan:
    """Returns the plan with the Start that its config asks for. Raises UserError if it does not fit; writes nothing."""
    root = plan.config.init_from
    if root is None:
        return plan
    check_layers(plan.design.layers, plan.config)
    folder = folder_at(pathlib.Path(root))
    if folder.root.resolve() == run_folder(plan.config).root.resolve():
        raise UserError(f"init_from: {root} is the folder of this run itself: set another exp_name")
    try:
        source, rows_hash = read_config(folder.root, {})
    except UserError as error:
        raise UserError(f"init_from: {error}") from None
    _check_mode(plan.config, source)
    notes = checkpoints.progress_notes(folder.checkpoint)
    for prefix, progress in notes.items():
        sha256 = checkpoints.fingerprint(prefix) if progress else None
        if sha256:
            plan, layers, notices = _fitted(plan, source, _shapes(prefix))
            notices += _warnings(plan, folder, source, rows_hash)
            return plan._replace(start=Start(root, prefix, progress.step, sha256, tuple(notices), layers))
    what = "none of its checkpoints is intact" if notes else "it has no checkpoint (yet)"
    raise UserError(f"init_from: {root} cannot be a start: {what}")


def _fitted(plan: Plan, source: Config, there: Shapes) -> Tuple[Plan, Optional[List[LayerMethod]], List[str]]:
    """Returns (the plan with what begins anew, the source's layers if only weights are taken over, notices).

    Raises UserError if the source does not fit.

    Args:
      there: of the source's checkpoint.
    """
    config, design = plan.config, plan.design
    families = [lookup(METHODS, one.optimizer, "optimizer").family for one in (config, source)]
    here = _state_shapes(design)
    _check_network(design, config.init_from, here, there)
    layers = layer_methods(source, [layer.spec for layer in design.layers], design.prior)
    if families[0] is families[1] and not _coordinates_differ(design.layers, layers):
        _check_noise(config, source)
        _check_state(config.init_from, here, there)
        return plan, None, []
    _check_coordinates(layers, config.init_from, there)
    anew = [CURVATURE]
    if any(name not in there or there[name] != shape for name, shape in here.items() if _is_moment(name)):
        anew.append(NORMS)
    noise = {name: shape for name, shape in here.items() if name.startswith("likelihood/")}
    if noise and (_noise_kind(config) != _noise_kind(source)
                  or any(there.get(name) != shape for name, shape in noise.items())):
        anew.append(NOISE)
    why = f"which keeps another state than {config.optimizer}" if families[0] is not families[1] else (
        "with wide layers in other coordinates (they follow from optimizer, posterior_layers, auto_refresh and "
        "batch_size)")
    notice = (f"note: init_from {config.init_from} was trained by optimizer {source.optimizer}, {why}: the weights "
              f"are taken over; {' and '.join(anew)} begin{'s' if len(anew) == 1 else ''} anew")
    return plan._replace(design=with_anew(design, anew)), layers, [notice]


def _check_coordinates(layers: List[LayerMethod], root: str, there: Shapes) -> None:
    """Raises UserError if the checkpoint lacks the bases that its config implies, so that its means say nothing."""
    for layer in layers:
        name = f"{layer.spec.name}/q_a"
        if layer.family is not None and layer.family.in_eigenbasis and name not in there:
            raise UserError(f"init_from: {root} has no {name} in its checkpoint: it is of another version of this "
                            "code; train it again")


def _coordinates_differ(layers: List[LayerMethod], others: List[LayerMethod]) -> bool:
    """Tells whether two runs by one method keep a layer in different coordinates, as noisy K-FAC may."""
    pairs = [(one.family, other.family) for one, other in zip(layers, others) if one.family and other.family]
    return any(one.needs_factors and other.needs_factors and one.in_eigenbasis != other.in_eigenbasis
               for one, other in pairs)


def resumed(plan: Plan, folder: Folder) -> Plan:
    """Returns the plan of a run that is resumed in its folder, in which the same parts began anew."""
    anew = read_json(folder.config).get(START, {}).get("anew", [])
    return plan._replace(design=with_anew(plan.design, anew)) if anew else plan


def about(plan: Plan, folder: Folder, resume: bool) -> Dict[str, Any]:
    """Returns what config.json and result.json say of a warm start; a resumed run's config.json says it already."""
    if resume:
        written = read_json(folder.config)
        return {START: written[START]} if START in written else {}
    if plan.start is None:
        return {}
    start = plan.start
    anew = {"anew": sorted(plan.design.anew)} if plan.design.anew else {}
    return {START: {"run": start.run, "checkpoint": start.prefix.name, "step": start.step, "sha256": start.sha256,
                    **anew}}


def load(session: tf.Session, model: Any, start: Start) -> None:
    """Writes the start's values into the variables of a Model that has been initialised. Adds nothing to the graph."""
    if checkpoints.fingerprint(start.prefix) != start.sha256:
        raise RunError(f"init_from: checkpoint {start.prefix.name} of {start.run} has been changed or removed "
                       "meanwhile: start again")
    wanted = _wanted(model.design, model.variables)
    variables = {scope: {name: model.variables[scope][name] for name in names} for scope, names in wanted.items()}
    with checkpoints.plain_path(start.prefix) as path:
        reader = tf.train.load_checkpoint(str(path))
        values = {scope: {name: reader.get_tensor(f"{scope}/{name}") for name in names}
                  for scope, names in variables.items()}
        for layer in start.layers or ():
            values[layer.spec.name]["mean"] = _weights(layer, reader)
    put(session, variables, {scope: {name: values[scope][name].astype(variable.dtype.as_numpy_dtype)
                                     for name, variable in entries.items()} for scope, entries in variables.items()})


def _weights(layer: LayerMethod, reader: Any) -> np.ndarray:
    """Returns the mean weights of a layer of the source, [d_in + 1, d_out], in the network's own coordinates."""
    prefix = f"{layer.spec.name}/"
    arrays = {name[len(prefix):]: reader.get_tensor(name).astype(np.float64)
              for name in reader.get_variable_to_shape_map() if name.startswith(prefix)}
    with tf.Graph().as_default() as graph, backend.session(graph, threads=1) as session:
        state = {name: tf.placeholder(tf.float64, array.shape) for name, array in arrays.items()}
        weights = layer.weights(state)  # at step 0, the coordinates of any family are these
        return session.run(weights, {state[name]: array for name, array in arrays.items()})


def _wanted(design: Design, state: Dict[str, Dict[str, Any]]) -> Dict[str, List[str]]:
    """Returns {scope: names of the entries that are taken over} of a state."""
    restarted = {layer.spec.name: layer.curvature().restarted for layer in design.layers}
    restarted.update(likelihood=design.likelihood.restarted, train=tuple(state["train"]))
    if NOISE in design.anew:
        restarted["likelihood"] = tuple(state["likelihood"])
    wanted = {scope: [name for name in entries if name not in restarted[scope]] for scope, entries in state.items()}
    if CURVATURE in design.anew:
        kept = ("mean",) if NORMS in design.anew else ("mean", *MOMENTS)
        for layer in design.layers:
            wanted[layer.spec.name] = [name for name in wanted[layer.spec.name] if name in kept]
    return wanted


def _shapes(prefix: pathlib.Path) -> Shapes:
    with checkpoints.plain_path(prefix) as path:
        shapes = tf.train.load_checkpoint(str(path)).get_variable_to_shape_map()
    return {name: tuple(shape) for name, shape in shapes.items()}


def _check_mode(config: Config, source: Config) -> None:
    if source.mode != config.mode:
        raise UserError(f"init_from: {config.init_from} is a {source.mode}, this run is a {config.mode}")


def _check_noise(config: Config, source: Config) -> None:
    """Raises UserError if the states of the noise of the two runs are of different kinds."""
    root = config.init_from
    kind = lookup(LIKELIHOODS, TASKS[config.kind].likelihood(config, 1), "likelihood")
    if kind.has_precision and source.noise_update != config.noise_update:
        raise UserError(f"init_from: {root} has noise_update {source.noise_update}, whose state does not fit "
                        f"noise_update {config.noise_update}")


def _noise_kind(config: Config) -> Tuple[str, str]:
    """Returns what the state of the noise depends on beside the number of targets."""
    return TASKS[config.kind].likelihood(config, 1), config.noise_update


def _state_shapes(design: Design) -> Shapes:
    """Returns the shapes of all variables that are taken over of a run by the same method."""
    with tf.Graph().as_default():
        state = initial_state(design, tf.as_dtype(design.config.precision))
    return {f"{scope}/{name}": tuple(state[scope][name].shape.as_list())
            for scope, names in _wanted(design, state).items() for name in names}


def _is_moment(name: str) -> bool:
    return name.split("/")[1] in MOMENTS


def _check_network(design: Design, root: str, here: Shapes, there: Shapes) -> None:
    """Raises UserError, which names the first layer that differs, if the checkpoint is of another network."""
    names = [layer.spec.name for layer in design.layers]
    names += sorted(name.split("/")[0] for name in there if name.endswith("/mean") and name not in here)
    for i, layer in enumerate(names):
        ours, theirs = here.get(f"{layer}/mean"), there.get(f"{layer}/mean")
        if ours != theirs:
            also = ""
            if i == 0 and ours and theirs and ours[0] != theirs[0] and len(design.spec.shape) == 1:
                also = f" (another number of inputs: {theirs[0] - 1} there, {ours[0] - 1} here)"
            raise UserError(f"init_from: {root} has another network: layer {layer} has {_words(theirs)} there, "
                            f"{_words(ours)} here{also}")


def _check_state(root: str, here: Shapes, there: Shapes) -> None:
    """Raises UserError if the checkpoint lacks a variable that is taken over, or has another shape of it."""
    for name, shape in here.items():
        if there.get(name) != shape:
            scope, entry = name.split("/")
            keys = NOISE_KEYS if scope == "likelihood" else LAYER_KEYS
            raise UserError(f"init_from: {root} keeps another state: {entry} of {scope} is {_words(there.get(name))} "
                            f"there, {_words(shape)} here: set {keys} as there")


def _words(shape: Any) -> str:
    if shape is None:
        return "nothing"
    return " x ".join(map(str, shape)) if shape else "a scalar"


def _other_columns(plan: Plan, folder: Folder) -> List[str]:
    """Returns sentences about inputs and targets of a table by which the weights of the source mean something else."""
    if not folder.model.is_file() or getattr(plan.data, "transform", None) is None:
        return []
    transform, written = plan.data.transform, read_json(folder.model)
    inputs = [column["name"] for column in written["inputs"]]
    targets = [place["name"] or place["number"] for place in (written["target"], *written.get("further_targets", ()))]
    sentences = []
    if inputs != list(transform.names):
        sentences.append("has other inputs, whose weights are taken over for those of this run: "
                         f"{', '.join(inputs[:5])}{', ...' if len(inputs) > 5 else ''}")
    if targets != [place.name or place.number for place in transform.targets]:
        sentences.append(f"has another target: {', '.join(map(str, targets))}")
    return sentences


def _warnings(plan: Plan, folder: Folder, source: Config, rows_hash: Any) -> List[str]:
    """Returns sentences about columns that differ, and rows that the source has seen and this run takes for unseen."""
    config, about, sentences = plan.config, read_json(folder.config), _other_columns(plan, folder)
    if rows_hash != plan.data.rows_hash:
        return [f"warning: init_from {config.init_from} {sentence}" for sentence in sentences]
    split = about.get("split_hash") or (read_result(folder.result) or {}).get("split_hash")
    folds = [(one.validation_fraction, one.validation_fold) for one in (config, source)]
    if split not in (None, plan.data.split_hash):
        sentences.append("has another split of the same rows: it was trained on some of this run's test rows")
    elif plan.data.valid is not None and folds[0] != folds[1]:
        sentences.append("has other validation rows: it was trained on some of this run's")
    if config.holds_out:
        sentences.append("may have been trained on the rows that are held out here: the noise would come out too low")
    return [f"warning: init_from {config.init_from} {sentence}" for sentence in sentences]
