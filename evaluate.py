"""Evaluates trained runs from their checkpoints: metrics with intervals, calibration, uncertainty and figures."""
import argparse
import pathlib
import sys
import typing

from core.assessment.arguments import PREDICTIVES, checked_overrides, mode_of
from misc import backend
from misc.errors import one_line_errors
from misc.flags import Parser
from misc.folders import without_evaluations

EXAMPLES = """examples:
  python evaluate.py experiments/digits/ekfac_digits --ood fashion_mnist --corrupt
  python evaluate.py experiments/toy1d/ekfac_toy1d experiments/toy1d/bbb_toy1d
  python evaluate.py experiments/digits/ekfac_digits_{1,2,3} --ensemble"""


def parse_args(argv: typing.Optional[typing.Sequence[str]]) -> argparse.Namespace:
    parser = Parser(
        prog="evaluate.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", metavar="RUN", help="folder of a run, finished or still in training")
    parser.add_argument("--particles", type=int, metavar="K", help="weight draws (default: as in the run's config)")
    parser.add_argument("--predictive", choices=PREDICTIVES, help="how the uncertainty of the weights is treated: by "
                        "weight draws, or by the linearised network (default: as in the run's config)")
    parser.add_argument("--batch", type=int, metavar="N", help="rows at a time; affects memory, not results")
    parser.add_argument("--data", metavar="NAME|FILE", help="evaluate on other rows than the run's test rows: a known "
                        "set, a folder of images, or a .data file")
    parser.add_argument("--ood", metavar="NAME|FILE", help="detect out-of-distribution rows: a table, with or without "
                        "the target; or images, rescaled to the network's input size: a known set, a folder, or noise")
    parser.add_argument("--importance", action="store_true",
                        help="also measure what each column of a table is worth, by permuting it")
    parser.add_argument("--corrupt", action="store_true",
                        help="also evaluate on images corrupted by noise, blur, ..., at five strengths")
    parser.add_argument("--rows", type=int, metavar="N", help="only the first N rows for --corrupt (default: all)")
    parser.add_argument("--correlations", nargs="?", const=True, metavar="REFERENCE", help="also measure correlations "
                        "between rows; beside another run's, or beside draws in an npz file")
    parser.add_argument("--joint", type=int, metavar="B", help="rows of a batch for --correlations (default: 5)")
    parser.add_argument("--ensemble", action="store_true", help="also evaluate the mixture of all RUNs")
    parser.add_argument("--best", action="store_true", help="use the checkpoint of the best validation log-likelihood, "
                        "as is done for runs with the key patience anyway")
    parser.add_argument("--calibrate", action="store_true", help="fit a temperature and conformal sets, or conformal "
                        "intervals, on the validation rows, or --data, instead of evaluating")
    parser.add_argument("--level", type=float, metavar="P", help="probability of these (default: 0.9)")
    parser.add_argument("--sets", choices=["lac", "aps"], help="of --calibrate: lac, the smallest sets (default), or "
                        "aps, wider ones where classes are hard to tell, none of which is empty")
    parser.add_argument("--calibrated", action="store_true", help="add calibrated columns to the files of predictions")
    parser.add_argument("--data-path", metavar="FOLDER", help="folder of the data files, if they have moved")
    parser.add_argument("--out", metavar="FOLDER", help="folder for the comparison of several runs (default: beside "
                        "them)")
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto", help="where the operations run")
    return parser.parse_args(argv)


def main(argv: typing.Optional[typing.Sequence[str]] = None) -> None:
    args = parse_args(argv)
    with one_line_errors("evaluate.py", "the files that were written are complete"):
        roots = without_evaluations([pathlib.Path(root) for root in args.runs])
        overrides = checked_overrides(args, roots)
        backend.prepare(mode_of(roots))
        from core.assessment.assess import assess  # TensorFlow must be imported after prepare()
        from core.assessment.calibrating import calibrate_runs
        from core.assessment.inputs import Options

        options = Options(args.data, args.ood, args.corrupt, args.rows, args.best, args.importance, args.calibrated,
                          args.level, args.sets or "lac", args.correlations, args.joint or 5)
        if args.calibrate:
            tables, places = calibrate_runs(roots, overrides, options, args.device)
            print(tables)
            print("\n  ".join(["calibrated:", *places]), file=sys.stderr)
            return
        tables, places = assess(roots, overrides, options, args.ensemble, args.out, args.device)
        print(tables)
        print("\n  ".join(["figures and numbers:", *places]), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
