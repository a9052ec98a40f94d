"""Trains configs on many random splits in parallel; reports means and standard errors of the test metrics."""
import argparse
import sys

from misc import backend
from misc.errors import one_line_errors

EXAMPLES = """examples:
  python regression_baseline.py --config config/regression/ekfac_concrete.json
  python regression_baseline.py --config config/regression/{ekfac,kfac}_yacht.json --runs 20 --report yacht.md
  python regression_baseline.py --config config/regression/ekfac_energy.json --protocol standard --seeds 1-20
  python regression_baseline.py --config config/regression/kfac_wine.json --against config/regression/ekfac_wine.json
  python regression_baseline.py --config config/regression/ekfac_yacht.json --tune config/search/regression.json
  python regression_baseline.py --config config/regression/ekfac_yacht.json --runs 5 --ensemble 5
  tensorboard --logdir=experiments/concrete/ekfac_concrete/seeds

Finished runs of the same config are reused and interrupted ones go on; a changed config is run anew."""


def parse_args(argv):
    parser = argparse.ArgumentParser(prog="regression_baseline.py", description=__doc__, epilog=EXAMPLES,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what to run")
    what.add_argument("--config", nargs="+", action="append", required=True, metavar="FILE",
                      help="JSON files that describe the runs")
    what.add_argument("--runs", type=int, metavar="N", help="seeds 1 to N (default: the config's runs)")
    what.add_argument("--seeds", metavar="LIST", help="these seeds, e.g. 1-20 or 1,3,5-7")
    what.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="override a key; repeatable")
    what.add_argument("--protocol", choices=["published", "standard"], help="splits, instead of the config's")
    what.add_argument("--validate", action="store_true", help="evaluate on validation rows; test rows stay unseen")
    what.add_argument("--tune", metavar="SPACE.json", help="search hyper-parameters inside each split's training rows")
    what.add_argument("--ensemble", type=int, default=1, metavar="M", help="train M members per seed and mix them, too")
    what.add_argument("--resume", action="store_true", help="reuse what is there (this is what happens anyway)")
    what.add_argument("--fresh", action="store_true", help="move earlier runs aside and train all anew")
    how = parser.add_argument_group("how to run it")
    how.add_argument("--jobs", type=int, metavar="N", help="runs at a time (default: as many as cores)")
    how.add_argument("--backend", default="loky", metavar="NAME", help="loky (this machine, default), dask or ray")
    how.add_argument("--address", metavar="HOST:PORT", help="of a running Dask or Ray cluster")
    how.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto", help="where the ops run")
    then = parser.add_argument_group("what to make of it")
    then.add_argument("--against", metavar="OTHER", help="config or folder to compare with, split by split")
    then.add_argument("--report", metavar="TABLE.md", help="write the table as Markdown, CSV and LaTeX")
    args = parser.parse_args(argv)
    args.config = [path for paths in args.config for path in paths]
    return args


def main(argv=None):
    args = parse_args(argv)
    with one_line_errors("regression_baseline.py", "the same command goes on from here"):
        backend.prepare()
        from core.baseline.options import options_from  # after the switches of prepare()
        from core.baseline.repeat import repeat

        repeat(options_from(args))


if __name__ == "__main__":
    sys.exit(main())
