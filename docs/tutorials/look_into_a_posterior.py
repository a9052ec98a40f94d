# %% [markdown]
# # Looking into a posterior
#
# A trained run holds a Gaussian posterior over the weights of every layer. Here it is taken apart: its covariance and
# the factors that this is made of, draws of the weights, and what these draws say about predictions.
#
# ## A run
#
# Twenty noisy points of a cubic function, and a network with one hidden layer of twenty units.

# %%
import pathlib
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas

from core.api import load_run, train

rng = np.random.RandomState(1)
x = rng.uniform(-4.0, 4.0, 20)
frame = pandas.DataFrame({"x": x, "y": x**3 + 3.0 * rng.randn(20)})

temporary = tempfile.TemporaryDirectory()
train({"dataset": "cubic", "target": "y", "protocol": "all", "exp_name": "ekfac", "optimizer": "ekfac", "seed": 1,
       "model_name": "ffn", "hidden": [20], "epoch": 1000, "batch_size": 20, "train_particles": 10,
       "noise_prior_shape": 6.0, "noise_prior_rate": 0.1, "alpha": 0.02, "beta": 0.01, "omega": 0.01, "Teigen": 5,
       "experiments_path": temporary.name}, frame)
run = load_run(pathlib.Path(temporary.name) / "cubic" / "ekfac")
run.layers

# %% [markdown]
# ## One layer
#
# The weights of a layer are a matrix with a row for each input, the last one for the bias, and a column for each
# output. `posterior` returns the Gaussian over it, with the factors in which the method keeps its covariance:

# %%
posterior = run.posterior("dense0")
print(posterior.kind, "with a mean of shape", posterior.mean.shape)
{name: factor.shape for name, factor in posterior.factors.items()}

# %% [markdown]
# Noisy EK-FAC has two orthogonal matrices, the eigenbases of inputs and of output gradients, and a variance for every
# direction of their product. `to_dense` writes out the covariance of all weights, row by row. By hand, from the
# factors:

# %%
mean, covariance = posterior.to_dense()
basis = np.kron(posterior.factors["q_a"], posterior.factors["q_s"])
by_hand = basis @ np.diag(posterior.factors["variance"].ravel()) @ basis.T
print(covariance.shape, "equal:", np.allclose(by_hand, covariance, rtol=1e-3, atol=1e-4 * covariance.max()))

# %% [markdown]
# ## Correlations of weights
#
# Noisy Adam would have independent weights. Here those of different units are correlated. The diagonal, where all
# correlations are 1, is left white.

# %% alt="Correlations of the weights of both layers, as two square matrices with a colour for each pair"
fig, axes = plt.subplots(1, 2, figsize=(9, 3.8))
for axis, layer in zip(axes, run.layers):
    _, covariance = run.posterior(layer).to_dense()
    std = np.sqrt(np.diag(covariance))
    correlations = covariance / np.outer(std, std) - np.eye(len(std))
    largest = np.abs(correlations).max()
    image = axis.imshow(correlations, cmap="RdBu", vmin=-largest, vmax=largest)
    axis.set(title=f"{layer}: {len(std)} weights")
    fig.colorbar(image, ax=axis)
plt.show()

# %% [markdown]
# In the first layer, the upper left quarter belongs to the weights of `x` and the lower right one to the biases.
#
# ## Draws of the weights
#
# `sample_weights` draws all layers at once. The covariance of many draws approaches that of the posterior:

# %%
weights = run.sample_weights(2000)
mean, covariance = run.posterior("dense1").to_dense()
drawn = np.cov(weights["dense1"].reshape(2000, -1).T)
print({layer: values.shape for layer, values in weights.items()})
print(f"relative distance of the covariances: {np.linalg.norm(drawn - covariance) / np.linalg.norm(covariance):.3f}")

# %% [markdown]
# `log_prob_weights` is the log density of draws under the posterior of all layers. The mean has the highest density,
# and typical draws are far below it, because most of the volume of a Gaussian in many dimensions is away from its mean:

# %%
at_mean = {layer: run.posterior(layer).mean[None] for layer in run.layers}
draws = run.log_prob_weights(weights)
print(f"at the mean {run.log_prob_weights(at_mean)[0]:.1f} nats; draws {draws.mean():.1f} ± {draws.std():.1f}")

# %% [markdown]
# ## From weights to predictions
#
# `network` computes the network's outputs for any weights. They are in standardised units; `run.data` has mean and
# standard deviation of the target.

# %%
rows = pandas.DataFrame({"x": np.linspace(-6.0, 6.0, 121)})
outputs = run.network(weights, rows)[:, :, 0] * run.data.target_std + run.data.target_mean
outputs.shape

# %% alt="Outputs of twenty draws of the weights, and the band of two standard deviations over x"
fig, axis = plt.subplots(figsize=(7, 3.8))
axis.plot(rows["x"], outputs[:20].T, color="tab:orange", linewidth=0.7, alpha=0.7)
predicted = run.predict(rows)
center = predicted["mean"]
for std, alpha in ((predicted["std"], 0.15), (predicted["epistemic_std"], 0.3)):
    axis.fill_between(rows["x"], center - 2 * std, center + 2 * std, color="tab:blue", alpha=alpha)
axis.plot(frame["x"], frame["y"], "k.", markersize=4)
axis.set(xlabel="x", ylabel="y", ylim=(-150.0, 150.0))
plt.show()

# %% [markdown]
# Lines are outputs of twenty draws. The dark band is two standard deviations of the draws, and the light one includes
# the noise of the data. `predict` uses the first draws of `sample_weights`, so that its `epistemic_std` is the standard
# deviation of theirs:

# %%
n_draws = run.config.test_particles
print("equal:", np.allclose(outputs[:n_draws].std(axis=0), predicted["epistemic_std"], rtol=1e-3))

# %% [markdown]
# Weights can be changed, too: what does the network predict if one hidden unit is taken out?

# %% alt="Root mean square error of the training rows without each of the twenty hidden units, sorted"
errors = []
for unit in range(20):
    without = {layer: values[:n_draws].copy() for layer, values in weights.items()}
    without["dense1"][:, unit] = 0.0
    changed = run.network(without, frame)[:, :, 0] * run.data.target_std + run.data.target_mean
    errors.append(np.sqrt(np.mean((changed.mean(axis=0) - frame["y"]) ** 2)))
fig, axis = plt.subplots(figsize=(7, 2.5))
axis.bar(range(20), sorted(errors))
axis.axhline(np.sqrt(np.mean((run.predict(frame)["mean"] - frame["y"]) ** 2)), color="black", linewidth=1)
axis.set(xlabel="hidden unit, sorted", ylabel="RMSE without it")
plt.show()

# %% [markdown]
# The line is the error with all units: some of them carry the function, others hardly matter. The site's [inference
# reference](../api_inference.md) has all kinds of posteriors, and [ZhuSuan](hmc_with_zhusuan.py) samples on from here
# by Hamiltonian Monte Carlo.
