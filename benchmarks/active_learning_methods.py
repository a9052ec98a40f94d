"""Methods that benchmarks.active_learning compares: those of this code, deep ensembles and Hamiltonian Monte Carlo.

A method is a `Learn` of core.acquisition.learning: after every choice of rows, it says how well it predicts the test
rows and how the pool is distributed. The predictive distribution is one of draws in every method, so that the same
functions compute metrics and epistemic variances.
"""
import functools
import os
from typing import Any, List, NamedTuple, Tuple

import numpy as np

from benchmarks.hmc import METHODS as OURS
from benchmarks.hmc import Sampler, bayesian_network, check_samplable, evaluate
from core.acquisition.job import NETWORK, continue_repeat, network
from core.baseline.worker import attempt
from misc.seeding import stream_seed


class Method(NamedTuple):
    """A row of METHODS."""

    source: str           # the method whose config files it takes: network, priors and, for our methods, all the rest
    overlays: List[str]   # that are laid over them
    learner: str          # a key of LEARNERS
    packages: List[str]   # that must be installed


class DeepEnsemble:
    """Five networks from different initial weights; length, weight decay and noise by cross-validation, as in peers.

    longest: epochs that the search may take.
    """

    def __init__(self, job, config, table, longest):
        self._repeat, self._config, self._table, self._longest = job.repeat, config, table, longest

    def __call__(self, step, rows, predicts_pool):
        from benchmarks import peer_methods

        data, pool = load(self._config, self._table, rows, self._repeat)
        x, y, method = np.float64(data.train.x), np.float64(data.train.y), peer_methods.METHODS["ensemble"]
        seed = [self._config.seed, self._repeat, step]
        setting, precision = peer_methods.Tuning(method, x, y, seed).choose(np.inf, self._longest)
        predict = peer_methods.train(method.fit, x, y, seed, setting).predict
        return learned(predict, lambda outputs: np.full(len(outputs), precision), data, pool if predicts_pool else None)


class Hmc:
    """NUTS on the config's network and priors.

    All steps are padded to the same number of rows, so that it is compiled once for all repeats of a data set.

    sampler: benchmarks.hmc.Sampler.
    """

    def __init__(self, job, config, table, sampler):
        # XLA's own threads would compete with the other repeats.
        os.environ.setdefault("XLA_FLAGS", "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1")
        start, _, steps, batch = job.sizes
        self._repeat, self._config, self._table, self._sampler = job.repeat, config, table, sampler
        self._most_rows = start + steps * batch

    def __call__(self, step, rows, predicts_pool):
        import jax
        from numpyro.diagnostics import split_gelman_rubin

        data, pool = load(self._config, self._table, rows, self._repeat)
        network = Network(**{name: getattr(self._config, name) for name in Network._fields})
        chains, names = make_chains(network._replace(hidden=tuple(network.hidden or ())), data.train.x.shape[1],
                                    self._sampler)
        n_rows = len(data.train.x)
        x, y = np.zeros((self._most_rows, data.train.x.shape[1]), np.float32), np.zeros(self._most_rows, np.float32)
        x[:n_rows], y[:n_rows] = data.train.x, data.train.y
        key = jax.random.PRNGKey(stream_seed(self._config.seed, "active learning", self._repeat, step))
        chains.run(key, x, y, np.arange(self._most_rows) < n_rows)
        draws = chains.get_samples(group_by_chain=True)
        weights = [flat(draws[name]) for name in names]
        found = learned(lambda inputs: outputs_of(weights, np.float32(inputs)),
                        lambda outputs: np.float64(flat(draws["precision"])), data, pool if predicts_pool else None,
                        self._config.dof)
        tested = outputs_of(weights, np.float32(data.test.x)).reshape(self._sampler.chains, -1, len(rows.test))
        found.metrics["r_hat"] = float(split_gelman_rubin(tested).max())
        return found


class Network(NamedTuple):
    """The keys of a config that benchmarks.hmc's model depends on."""

    model_name: str
    hidden: Tuple[int, ...]
    eta: float
    noise_prior_shape: float
    noise_prior_rate: float
    dof: float


@functools.lru_cache(maxsize=None)
def make_chains(network, n_inputs, sampler):
    """Returns (numpyro's MCMC, names of the weights); its program is compiled by the first run and kept."""
    from numpyro.infer import MCMC, NUTS
    from numpyro.infer.initialization import init_to_sample

    model, _, names = bayesian_network(network, n_inputs)
    kernel = NUTS(model, max_tree_depth=sampler.depth, init_strategy=init_to_sample)
    return MCMC(kernel, num_warmup=sampler.warmup, num_samples=sampler.samples, num_chains=sampler.chains,
                chain_method="sequential", progress_bar=False, jit_model_args=True), names


def load(config, table, rows, repeat):
    """Returns (data of the labelled rows and the test rows, inputs of the pool), standardised by the labelled rows."""
    from core.acquisition.rows import separated
    from core.training.tasks import TASKS

    data = TASKS[config.kind].load(config, table, lambda request: rows.split(repeat))
    return separated(data, len(rows.test))


def learned(predict, precisions_of, data, pool, dof=np.inf):
    """Returns the Learned of a method that predicts by draws of outputs with Gaussian or Student-t noise.

    Args:
      predict: standardised inputs [n, d] -> outputs [K, n].
      precisions_of: outputs -> noise precisions [K].
      pool: inputs [n, d]; None: they are not predicted.
      dof: degrees of freedom of the noise; infinite: it is Gaussian.
    """
    from core.acquisition.learning import Learned
    from core.metrics.draws import Draws

    outputs = predict(np.float64(data.test.x))
    metrics = evaluate(outputs, precisions_of(outputs), data, dof)[1]
    if pool is None:
        return Learned(metrics, None)
    outputs = predict(np.float64(pool))
    return Learned(metrics, Draws(outputs, precisions_of(outputs), dof))


def outputs_of(weights, x):
    """Returns the outputs [K, n] of ReLU networks; weights: of all layers, [K, d_in + 1, d_out] each."""
    outputs = []
    for layers in zip(*weights):
        h = x
        for number, weight in enumerate(layers):
            h = h @ weight[:-1] + weight[-1]
            h = np.maximum(h, 0.0) if number < len(layers) - 1 else h
        outputs.append(h[:, 0])
    return np.array(outputs, np.float64)


def flat(draws):
    """Returns draws [chains, samples, ...] as one array, [chains * samples, ...]."""
    draws = np.asarray(draws)
    return draws.reshape(-1, *draws.shape[2:])


SAMPLER = Sampler(chains=2, warmup=200, samples=200, depth=8, seed=0)
LEARNERS = {
    NETWORK: network,
    "ensemble": functools.partial(DeepEnsemble, longest=1000),
    "quick_ensemble": functools.partial(DeepEnsemble, longest=100),
    "hmc": functools.partial(Hmc, sampler=SAMPLER),
    "quick_hmc": functools.partial(Hmc, sampler=SAMPLER._replace(warmup=20, samples=20, depth=4)),
}
METHODS = {
    **{name: Method(source, overlays, NETWORK, []) for name, (source, overlays) in OURS.items()},
    "ensemble": Method("ekfac", [], "ensemble", ["numba"]),
    "hmc": Method("ekfac", [], "hmc", ["jax", "numpyro"]),
}


def check(method, config, path):
    """Raises UserError if a method cannot be trained as a config says, which was read from `path`."""
    if method == "hmc":
        check_samplable(config, path)


def work(job: Any):
    """Does the steps of a Job by its method; returns and raises as `attempt`."""
    return attempt(job, functools.partial(continue_repeat, learners=LEARNERS))
