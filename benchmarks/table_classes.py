"""Classifies the rows of scikit-learn's small tables, beside deep ensembles of the same network, on the same splits.

    python -m benchmarks.table_classes [--data iris wine breast_cancer] [--splits 0-9] [--out CSV]

Ours is a single run of the config that `train.py --init` suggests. The deep ensemble has five networks
(scikit-learn's MLPClassifier, Adam, the same hidden layers) whose weight decay and number of epochs have the best
log-likelihood in five-fold cross-validation inside the training rows, with two members; its probabilities are the mean
of the members'. A positive difference favours ours.
"""
import argparse
import itertools
import pathlib
import tempfile
import warnings

import numpy as np
import tabulate

from benchmarks.checks import check_out
from benchmarks.hmc import spread
from misc import backend
from misc.config import CLASSIFICATION, Config
from misc.errors import one_line_errors
from misc.records import write_rows

SETS = ("iris", "wine", "breast_cancer")
DECAYS, EPOCHS, MEMBERS, SEARCHED, FOLDS = (1e-4, 1e-2, 0.1, 1.0, 10.0), (20, 100, 400), 5, 2, 5
COLUMNS = ["data", "split", "ekfac", "ensemble", "ekfac_accuracy", "ensemble_accuracy", "chosen"]
TINY = 1e-12  # probabilities below are raised to it, so that a certain error costs 28 nats and not infinitely many


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=SETS, choices=SETS)
    parser.add_argument("--splits", default="0-9")
    parser.add_argument("--out", metavar="CSV", help="write the rows to this file, too")
    args = parser.parse_args()
    with one_line_errors("benchmarks.table_classes", "what was printed is complete"):
        check_out(args.out)
        backend.prepare(CLASSIFICATION)
        from core.baseline.jobs import parse_seeds

        rows = []
        with tempfile.TemporaryDirectory() as place:
            for name, split in itertools.product(args.data, parse_seeds(args.splits)):
                rows.append(compare(name, split, pathlib.Path(place)))
                print(", ".join(f"{key} {value}" for key, value in rows[-1].items()), flush=True)
                if args.out:
                    write_rows(pathlib.Path(args.out), COLUMNS, rows)
        print(table(rows))


def compare(name, split, place):
    """Returns a row of the table: log-likelihoods and accuracies of the test rows of one split."""
    import sklearn.datasets

    from core.training import run
    from core.training.suggested import suggest

    bunch = getattr(sklearn.datasets, f"load_{name}")(as_frame=True)
    path = place / f"{name}.csv"
    bunch.frame.assign(target=bunch.target_names[bunch.target]).to_csv(str(path), index=False)
    values = dict(suggest(path, "target").config, split=split, seed=split + 1, experiments_path=str(place / "runs"))
    plan = run.plan(Config.from_dict(values), "cpu")
    metrics = run.execute(plan)["metrics"]
    probabilities, chosen = ensemble(plan.data, values["hidden"], split)
    labels = plan.data.test.y
    log_probs = np.log(np.maximum(probabilities[np.arange(len(labels)), labels], TINY))
    return {"data": name, "split": split, "ekfac": metrics["test_log_likelihood"], "ensemble": log_probs.mean(),
            "ekfac_accuracy": metrics["test_accuracy"],
            "ensemble_accuracy": np.mean(probabilities.argmax(axis=1) == labels), "chosen": chosen}


def ensemble(data, hidden, seed):
    """Returns (probabilities [n_test, C] of a deep ensemble that is tuned on the training rows, what was chosen)."""
    from sklearn.model_selection import StratifiedKFold

    x, y, n_classes = data.train.x, data.train.y, data.spec.n_outputs
    folds = list(StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(x, y))
    scores = {}
    for decay, epochs in itertools.product(DECAYS, EPOCHS):
        log_probs = []
        for train, held_out in folds:
            found = _mean_of_networks(x[train], y[train], x[held_out], n_classes, hidden, decay, epochs, SEARCHED, seed)
            log_probs.append(np.log(np.maximum(found[np.arange(len(held_out)), y[held_out]], TINY)))
        scores[decay, epochs] = np.concatenate(log_probs).mean()
    decay, epochs = max(scores, key=scores.get)
    found = _mean_of_networks(x, y, data.test.x, n_classes, hidden, decay, epochs, MEMBERS, seed)
    return found, f"decay={decay:g} epochs={epochs}"


def _mean_of_networks(x, y, new, n_classes, hidden, decay, epochs, members, seed):
    from sklearn.neural_network import MLPClassifier

    total = np.zeros((len(new), n_classes))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that training ends before it converges
        for member in range(members):
            network = MLPClassifier(tuple(hidden), alpha=decay, max_iter=epochs, n_iter_no_change=epochs, tol=0.0,
                                    batch_size=min(20, len(x)), random_state=1000 * seed + member).fit(x, y)
            total[:, network.classes_] += network.predict_proba(new)
    return total / members


def table(rows):
    """Returns mean and standard error over splits, and of the paired differences, as Markdown."""
    lines = []
    for name in dict.fromkeys(row["data"] for row in rows):
        group = [row for row in rows if row["data"] == name]
        lines.append([name, len(group), *(spread([float(row[key]) for row in group]) for key in COLUMNS[2:6]),
                      spread([float(row["ekfac"]) - float(row["ensemble"]) for row in group])])
    heads = ["data", "splits", "ekfac: log-likelihood", "ensemble: log-likelihood", "ekfac: accuracy",
             "ensemble: accuracy", "difference in log-likelihood"]
    return tabulate.tabulate(lines, heads, tablefmt="github", disable_numparse=True)


if __name__ == "__main__":
    main()
