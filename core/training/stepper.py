"""Feeds a model's graph: the training data once, a plan per epoch, and segments of steps."""
import tensorflow.compat.v1 as tf

from core.training.graph import Model
from core.training.schedule import Segment
from data_loader.batches import epoch_plan
from data_loader.parts import Part


class Stepper:
    """Runs the steps of a model in a session.

    Args:
      session: on the model's graph.
      model: built with `training`.
      rows: the training Part.
    """

    def __init__(self, session: tf.Session, model: Model, rows: Part) -> None:
        self.session, self.model, self._rows, self._epoch = session, model, rows, 1

    def load_data(self) -> None:
        """Puts the training rows into the graph, or tells it where to read them."""
        load = self.model.load
        load.source.rows = self._rows.x
        inputs = {} if load.x is None else {load.x: self._rows.x}
        self.session.run(load.data_op, {**inputs, load.y: self._rows.y})

    def load_epoch(self, epoch: int) -> None:
        """Begins `epoch` (from 1): puts the order of its rows, their crops, and the held-out rows into the graph."""
        design, load = self.model.design, self.model.load
        self._epoch = epoch
        plan = epoch_plan(design.config, design.spec.n_rows, epoch)
        self.session.run(load.epoch_op, dict(zip(load.epoch, plan.values())))

    def run(self, segment: Segment) -> None:
        """Runs the steps of a segment, all within the epoch that was loaded, in one call.

        Raises tf.errors.OpError if one of them fails.
        """
        arguments = self.model.run_arguments
        self.session.run(self.model.advance[segment.due], {
            arguments.n_rounds: segment.n_rounds, arguments.n_base_steps: segment.n_base_steps,
            arguments.epoch: self._epoch})

    @property
    def step(self) -> int:
        """Number of steps done."""
        return int(self.session.run(self.model.global_step))
