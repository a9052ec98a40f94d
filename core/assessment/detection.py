"""How well uncertainties tell out-of-distribution (OOD) rows from others."""
from typing import Any, Dict, NamedTuple, Tuple

import numpy as np

from core.metrics.calibration import detection_statistics, with_intervals

Pair = Tuple[np.ndarray, np.ndarray]  # an uncertainty of the own rows [n], and of the OOD rows [m]


class Detection(NamedTuple):
    """The data of the figure."""

    names: Tuple[str, str]    # of the own and of the OOD rows
    pairs: Dict[str, Pair]    # {uncertainty: its values}
    auroc: Dict[str, float]   # {uncertainty: area under the ROC curve}
    unit: str                 # of the uncertainties


def detect(pairs: Dict[str, Pair], ood_name: str, unit: str) -> Tuple[Detection, Dict[str, Any]]:
    """Returns the Detection, and what metrics.json says of it.

    Args:
      pairs: {uncertainty: its values}; OOD rows should have the higher ones.
      ood_name: of the OOD rows.
      unit: of the uncertainties.
    """
    numbers, auroc, n_ood = {}, {}, 0
    for uncertainty, pair in pairs.items():
        intervals = with_intervals(detection_statistics(*pair), [len(part) for part in pair])
        auroc[uncertainty], n_ood = intervals["auroc"].value, len(pair[1])
        numbers.update({f"{name}_{uncertainty.replace(' ', '_')}": dict(interval._asdict())
                        for name, interval in intervals.items()})
    return (Detection(("test rows", f"{ood_name} (OOD)"), pairs, auroc, unit),
            {"ood_rows": n_ood, "ood": numbers})
