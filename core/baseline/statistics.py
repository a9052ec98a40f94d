"""Averages over splits, and comparisons split by split. Numbers in, dicts of floats out."""
import math
from typing import Any, Dict, Mapping, Optional, Sequence

import numpy as np
import scipy.stats

DDOF = 1
CONFIDENCE = 0.95
MOST_EXACT = 50   # differences of an exact signed-rank test
DECIMALS = 12     # of values divided by the largest one: smaller differences are rounding errors


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
            "wilcoxon_p": _signed_rank_p(_without_rounding_errors(ours, theirs)), "n": n}


def _without_rounding_errors(ours: Sequence[float], theirs: Sequence[float]) -> np.ndarray:
    """Returns ours - theirs, in units of the largest value, in which differences that are equal have equal ranks.

    Without it, 0.81 - 0.80 and 0.80 - 0.79 would differ.
    """
    pair = np.asarray([ours, theirs], np.float64)
    difference, largest = pair[0] - pair[1], np.abs(pair).max()
    return np.round(difference / largest, DECIMALS) if 0 < largest < np.inf else difference


def _signed_rank_p(difference: np.ndarray) -> float:
    """Returns the two-sided p-value of Wilcoxon's signed-rank test for differences [n].

    Zeros are left out (1 if nothing is left); NaN if a difference is NaN. The statistic is the sum of the ranks of
    positive differences, with mid-ranks where sizes are equal. Under the null hypothesis every sign is + or - with
    probability 1/2. Up to MOST_EXACT differences the distribution is exact, also with ties; beyond, normal. (What
    SciPy does about ties and zeros depends on its version.)
    """
    if np.isnan(difference).any():
        return math.nan
    difference = difference[difference != 0]
    ranks = scipy.stats.rankdata(np.abs(difference))
    positive, total = ranks[difference > 0].sum(), ranks.sum()
    upper = max(positive, total - positive)  # the distribution is symmetric about total / 2
    if len(ranks) > MOST_EXACT:
        return math.erfc((upper - total / 2) / math.sqrt(np.square(ranks).sum() / 4) / math.sqrt(2))
    counts = np.zeros(int(2 * total) + 1)  # choices of signs by twice their sum of ranks; all are below 2^53
    counts[0] = 1
    for rank in np.rint(2 * ranks).astype(int):
        counts[rank:] += counts[:-rank].copy()
    return float(min(1.0, 2 * counts[int(round(2 * upper)):].sum() / 2.0 ** len(ranks)))


def _standard_error(values: np.ndarray) -> Optional[float]:
    return float(values.std(ddof=DDOF) / np.sqrt(len(values))) if len(values) > DDOF else None
