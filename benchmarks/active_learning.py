"""Active learning by several methods on the same rows, beside random choice, with paired tests.

    pip install -r benchmarks/requirements.txt    # for hmc and ensemble
    python -m benchmarks.active_learning --out FOLDER [--data yacht concrete] [--methods ekfac hmc] [--jobs N]
        [--set data_path=FOLDER] [--repeats 10] [--quick]

The experiment is that of active_learning.py: 20 labelled rows, 100 test rows, and ten times the row of the largest
predictive variance is labelled. Methods are those of config/regression, as published; `bbb` is mean-field variational
inference; `ensemble` is five networks, with length, weight decay and noise by cross-validation within the labelled
rows; `hmc` is NUTS. Each is also trained on rows chosen at random. All have the same splits.

FOLDER/DATA/METHOD has the files of active_learning.py. FOLDER/steps.csv has all steps, FOLDER/table.md the means and
standard errors, FOLDER/paired.csv and the end of the table paired tests: of every method's choice against random
choice, and of noisy EK-FAC against the other methods. FOLDER/curves.png shows the means. Every step is saved, and the
same command continues after an interruption. --quick shows that it works, in a few minutes: two repeats and two steps
of short trainings on one data set.

Reference: Zhang et al. (2018), https://arxiv.org/abs/1712.02390, where the methods are compared in this way
"""
import argparse
import itertools
import pathlib

import numpy as np
import tabulate

from benchmarks.checks import available
from misc import backend
from misc.errors import one_line_errors
from misc.records import write_rows

DATA = ["concrete", "energy", "housing", "yacht", "power_plant"]
NAMES = ["ekfac", "kfac", "diag", "bbb", "ensemble", "hmc"]
STRATEGIES = ["variance", "random"]
PAIRS = [*(((name, "variance"), (name, "random")) for name in NAMES),
         *((("ekfac", "variance"), (name, "variance")) for name in NAMES[1:])]
LABELS = {"rmse": "RMSE", "log_likelihood": "log-likelihood"}
DIGITS = 3  # of the tables
QUICK = {"repeats": 2, "steps": 2, "overrides": ["epoch=5"], "data": DATA[:1]}


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the results go, or are")
    parser.add_argument("--data", nargs="+", metavar="SET", help="names as in config/regression")
    parser.add_argument("--methods", nargs="+", default=NAMES, choices=NAMES)
    parser.add_argument("--config", default="config/regression/{method}_{data}.json", help="pattern of config files")
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--start", type=int, default=20, help="rows labelled at first")
    parser.add_argument("--test", type=int, default=100, help="test rows")
    parser.add_argument("--steps", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for all methods")
    parser.add_argument("--jobs", type=int, metavar="N", help="repeats at a time (default: the number of cores)")
    parser.add_argument("--quick", action="store_true", help="short trainings of the methods whose packages are there")
    args = parser.parse_args(argv)
    quick = QUICK if args.quick else {}
    args.data = args.data or quick.get("data", DATA)
    for name in ("repeats", "steps"):
        if getattr(args, name) is None:
            setattr(args, name, quick.get(name, 10))
    args.set = [*quick.get("overrides", []), *args.set]
    return args


def main(argv=None):
    args = parse_args(argv)
    with one_line_errors("benchmarks.active_learning", "the same command continues from here"):
        backend.prepare()
        from benchmarks.active_learning_methods import work
        from core.acquisition import run
        from core.acquisition.progress import RepeatTrack

        plans = plan_all(args)
        for plan in plans.values():
            run.begin(plan)
        # All methods and data sets of a repeat before the next one, so that what is done can be compared.
        batches = [[RepeatTrack(job, f"{data} {method} {job.repeat}", plan.headline)
                    for job in make_jobs(args, (data, method), plan)] for (data, method), plan in plans.items()]
        tracks = list(itertools.chain(*zip(*batches)))
        try:
            run.follow(tracks, next(iter(plans.values())).workers, work)
        finally:
            print(write_tables(pathlib.Path(args.out), plans))


def plan_all(args):
    """Returns {(data set, method): its ActivePlan}. Raises UserError for whatever would not work; writes nothing."""
    from benchmarks.active_learning_methods import LEARNERS, METHODS, check
    from core.acquisition.options import Options
    from core.acquisition.planning import has_earlier, plan_active

    plans = {}
    methods = available({name: METHODS[name].packages for name in args.methods}, args.quick)
    for data, method in itertools.product(args.data, methods):
        row = METHODS[method]
        path = args.config.format(method=row.source, data=data)
        options = Options(path, row.overlays, args.set, STRATEGIES, args.repeats, args.start, args.test, args.steps,
                          jobs=args.jobs, device="cpu", out=str(pathlib.Path(args.out) / data / method))
        plan = plan_active(options)
        check(method, plan.config, path)
        about = LEARNERS[learner_of(args, method)]
        identity = dict(plan.identity, method=method, **{
            key: str(value) for key, value in getattr(about, "keywords", {}).items()})
        plans[data, method] = plan._replace(identity=identity, has_earlier=has_earlier(plan.root, identity, False))
    return plans


def learner_of(args, method):
    """Returns the key of LEARNERS."""
    from benchmarks.active_learning_methods import LEARNERS, METHODS

    name = METHODS[method].learner
    return f"quick_{name}" if args.quick and f"quick_{name}" in LEARNERS else name


def make_jobs(args, name, plan):
    """Returns the Jobs of a plan, with its method; name: (data set, method)."""
    from core.acquisition import run

    return [job._replace(method=learner_of(args, name[1])) for job in run.make_jobs(plan)]


def write_tables(out, plans):
    """Writes the files of every plan and those of all together; returns the tables as Markdown."""
    from benchmarks.active_learning_figure import draw_curves
    from core.acquisition import run
    from core.acquisition.summary import step_columns, step_rows

    done = {name: run.read_all(plan) for name, plan in plans.items()}
    for name, plan in plans.items():
        run.write_results(plan, done[name])
    write_rows(out / "steps.csv", ["data", "method", *step_columns([*LABELS, "r_hat"])],
               (dict(row, data=data, method=method) for (data, method), steps in done.items()
                for row in step_rows(steps, [*LABELS, "r_hat"])))
    n_steps = next(iter(plans.values())).sizes.steps
    tests = list(paired(done, n_steps))
    columns = ["data", "ours", "theirs", "step", "metric", "mean", "se", "ci_low", "ci_high", "wilcoxon_p", "n"]
    write_rows(out / "paired.csv", columns, tests)
    text = "\n\n".join([*tables(done, n_steps), *paired_tables(tests)])
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    shown = list(curves(done, n_steps))
    if shown:
        draw_curves(out / "curves.png", shown)
    return text


def curves(done, n_steps):
    """Yields the Curves of all methods, strategies and metrics; done: {(data set, method): `Steps`}."""
    from benchmarks.active_learning_figure import Curve
    from core.acquisition.summary import MEAN, summary

    for (data, method), steps in done.items():
        entries = [entry for entry in summary(steps, STRATEGIES, n_steps, list(LABELS)) if entry.step != MEAN]
        for strategy, metric in itertools.product(STRATEGIES, LABELS):
            those = [entry for entry in entries if entry.strategy == strategy]
            if those:
                mean, error = (np.array([entry.metrics[metric][part] for entry in those], float)
                               for part in ("mean", "se"))
                yield Curve(data, method, strategy, LABELS[metric], np.array([entry.labelled for entry in those]),
                            mean, error)


def tables(done, n_steps):
    """Yields a table per data set and metric: a row per method and strategy, a column per step.

    done: {(data set, method): `Steps`}.
    """
    from core.acquisition.summary import MEAN, summary
    from core.baseline.statistics import with_error

    for data, (metric, label) in itertools.product(dict.fromkeys(data for data, _ in done), LABELS.items()):
        lines, labelled = [], {}
        for method in (method for name, method in done if name == data):
            entries = summary(done[data, method], STRATEGIES, n_steps, list(LABELS))
            labelled.update({entry.step: entry.labelled if entry.step != MEAN else MEAN for entry in entries})
            for strategy in STRATEGIES:
                cells = {entry.step: with_error(entry.metrics[metric], DIGITS)
                         for entry in entries if entry.strategy == strategy}
                lines.append([f"{method} {strategy}", *(cells.get(step, "") for step in (*range(n_steps + 1), MEAN))])
        heads = ["", *(labelled.get(step, "") for step in (*range(n_steps + 1), MEAN))]
        yield (f"**{data}: test {label} by the number of labelled rows**\n\n"
               + tabulate.tabulate(lines, map(str, heads), "github", disable_numparse=True))


def paired(done, n_steps):
    """Yields a dict per pair of PAIRS, data set, metric and step (the last one, and the mean): `compare` of repeats."""
    from core.acquisition.summary import MEAN, values_at
    from core.baseline.statistics import compare

    for data, (ours, theirs), step in itertools.product(dict.fromkeys(data for data, _ in done), PAIRS,
                                                        (n_steps, MEAN)):
        values = [values_at(done.get((data, method), {}), strategy, step, n_steps, list(LABELS))
                  for method, strategy in (ours, theirs)]
        repeats = sorted(set(values[0]) & set(values[1]))
        for metric in LABELS if repeats else ():
            yield dict(compare(*([of_one[repeat][metric] for repeat in repeats] for of_one in values)), data=data,
                       ours=" ".join(ours), theirs=" ".join(theirs), step=step, metric=metric)


def paired_tables(tests):
    """Yields a table per pair: a row per data set, a column per metric and step."""
    from core.acquisition.summary import difference

    for ours, theirs in dict.fromkeys((row["ours"], row["theirs"]) for row in tests):
        those = [row for row in tests if (row["ours"], row["theirs"]) == (ours, theirs)]
        places = list(dict.fromkeys((row["metric"], row["step"]) for row in those))
        lines = [[data, *(difference(row, DIGITS) for row in those if row["data"] == data)]
                 for data in dict.fromkeys(row["data"] for row in those)]
        heads = ["", *(f"{LABELS[metric]}, {'mean of all steps' if step == 'mean' else f'step {step}'}"
                       for metric, step in places)]
        yield (f"**{ours} minus {theirs}, repeat by repeat (p: Wilcoxon's signed-rank test)**\n\n"
               + tabulate.tabulate(lines, heads, "github", disable_numparse=True))


if __name__ == "__main__":
    main()
