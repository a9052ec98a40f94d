"""Repeats the papers' experiments on CIFAR-10 at a length of one's choice, and tabulates them beside their numbers.

    python -m benchmarks.published --table cifar10 --width 0.5 --epochs 40 --seeds 1 2 3 --out FOLDER
    python -m benchmarks.published --table resnet20 --epochs 40 --out FOLDER
    python -m benchmarks.published --quick

cifar10: VGG16, without (plain) and with augmentation (aug), batch normalisation (bn) or both (bn_aug). resnet20:
ResNet-20 with both. The published runs of VGG16 have 150 epochs. In shorter ones, and for ResNet-20, every event of
their schedule comes at the same share of the run: the decays of the step size, of kl_clip, and the ends of both
warm-ups; for all methods alike.

Every run is a run of train.py in FOLDER/runs/cifar10, trained and evaluated (evaluate.py --ood noise --corrupt) in a
process of its own. The same command goes on from where it was ended, and trains no finished run again: all methods of
the first seed come first, then those of the second. After every run, FOLDER has a new table.md, table.csv (a row per
run), curves.png and corruptions.png.
"""
import argparse
import contextlib
import pathlib
import sys
import tempfile

from benchmarks.published import toy
from benchmarks.published.plan import METHODS, TABLES, Choice, plan_runs, plan_search
from misc import backend
from misc.config import CLASSIFICATION
from misc.errors import RunError, UserError, one_line_errors

EPOCHS, SEEDS = 40, (1, 2, 3)
CORRUPTED_ROWS = 1000


def parse_args(argv=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.published", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", choices=list(TABLES), default="cifar10")
    parser.add_argument("--variants", nargs="+", metavar="NAME", help="default: plain and bn_aug; bn_aug for resnet20")
    parser.add_argument("--methods", nargs="+", choices=list(METHODS), metavar="NAME", help=f"{', '.join(METHODS)} "
                        "(default: ekfac kfac sgd adam kfac_point for plain, ekfac kfac sgd for the other variants)")
    parser.add_argument("--seeds", nargs="+", type=int, metavar="N", help="default: 1 2 3")
    parser.add_argument("--epochs", type=int, metavar="E", help=f"default: {EPOCHS}")
    parser.add_argument("--width", type=float, metavar="W", help="factor of the network's widths (default: 1)")
    parser.add_argument("--data-path", metavar="FOLDER", help="that holds cifar-10-batches-py (default: data)")
    parser.add_argument("--out", metavar="FOLDER", help="default: experiments/published_TABLE")
    parser.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: 1)")
    parser.add_argument("--threads", type=int, metavar="N", help="threads of a run (default: as the key threads)")
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto", help="where the operations run")
    parser.add_argument("--tune", action="store_true", help="choose the step sizes of sgd and adam by runs of an "
                        "eighth of the epochs, by the log-likelihood of a tenth of the training images")
    parser.add_argument("--report", action="store_true", help="only tabulate the runs that are finished")
    parser.add_argument("--explain", action="store_true", help="only list the runs and their estimated time")
    parser.add_argument("--quick", action="store_true", help="short runs of a tiny network on random images, which "
                        "show that everything works")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    with one_line_errors("benchmarks.published", "the same command goes on from here"), contextlib.ExitStack() as stack:
        if args.quick and args.out is None:
            args.out = stack.enter_context(tempfile.TemporaryDirectory())
        choice = choice_of(args)
        backend.prepare(CLASSIFICATION)
        from benchmarks.published import check, report, runner

        search = plan_search(choice) if args.tune else {}
        runs = plan_runs(choice, check.chosen_rates(search))
        if args.report:
            check.check_folders(runs)
            print(report.write(choice, runs))
            return
        if args.quick and args.data_path is None:
            toy.write_images(pathlib.Path(choice.data_path))
        pilots = [run for by_rate in search.values() for run in by_rate.values()]
        first_plan = check.check_runs([*runs, *pilots], args.device)  # of a run on all training images
        if args.explain:
            print(check.explain([*runs, *pilots], first_plan))
            return
        making = runner.Making(
            args.jobs or (toy.JOBS if args.quick else 1), args.device, {"ood": "noise", "corrupt": True,
                                     "rows": toy.CORRUPTED_ROWS if args.quick else CORRUPTED_ROWS},
            choice.out / "logs", first_plan.design.steps_per_epoch)
        rows_hash = first_plan.data.rows_hash
        del first_plan  # which holds the images
        errors = runner.make_runs(pilots, making, lambda: None) if pilots else {}
        chosen = check.chosen_rates(search)
        if len(chosen) < len(search) or not all(map(check.is_too_large, errors.values())):
            fail(errors, len(pilots))
        runs = plan_runs(choice, chosen)
        check.check_folders(runs, rows_hash)
        errors = runner.make_runs(runs, making, lambda: report.write(choice, runs))
        print(report.write(choice, runs))
        if errors:
            fail(errors, len(runs))


def choice_of(args):
    """Returns the Choice of the flags. Raises UserError for impossible values."""
    for name in ("epochs", "width", "jobs", "threads"):
        if getattr(args, name) is not None and getattr(args, name) <= 0:
            raise UserError(f"--{name} {getattr(args, name)}: give a number above 0")
    quick = args.quick
    seeds = args.seeds or list(toy.SEEDS if quick else SEEDS)
    if len(set(seeds)) < len(seeds):
        raise UserError("--seeds: a seed is given twice")
    values = dict(toy.VALUES if quick else {}, **({"threads": args.threads} if args.threads else {}))
    out = pathlib.Path(args.out or f"experiments/published_{args.table}").resolve()
    data_path = args.data_path or (out / "toy_data" if quick else "data")
    return Choice(
        args.table, args.variants or (toy.VARIANTS if quick and args.table == "cifar10" else None),
        args.methods or (toy.METHODS if quick else None), seeds, args.epochs or (toy.EPOCHS if quick else EPOCHS),
        args.width or (toy.WIDTH if quick else None), str(pathlib.Path(data_path).resolve()), out, values,
        toy.NETWORK.get(TABLES[args.table].network, {}) if quick else {})


def fail(errors, n_runs):
    """Raises RunError, which says why runs failed."""
    raise RunError(f"{len(errors)} of {n_runs} runs failed: " + "; ".join(f"{name}: {why}"
                                                                           for name, why in errors.items()))


if __name__ == "__main__":
    sys.exit(main())
