"""What training does about a step that failed: take it again, or leave it out, and write it down."""
import tensorflow.compat.v1 as tf

from core.training.mender import Mender, failure
from core.training.variables import fetch, put
from misc.config import REGRESSION
from misc.errors import RunError
from misc.records import Table

COLUMNS = ["step", "layer", "factor", "condition_number", "remedy"]
LEFT_OUT, AGAIN = "left out", "taken again"


class Incidents:
    """incidents.csv: every factor that was mended (see core/inference/solvers.py) and every step that was left out.

    Args:
      plan: run.Plan. model: the Model that trains. path: of the file; it is not made before the first incident.
    """

    def __init__(self, plan, model, path):
        self._config, self._model, self._path = plan.config, model, path
        self._mender = Mender(plan.config, plan.data.spec, plan.device, plan.data.train)
        self.start([], 0)

    def start(self, rows, counted):
        """Begins with rows of an earlier file, and with what the state counts as steps since the last report."""
        self.table, self.counted = Table(self._path, COLUMNS, rows), counted

    def attend(self, session, start, decay, error):
        """Sees to the step that failed in a call that began after step `start`. Returns its number.

        It is taken again with solvers that cannot fail, or left out. RunError after too many of those in a row;
        any other error is raised as it is.
        """
        what = failure(error)
        if what is None:
            raise error
        model, before = self._model, fetch(session, self._model.variables)
        step, self.counted = start + int(before["train"]["steps"]) - self.counted + 1, int(before["train"]["steps"])
        try:
            if not any(layer.family.needs_factors for layer in model.design.layers):
                raise error
            after, found = self._mender.step(before, step, decay)
            put(session, model.variables, after)
            self.counted += 1
            found = found or [(*_place(what), "", AGAIN)]
        except tf.errors.OpError as last:
            what = failure(last)
            if what is None:
                raise
            found = [(*_place(what), "", LEFT_OUT)]
        put(session, {"": {"step": model.global_step}}, {"": {"step": step}})
        for row in found:
            self.table.add(dict(zip(COLUMNS, (step, *row))))
        self._check(step, what)
        return step

    def _check(self, step, what):
        left_out, count = {int(row["step"]) for row in self.table.rows if row["remedy"] == LEFT_OUT}, 0
        while step - count in left_out:
            count += 1
        if count >= self._config.max_skipped_steps:
            raise RunError(f"training diverged: {what} is not finite at step {step}, and {count} steps in a row were "
                           f"left out; try a smaller {step_key(self._config)}, more damping, or keys "
                           "that are less extreme")


def step_key(config):
    """The key that says how far a step goes."""
    return "alpha" if config.mode == REGRESSION else "learning_rate"


def counts(rows):
    """{left_out, mended}: how many of the rows are of each kind."""
    left_out = sum(row["remedy"] == LEFT_OUT for row in rows)
    return {"left_out": left_out, "mended": len(rows) - left_out}


def _place(what):
    """(layer, quantity) of "QUANTITY of LAYER"."""
    quantity, _, layer = what.rpartition(" of ")
    return (layer.replace("layer ", ""), quantity) if quantity else ("", what)
