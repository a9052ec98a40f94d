"""Thompson sampling in contextual bandits: our methods beside dropout, bootstrapped ensembles and greedy choice.

    pip install -r benchmarks/requirements.txt    # for dropout and ensemble
    python -m benchmarks.bandits --out FOLDER [--data iris wine] [--methods ekfac greedy] [--jobs N] [--repeats 10]
        [--set KEY=VALUE] [--quick]

A classification table becomes a bandit: its rows arrive one at a time in a random order, an action is a class, and the
reward is 1 if it is the row's class, else 0. Only the reward of the chosen action is seen. After three rewards of each
action, networks learn the reward of (context, action) anew, whenever the rewards have doubled or `--period` more have
been seen. At every step the rewards of all actions are predicted by one draw of the weights, and the highest is chosen.
`greedy` is a point estimate, `uniform` chooses at random. Repeats differ in the order of rows and in the seeds; all
methods have the same orders. The regret of a step is 1 - reward.

FOLDER/table.md has means and standard errors over repeats, steps.csv the cumulative regret after every tenth step, and
curves.png its curves. Every round is saved, and the same command continues after an interruption. --quick shows that
it works, within half a minute: short trainings on the first steps of one set.

Reference: Riquelme, Tucker and Snoek (2018), https://arxiv.org/abs/1802.09127
"""
import argparse
import json
import os
import pathlib
from typing import List, Sequence

import numpy as np
import tabulate

from benchmarks.bandit_jobs import Job, regret_of, work
from benchmarks.checks import available
from misc import backend
from misc.errors import UserError, one_line_errors
from misc.folders import check_writable, folder_at
from misc.records import write_json, write_rows

DATA = ["iris", "wine", "breast_cancer", "digits"]
NAMES = ["ekfac", "kfac", "diag", "bbb", "dropout", "ensemble", "greedy", "uniform"]
REFERENCE = "greedy"  # with which the other methods are compared, repeat by repeat
ABOUT = "bandits.json"  # what the folder's results are of
EVERY = 10  # steps from one row of steps.csv to the next
COLUMNS = ["data", "method", "repeat", "step", "regret"]
DEFAULTS = {"data": DATA, "methods": NAMES, "repeats": 10, "period": 50, "training_steps": 1000, "steps": 10**6}
QUICK = dict(DEFAULTS, data=DATA[:1], repeats=1, training_steps=50, steps=18)


def parse_args(argv):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", required=True, metavar="FOLDER", help="where the results go, or are")
    parser.add_argument("--data", nargs="+", choices=DATA)
    parser.add_argument("--methods", nargs="+", choices=NAMES)
    parser.add_argument("--repeats", type=int)
    parser.add_argument("--period", type=int, help="most rewards between two trainings (default: 50)")
    parser.add_argument("--training-steps", type=int, help="minibatches of a training, about (default: 1000)")
    parser.add_argument("--steps", type=int, help="of a repeat, at most (default: the rows of the table)")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="for ekfac, kfac, diag, bbb "
                        "and greedy")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, metavar="N", help="repeats at a time (default: the number of cores)")
    parser.add_argument("--quick", action="store_true", help="a short bandit, of the methods whose packages are there")
    args = parser.parse_args(argv)
    for name, value in (QUICK if args.quick else DEFAULTS).items():
        if getattr(args, name) is None:
            setattr(args, name, value)
    return args


def main(argv=None):
    args = parse_args(argv)
    with one_line_errors("benchmarks.bandits", "the same command continues from here"):
        backend.prepare()
        from benchmarks.bandit_progress import Track  # after the switches of prepare()
        from core.acquisition.run import follow
        from core.baseline.pool import Workers

        jobs, out = plan_all(args), pathlib.Path(args.out)
        out.mkdir(parents=True, exist_ok=True)
        write_json(out / ABOUT, {"identity": identity(args)})
        try:
            follow([Track(f"{job.data} {job.method} {job.repeat}", job, job.n_steps) for job in jobs],
                   Workers(args.jobs), work)
        finally:
            print(write_results(out, jobs))


def plan_all(args) -> List[Job]:
    """Returns a Job per repeat, method and data set. Raises UserError for whatever would not work; writes nothing."""
    from benchmarks.bandit_methods import METHODS, PULLS, Training, load_problem, network_config

    for name, least in (("repeats", 1), ("period", 1), ("training_steps", 1), ("steps", 1), ("jobs", 1), ("seed", 0)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise UserError(f"--{name.replace('_', '-')} {value}: give at least {least}")
    methods = available({name: METHODS[name].packages for name in args.methods}, args.quick)
    network_config("ekfac", 1, np.zeros((1, 1, 1)), Training(1, 0, pathlib.Path(), args.set))
    jobs, out = [], pathlib.Path(args.out)
    for data in args.data:
        problem = load_problem(data, args.seed, 1, args.steps)
        if len(problem.labels) <= PULLS * problem.n_actions:
            raise UserError(f"--steps {args.steps}: the first {PULLS * problem.n_actions} steps on {data} try every "
                            "action in turn; give more")
        jobs += [Job(str(out / data / method / str(repeat)), data, method, repeat, len(problem.labels), args.period,
                     args.training_steps, args.set, args.seed, os.getpid())
                 for repeat in range(1, args.repeats + 1) for method in methods]
    check_folder(out, identity(args))
    return sorted(jobs, key=lambda job: job.repeat)  # so that what is done can be compared


def identity(args):
    """Returns the settings on which the numbers of a repeat depend."""
    return {name: getattr(args, name) for name in ("period", "training_steps", "steps", "set", "seed")}


def check_folder(out, settings):
    """Raises UserError if a folder has results of other settings, or other things."""
    from core.acquisition.planning import changed_settings

    check_writable(folder_at(out))
    if (out / ABOUT).is_file():
        changed = changed_settings(out / ABOUT, json.loads(json.dumps(settings)))
        if changed:
            raise UserError(f"{out} has results of other settings: {', '.join(changed)}; give another --out")
    elif out.exists() and any(out.iterdir()):
        raise UserError(f"{out} is not empty, and what it holds is not of benchmarks.bandits: give another --out")


def write_results(out: pathlib.Path, jobs: Sequence[Job]) -> str:
    """Writes steps.csv and, of finished repeats, table.md and curves.png; returns the table as Markdown."""
    from benchmarks.bandit_figure import draw_curves

    regrets = {(job.data, job.method, job.repeat): regret_of(job) for job in jobs}
    write_rows(out / "steps.csv", COLUMNS, (
        dict(zip(COLUMNS, (*key, step, int(values[step - 1])))) for key, values in regrets.items()
        for step in range(1, len(values) + 1) if step % EVERY == 0 or step == len(values)))
    done = {}
    for job in jobs:
        values = regrets[job.data, job.method, job.repeat]
        if len(values) == job.n_steps:
            done.setdefault(job.data, {}).setdefault(job.method, {})[job.repeat] = values
    if not done:
        return "no repeat is done"
    text = table(done)
    (out / "table.md").write_text(text + "\n", encoding="utf-8")
    draw_curves(out / "curves.png", done)
    return text


def table(done) -> str:
    """Returns the regret after the last step as Markdown; done: {data set: {method: {repeat: cumulative regret}}}."""
    from benchmarks.bandit_methods import n_actions
    from core.acquisition.summary import difference
    from core.baseline.statistics import compare, summarise, with_error

    lines = []
    for data, of_method in done.items():
        for method, of_repeat in of_method.items():
            final = {repeat: values[-1] for repeat, values in of_repeat.items()}
            n_steps = len(next(iter(of_repeat.values())))
            of_uniform = n_steps * (1.0 - 1.0 / n_actions(data))
            reference = {repeat: values[-1] for repeat, values in of_method.get(REFERENCE, {}).items()}
            both, paired = sorted(set(final) & set(reference)), ""
            if both and method != REFERENCE:
                paired = difference(compare([final[repeat] for repeat in both],
                                            [reference[repeat] for repeat in both]), 1)
            values = np.array(list(final.values()))
            lines.append([data, method, len(final), with_error(summarise(values), 1),
                          with_error(summarise(100.0 * values / of_uniform), 1), paired])
    heads = ["data set", "method", "repeats", "cumulative regret", "% of uniform choice", f"minus {REFERENCE}"]
    return tabulate.tabulate(lines, heads, "github", disable_numparse=True)


if __name__ == "__main__":
    main()
