"""Commands of repeated runs, and the numbers that they leave."""
import regression_baseline
from misc.records import read_rows

SPACE = {"trials": 2, "folds": 2, "validation_fraction": 0.2, "during_search": {"epoch": 2},
         "space": {"kl": {"low": 0.1, "high": 1.0, "log": True}, "Teigen": {"low": 2, "high": 4},
                   "scale_init": {"choices": ["damped", "exact"]}}}


def baseline(*arguments, jobs=1):
    """Runs the command in this process; returns its exit code."""
    try:
        regression_baseline.main(["--jobs", str(jobs), "--config", *arguments])
    except SystemExit as stop:
        return stop.code
    return 0


def home(tmp_path, name="base"):
    return tmp_path / "experiments" / "tiny" / name


def numbers(root):
    """{seed: (rmse, log_likelihood)} of runs.csv as text, to the last digit."""
    return {row["seed"]: (row["rmse"], row["log_likelihood"]) for row in read_rows(root / "runs.csv")}
