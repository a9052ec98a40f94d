"""Predicts rows of a table, or images, with a trained run: mean, spread and interval, or class probabilities."""
import argparse
import pathlib
import sys
import typing

from core.assessment.arguments import PREDICTIVES
from misc import backend
from misc.errors import UserError, one_line_errors
from misc.flags import FORMAT_KEYS, Parser, naming_flag, settings_of

EXAMPLES = """examples:
  python predict.py experiments/houses/mine new_houses.csv --out predictions.csv
  python predict.py experiments/houses/mine new_houses.csv --interval 0.5 --quantiles 0.05 0.5 0.95
  python predict.py experiments/houses/mine new_houses.csv --set decimal=, --out predictions.csv
  cat new_houses.csv | python predict.py experiments/houses/mine - > predictions.csv
  python predict.py experiments/houses/mine new_houses.csv --ensemble experiments/houses/other --out predictions.csv"""


def parse_args(argv: typing.Optional[typing.Sequence[str]]) -> argparse.Namespace:
    parser = Parser(
        prog="predict.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", metavar="RUN", help="folder of a run, which need not be where its data are")
    parser.add_argument("rows", metavar="ROWS", help="table of rows, with or without the target, or - for CSV on "
                        "standard input; for images: a folder, an image, or a list of paths (.txt)")
    parser.add_argument("--out", type=pathlib.Path, metavar="FILE", help="file to write: .csv, .parquet or .npz "
                        "(default: CSV on standard output)")
    parser.add_argument("--interval", type=float, metavar="P", help="probability of the central interval, lower to "
                        "upper, and of calibrated intervals and sets (default: 0.9, or that of the calibration)")
    parser.add_argument("--quantiles", type=float, nargs="+", default=[], metavar="Q", help="further quantiles")
    parser.add_argument("--samples", type=int, default=0, metavar="N", help="draws from the predictive distribution")
    parser.add_argument("--ensemble", nargs="+", type=pathlib.Path, default=[], metavar="RUN",
                        help="mix with these runs")
    parser.add_argument("--calibrated", action="store_true", help="also calibrated intervals, or calibrated "
                        "probabilities and sets of classes, of a run that evaluate.py --calibrate has calibrated")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="how the table is written, "
                        f"instead of as the run's config says: {', '.join(FORMAT_KEYS)}; repeatable")
    parser.add_argument("--skip-bad", action="store_true", help="report bad rows and leave them out")
    parser.add_argument("--particles", type=int, metavar="K", help="weight draws (default: as in the run's config)")
    parser.add_argument("--predictive", choices=PREDICTIVES, help="how the uncertainty of the weights is treated: by "
                        "weight draws, or by the linearised network (default: as in the run's config)")
    parser.add_argument("--batch", type=int, metavar="N", help="rows at a time; affects memory, not results")
    parser.add_argument("--best", action="store_true", help="use the checkpoint of the best validation log-likelihood")
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto", help="where the operations run")
    return parser.parse_args(argv)


def main(argv: typing.Optional[typing.Sequence[str]] = None) -> None:
    args = parse_args(argv)
    with one_line_errors("predict.py", "an earlier file stays as it was"):
        from core.assessment.arguments import check_predictions, mode_of, overrides_of
        from misc.folders import without_evaluations

        check_predictions(args)
        roots = [pathlib.Path(args.run), *args.ensemble]
        if without_evaluations(roots) != roots:
            raise UserError("a folder that evaluate.py wrote is no run: give the folder that train.py wrote to")
        backend.prepare(mode_of(roots))
        from core.assessment.predicting import predict_rows  # TensorFlow must be imported after prepare()
        from core.assessment.summaries import Asked

        asked = Asked(args.interval, tuple(args.quantiles), args.samples, args.skip_bad, args.best, args.calibrated)
        written = settings_of(args.set, FORMAT_KEYS, "predict.py")
        with naming_flag(FORMAT_KEYS):
            n_rows = predict_rows(roots, args.rows, args.out, asked, overrides_of(args), args.device, written)
        if args.out:
            print(f"{n_rows} rows: {args.out}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
