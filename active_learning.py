"""Active learning: trains on a few labelled rows, labels the rows of a pool that a strategy chooses, trains again."""
import argparse
import sys
import typing

from core.acquisition.strategies import STRATEGIES
from misc import backend
from misc.config import Config
from misc.errors import one_line_errors
from misc.flags import Parser

EXAMPLES = """examples:
  python active_learning.py --config config/regression/kfac_concrete.json
  python active_learning.py --config config/regression/ekfac_yacht.json --strategy variance --start 10 --steps 20
  python active_learning.py --config mine.json --strategy bald random --batch 5 --out chosen
  python active_learning.py --config config/regression/ekfac_yacht.json --resume

strategies:
{strategies}

Every step is saved: the same command continues after an interruption. Results of other settings are archived; with
--resume, other settings are an error."""


def parse_args(argv: typing.Optional[typing.Sequence[str]]) -> argparse.Namespace:
    strategies = "\n".join(f"  {name:<10} {', '.join(row.modes)}: {row.meaning}" for name, row in STRATEGIES.items())
    parser = Parser(prog="active_learning.py", description=__doc__, epilog=EXAMPLES.format(strategies=strategies),
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what to train")
    what.add_argument("--config", required=True, metavar="FILE", help="JSON file that describes the training")
    what.add_argument("--with", dest="overlays", action="append", default=[], metavar="OVERLAY.json",
                      help="JSON file of keys to lay over the config, before --set; repeatable")
    what.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; repeatable")
    rows = parser.add_argument_group("which rows")
    rows.add_argument("--strategy", nargs="+", default=[], metavar="NAME",
                      help="how rows are chosen (default: variance or bald, by the config's mode, and random)")
    rows.add_argument("--repeats", type=int, default=10, metavar="N", help="random splits (default: 10)")
    rows.add_argument("--start", type=int, default=20, metavar="N", help="rows labelled at first (default: 20)")
    rows.add_argument("--test", type=int, default=100, metavar="N", help="test rows (default: 100)")
    rows.add_argument("--steps", type=int, default=10, metavar="N", help="times that rows are chosen (default: 10)")
    rows.add_argument("--batch", type=int, default=1, metavar="N", help="rows chosen each time (default: 1)")
    how = parser.add_argument_group("how to run it")
    how.add_argument("--jobs", type=int, metavar="N", help="repeats at a time (default: the number of cores)")
    how.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto", help="where the operations run")
    how.add_argument("--out", metavar="FOLDER", help="results (default: active_learning in the run's own folder)")
    how.add_argument("--resume", action="store_true", help="continue results that are there, or fail")
    return parser.parse_args(argv)


def main(argv: typing.Optional[typing.Sequence[str]] = None) -> None:
    args = parse_args(argv)
    with one_line_errors("active_learning.py", "the same command continues from here"):
        backend.prepare(Config.from_file(args.config, args.set, args.overlays).mode)
        from core.acquisition.options import options_from  # TensorFlow must be imported after prepare()
        from core.acquisition.run import run_active

        run_active(options_from(args))


if __name__ == "__main__":
    sys.exit(main())
