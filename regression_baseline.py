"""Trains configurations on many splits in parallel, and reports means and standard errors of the test metrics."""
import argparse
import sys
import typing

from misc import backend
from misc.config import Config
from misc.errors import one_line_errors
from misc.flags import Parser

EXAMPLES = """examples:
  python regression_baseline.py --config config/regression/ekfac_concrete.json
  python regression_baseline.py --config config/regression/{ekfac,kfac}_yacht.json --runs 20 --report yacht.md
  python regression_baseline.py --config config/regression/ekfac_yacht.json --with config/overlays/recipe.json
  python regression_baseline.py --config config/regression/ekfac_energy.json --protocol standard --seeds 1-20
  python regression_baseline.py --config config/regression/kfac_wine.json --against config/regression/ekfac_wine.json
  python regression_baseline.py --config config/regression/ekfac_yacht.json --tune config/search/regression.json
  python regression_baseline.py --config config/regression/ekfac_yacht.json --runs 5 --ensemble 5
  python regression_baseline.py --config config/classification/ekfac_digits.json --runs 5
  tensorboard --logdir=experiments/concrete/ekfac_concrete/seeds

Finished runs of the same configuration are reused, and interrupted ones are continued. Runs of a changed configuration
start again; the earlier ones are archived."""


def parse_args(argv: typing.Optional[typing.Sequence[str]]) -> argparse.Namespace:
    parser = Parser(prog="regression_baseline.py", description=__doc__, epilog=EXAMPLES,
                    formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what to run")
    what.add_argument("--config", nargs="+", action="append", required=True, metavar="FILE",
                      help="JSON files that describe the runs")
    what.add_argument("--with", dest="overlays", action="append", default=[], metavar="OVERLAY.json",
                      help="JSON file of keys to lay over all configs, before --set; repeatable")
    what.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; repeatable")
    what.add_argument("--runs", type=int, metavar="N", help="seeds 1 to N (default: the config's runs)")
    what.add_argument("--seeds", metavar="LIST", help="these seeds, e.g. 1-20 or 1,3,5-7")
    what.add_argument("--protocol", choices=["published", "standard", "random", "kfold", "ordered"],
                      help="splits to use instead of the config's")
    what.add_argument("--validate", action="store_true", help="evaluate on validation rows; test rows are not used")
    what.add_argument("--tune", metavar="SPACE.json", help="search hyper-parameters inside each split's training rows")
    what.add_argument("--ensemble", type=int, default=1, metavar="M",
                      help="train M members per seed and evaluate their mixture as well")
    what.add_argument("--fresh", action="store_true", help="archive earlier runs and train all of them again")
    how = parser.add_argument_group("how to run it")
    how.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: the number of cores)")
    how.add_argument("--backend", default="loky", metavar="NAME", help="loky (this machine, default), dask or ray")
    how.add_argument("--address", metavar="HOST:PORT", help="address of a running Dask or Ray cluster")
    how.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto", help="where the operations run")
    then = parser.add_argument_group("what to report")
    then.add_argument("--against", metavar="OTHER", help="config file or folder of runs to compare with, split by "
                      "split; --with and --set apply to a config file, too")
    then.add_argument("--report", metavar="TABLE.md", help="write the table as Markdown, CSV and LaTeX")
    args = parser.parse_args(argv)
    args.config = [path for paths in args.config for path in paths]
    return args


def main(argv: typing.Optional[typing.Sequence[str]] = None) -> None:
    args = parse_args(argv)
    with one_line_errors("regression_baseline.py", "the same command continues from here"):
        backend.prepare(Config.from_file(args.config[0], args.set, args.overlays).mode)
        from core.baseline.options import options_from  # TensorFlow must be imported after prepare()
        from core.baseline.repeat import repeat

        repeat(options_from(args))


if __name__ == "__main__":
    sys.exit(main())
