"""Exports a trained run for programs without this code: numpy alone (.npz), ONNX, or a SavedModel of TensorFlow 2."""
import argparse
import pathlib
import sys
import typing

from misc import backend
from misc.errors import UserError, one_line_errors
from misc.flags import Parser

EXAMPLES = """examples:
  python export.py experiments/houses/mine --npz posterior.npz      (then: portable/predictor.py)
  python export.py experiments/digits/mine --onnx digits.onnx --saved-model digits --particles 20"""


def parse_args(argv: typing.Optional[typing.Sequence[str]]) -> argparse.Namespace:
    parser = Parser(
        prog="export.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=pathlib.Path, metavar="RUN", help="folder of a run")
    parser.add_argument("--npz", type=pathlib.Path, metavar="FILE", help="weight draws, noise and preprocessing, for "
                        "portable/predictor.py, which needs numpy alone")
    parser.add_argument("--onnx", type=pathlib.Path, metavar="FILE", help="an ONNX model of the same weight draws")
    parser.add_argument("--saved-model", type=pathlib.Path, metavar="FOLDER", help="a SavedModel of TensorFlow 2 that "
                        "draws weights itself, by a seed")
    parser.add_argument("--particles", type=int, metavar="K", help="weight draws (default: as in the run's config)")
    parser.add_argument("--factors", action="store_true", help="also write the posterior's parameters to --npz")
    parser.add_argument("--best", action="store_true", help="use the checkpoint of the best validation log-likelihood")
    return parser.parse_args(argv)


def main(argv: typing.Optional[typing.Sequence[str]] = None) -> None:
    args = parse_args(argv)
    with one_line_errors("export.py", "an earlier file stays as it was"):
        from core.assessment.arguments import mode_of
        from core.export.arguments import Asked, check
        from misc.folders import without_evaluations

        asked = Asked(args.npz, args.onnx, args.saved_model, args.particles, args.factors, args.best)
        check(asked)
        if not without_evaluations([args.run]):
            raise UserError("a folder that evaluate.py wrote is no run: give the folder that train.py wrote to")
        backend.prepare(mode_of([args.run]))
        from core.export.export import export  # TensorFlow must be imported after prepare()

        for path in export(args.run, asked):
            print(path, file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
