"""What files of predictions say of each row: columns that are made of draws from the predictive distribution."""
from typing import Any, Dict, Optional, Sequence

import numpy as np

from core.metrics.gaussian_outputs import class_entropies, logits_of
from core.metrics.predictive import moments, predict_classes
from core.metrics.quantiles import mixture_quantiles
from data_loader.table_transform import ROW

INTERVAL = 0.9  # probability of the central interval, unless something else is asked for

Columns = Dict[str, np.ndarray]  # name -> a value per row, [n]


def regression_columns(draws: Any, target_mean: float, target_std: float, interval: float = INTERVAL,
                       quantiles: Sequence[float] = ()) -> Columns:
    """Returns mean, std, epistemic_std, the ends of the central interval, and further quantiles, in the data's units.

    Args:
      draws: Draws, standardised.
      interval: probability of the central interval.
      quantiles: levels of the further ones, each above 0 and below 1.
    """
    mean, variance, epistemic = moments(draws.outputs, draws.precisions, draws.dof, draws.within)
    tail = 0.5 * (1.0 - interval)
    values = target_mean + target_std * mixture_quantiles(draws.outputs, draws.precisions,
                                                          [tail, 1.0 - tail, *quantiles], draws.dof)
    further = {f"quantile_{level:.15g}": of_level for level, of_level in zip(quantiles, values[2:])}
    return {"mean": target_mean + target_std * mean, "std": target_std * np.sqrt(variance),
            "epistemic_std": target_std * np.sqrt(epistemic), "lower": values[0], "upper": values[1], **further}


def class_columns(draws: Any, classes: Sequence[Any]) -> Columns:
    """Returns the predicted class, its probability, entropy and mutual information (nats), and a column per class.

    draws: logits of all weight draws, [K, n, C], or ProbitDraws.
    """
    names = np.array([str(name) for name in classes], object)
    probabilities = predict_classes(logits_of(draws)).probabilities
    total, _, mutual = class_entropies(draws)
    of_classes = {f"p_{name}": probabilities[:, number] for number, name in enumerate(names)}
    return {"predicted": names[probabilities.argmax(axis=1)], "confidence": probabilities.max(axis=1),
            "entropy": total, "mutual_information": mutual, **of_classes}


def with_ids(ids: Optional[np.ndarray], data: Any, columns: Columns) -> Columns:
    """Returns the columns behind one that identifies the rows, called as the run's column row_id, or else "row".

    ids: what predictions call the rows, [n]; None: their numbers among these rows, from 1.
    """
    n_rows = len(next(iter(columns.values())))
    if ids is None:
        return {unused_name(ROW, columns): np.arange(1, n_rows + 1), **columns}
    return {unused_name(data.transform.id_name, columns): ids, **columns}


def unused_name(name: str, columns: Columns) -> str:
    """Returns the name, or if a column is called so the first of NAME_id, NAME_id_id, ... that none is."""
    return unused_name(f"{name}_id", columns) if name in columns else name
