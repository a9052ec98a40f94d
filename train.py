"""Trains one network as a configuration file describes, and writes its curves, checkpoints and results."""
import argparse
import json
import sys
import typing

from misc import backend
from misc.config import Config
from misc.config_table import config_table
from misc.errors import one_line_errors
from misc.flags import Parser, check_training

EXAMPLES = """examples:
  python train.py --config config/regression/ekfac_concrete.json
  python train.py --config config/regression/kfac_yacht.json --set epoch=200 --set kl=0.5
  python train.py --config config/regression/kfac_yacht.json --with config/overlays/recipe.json
  python train.py --config config/regression/ekfac_concrete.json --seed 3 --explain
  python train.py --config config/regression/ekfac_concrete.json --resume
  python train.py --init houses.csv --target price > mine.json
  python train.py --init houses.csv --target price,rent > mine.json
  python train.py --init houses.csv --target price --set 'categories=["zip"]' > mine.json
  python train.py --config config/regression/ekfac_concrete.json --resume --epochs 2000
  tensorboard --logdir=experiments/concrete/ekfac_concrete/summary"""


def parse_args(argv: typing.Optional[typing.Sequence[str]]) -> argparse.Namespace:
    parser = Parser(
        prog="train.py", description=__doc__, epilog=EXAMPLES, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--config", metavar="FILE", help="JSON file that describes the run")
    what.add_argument("--list", action="store_true", help="list networks, data sets, optimizers and overlays")
    what.add_argument("--help-config", nargs="?", const="simple", metavar="FORMAT",
                      help="list all config keys (FORMAT as in tabulate: simple, github, html, ...)")
    what.add_argument("--init", metavar="TABLE", help="look at a table and print a config for it")
    parser.add_argument("--target", nargs="+", metavar="COLUMN", help="with --init: column of the target, by name or "
                        "number; several for a regression of several targets")
    parser.add_argument("--with", dest="overlays", action="append", default=[], metavar="OVERLAY.json",
                        help="JSON file of keys to lay over the config, before --set; repeatable")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE",
                        help="override a key, VALUE as in JSON (true, 0.1, [20, 20]); repeatable; with --init: how the "
                        "table is read")
    parser.add_argument("--seed", type=int, metavar="N", help="the same as a last --set seed=N")
    parser.add_argument("--device", choices=["auto", "cpu", "gpu"], default="auto", help="where the operations run")
    parser.add_argument("--resume", action="store_true", help="continue the run from its newest checkpoint")
    parser.add_argument("--epochs", type=int, metavar="N",
                        help="with --resume: lengthen the run to N epochs; decays that follow from epoch stay")
    parser.add_argument("--explain", action="store_true", help="describe what the run would do, and stop")
    return parser.parse_args(argv)


def main(argv: typing.Optional[typing.Sequence[str]] = None) -> None:
    args = parse_args(argv)
    with one_line_errors("train.py", "--resume continues from the last checkpoint, if there is one"):
        if args.help_config:
            print(config_table(args.help_config))
            return
        check_training(args)
        if args.init:
            backend.prepare()
            from core.training.suggested import print_suggestion

            print(json.dumps(print_suggestion(args.init, args.target, args.set), indent=2, ensure_ascii=False))
            return
        overrides = args.set + ([f"seed={args.seed}"] if args.seed is not None else [])
        config = None if args.list else Config.from_file(args.config, overrides, args.overlays)
        backend.prepare(*([config.mode] if config else []))
        from core.training import explain, run  # TensorFlow must be imported after prepare()

        if args.list:
            print(explain.list_tables())
            return
        plan = run.plan(config, args.device)
        if args.explain:
            print("\n".join(explain.explain(run.prepared(plan, args.resume, args.epochs), args.overlays)))
        else:
            run.execute(plan, args.resume, args.epochs)


if __name__ == "__main__":
    sys.exit(main())
