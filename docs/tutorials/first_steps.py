# %% [markdown]
# # First steps
#
# A small network is trained, looked at and evaluated, first in Python, then from the command line. This takes a few
# seconds.
#
# ## A table
#
# The diabetes data of scikit-learn: ten measurements of each patient, and a number that says how far the disease has
# progressed a year later. Everything that this page writes goes to a temporary folder.

# %%
import pathlib
import shlex
import subprocess
import sys
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas
from sklearn.datasets import load_diabetes

import core
from core.api import train

temporary = tempfile.TemporaryDirectory()
folder = pathlib.Path(temporary.name).resolve()
frame = load_diabetes(as_frame=True).frame
frame.head(3).round(3)

# %% [markdown]
# ## Training in Python
#
# A run is described by its config, a dictionary of [keys](../configuration.md). This one predicts the column `target`
# from all others, with one hidden layer of 20 units and noisy EK-FAC. A random fifth of the rows is set aside as test
# rows. The files go to `experiments_path`, which is `experiments` by default.

# %%
config = {
    "dataset": "diabetes_table", "target": "target", "protocol": "random", "test_fraction": 0.2, "seed": 1,
    "optimizer": "ekfac", "model_name": "ffn", "hidden": [20], "epoch": 40, "batch_size": 32,
    "experiments_path": str(folder / "experiments"),
}
run = train(config, frame)
pandas.Series(run.metrics).filter(like="test_").round(3)

# %% [markdown]
# `test_coverage_90` is the share of test rows whose target lies in the central 90 % interval of its prediction. It
# should be near 0.9, as far as so few rows can tell. `test_log_likelihood` is the mean log density of the targets, in
# nats. The same config and seed give the same numbers again.
#
# ## Predictions
#
# `predict` takes rows with the columns of the table, in any order, with or without the target. Everything is in the
# units of the target.

# %%
predicted = pandas.DataFrame(run.predict(frame.head(4)))
predicted.round(1)

# %% [markdown]
# `std` is the standard deviation of the predictive distribution, and `epistemic_std` the part of it that comes from the
# weights; the rest is the noise of the data. `lower` and `upper` are the ends of the central 90 % interval. The part
# from the weights grows where there are no training rows. Here the body mass index of one patient is moved away from
# those of all others (in this table, columns have mean 0 and standard deviation 0.05):

# %% alt="Predictive mean with two bands over the body mass index; the band of the weights widens beyond the data"
patients = pandas.concat([frame.head(1)] * 81, ignore_index=True)
patients["bmi"] = np.linspace(-0.4, 0.4, len(patients))
band = run.predict(patients)
fig, axis = plt.subplots(figsize=(7, 3.5))
for std, label in ((band["std"], "mean ± 2 std"), (band["epistemic_std"], "mean ± 2 epistemic std")):
    axis.fill_between(patients["bmi"], band["mean"] - 2 * std, band["mean"] + 2 * std, alpha=0.3, label=label)
axis.plot(patients["bmi"], band["mean"])
axis.plot(frame["bmi"], np.full(len(frame), axis.get_ylim()[0]), "|", color="black", label="rows of the table")
axis.set(xlabel="bmi", ylabel="target")
axis.legend()
plt.show()

# %% [markdown]
# ## From the command line
#
# The commands do the same with files. In a terminal, the line of `command` below is `python train.py ...`.

# %%
project = pathlib.Path(core.__file__).parents[1]


def command(line):
    """Runs a command of the project in the temporary folder and shows what it prints."""
    script, *arguments = shlex.split(line)
    done = subprocess.run([sys.executable, str(project / script), *arguments], cwd=str(folder),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout.replace(f"{folder}/", ""))
    done.check_returncode()


frame.to_csv(folder / "diabetes.csv", index=False)
(folder / "mine.json").write_text("""{
  "dataset": "diabetes", "data_file": "diabetes.csv", "target": "target", "protocol": "random", "test_fraction": 0.2,
  "seed": 1, "optimizer": "ekfac", "model_name": "ffn", "hidden": [20], "epoch": 40, "batch_size": 32
}""")
command("train.py --config mine.json")

# %% [markdown]
# Here the config was written by hand. `python train.py --init diabetes.csv --target target > mine.json` writes one,
# with settings that suit most tables. [Training](../training.md) has all flags. The metrics are those of the run in
# Python: both plan and train a run by the same functions.
#
# ## Evaluating
#
# `evaluate.py` restores the run and prints its metrics with 95 % bootstrap intervals over the test rows.

# %%
command("evaluate.py experiments/diabetes/ekfac_diabetes")

# %% [markdown]
# With so few test rows the intervals are wide. It also draws figures, of which two are shown:

# %% alt="Share of test targets in central intervals, and targets against predictions, as evaluate.py draws them"
evaluation = folder / "experiments" / "diabetes" / "ekfac_diabetes" / "evaluation"
print(*sorted(path.name for path in evaluation.iterdir()))
fig, axes = plt.subplots(1, 2, figsize=(10, 4.5))
for axis, name in zip(axes, ("coverage.png", "predictions.png")):
    axis.imshow(plt.imread(evaluation / name))
    axis.axis("off")
plt.show()

# %% [markdown]
# [Evaluation](../evaluation.md) explains metrics and figures, and [your own table](your_own_table.py) goes on with the
# estimators for scikit-learn.
