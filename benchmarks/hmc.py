"""Compares the posteriors with that of Hamiltonian Monte Carlo: same network, same prior, same splits.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.hmc --data yacht --splits 0-4 [--methods ekfac kfac diag bbb] [--set KEY=VALUE ...]
    python -m benchmarks.hmc --data yacht --splits 0 --methods --draws draws    # HMC alone, for evaluate.py

NUTS (numpyro) runs chains from different draws of the prior: weights N(0, eta), noise precision Gamma, as in the
config. A split has converged if the largest split r-hat of the network's outputs over the test rows is below 1.05;
others are marked. Every method is then trained on the same split. The table has RMSE, log-likelihood, and the Pearson
correlation over the test rows of the predictive std with that of HMC: of the total, and of the epistemic part alone.
--draws writes the draws of HMC for the test rows to FOLDER/DATA_SPLIT.npz, a reference of evaluate.py --correlations.

Reference: Zhang et al. (2018), Sec. 5.1, https://arxiv.org/abs/1712.02390
"""
import argparse
import itertools
import json
import pathlib
import tempfile
import time
from typing import NamedTuple

import numpy as np
import tabulate

from benchmarks.checks import check_out, check_packages, is_done, read_out
from benchmarks.configs import PATTERN, PATTERN_HELP, SET_HELP, standard_config
from misc import backend
from misc.errors import UserError, one_line_errors
from misc.records import read_rows, write_rows

# Method -> the method whose config file it takes, and the overlays that are laid over that file.
METHODS = {"ekfac": ("ekfac", []), "kfac": ("kfac", []), "diag": ("diag", []),
           "bbb": ("ekfac", ["config/overlays/bbb.json"])}
COLUMNS = ["data", "split", "method", "rmse", "log_likelihood", "std_correlation", "epistemic_correlation", "r_hat",
           "r_hat_median", "converged", "seconds", "settings"]
CONVERGED = 1.05


class Sampler(NamedTuple):
    """Settings of NUTS."""

    chains: int
    warmup: int   # draws of each chain that are discarded
    samples: int  # draws of each chain that are kept
    depth: int    # largest number of doublings of a trajectory
    seed: int


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["yacht"], metavar="SET", help="name as in config/regression")
    parser.add_argument("--splits", default="0-4", help="of the standard protocol, from 0")
    parser.add_argument("--methods", nargs="*", default=list(METHODS), choices=list(METHODS),
                        help="methods to compare with HMC")
    parser.add_argument("--config", default=PATTERN, help=PATTERN_HELP)
    parser.add_argument("--chains", type=int, default=4)
    parser.add_argument("--warmup", type=int, default=500, help="draws of each chain that are discarded")
    parser.add_argument("--samples", type=int, default=500, help="draws of each chain that are kept")
    parser.add_argument("--depth", type=int, default=10, help="largest number of doublings of a trajectory")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help=SET_HELP.format("HMC and all methods"))
    parser.add_argument("--out", metavar="CSV", help="write the rows to this file, and go on from it")
    parser.add_argument("--draws", metavar="FOLDER", help="write HMC's draws for the test rows into this folder")
    args = parser.parse_args()
    with one_line_errors("benchmarks.hmc", "what was printed is complete"):
        check_packages(["jax", "numpyro"])
        check_out(args.out)
        if args.draws and not pathlib.Path(args.draws).is_dir():
            raise UserError(f"--draws {args.draws} is no folder: make it first")
        backend.prepare()
        from core.baseline.jobs import parse_seeds

        sampler = Sampler(args.chains, args.warmup, args.samples, args.depth, 0)
        settings = json.dumps({"config": args.config, "set": args.set, **sampler._asdict()})
        rows = read_out(args.out, ("data", "method", "converged", "settings"), COLUMNS)
        left = {}
        for data, split in itertools.product(args.data, parse_seeds(args.splits, "--splits")):
            if is_done(rows, data, split, ["hmc", *args.methods], settings, args.out):
                check_draws(args.draws, data, split, args.out)
            else:  # reads the configs of every split before the first is sampled
                left[data, split] = read_configs(data, split, args)
        for (data, split), (configs, shared) in left.items():
            found = compare(data, split, configs, shared, sampler, draws_file(args.draws, data, split))
            rows += [dict(row, settings=settings) for row in found]
            if args.out:
                write_rows(pathlib.Path(args.out), COLUMNS, rows)
        print(table(rows))


def draws_file(folder, data, split):
    """Returns where HMC's draws of a split go; None if there is no folder for them."""
    return pathlib.Path(folder) / f"{data}_{split}.npz" if folder else None


def check_draws(folder, data, split, out):
    """Raises UserError if the draws of a finished split are asked for but not there."""
    path = draws_file(folder, data, split)
    if path and not path.is_file():
        raise UserError(f"--out {out} has {data}, split {split}, but {path} is not there: name another --out to sample "
                        "it again")


def read_configs(data, split, args):
    """Returns ({method: Config}, the Config whose network and priors HMC takes) of one split of a data set.

    Raises UserError if HMC cannot sample its posterior, or if the configs differ in it.
    """
    configs = {method: read_config(args.config, method, data, args.set, split)
               for method in args.methods or list(METHODS)[:1]}
    shared = next(iter(configs.values()))
    for name in ("eta", "noise_prior_shape", "noise_prior_rate", "model_name", "hidden"):
        if any(getattr(config, name) != getattr(shared, name) for config in configs.values()):
            raise UserError(f"the configs differ in {name}: give one value for all, --set {name}=VALUE")
    return configs if args.methods else {}, shared


def read_config(pattern, method, data, overrides, split):
    """Returns the Config of a method and data set on a standard split, with seed split + 1.

    Raises UserError if HMC cannot sample its posterior.
    """
    source, overlays = METHODS[method]
    config, path = standard_config(pattern, source, data, split, overrides, overlays)
    check_samplable(config, path)
    return config


def check_samplable(config, path):
    """Raises UserError if HMC cannot sample the posterior of a config, which was read from `path`."""
    if config.kl_candidates:
        raise UserError(f"{path}: kl_candidates: the posterior that HMC samples has kl 1")
    if config.kl != 1:
        raise UserError(f"{path}: kl {config.kl:g}: the posterior that HMC samples has kl 1")
    if config.likelihood == "heteroscedastic":
        raise UserError(f"{path}: likelihood heteroscedastic: HMC is written for gaussian and student_t")
    if config.model_name not in ("ffn", "ffn50", "ffn100") or config.activation != "relu":
        raise UserError(f"{path}: HMC is written for ReLU networks ffn, ffn50, ffn100")


def compare(data, split, configs, shared, sampler, draws_path=None):
    """Returns the rows of one split.

    Args:
      shared: the Config whose network and priors HMC takes.
      draws_path: where to write the draws of HMC; None: nowhere.
    """
    from core.training.run import plan

    reference, facts = run_hmc(shared, plan(shared).data, sampler, draws_path)
    rows = [dict(data=data, split=split, method="hmc", std_correlation=1.0, epistemic_correlation=1.0, **facts)]
    print_row(rows[0])
    for method, config in configs.items():
        rows.append(dict(data=data, split=split, method=method, **run_method(config, reference)))
        print_row(rows[-1])
    return rows


def print_row(row):
    """Prints what has been measured so far."""
    print(", ".join(f"{name} {value:.4g}" if isinstance(value, float) else f"{name} {value}"
                    for name, value in row.items()), flush=True)


def hidden_widths(config):
    """Returns the widths of the hidden layers."""
    return config.hidden or [int(config.model_name[3:])]


def bayesian_network(config, n_inputs):
    """Returns (numpyro's model, function of its weights and inputs [n, d] that returns outputs [n], names of weights).

    The model is a function of inputs x [n, d], targets y [n] and, optionally, which of the rows count, bool [n].
    """
    import jax
    import numpyro
    from numpyro.distributions import Gamma, Normal, StudentT

    widths = [n_inputs, *hidden_widths(config), 1]
    shapes = {f"w{i}": (n_in + 1, n_out) for i, (n_in, n_out) in enumerate(zip(widths, widths[1:]))}

    def outputs(weights, x):
        for i, weight in enumerate(weights):
            x = x @ weight[:-1] + weight[-1]
            x = jax.nn.relu(x) if i < len(weights) - 1 else x
        return x[:, 0]

    def model(x, y, counts=None):
        weights = [numpyro.sample(name, Normal(0.0, config.eta**0.5).expand(shape).to_event(2))
                   for name, shape in shapes.items()]
        precision = numpyro.sample("precision", Gamma(config.noise_prior_shape, config.noise_prior_rate))
        means, scale = outputs(weights, x), precision**-0.5
        with numpyro.handlers.mask(mask=True if counts is None else counts):
            numpyro.sample("y", StudentT(config.dof, means, scale) if np.isfinite(config.dof) else Normal(means, scale),
                           obs=y)

    return model, outputs, list(shapes)


def run_hmc(config, data, sampler, draws_path=None):
    """Samples the posterior. Returns (Prediction for the test rows, what the table says of it).

    draws_path: where to write the draws; None: nowhere.
    """
    import jax
    from numpyro.diagnostics import split_gelman_rubin
    from numpyro.infer import MCMC, NUTS
    from numpyro.infer.initialization import init_to_sample

    from core.assessment.reference_draws import write_draws
    from core.metrics.draws import Draws

    model, outputs, names = bayesian_network(config, data.train.x.shape[1])
    started = time.perf_counter()
    kernel = NUTS(model, max_tree_depth=sampler.depth, init_strategy=init_to_sample)
    chains = MCMC(kernel, num_warmup=sampler.warmup, num_samples=sampler.samples, num_chains=sampler.chains,
                  chain_method="sequential", progress_bar=True)
    chains.run(jax.random.PRNGKey(sampler.seed + config.seed), np.float32(data.train.x), np.float32(data.train.y))
    draws = chains.get_samples(group_by_chain=True)
    seconds = time.perf_counter() - started
    test = jax.jit(jax.vmap(jax.vmap(lambda *weights: outputs(weights, np.float32(data.test.x)))))
    drawn = np.asarray(test(*(draws[name] for name in names)), np.float64)  # [chains, samples, rows]
    r_hat = split_gelman_rubin(drawn)
    chained, precisions = drawn.reshape(-1, drawn.shape[-1]), np.asarray(draws["precision"], np.float64).ravel()
    if draws_path:
        write_draws(draws_path, Draws(chained, precisions, config.dof), data.test.y, data)
    prediction, metrics = evaluate(chained, precisions, data, config.dof)
    return prediction, dict(metrics, r_hat=float(r_hat.max()), r_hat_median=float(np.median(r_hat)),
                            converged="yes" if r_hat.max() < CONVERGED else "NO", seconds=seconds)


def evaluate(outputs, precisions, data, dof=np.inf):
    """Returns (Prediction, {rmse, log_likelihood}) for the test rows, from draws [K, n] and [K], standardised."""
    from core.metrics.predictive import predict, regression_statistics, values_of

    prediction = predict(outputs, precisions, data.test.y, data.target_mean, data.target_std, dof)
    targets = data.target_mean + data.target_std * data.test.y
    metrics = values_of(regression_statistics(prediction, targets), len(targets))
    return prediction, {name: metrics[name] for name in ("rmse", "log_likelihood")}


def run_method(config, reference):
    """Trains one of our methods; returns what the table says of it."""
    from core.training.run import finish
    from misc.folders import claim, folder_at
    from misc.records import read_json

    with tempfile.TemporaryDirectory() as place:
        folder = folder_at(pathlib.Path(place) / "run")
        with claim(folder):
            finish(config, folder)
        result, rows = read_json(folder.result), read_rows(folder.predictions)
    std, epistemic = (np.array([float(row[name]) for row in rows]) for name in ("std", "epistemic_std"))
    return {"rmse": result["metrics"]["test_rmse"], "log_likelihood": result["metrics"]["test_log_likelihood"],
            "std_correlation": float(np.corrcoef(std, reference.std)[0, 1]),
            "epistemic_correlation": float(np.corrcoef(epistemic, reference.epistemic_std)[0, 1]),
            "seconds": result["train_time_s"]}


def table(rows):
    """Returns mean and standard error over splits, as Markdown; HMC's rows say how many splits converged."""
    groups = {}
    for row in rows:
        groups.setdefault((row["data"], row["method"]), []).append(row)
    lines = []
    for (data, method), group in groups.items():
        cells = [spread([row[name] for row in group]) for name in COLUMNS[3:7]]
        done = [row["converged"] for row in group if "converged" in row]
        note = f" ({done.count('yes')} of {len(done)} splits converged)" if done else ""
        lines.append([data, method + note, *cells, f"{np.mean([row['seconds'] for row in group]):.0f}"])
    heads = ["data", "method", "RMSE", "log-likelihood", "correlation of std", "of its epistemic part", "s per fit"]
    return tabulate.tabulate(lines, heads, tablefmt="github", disable_numparse=True)


def spread(values):
    """Returns "mean ± standard error"."""
    from core.baseline.statistics import summarise, with_error

    return with_error(summarise(values), 3)


if __name__ == "__main__":
    main()
