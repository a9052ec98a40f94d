"""Samples the posterior of a trained run by ZhuSuan's HMC, whose chains start from the run's own posterior.

    pip install git+https://github.com/thu-ml/zhusuan
    python -m benchmarks.zhusuan_hmc --data yacht --splits 0 [--methods ekfac kfac diag bbb] [--set KEY=VALUE ...]

Every method is trained on a standard split, as benchmarks.hmc does it. Then as many chains as asked for start at
draws of its posterior, with the same network, prior and noise prior. The table has RMSE and log-likelihood on the test
rows of the method's own predictions and of the chains', the Pearson correlation of their predictive standard
deviations over the test rows, and ZhuSuan's ELBO and importance-weighted bound of log p(y | x), in nats, for the
method's posterior.

Adaptation ends with the warm-up: that of the step size runs from its first draw, that of the mass from the end of its
first third, because ZhuSuan's first steps are far too long and rejected, and a mass from chains that stand still never
lets them move again. "r-hat" is the largest split r-hat of the network's outputs over the
test rows: far above 1 where the chains have not forgotten their starts.
"""
import argparse
import itertools
import pathlib
import tempfile
import time
from typing import NamedTuple

import numpy as np
import tabulate

from benchmarks.checks import check_out
from benchmarks.configs import PATTERN, PATTERN_HELP, SET_HELP
from benchmarks.hmc import METHODS, evaluate, read_config
from misc import backend
from misc.errors import one_line_errors
from misc.records import read_json, write_rows

COLUMNS = ["data", "split", "method", "rmse", "hmc_rmse", "log_likelihood", "hmc_log_likelihood", "std_correlation",
           "elbo", "iw_bound", "r_hat", "acceptance", "seconds"]
BOUND_PARTICLES = 500  # weight draws of the ELBO and the importance-weighted bound


class Sampler(NamedTuple):
    """Settings of HMC."""

    chains: int
    warmup: int     # draws of each chain that are discarded, while step size and mass adapt
    samples: int    # draws of each chain that are kept
    leapfrogs: int  # steps of a trajectory


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["yacht"], metavar="SET", help="name as in config/regression")
    parser.add_argument("--splits", default="0", help="of the standard protocol, from 0")
    parser.add_argument("--methods", nargs="+", default=["ekfac"], choices=list(METHODS))
    parser.add_argument("--config", default=PATTERN, help=PATTERN_HELP)
    parser.add_argument("--chains", type=int, default=8)
    parser.add_argument("--warmup", type=int, default=400, help="draws of each chain that are discarded")
    parser.add_argument("--samples", type=int, default=400, help="draws of each chain that are kept")
    parser.add_argument("--leapfrogs", type=int, default=100, help="steps of a trajectory")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help=SET_HELP.format("all methods"))
    parser.add_argument("--out", metavar="CSV", help="write the rows to this file, too")
    args = parser.parse_args()
    with one_line_errors("benchmarks.zhusuan_hmc", "what was printed is complete"):
        check_out(args.out)
        backend.prepare()
        from core.baseline.jobs import parse_seeds
        from core.zhusuan_bridge import library  # noqa: F401  # fails early without ZhuSuan

        sampler = Sampler(args.chains, args.warmup, args.samples, args.leapfrogs)
        configs = {key: read_config(args.config, key[2], key[0], args.set, key[1])  # before the first training
                   for key in itertools.product(args.data, parse_seeds(args.splits, "--splits"), args.methods)}
        rows = []
        for (data, split, method), config in configs.items():
            rows.append(dict(data=data, split=split, method=method, **compare(config, sampler)))
            if args.out:
                write_rows(pathlib.Path(args.out), COLUMNS, rows)
        print(tabulate.tabulate([[row[name] for name in COLUMNS] for row in rows], COLUMNS, "github", ".3f"))


def compare(config, sampler):
    """Trains a method, samples from its posterior on; returns what the table says of both."""
    from core.assessment.restore import restored
    from core.training.run import finish
    from core.zhusuan_bridge.models import approximation
    from misc.folders import claim, folder_at
    from misc.records import read_rows

    with tempfile.TemporaryDirectory() as place:
        folder = folder_at(pathlib.Path(place) / "run")
        with claim(folder):
            finish(config, folder)
        metrics, rows = read_json(folder.result)["metrics"], read_rows(folder.predictions)
        with restored(folder.root, {}) as run:
            found, design, data = approximation(run.model, run.session), run.design, run.data
    started = time.perf_counter()
    outputs, log_precisions, facts = run_hmc(found, design, data, sampler, config.seed)
    seconds = time.perf_counter() - started
    prediction, ours = evaluate(outputs.reshape(-1, outputs.shape[-1]), np.exp(log_precisions).ravel(), data,
                                design.likelihood.dof)
    std = np.array([float(row["std"]) for row in rows])
    return dict(facts, rmse=metrics["test_rmse"], log_likelihood=metrics["test_log_likelihood"],
                hmc_rmse=ours["rmse"], hmc_log_likelihood=ours["log_likelihood"],
                std_correlation=float(np.corrcoef(std, prediction.std)[0, 1]), r_hat=split_r_hat(outputs).max(),
                seconds=seconds)


def run_hmc(found, design, data, sampler, seed):
    """Samples the posterior of a run.

    Returns (outputs [chains, samples, n_test], log precisions [chains, samples], what the table says of bounds and
    acceptance).
    """
    import tensorflow.compat.v1 as tf

    from core.zhusuan_bridge.library import zs
    from core.zhusuan_bridge.models import LOG_PRECISION, OUTPUTS, chains, network_model, variational_net

    with tf.Graph().as_default() as graph, backend.session(graph, design.config.n_threads) as session:
        tf.set_random_seed(seed)
        model = network_model(design, tf.constant(data.train.x, tf.float32), BOUND_PARTICLES)
        observed = {"y": tf.constant(data.train.y, tf.float32)}
        proposal = variational_net(found, BOUND_PARTICLES)
        bounds = [zs.variational.elbo(model, observed, variational=proposal, axis=0).tensor,
                  zs.is_loglikelihood(model, observed, proposal=proposal, axis=0)]
        states, adapts = chains(found, sampler.chains, seed), tf.placeholder(tf.bool, [])
        hmc = zs.HMC(step_size=1e-3, n_leapfrogs=sampler.leapfrogs, adapt_step_size=adapts, adapt_mass=adapts,
                     mass_collect_iters=sampler.warmup // 3)
        sample, info = hmc.sample(model, observed, states)
        test = network_model(design, tf.constant(data.test.x, tf.float32)).observe(**info.samples)
        drawn = [tf.convert_to_tensor(test[OUTPUTS])[..., 0], info.samples[LOG_PRECISION], info.acceptance_rate, sample]
        session.run(tf.global_variables_initializer())
        elbo, iw_bound = session.run(bounds)
        for _ in range(sampler.warmup):
            session.run(sample, {adapts: True})
        kept = [session.run(drawn, {adapts: False})[:3] for _ in range(sampler.samples)]
    outputs, log_precisions, rates = (np.stack(values, axis=1) for values in zip(*kept))
    return np.float64(outputs), np.float64(log_precisions), dict(elbo=elbo, iw_bound=iw_bound, acceptance=rates.mean())


def split_r_hat(draws):
    """Returns the split r-hat of every column of draws [chains, samples, n]; [n].

    Reference: Gelman et al. (2013), Bayesian Data Analysis, Sec. 11.4
    """
    half = draws.shape[1] // 2
    halves = np.concatenate([draws[:, :half], draws[:, half:2 * half]])
    within = halves.var(axis=1, ddof=1).mean(axis=0)
    between = half * halves.mean(axis=1).var(axis=0, ddof=1)
    return np.sqrt((within * (half - 1) / half + between / half) / within)


if __name__ == "__main__":
    main()
