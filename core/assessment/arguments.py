"""Checks the flags of evaluate.py and predict.py. Imports no TensorFlow, which must wait for the mode of the runs."""
import argparse
import pathlib
import typing

from misc.errors import UserError
from misc.folders import read_config

PREDICTIVES = ("sampled", "linearised")  # values of key `predictive`


def checked_overrides(args: argparse.Namespace, roots: typing.List[pathlib.Path]) -> typing.Dict[str, typing.Any]:
    """Returns the configuration keys that the flags stand for.

    Raises UserError for numbers below 1, empty values, and flags that do not go together.
    """
    if not roots:
        raise UserError("give the folder of a run" if not isinstance(args.correlations, str) else
                        f"--correlations {args.correlations} was read as a reference, so no RUN is left to evaluate: "
                        "give the runs before --correlations")
    for flag in ("particles", "batch", "rows"):
        value = getattr(args, flag)
        if value is not None and value < 1:
            raise UserError(f"--{flag} must be at least 1, got {value}")
    if args.joint is not None and not args.correlations:
        raise UserError("--joint is for --correlations")
    if args.joint is not None and args.joint < 2:
        raise UserError(f"--joint must be at least 2, got {args.joint}: a batch of one row has no correlations")
    if "" in (args.data, args.ood, args.out, args.data_path, args.correlations):
        raise UserError("a flag has an empty value: give a name, or leave the flag out")
    if args.rows and not args.corrupt:
        raise UserError("--rows is for --corrupt")
    if args.out and len(roots) < 2:
        raise UserError("--out is for a comparison of several runs; one run's files go to RUN/evaluation")
    if args.ensemble and len(roots) < 2:
        raise UserError("--ensemble takes at least two runs")
    if len({root.resolve() for root in roots}) < len(roots):
        raise UserError("a run is named twice")
    _check_calibration(args)
    return dict(overrides_of(args), **({} if args.data_path is None else {"data_path": args.data_path}))


def overrides_of(args: argparse.Namespace) -> typing.Dict[str, typing.Any]:
    """Returns the configuration keys that the flags of predictions stand for."""
    keys = {"test_particles": args.particles, "test_batch_size": args.batch, "predictive": args.predictive}
    return {name: value for name, value in keys.items() if value is not None}


def _check_calibration(args: argparse.Namespace) -> None:
    """Raises UserError for flags that do not go with --calibrate or --calibrated."""
    if args.level is not None and not 0.0 < args.level < 1.0:
        raise UserError(f"--level must be above 0 and below 1, got {args.level:g}")
    if args.sets and not args.calibrate:
        raise UserError("--sets is for --calibrate")
    if args.ensemble and args.calibrated:
        raise UserError("--calibrated is for single runs: a calibration is not one of a mixture")
    others = [flag for flag in ("ood", "importance", "corrupt", "correlations", "ensemble", "out", "calibrated")
              if getattr(args, flag)]
    if args.calibrate and others:
        raise UserError(f"--calibrate fits and does not evaluate: leave out --{others[0]}")


def mode_of(roots: typing.List[pathlib.Path]) -> str:
    """Returns the mode of all runs. Raises UserError if they differ."""
    modes = {read_config(root, {})[0].mode for root in roots}
    if len(modes) > 1:
        raise UserError("runs of regression and of classification cannot be compared: name runs of one mode")
    return modes.pop()


def check_predictions(args: argparse.Namespace) -> None:
    """Raises UserError for flags of predict.py that are out of range, and for a run that is named twice."""
    for flag, values in (("interval", [args.interval]), ("quantiles", args.quantiles)):
        for value in (value for value in values if value is not None):
            if not 0.0 < value < 1.0:
                raise UserError(f"--{flag} must be above 0 and below 1, got {value:g}")
    twice = [value for value in args.quantiles if args.quantiles.count(value) > 1]
    if twice:
        raise UserError(f"--quantiles: {twice[0]:g} is given twice")
    roots = [pathlib.Path(root).resolve() for root in (args.run, *args.ensemble)]
    if len(set(roots)) < len(roots):
        raise UserError("--ensemble: a run is named twice")
    if args.calibrated and args.ensemble:
        raise UserError("--calibrated is for single runs: a calibration is not one of a mixture")
    if args.samples < 0:
        raise UserError(f"--samples must be 0 or more, got {args.samples}")
    for flag in ("particles", "batch"):
        if getattr(args, flag) is not None and getattr(args, flag) < 1:
            raise UserError(f"--{flag} must be at least 1, got {getattr(args, flag)}")
