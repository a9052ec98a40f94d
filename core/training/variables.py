"""The state of a run as TensorFlow variables. The maths knows tensors only.

State is a nested dict: {"dense0": {"mean": tensor, ...}, "likelihood": {...}}. Imports
nothing of ours; anyone may import it.
"""
import tensorflow.compat.v1 as tf


def make_variables(initial):
    """A dict of dicts of initial tensors -> the same of saved, untrained resource variables."""
    variables = {}
    for scope, values in initial.items():
        with tf.variable_scope(scope):
            variables[scope] = {
                name: tf.get_variable(name, initializer=value, trainable=False, use_resource=True)
                for name, value in values.items()
            }
    return variables


def read(variables):
    """The values now: reads built here, so they see all writes this place depends on."""
    return {
        scope: {name: variable.read_value() for name, variable in entries.items()}
        for scope, entries in variables.items()
    }


def assign(variables, values):
    """Op: writes `values` (any subset of the variables, same nesting)."""
    return tf.group([
        variables[scope][name].assign(value, read_value=False)
        for scope, entries in values.items()
        for name, value in entries.items()
    ])


def fetch(session, variables):
    """The values now, as arrays in the same nesting."""
    return session.run(variables)


def put(session, variables, values):
    """Writes arrays (same nesting). Adds nothing to the graph, which may be finalised."""
    pairs = [(variable.initializer, values[scope][name])
             for scope, entries in variables.items() for name, variable in entries.items()]
    session.run([op for op, _ in pairs], {op.inputs[1]: value for op, value in pairs})


def repeat(advance, count, step):
    """`advance(step) -> step` applied `count` times in the graph: one loop, no Python in it.

    Args:
      advance: function of an int32 scalar; what it returns must depend on all it writes.
      count, step: int32 scalars.
    """

    def body(i, now):
        with tf.control_dependencies([now]):
            after = advance(now)
        with tf.control_dependencies([after]):
            return i + 1, after

    loop_vars = [tf.constant(0), step]
    return tf.while_loop(lambda i, _: i < count, body, loop_vars, parallel_iterations=1, back_prop=False)[1]


def changed(old, new):
    """The entries of `new` that are not the very tensors of `old`; both {scope: {name: tensor}}."""
    return {scope: {name: value for name, value in entries.items() if value is not old[scope].get(name)}
            for scope, entries in new.items()}
