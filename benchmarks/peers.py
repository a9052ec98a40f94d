"""Trains other methods on the same splits, most with one hidden layer of 50: a table of methods and data sets.

    pip install -r benchmarks/requirements.txt
    python -m benchmarks.peers --data concrete yacht --splits 0-4 [--methods laplace_kron ...] [--dof inf 8] [--out CSV]

All have one noise level for all inputs, and data standardised as by train.py. Hyper-parameters and noise come from
five-fold cross-validation within the training rows of each split: every row is predicted by networks that were trained
on the other folds. A search through the grid of the method (peer_methods.py) maximises the log-likelihood of these
predictions, the noise level of each setting is the best for them, and the method is then trained on all training rows.
Ensembles are searched with two members and have five otherwise. `own_noise` is the log-likelihood at the noise level
that the method has learned itself, if it learns one. `seconds` is the time of the last fit, `tuning` that of the
cross-validation. A finite --dof evaluates with Student's t instead of Gaussian noise, and searches by it. Rows that
--out has already are kept.

`gp` is no network but an exact Gaussian process (peer_gp.py). Its kernel, hyper-parameters and noise come from the
marginal likelihood, so its `tuning` is 0. Its noise is Gaussian: a finite --dof gives no row of it.

regression_baseline.py --protocol standard runs our methods on the same splits (seed S: split S - 1).
"""
import argparse
import itertools
import pathlib

import numpy as np
import tabulate

from benchmarks.checks import check_out, check_packages, read_out
from benchmarks.hmc import spread
from misc import backend
from misc.config import Config
from misc.errors import UserError, one_line_errors
from misc.records import write_rows

NAMES = ["laplace_kron", "ivon", "mc_dropout", "ensemble", "mean_field", "gp"]
COLUMNS = ["data", "split", "method", "dof", "rmse", "log_likelihood", "own_noise", "seconds", "tuning", "chosen"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=["yacht_hydrodynamics"], metavar="SET")
    parser.add_argument("--splits", default="0-4", help="of the standard protocol, from 0")
    parser.add_argument("--methods", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--dof", nargs="+", type=float, default=[np.inf], help="degrees of freedom of the noise")
    parser.add_argument("--longest", type=float, default=np.inf, metavar="EPOCHS", help="search no longer training")
    parser.add_argument("--data-path", default="data", metavar="FOLDER")
    parser.add_argument("--out", metavar="CSV", help="write the rows to this file, too")
    args = parser.parse_args()
    with one_line_errors("benchmarks.peers", "what was printed is complete"):
        check_packages(["numba"])
        check_out(args.out)
        wrong = [dof for dof in args.dof if not dof > 2]
        if wrong:
            raise UserError(f"--dof {wrong[0]:g}: Student's t has a variance above 2 degrees of freedom only")
        backend.prepare()
        from core.baseline.jobs import parse_seeds

        rows = read_out(args.out, ("data", "method", "chosen", "own_noise"), COLUMNS)
        done = {(row["data"], row["split"], row["method"]) for row in rows}
        for name, split, method in itertools.product(args.data, parse_seeds(args.splits), args.methods):
            if (name, split, method) in done:
                continue
            for result in compete(name, split, method, args.data_path, args.dof, args.longest):
                rows.append(dict(data=name, split=split, method=method, **result))
                print(", ".join(f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}"
                                for key, value in rows[-1].items()), flush=True)
            if args.out:
                write_rows(pathlib.Path(args.out), COLUMNS, rows)
        print(table(rows))


def compete(name, split, method, data_path, dofs, longest):
    """Yields what the table says of a method on one split, for each `dof` of noise that the method can have."""
    from benchmarks.peer_methods import METHODS
    from data_loader.regression import load_regression

    data = load_regression(Config.from_dict(dict(dataset=name, optimizer="sgd", model_name="ffn50", split=split,
                                                 protocol="standard", data_path=data_path)))
    yield from METHODS[method].compete(data, [split], dofs, longest)


def table(rows):
    """Returns mean and standard error over splits, as Markdown."""
    groups = {}
    for row in rows:
        groups.setdefault((row["data"], row["method"], row["dof"]), []).append(row)
    lines = [[data, method, f"{dof:g}", len(group),
              *(spread([row[name] for row in group]) for name in ("rmse", "log_likelihood")),
              *(f"{np.mean([row[name] for row in group]):.1f}" for name in ("seconds", "tuning"))]
             for (data, method, dof), group in groups.items()]
    heads = ["data", "method", "noise dof", "splits", "RMSE", "log-likelihood", "s per fit", "s of tuning"]
    return tabulate.tabulate(lines, heads, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()
