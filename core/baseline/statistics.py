"""Averages over splits and comparisons split by split. Numbers in, dicts of floats out."""
import numpy as np
import scipy.stats

DDOF = 1
CONFIDENCE = 0.95


def summarise(values):
    """Mean, standard error (standard deviation with ddof 1, over sqrt(n)), median, quartiles and n.

    The standard error of a single value is None.
    """
    values = np.asarray(values, np.float64)
    lower, median, upper = np.percentile(values, [25, 50, 75])
    return {"mean": float(values.mean()), "se": _standard_error(values), "median": float(median),
            "lower_quartile": float(lower), "upper_quartile": float(upper), "n": len(values)}


def compare(ours, theirs):
    """Paired differences, ours - theirs, of values that belong to the same splits.

    Returns:
      mean and se of the differences; ci_low, ci_high: the 95 % interval of the mean, Student's
      t; wilcoxon_p: of the signed-rank test (two-sided), 1 if nothing differs; n.
    """
    difference = np.asarray(ours, np.float64) - np.asarray(theirs, np.float64)
    n, mean, error = len(difference), float(difference.mean()), _standard_error(difference)
    reach = None if error is None else error * scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, n - 1)
    return {"mean": mean, "se": error, "ci_low": None if reach is None else mean - reach,
            "ci_high": None if reach is None else mean + reach,
            "wilcoxon_p": float(scipy.stats.wilcoxon(difference).pvalue) if difference.any() else 1.0, "n": n}


def _standard_error(values):
    return float(values.std(ddof=DDOF) / np.sqrt(len(values))) if len(values) > DDOF else None
