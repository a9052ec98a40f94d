"""A step that failed, taken once more: in a graph of its own, whose factorisations cannot fail.

The graph is built when it is first needed, so that a run without incidents pays nothing for it.
"""
import functools

from core.inference.solvers import mending, not_finite
from core.training.graph import build_model
from core.training.variables import fetch, put
from data_loader.batches import epoch_plan
from misc import backend

# What a factorisation that fails says: TensorFlow's on a CPU, LAPACK by core/inference/linalg.py, the triangular solve
# after one that was not told from success (TensorFlow 1.15), cuSolver.
FACTORISATIONS = ("decomposition", "not invertible", "Got info =")


def failure(error):
    """What failed in a step, from the error of its `session.run`; None if that is no matter of numbers."""
    what = not_finite(error)
    if what is None and any(words in str(error) for words in FACTORISATIONS):
        what = "a factor that cannot be decomposed"
    return what


class Mender:
    """Takes single steps from given states.

    Args:
      config, spec, device: as for `build_model`.
      rows: the training Part.
    """

    def __init__(self, config, spec, device, rows):
        self._config, self._spec, self._device, self._rows = config, spec, device, rows
        self._model = None
        self._found = []

    def step(self, values, step, decay):
        """Takes step number `step` (from 1).

        Args:
          values: the state before, as `variables.fetch` gives it.
          decay: see model.Knobs.

        Returns:
          (the state after, [(layer, factor, condition number, remedy), ...]). Raises what TensorFlow raises if
          the step fails here, too.
        """
        if self._model is None:
            self._build()
        model, session, per_epoch = self._model, self._session, self._model.design.steps_per_epoch
        put(session, model.variables, values)
        put(session, {"": {"step": model.global_step}}, {"": {"step": step - 1}})
        plan = epoch_plan(self._config, len(self._rows.x), (step - 1) // per_epoch + 1)
        session.run(model.load.epoch_op, dict(zip(model.load.epoch, plan.values())))
        due = model.design.schedule.due(step)
        counts = (1, 1, None) if due == model.design.schedule.base else (1, 0, due)
        self._found.clear()
        session.run(model.advance[counts[2]], dict(zip(model.knobs, (*counts[:2], decay))))
        return fetch(session, model.variables), list(self._found)

    def _build(self):
        self._model = build_model(self._config, self._spec, self._device,
                                  solver=functools.partial(mending, record=lambda *found: self._found.append(found)))
        self._session = backend.session(self._model.graph, self._config.n_threads)
        load = self._model.load
        self._session.run(self._model.init)
        self._session.run(load.data_op, {load.x: self._rows.x, load.y: self._rows.y})
        self._model.graph.finalize()
