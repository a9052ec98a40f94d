"""Compares methods by the correlations between their predictions of different rows (docs/evaluation.md).

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.correlations --data yacht concrete --splits 0-4 [--methods ekfac ensemble ...] [--out CSV]
    python -m benchmarks.correlations --quick    # one split, short training, untuned: shows that it works

The same command with --out goes on from where it was ended: a split that the file holds is not computed again, and
table and figure show all of its rows. A data set without config files takes those of another one, for example with
--config 'config/regression/{method}_concrete.json' --set dataset={data} --set data_path=FOLDER.

All methods of a split are references of each other: `xll` is the mean over them, `rank` the mean rank by it. With
--draws FOLDER, of benchmarks.hmc --draws, `meta` is the meta-correlation with FOLDER/DATA_SPLIT.npz. `joint` and
`marginal` are log-likelihoods of random batches of five rows, per row, with and without the dependence between rows.

ekfac, kfac and diag are trained as their config files say, with --particles draws. ensemble, mc_dropout and
laplace_kron are those of benchmarks.peers, tuned as there, with a hidden layer of 50; a draw of them is one network, or
one set of dropped units, for all rows.

Reference: Wang et al. (2021), https://arxiv.org/abs/2011.03178
"""
import argparse
import itertools
import json
import pathlib
import tempfile

import numpy as np
import tabulate

from benchmarks.checks import check_out, check_packages, is_done, read_out
from benchmarks.configs import PATTERN, PATTERN_HELP, SET_HELP, standard_config
from benchmarks.hmc import spread
from misc import backend
from misc.errors import UserError, one_line_errors
from misc.records import write_rows

OURS, PEERS = ("ekfac", "kfac", "diag"), ("ensemble", "mc_dropout", "laplace_kron")
COLUMNS = ["data", "split", "method", "joint", "marginal", "xll", "rank", "meta", "settings"]
BATCH, N_BATCHES, MOST_PAIRS = 5, 1000, 50_000
QUICK = {"ours": ["epoch=40", "epoch_rate=40"], "epochs": 40}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["yacht"], metavar="SET", help="name as in config/regression")
    parser.add_argument("--splits", default="0-4", help="of the standard protocol, from 0")
    parser.add_argument("--methods", nargs="+", default=[*OURS, *PEERS], choices=[*OURS, *PEERS])
    parser.add_argument("--config", default=PATTERN, help=PATTERN_HELP)
    parser.add_argument("--particles", type=int, default=1000, help="weight draws of our methods")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help=SET_HELP.format("our methods"))
    parser.add_argument("--draws", metavar="FOLDER", help="draws of HMC, to compare with")
    parser.add_argument("--quick", action="store_true", help="the first split alone, short training, no tuning")
    parser.add_argument("--out", metavar="CSV", help="write the rows to this file, and go on from it")
    parser.add_argument("--figure", metavar="PNG", help="draw the scores of all rows")
    args = parser.parse_args()
    with one_line_errors("benchmarks.correlations", "what was printed is complete"):
        check_packages(["numba"])
        check_out(args.out)
        check_out(args.figure, "--figure")
        backend.prepare()
        from core.baseline.jobs import parse_seeds

        rows = read_out(args.out, ("data", "method", "settings"), COLUMNS)
        if args.draws and not all("meta" in row for row in rows):
            raise UserError(f"--out {args.out} has splits without meta, which --draws adds: name another file")
        splits = parse_seeds(args.splits, "--splits")[:1 if args.quick else None]
        settings = {name: getattr(args, name) for name in ("quick", "particles", "config", "set")}
        settings = json.dumps(dict(settings, **({"draws": args.draws} if args.draws else {})))
        left = [(data, split) for data, split in itertools.product(args.data, splits)
                if not is_done(rows, data, split, args.methods, settings, args.out)]
        for data, split in left:
            read_inputs(data, split, args)  # raises an error before the first training
        for data, split in left:
            rows += [dict(row, settings=settings) for row in compare(data, split, args)]
            if args.out:
                write_rows(pathlib.Path(args.out), COLUMNS, rows)
        print(table(rows))
        if args.figure:
            from benchmarks.correlation_figure import draw_scores

            draw_scores(args.figure, rows)


def read_inputs(name, split, args):
    """Returns ({method of ours: its Config}, data, draws of HMC or None) of one split of a data set."""
    from core.assessment.reference_draws import read_draws
    from data_loader.regression import load_regression

    configs = {method: read_config(name, split, method, args) for method in OURS}
    data = load_regression(configs[OURS[0]])  # peers take the data of the first
    if len(data.test.y) < BATCH:
        raise UserError(f"{name}: {len(data.test.y)} test rows are too few for batches of {BATCH}")
    reference = None
    if args.draws:
        reference = read_draws(pathlib.Path(args.draws) / f"{name}_{split}.npz").draws(data.test.y, data)
    return configs, data, reference


def compare(name, split, args):
    """Returns the rows of one split of a data set."""
    configs, data, reference = read_inputs(name, split, args)
    draws = {method: our_draws(configs[method], args.particles) if method in OURS
             else peer_draws(method, data, split, args.quick) for method in args.methods}
    return [dict(data=name, split=split, **row) for row in scores(draws, data, reference)]


def read_config(data, split, method, args):
    """Returns the Config of one of our methods on a standard split."""
    short = QUICK["ours"] if args.quick else []
    return standard_config(args.config, method, data, split, [*short, *args.set])[0]


def our_draws(config, n_particles):
    """Trains one of our methods; returns its Draws for the test rows."""
    from core.assessment.evaluated import evaluate_run
    from core.assessment.inputs import TEST, Options
    from core.training.run import finish
    from misc.folders import claim, folder_at

    with tempfile.TemporaryDirectory() as place:
        folder = folder_at(pathlib.Path(place) / "run")
        with claim(folder):
            finish(config, folder)
        run = evaluate_run(folder.root, {"test_particles": n_particles}, Options(), keep=True)
    return run.collected[TEST].draws


def peer_draws(method, data, split, quick):
    """Trains a method of benchmarks.peers; returns its Draws for the test rows."""
    from benchmarks.peer_methods import METHODS, Tuning, best_precision, cross_validate, train
    from core.metrics.draws import Draws

    x, y, row = np.float64(data.train.x), np.float64(data.train.y), METHODS[method]
    if quick:
        setting = dict(row.start, epochs=QUICK["epochs"])
        precision = best_precision(cross_validate(row.fit, x, y, [split], setting), y, np.inf)[1]
    else:
        setting, precision = Tuning(row, x, y, [split]).choose(np.inf)
    fit = train(row.fit, x, y, [split], setting)
    outputs = (fit.predict_jointly or fit.predict)(np.float64(data.test.x))
    return Draws(outputs, np.full(len(outputs), precision), np.inf)


def scores(draws, data, reference=None):
    """Returns what the table says of methods, {method: Draws}, on the test rows.

    reference: Draws of HMC; None: none.
    """
    from core.metrics import correlations as c
    from core.metrics.predictive import values_of
    from misc.seeding import stream

    y, unit = np.asarray(data.test.y, np.float64), np.log(data.target_std)
    covariances = {method: c.row_covariance(of_method) for method, of_method in draws.items()}
    batches = c.random_batches(len(y), BATCH, N_BATCHES, stream(0, "correlations", "batches"))
    table_of = c.cross_normalised_table(list(covariances.values()), y, BATCH, N_BATCHES,
                                        lambda: stream(0, "correlations", "batches"))
    pairs = c.row_pairs(len(y), MOST_PAIRS, stream(0, "correlations", "pairs"))
    of_reference = None if reference is None else c.output_correlations(c.row_covariance(reference), pairs)
    rows = []
    for number, (method, of_method) in enumerate(draws.items()):
        row = {"method": method,
               "joint": c.mixture_joint_log_prob(of_method, y, batches).mean() - unit,
               "marginal": c.mixture_joint_log_prob(of_method, y, batches.reshape(-1, 1)).mean() - unit,
               "xll": table_of["xll"][number] - unit, "rank": table_of["xll_rank"][number]}
        if of_reference is not None:
            own = c.output_correlations(covariances[method], pairs)
            row["meta"] = values_of(c.meta_correlations(own, of_reference, pairs), len(y))["meta_correlation"]
        rows.append(row)
    return rows


def table(rows):
    """Returns mean and standard error over splits, as Markdown."""
    groups = {}
    for row in rows:
        groups.setdefault((row["data"], row["method"]), []).append(row)
    names = [name for name in COLUMNS[3:-1] if all(name in row for row in rows)]
    lines = [[data, method, len(group), *(spread([row[name] for row in group]) for name in names)]
             for (data, method), group in groups.items()]
    heads = ["data", "method", "number of splits", *names]
    return (tabulate.tabulate(lines, heads, tablefmt="github", disable_numparse=True)
            + "\njoint, marginal, xll: nats per row; rank: mean rank by xll, 1 is the best")


if __name__ == "__main__":
    main()
