"""What training does about a step that failed: retry it with robust factorisations, or skip it; and record it.

A step fails if it would write a value that is not finite, or if a factor cannot be decomposed. The retry runs in
a graph of its own, which is built when it is first needed, so that a run without failures pays nothing for it.
"""
import functools
import pathlib
from typing import Any, Dict, List, NamedTuple, Optional, Tuple

import tensorflow.compat.v1 as tf

from core.inference.solvers import non_finite_quantity, robust_solver
from core.training.design import Design, with_solver
from core.training.devices import uses_gpu
from core.training.failures import FAILED_PRODUCT, FAILED_SOLVER, ran_out_of_memory
from core.training.graph import Model, build_model
from core.training.stepper import Stepper
from core.training.variables import Nested, fetch, put
from data_loader.parts import Part
from misc import backend
from misc.errors import DIVERGED, Diverged
from misc.records import Table

COLUMNS = ["step", "layer", "factor", "condition_number", "remedy"]
SKIPPED, RETRIED = "skipped", "retried"
OLD_WORDS = {"left out": SKIPPED, "taken again": RETRIED}  # in the files of earlier versions

# What a failed factorisation says: TensorFlow's on a CPU, LAPACK by way of linalg.py, the triangular solve after a
# Cholesky factorisation that failed unnoticed (TensorFlow 1.15), cuSOLVER. That cuSOLVER failed, see failures.py.
FACTORISATION_ERRORS = ("decomposition", "not invertible", "Got info =")
UNDECOMPOSABLE = "a factor cannot be decomposed"
FAILED_ON_GPU = "a matrix product on the GPU"


class Remedy(NamedTuple):
    """What was needed to decompose a factor."""

    layer: str
    factor: str
    condition_number: Any  # float; "" if it is not known
    remedy: str


def failed_quantity(error: Exception) -> Optional[str]:
    """Returns what failed in a step, from the error of its `session.run`; None if the step need not be tried again."""
    quantity, text = non_finite_quantity(error), str(error)
    if quantity or ran_out_of_memory(error):
        return quantity
    if any(words in text for words in FACTORISATION_ERRORS) or FAILED_SOLVER.search(text):
        return UNDECOMPOSABLE
    return FAILED_ON_GPU if FAILED_PRODUCT.search(text) else None


def counts(rows: List[Dict[str, Any]]) -> Dict[str, int]:
    """Returns {skipped, recovered}: how many rows of incidents.csv are of each kind."""
    skipped = sum(row["remedy"] == SKIPPED for row in rows)
    return {"skipped": skipped, "recovered": len(rows) - skipped}


class RobustStep:
    """Takes single steps from given states, with factorisations that always succeed.

    Args:
      design: of the run.
      device: name of the device that the run uses.
      rows: the training Part.
    """

    def __init__(self, design: Design, device: str, rows: Part) -> None:
        self._design, self._device, self._rows = design, device, rows
        self._stepper: Optional[Stepper] = None
        self._remedies: List[Remedy] = []

    def take(self, values: Nested, step: int) -> Tuple[Nested, List[Remedy]]:
        """Takes step number `step` (from 1) from the state `values`, as `variables.fetch` gives it.

        Returns the state after it, and the remedies it needed. Raises tf.errors.OpError if it fails here, too.
        """
        stepper = self._stepper = self._stepper or self._build()
        session, model = stepper.session, stepper.model
        put(session, model.variables, values)
        set_step(session, model, step - 1)
        stepper.load_epoch((step - 1) // model.design.steps_per_epoch + 1)
        self._remedies.clear()
        (segment,) = model.design.schedule.segments(step, step)
        stepper.run(segment)
        return fetch(session, model.variables), list(self._remedies)

    def _build(self) -> Stepper:
        solver = functools.partial(robust_solver, record=lambda *remedy: self._remedies.append(Remedy(*remedy)))
        model = build_model(with_solver(self._design, solver), self._device)
        session = backend.session(model.graph, self._design.config.n_threads,
                                  uses_gpu(self._design.config, self._device))
        stepper = Stepper(session, model, self._rows)
        stepper.session.run(model.init)
        stepper.load_data()
        model.graph.finalize()
        return stepper


class Recovery:
    """Handles failed steps and keeps incidents.csv: a row per remedy (see solvers.py) and per skipped step.

    Args:
      design, device, rows: as for RobustStep.
      path: of the file, which is created at the first incident.
    """

    def __init__(self, design: Design, device: str, rows: Part, path: pathlib.Path) -> None:
        self._design, self._path = design, path
        self._robust_step = RobustStep(design, device, rows)
        self._has_factors = any(layer.family.needs_factors for layer in design.layers if layer.family)
        self.start([], 0)

    def start(self, rows: List[Dict[str, Any]], n_counted: int) -> None:
        """Starts from the rows of an earlier file, and from the number of steps in the state since the last report."""
        rows = [dict(row, remedy=OLD_WORDS.get(row["remedy"], row["remedy"])) for row in rows]
        self.table, self._n_counted = Table(self._path, COLUMNS, rows), n_counted

    def count_steps(self, n_steps: int) -> None:
        """Notes that `n_steps` more steps succeeded."""
        self._n_counted += n_steps

    def reset_counter(self) -> None:
        """Notes that the state's step counter is 0 again."""
        self._n_counted = 0

    def recover(self, stepper: Stepper, start: int, error: tf.errors.OpError) -> int:
        """Retries or skips the step that failed in a `session.run` that began after step `start`; returns its number.

        Raises RunError after too many skipped steps in a row. Raises `error` again if it is of another kind.
        """
        quantity = failed_quantity(error)
        if quantity is None:
            raise error
        session, model = stepper.session, stepper.model
        before = fetch(session, model.variables)
        step = self._steps_in(before, start) + 1
        after, remedies = self._retry(before, step, quantity)
        self._n_counted = int(before["train"]["steps"])
        if after is not None:
            put(session, model.variables, after)
            self._n_counted += 1
        set_step(session, model, step)
        for remedy in remedies:
            self.table.add(dict(zip(COLUMNS, (step, *remedy))))
        self._check_skipped(step, remedies[-1])
        return step

    def rewind(self, stepper: Stepper, start: int) -> int:
        """Sets the graph's number of steps to that of its state, after a `session.run` that failed; returns it.

        start: number of steps when that `session.run` began.
        """
        step = self._steps_in(fetch(stepper.session, stepper.model.variables), start)
        set_step(stepper.session, stepper.model, step)
        return step

    def _steps_in(self, state: Nested, start: int) -> int:
        """Returns the number of steps whose results are in the state, `start` or more."""
        return start + int(state["train"]["steps"]) - self._n_counted

    def _retry(self, before: Nested, step: int, quantity: str) -> Tuple[Optional[Nested], List[Remedy]]:
        """Returns the state after a robust step, or None if the step is to be skipped, and what to record."""
        if not self._has_factors and quantity != FAILED_ON_GPU:
            return None, [_incident(quantity, SKIPPED)]
        try:
            after, remedies = self._robust_step.take(before, step)
        except tf.errors.OpError as error:
            last_quantity = failed_quantity(error)
            if last_quantity in (None, FAILED_ON_GPU):
                raise
            return None, [_incident(last_quantity, SKIPPED)]
        return after, remedies or [_incident(quantity, RETRIED)]

    def _check_skipped(self, step: int, last: Remedy) -> None:
        """Raises RunError if the last max_skipped_steps steps were all skipped."""
        skipped, n_in_a_row = {int(row["step"]) for row in self.table.rows if row["remedy"] == SKIPPED}, 0
        while step - n_in_a_row in skipped:
            n_in_a_row += 1
        if n_in_a_row < self._design.config.max_skipped_steps:
            return
        what = f"{last.factor} of {last.layer} is not finite" if last.layer else UNDECOMPOSABLE
        raise Diverged(f"{DIVERGED}: {what} at step {step}, and {n_in_a_row} steps in a row were skipped; try a "
                       f"smaller {self._design.task.step_key}, more damping, or less extreme settings")


def set_step(session: tf.Session, model: Model, step: int) -> None:
    """Sets the number of steps done."""
    put(session, {"": {"step": model.global_step}}, {"": {"step": step}})


def _incident(quantity: str, remedy: str) -> Remedy:
    """Returns the row for "QUANTITY of LAYER", or for a quantity that names no layer."""
    name, _, layer = quantity.rpartition(" of ")
    return Remedy(layer.replace("layer ", ""), name, "", remedy) if name else Remedy("", quantity, "", remedy)
