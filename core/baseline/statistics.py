"""Averages over splits, and comparisons split by split. Numbers in, dicts of floats out."""
from typing import Any, Dict, Mapping, Optional, Sequence

import numpy as np
import scipy.stats

DDOF = 1
CONFIDENCE = 0.95


def summarise(values: Sequence[float]) -> Dict[str, Any]:
    """Returns mean, standard error (standard deviation with ddof 1, over sqrt(n)), median, quartiles and n.

    The standard error of a single value is None.
    """
    array = np.asarray(values, np.float64)
    lower, median, upper = np.percentile(array, [25, 50, 75])
    return {"mean": float(array.mean()), "se": _standard_error(array), "median": float(median),
            "lower_quartile": float(lower), "upper_quartile": float(upper), "n": len(array)}


def with_error(summary: Mapping[str, Any], digits: int, sign: str = "") -> str:
    """Returns "mean ± standard error" of a `summarise` or `compare`; the mean alone if there is no error.

    sign: "+" to show it.
    """
    error = "" if summary["se"] is None else f" ± {summary['se']:.{digits}f}"
    return f"{summary['mean']:{sign}.{digits}f}{error}"


def compare(ours: Sequence[float], theirs: Sequence[float]) -> Dict[str, Any]:
    """Returns statistics of the paired differences, ours - theirs, of values that belong to the same splits.

    mean and se: of the differences; ci_low, ci_high: 95 % interval of the mean, by Student's t; wilcoxon_p: of
    the two-sided signed-rank test, 1 if nothing differs; n. With a single pair, statistics that need several are None.
    """
    difference = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    n, mean, error = len(difference), float(difference.mean()), _standard_error(difference)
    reach = None if error is None else error * scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)
    return {"mean": mean, "se": error, "ci_low": None if reach is None else mean - reach,
            "ci_high": None if reach is None else mean + reach,
            "wilcoxon_p": float(scipy.stats.wilcoxon(difference).pvalue) if difference.any() else 1.0, "n": n}


def _standard_error(values: np.ndarray) -> Optional[float]:
    return float(values.std(ddof=DDOF) / np.sqrt(len(values))) if len(values) > DDOF else None
