# %% [markdown]
# # A new network
#
# A network is a function. This page writes one with a shortcut, trains it beside a plain network of the same size, and
# says what makes it a part of the project.
#
# ## The function
#
# It is given an input `x`, an object `layers`, and the number of outputs, and calls methods of `layers`. The
# [reference](../api_networks.md) has all of them.

# %%
import tempfile

import pandas
from sklearn.datasets import make_friedman1

from core.api import train
from misc.errors import UserError
from networks import NETWORKS, Network
from networks.layers import ShapeRecorder


def shortcut(x, layers, n_outputs, width=20):
    """Two hidden layers of equal width; the second is added to what it was given."""
    x = layers.flatten(x)  # images; rows of numbers stay as they are
    x = layers.activate(layers.dense(x, width))
    x = layers.add(layers.activate(layers.dense(x, width)), x)
    return layers.dense(x, n_outputs)


# %% [markdown]
# The project calls this function twice: with the shape of one example and a `ShapeRecorder`, to learn which layers
# there are, and with tensors and a `LayerBuilder`, which draws the weights. So it can be tried without any training:

# %%
recorder = ShapeRecorder()
output = shortcut((10,), recorder, n_outputs=1)
print("shape of the output:", output)
pandas.DataFrame([(spec.name, spec.d_in + 1, spec.d_out) for spec in recorder.specs],
                 columns=["layer", "inputs and bias", "outputs"])

# %% [markdown]
# Mistakes are found in the same way. This network adds what does not fit:

# %%


def mistaken(x, layers, n_outputs):
    return layers.dense(layers.add(layers.dense(x, 20), x), n_outputs)


try:
    mistaken((10,), ShapeRecorder(), n_outputs=1)
except UserError as error:
    print(error)

# %% [markdown]
# ## A row in the table
#
# `NETWORKS` maps the names that the key `model_name` may have to networks. A row holds a line for `train.py --list`, a
# function of the config that returns the network, and the keys that have no effect on it.

# %%
NETWORKS["shortcut"] = Network("two hidden layers of 20 units, the second with a shortcut", lambda config: shortcut,
                               ignores=("width", "batch_norm"))

# %% [markdown]
# ## Training
#
# All methods, metrics and commands know the network now. The data are generated: ten inputs, five of which matter.

# %%
inputs, target = make_friedman1(n_samples=400, noise=1.0, random_state=1)
frame = pandas.DataFrame(inputs, columns=[f"x{number}" for number in range(1, 11)]).assign(y=target)

temporary = tempfile.TemporaryDirectory()
metrics = {}
for model_name, keys in (("shortcut", {}), ("ffn", {"hidden": [20, 20]})):
    run = train({"dataset": "friedman", "target": "y", "protocol": "random", "test_fraction": 0.25, "seed": 1,
                 "optimizer": "ekfac", "model_name": model_name, "epoch": 60, "batch_size": 25, **keys,
                 "exp_name": model_name, "experiments_path": temporary.name}, frame)
    metrics[model_name] = run.metrics
pandas.DataFrame(metrics).filter(like="test_", axis=0).round(3)

# %% [markdown]
# Which of the two is better on one split says little; [repeated runs](../repeated_runs.md) compare them over many.
#
# ## Keeping it
#
# A row that is added like this lives as long as the process: `load_run`, `evaluate.py` and `predict.py` need it, too.
# Two edits make the network a part of the project: the function goes into `networks/ffn.py`, and the row into
# `networks/__init__.py`, where `shortcut` is imported.
#
# ```python
# NETWORKS = {
#     ...
#     "shortcut": Network("two hidden layers of 20 units, the second with a shortcut", lambda config: shortcut,
#                         ignores=("width", "batch_norm")),
# }
# ```
#
# Then `python train.py --config FILE --set model_name=shortcut` trains it, `--list` names it, and the tests that run
# over all networks include it. [Design](../design.md#extending) has the same for layers, posteriors and likelihoods.
