"""Judges trained runs from their checkpoints: metrics with intervals, calibration, uncertainty, figures."""
import argparse
import pathlib
import sys

from misc import backend
from misc.errors import UserError, one_line_errors
from misc.folders import read_config, without_evaluations

EXAMPLES = """examples:
  python evaluate.py experiments/digits/ekfac_digits --ood fashion_mnist --corrupt
  python evaluate.py experiments/toy1d/ekfac_toy1d experiments/toy1d/bbb_toy1d
  python evaluate.py experiments/digits/ekfac_digits_{1,2,3} --ensemble"""


def parse_args(argv):
    parser = argparse.ArgumentParser(
        prog="evaluate.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN", help="folder of a run, finished or in training")
    parser.add_argument("--particles", type=int, metavar="K", help="weight draws (default: as in the run's config)")
    parser.add_argument("--batch", type=int, metavar="N", help="rows at a time, for memory; results stay as they are")
    parser.add_argument("--data", metavar="NAME|FILE", help="judge on other rows than the run's test rows: a set by "
                        "name, a folder of pictures, or a .data file")
    parser.add_argument("--ood", metavar="NAME", help="tell strange pictures apart, scaled to the network's "
                        "size: a set, a folder, or noise")
    parser.add_argument("--corrupt", action="store_true", help="also on pictures with noise, blur, ..., five strengths")
    parser.add_argument("--rows", type=int, metavar="N", help="only the first N rows for --corrupt (default: all)")
    parser.add_argument("--ensemble", action="store_true", help="also all RUNs together, as one mixture")
    parser.add_argument("--best", action="store_true", help="the checkpoint of the best validation log-likelihood")
    parser.add_argument("--data-path", metavar="FOLDER", help="where the data files are, if not where they were")
    parser.add_argument("--out", metavar="FOLDER", help="where several runs' comparison goes (default: beside them)")
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto", help="where the ops run")
    return parser.parse_args(argv)


def main(argv=None):
    args = parse_args(argv)
    with one_line_errors("evaluate.py", "what was written is complete"):
        roots = without_evaluations([pathlib.Path(root) for root in args.runs])
        overrides = checked_overrides(args, roots)
        backend.prepare(mode_of(roots))
        from core.assessment.assess import assess  # after the switches of prepare()
        from core.assessment.inputs import Options

        options = Options(args.data, args.ood, args.corrupt, args.rows, args.best)
        tables, places = assess(roots, overrides, options, args.ensemble, args.out, args.device)
        print(tables)
        print("\n  ".join(["figures and numbers:", *places]), file=sys.stderr)


def checked_overrides(args, roots):
    """Config keys that the flags stand for. UserError for a number below 1 and for flags that do not go together."""
    for flag in ("particles", "batch", "rows"):
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise UserError(f"--{flag} must be at least 1, got {value}")
    if "" in (args.data, args.ood, args.out, args.data_path):
        raise UserError("a flag has an empty value: give a name, or leave the flag out")
    if args.rows and not args.corrupt:
        raise UserError("--rows is for --corrupt")
    if args.out and len(roots) < 2:
        raise UserError("--out is for a comparison of several runs; one run's files go to RUN/evaluation")
    if args.ensemble and len(roots) < 2:
        raise UserError("--ensemble takes at least two runs")
    if len({root.resolve() for root in roots}) < len(roots):
        raise UserError("a run is named twice")
    keys = {"test_particles": args.particles, "test_batch_size": args.batch, "data_path": args.data_path}
    return {name: value for name, value in keys.items() if value is not None}


def mode_of(roots):
    """The mode of all runs. UserError if they differ."""
    modes = {read_config(root, {})[0].mode for root in roots}
    if len(modes) > 1:
        raise UserError("runs of regression and of classification cannot be compared: name runs of one mode")
    return modes.pop()


if __name__ == "__main__":
    sys.exit(main())
