"""ZhuSuan 0.4, an optional package, set up for TensorFlow 1.15 and 2.x.

ZhuSuan is written for `import tensorflow as tf` of TensorFlow 1.x. On 2.x it can be imported, but the names that it
calls (`tf.log`, `tf.random_normal`, `tf.placeholder`, ...) are in `tensorflow.compat.v1` only.
"""
import sys
from typing import Any

import tensorflow
import tensorflow.compat.v1 as tf

from core.zhusuan_bridge import INSTALL
from misc.errors import UserError


class _TensorFlow:
    """The module `tensorflow.compat.v1`, but with the `Variable` of which resource variables are instances."""

    Variable = tensorflow.Variable

    def __getattr__(self, name: str) -> Any:
        return getattr(tf, name)


def load() -> Any:
    """Returns the package zhusuan, whose modules then find the names of TensorFlow 1.x under `tf`.

    Raises UserError if it cannot be imported.
    """
    try:
        import zhusuan
    except ImportError as error:
        raise UserError(f"ZhuSuan cannot be imported ({error}): {INSTALL}") from None
    names = _TensorFlow()
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == zhusuan.__name__ and hasattr(module, "tf"):
            module.tf = names  # type: ignore[attr-defined]
    return zhusuan


zs: Any = load()
"""The package zhusuan."""
