"""The state of a run as TensorFlow variables. The mathematics knows tensors only.

State is a nested dict: {"dense0": {"mean": tensor, ...}, "likelihood": {...}}.
"""
from typing import Any, Callable, Dict

import tensorflow.compat.v1 as tf

Nested = Dict[str, Dict[str, Any]]


def make_variables(initial: Nested) -> Nested:
    """Turns initial tensors into saved, untrained resource variables of the same nesting."""
    variables: Nested = {}
    for scope, values in initial.items():
        with tf.variable_scope(scope):
            variables[scope] = {
                name: tf.get_variable(name, initializer=value, trainable=False, use_resource=True)
                for name, value in values.items()
            }
    return variables


def read(variables: Nested) -> Nested:
    """Reads the present values.

    The reads are built inside the caller's control dependencies, so they see the writes listed there.
    """
    return {
        scope: {name: variable.read_value() for name, variable in entries.items()}
        for scope, entries in variables.items()
    }


def assign(variables: Nested, values: Nested) -> tf.Operation:
    """Builds the op that writes `values`: any subset of the variables, in the same nesting."""
    return tf.group([
        variables[scope][name].assign(value, read_value=False)
        for scope, entries in values.items()
        for name, value in entries.items()
    ])


def fetch(session: tf.Session, variables: Nested) -> Nested:
    """Returns the present values as arrays, in the same nesting."""
    return session.run(variables)


def put(session: tf.Session, variables: Nested, values: Nested) -> None:
    """Writes arrays of the same nesting. Adds nothing to the graph, which may be finalised."""
    pairs = [(variable.initializer, values[scope][name])
             for scope, entries in variables.items() for name, variable in entries.items()]
    session.run([op for op, _ in pairs], {op.inputs[1]: value for op, value in pairs})


def repeat(advance: Callable[[tf.Tensor], tf.Tensor], count: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
    """Applies `advance(step) -> step` `count` times in the graph: one loop, no Python in it.

    Args:
      advance: function of an int32 scalar; what it returns must depend on everything it writes.
      count, step: int32 scalars.
    """

    def body(i, now):
        with tf.control_dependencies([now]):
            after = advance(now)
        with tf.control_dependencies([after]):
            return i + 1, after

    loop_vars = [tf.constant(0), step]
    return tf.while_loop(lambda i, _: i < count, body, loop_vars, parallel_iterations=1, back_prop=False)[1]


def changed_entries(old: Nested, new: Nested) -> Nested:
    """Returns the entries of `new` that are not the very tensors of `old`."""
    return {scope: {name: value for name, value in entries.items() if value is not old[scope].get(name)}
            for scope, entries in new.items()}
