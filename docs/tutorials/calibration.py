# %% [markdown]
# # Calibration
#
# A predictive distribution is calibrated if what it says happens as often as it says: 90 % of the targets lie in the
# 90 % intervals, and of the rows with a confidence of 0.8, eight of ten are right. This page measures both, and
# corrects both after the training by `evaluate.py --calibrate`.
#
# ## Coverage of a regression
#
# Two kinds of runs on the diabetes data of scikit-learn: noisy EK-FAC, and Adam, whose weights have no noise. They
# share the test rows (key `split`), and the validation rows, which are used neither for training nor for the test: the
# calibration needs them. Here the network is large for so few rows.

# %%
import pathlib
import shlex
import subprocess
import sys
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas
from sklearn.datasets import load_diabetes, load_digits
from sklearn.model_selection import train_test_split

import core
from core.api import NoisyClassifier, load_run, train
from core.metrics.calibration import LEVELS, coverage_curve, reliability

temporary = tempfile.TemporaryDirectory()
folder = pathlib.Path(temporary.name).resolve()
load_diabetes(as_frame=True).frame.to_csv(folder / "diabetes.csv", index=False)


def trained(optimizer, seed, epochs):
    """Returns the folder of a run with these rows, and with initial weights and noise of the seed."""
    name = f"{optimizer}_{seed}"
    train({"dataset": "diabetes", "data_file": str(folder / "diabetes.csv"), "target": "target", "protocol": "random",
           "test_fraction": 0.4, "validation_fraction": 0.3, "split": 0, "seed": seed, "optimizer": optimizer,
           "model_name": "ffn", "hidden": [50], "epoch": epochs, "batch_size": 32, "exp_name": name,
           "experiments_path": str(folder)})
    return folder / "diabetes" / name


runs = {"ekfac 1": trained("ekfac", 1, 60), "ekfac 2": trained("ekfac", 2, 60), "adam": trained("adam", 1, 100)}

# %% [markdown]
# `predictions.csv` holds, for every test row, the value `cdf` of the predictive distribution function at the target. If
# the distributions are right, these values are uniform between 0 and 1. `coverage_curve` counts how many targets lie in
# the central interval of every level:

# %% alt="Share of test targets inside central intervals against the level of the interval, for three runs"
predictions = {name: pandas.read_csv(path / "predictions.csv") for name, path in runs.items()}
fig, axis = plt.subplots(figsize=(4.5, 4.5))
axis.plot([0, 1], [0, 1], color="black", linewidth=1)
for name, rows in predictions.items():
    axis.plot(LEVELS, coverage_curve(rows["cdf"].to_numpy()), label=name)
axis.set(xlabel="level of the interval", ylabel="share of targets inside")
axis.legend()
plt.show()

# %% [markdown]
# Below the diagonal, intervals are too narrow: without weight noise, a network that has learned its training rows by
# heart takes the noise of the data for small. One number for each curve is its mean distance from the diagonal.
#
# ## Ensembles
#
# The equal mixture of several runs has the mean of their distribution functions, and of their densities. It is wider
# where its members disagree.

# %%


def mixed(members):
    """Returns cdf and log density of the equal mixture of runs, whose rows are the same."""
    densities = np.mean([np.exp(rows["log_prob"]) for rows in members], axis=0)
    return pandas.DataFrame({"cdf": np.mean([rows["cdf"] for rows in members], axis=0), "log_prob": np.log(densities)})


predictions["ekfac 1 + 2"] = mixed([predictions["ekfac 1"], predictions["ekfac 2"]])
pandas.DataFrame({name: {"log-likelihood": rows["log_prob"].mean(),
                         "calibration area": np.abs(coverage_curve(rows["cdf"].to_numpy()) - LEVELS).mean()}
                  for name, rows in predictions.items()}).T.round(3)

# %% [markdown]
# `evaluate.py RUN RUN --ensemble` does this with more metrics and figures, and [repeated runs](../repeated_runs.md)
# train ensembles over many splits. The mixture's log-likelihood is never below the mean of those of its members.
#
# ## Calibrating a run
#
# `evaluate.py --calibrate` corrects the intervals of a run that is already trained. It measures how many predictive
# standard deviations each target of the validation rows is away from its mean. The conformal interval of level 90 % is
# the mean plus and minus the number that is enough for 90 % of these rows, and a little more, since they are few. Of
# new rows of the same kind, 90 % are then inside, on average and whatever is wrong with the network.

# %%
project = pathlib.Path(core.__file__).parents[1]


def command(line):
    """Runs a command of the project in the temporary folder and shows what it prints."""
    script, *arguments = shlex.split(line)
    done = subprocess.run([sys.executable, str(project / script), *arguments], cwd=str(folder),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    print(done.stdout.replace(f"{folder}/", ""))
    done.check_returncode()


command("evaluate.py diabetes/adam_1 --calibrate")

# %% [markdown]
# [Evaluation](../evaluation.md) explains all columns. Brackets are bootstrap intervals over rows. The intervals of Adam
# become wider, all by the same factor: calibration cannot tell which rows are harder to predict than others.
#
# The run keeps its calibration, in `calibration.json`. `predict.py --calibrated` and `predict(calibrated=True)` use it:

# %%
rows = load_diabetes(as_frame=True).frame.head(4)
calibrated = pandas.DataFrame(load_run(folder / "diabetes" / "adam_1").predict(rows, calibrated=True))
calibrated[["mean", "lower", "upper", "calibrated_lower", "calibrated_upper"]].round(0)

# %% [markdown]
# ## Reliability of a classification
#
# Handwritten digits, of which a classifier sees a fifth. `reliability` groups the test rows by their confidence, the
# probability of the most probable class, and compares it with the accuracy of each group.

# %%
X, y = load_digits(return_X_y=True, as_frame=True)
X_train, X_rest, y_train, y_rest = train_test_split(X, y, train_size=0.2, random_state=1)
X_valid, X_test, y_valid, y_test = train_test_split(X_rest, y_rest, train_size=0.3, random_state=1)
classifier = NoisyClassifier(hidden=(30,), epochs=30, batch_size=32, random_state=1).fit(X_train, y_train)
before = classifier.predict_proba(X_test)
bins = reliability(before, y_test.to_numpy(), n_bins=10)
pandas.DataFrame(bins._asdict()).round(3)

# %% [markdown]
# Where `accuracy` is above `confidence`, the classifier is more often right than it says.
#
# ## A temperature, and sets of classes
#
# One number can mend much of a wrong confidence: a temperature T, by which the log probabilities are divided. Above 1
# it flattens them, below 1 it sharpens them, and the most probable class stays the same. `--calibrate` chooses the one
# of the highest log-likelihood, here on the rows of another table (`--data`). It also finds how much probability a set
# of the most probable classes must hold to contain the true one in 90 % of the rows (`--sets aps`).

# %%
classifier.run_.save(folder / "classifier")
for name, inputs, labels in (("valid", X_valid, y_valid), ("test", X_test, y_test)):
    inputs.assign(target=labels).to_csv(folder / f"{name}.csv", index=False)
command("evaluate.py classifier --data valid.csv --calibrate --sets aps")

# %% [markdown]
# On the test rows:

# %% alt="Accuracy against confidence of the test rows, before and after the temperature"
found = load_run(folder / "classifier").predict(X_test, calibrated=True)
after = np.stack([found[f"p_{digit}"] for digit in range(10)], axis=1)
fig, axis = plt.subplots(figsize=(4.5, 4.5))
axis.plot([0, 1], [0, 1], color="black", linewidth=1)
for label, probabilities in (("before", before), ("after", after)):
    bins = reliability(probabilities, y_test.to_numpy(), n_bins=10)
    axis.plot(bins.confidence, bins.accuracy, "o-", label=label)
axis.set(xlabel="confidence", ylabel="accuracy")
axis.legend()
plt.show()

# %% [markdown]
# Bins of few rows are noisy. `evaluate.py` draws this diagram and prints the mean distance of confidence and accuracy,
# `ece`, with its interval.

# %%
command("evaluate.py classifier --data test.csv")
