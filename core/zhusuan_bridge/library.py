"""ZhuSuan 0.4, an optional package, set up for TensorFlow 1.15 and 2.x.

ZhuSuan is written for `import tensorflow as tf` of TensorFlow 1.x. On 2.x it can be imported, but the names that it
calls (`tf.log`, `tf.random_normal`, `tf.placeholder`, ...) are in `tensorflow.compat.v1` only.
"""
import sys
from typing import Any

import tensorflow.compat.v1 as tf

from core.zhusuan_bridge import INSTALL
from misc.errors import UserError


def load() -> Any:
    """Returns the package zhusuan, whose modules then use `tensorflow.compat.v1` under the name `tf`.

    Raises UserError if it cannot be imported.
    """
    try:
        import zhusuan
    except ImportError as error:
        raise UserError(f"ZhuSuan cannot be imported ({error}): {INSTALL}") from None
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == zhusuan.__name__ and hasattr(module, "tf"):
            module.tf = tf
    return zhusuan


zs: Any = load()
"""The package zhusuan."""
