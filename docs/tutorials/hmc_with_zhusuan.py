# ---
# needs: zhusuan
# ---
# %% [markdown]
# # HMC, SGLD and bounds with ZhuSuan
#
# [ZhuSuan](../zhusuan.md) is an optional package with samplers and variational objectives. Here the posterior of a
# trained run becomes the start of Hamiltonian Monte Carlo, and is judged by bounds of the evidence. To run this page,
# install it:
#
#     pip install git+https://github.com/thu-ml/zhusuan
#
# ## A run
#
# Twenty noisy points of a cubic function, and a network with one hidden layer of ten units. TensorFlow must be prepared
# before it is imported, which the import of `core.api` does. `approximation` takes the run's posterior out of its
# session, as arrays, so that other graphs can use it.

# %%
import pathlib
import tempfile

import matplotlib.pyplot as plt
import numpy as np
import pandas

from core.api import train
from core.assessment.restore import restored
from core.zhusuan_bridge.library import zs
from core.zhusuan_bridge.models import approximation, chains, network_model, variational_net
from misc import backend

tf = backend.prepare()
temporary = tempfile.TemporaryDirectory()
folder = pathlib.Path(temporary.name)
rng = np.random.RandomState(1)
x = rng.uniform(-4.0, 4.0, 20)
y = x**3 + 3.0 * rng.randn(20)
pandas.DataFrame({"x": x, "y": y}).to_csv(folder / "cubic.csv", index=False)

config = {
    "dataset": "cubic", "data_file": str(folder / "cubic.csv"), "target": "y", "protocol": "all", "seed": 1,
    "exp_name": "ekfac", "optimizer": "ekfac", "model_name": "ffn", "hidden": [10], "epoch": 1000, "batch_size": 20,
    "noise_prior_shape": 6.0, "noise_prior_rate": 0.1, "alpha": 0.02, "beta": 0.01, "omega": 0.01, "Teigen": 5,
    "experiments_path": str(folder),
}
run = train(config)
with restored(folder / "cubic" / "ekfac", {}) as opened:
    posterior, design, data = approximation(opened.model, opened.session), opened.design, opened.data
{layer: type(weights).__name__ for layer, weights in posterior.weights.items()}

# %% [markdown]
# ## Bounds of the evidence
#
# `network_model` is the run's network with its prior and noise, as a model of ZhuSuan, and `variational_net` its
# posterior, as ZhuSuan's objectives take it. On average, the ELBO is at most the log evidence, and the
# importance-weighted bound lies between the two.

# %%
N_DRAWS = 100
graph = tf.Graph()
with graph.as_default():
    tf.set_random_seed(1)
    model = network_model(design, tf.constant(data.train.x, tf.float32), n_particles=N_DRAWS)
    observed = {"y": tf.constant(data.train.y, tf.float32)}
    proposal = variational_net(posterior, N_DRAWS)
    elbo = zs.variational.elbo(model, observed, variational=proposal, axis=0).tensor
    bound = zs.is_loglikelihood(model, observed, proposal=proposal, axis=0)
    with tf.Session() as session:
        print("ELBO {:.1f} nats, importance-weighted bound {:.1f} nats".format(*session.run([elbo, bound])))

# %% [markdown]
# The larger the distance between the two, the more the posterior is missing.
#
# ## Sampling on by HMC
#
# Four chains start at draws of the posterior. ZhuSuan builds an op that makes one draw of every chain. The step size
# adapts during the first half of the draws, which are discarded.

# %%
N_CHAINS = 4
grid = np.linspace(-6.0, 6.0, 81)
with graph.as_default():
    adapts = tf.placeholder(tf.bool, [])
    states = chains(posterior, n_chains=N_CHAINS, seed=1)
    hmc = zs.HMC(step_size=1e-3, n_leapfrogs=20, adapt_step_size=adapts)
    sample, info = hmc.sample(model, observed, states)
    inputs = tf.constant((grid[:, None] - data.input_mean) / data.input_std, tf.float32)
    outputs = network_model(design, inputs).observe(**info.samples)["outputs"]
    drawn = []
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        for step in range(2 * N_DRAWS):
            values, rate, _ = session.run([outputs, info.acceptance_rate, sample], {adapts: step < N_DRAWS})
            drawn.append(values[:, :, 0])
kept = np.stack(drawn[N_DRAWS:]) * data.target_std + data.target_mean  # [draws, chains, points]
print("acceptance rate of the last draw:", rate.round(2))

# %% [markdown]
# Both distributions of the network's outputs, without the noise of the data:

# %% alt="Bands of two standard deviations of the network's outputs over x, by noisy EK-FAC and by HMC"
noisy = run.predict(pandas.DataFrame({"x": grid}))
fig, axis = plt.subplots(figsize=(7, 3.8))
for label, mean, std in (("noisy EK-FAC", noisy["mean"], noisy["epistemic_std"]),
                         ("HMC from there", kept.mean(axis=(0, 1)), kept.std(axis=(0, 1)))):
    axis.fill_between(grid, mean - 2 * std, mean + 2 * std, alpha=0.4, label=label)
axis.plot(x, y, "k.")
axis.set(xlabel="x", ylabel="y")
axis.legend()
plt.show()

# %% [markdown]
# Beyond the data the chains are less sure than noisy EK-FAC, whose posterior stays near one of many solutions.
#
# Four short chains are not the posterior yet: how far they are from each other says how much to trust them. Here is the
# standard deviation of the mean output of each chain, relative to that within the chains, at five points:

# %%
five = [0, 20, 40, 60, 80]
pandas.DataFrame({"x": grid[five], "ratio": kept.mean(axis=0).std(axis=0)[five] / kept.std(axis=0).mean(axis=0)[five]})

# %% [markdown]
# [ZhuSuan](../zhusuan.md) has the settings that long chains need, and what came of them on real data. `zs.SGLD` takes
# the place of `zs.HMC` with the same arguments.
