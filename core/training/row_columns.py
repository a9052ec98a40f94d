"""What files of predictions say of each row: columns that are made of draws from the predictive distribution."""
from typing import Any, Dict, Sequence

import numpy as np

from core.metrics.gaussian_outputs import class_entropies, logits_of
from core.metrics.predictive import moments, predict_classes
from core.metrics.quantiles import mixture_quantiles
from data_loader.parts import ROW

INTERVAL = 0.9  # probability of the central interval, unless something else is asked for
MOST_CLASSES = 100  # with more, files of test rows have no columns of probabilities, which are in predictions.npz

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


def class_columns(draws: Any, classes: Sequence[Any], of_each: bool = True) -> Columns:
    """Returns the predicted class, its probability, entropy and mutual information (nats), and a column per class.

    Args:
      draws: logits of all weight draws, [K, n, C], or ProbitDraws.
      classes: names, in the order of the labels.
      of_each: whether there is a column of probabilities for each class.
    """
    names = np.array([str(name) for name in classes], object)
    probabilities = predict_classes(logits_of(draws)).probabilities
    total, _, mutual = class_entropies(draws)
    of_classes = {f"p_{name}": probabilities[:, number] for number, name in enumerate(names) if of_each}
    return {"predicted": names[probabilities.argmax(axis=1)], "confidence": probabilities.max(axis=1),
            "entropy": total, "mutual_information": mutual, **of_classes}


def evaluated_class_columns(draws: Any, labels: np.ndarray, classes: Sequence[Any]) -> Columns:
    """Returns the class of each row, and `class_columns`, which have no column per class of more than MOST_CLASSES.

    Args:
      draws: as in `class_columns`.
      labels: int [n].
      classes: names, in the order of the labels.
    """
    targets = np.array([str(name) for name in classes], object)[labels]
    return {"target": targets, **class_columns(draws, classes, of_each=len(classes) <= MOST_CLASSES)}


def with_ids(rows: Any, columns: Columns) -> Columns:
    """Returns the columns behind one that identifies the rows.

    rows: a Part, or anything else with its `ids` and `id_name`; without ids, the rows are numbered from 1.
    """
    if rows.ids is None:
        n_rows = len(next(iter(columns.values())))
        return {unused_name(ROW, columns): np.arange(1, n_rows + 1), **columns}
    return {unused_name(rows.id_name, columns): rows.ids, **columns}


def unused_name(name: str, columns: Columns) -> str:
    """Returns the name, or if a column is called so the first of NAME_id, NAME_id_id, ... that none is."""
    return unused_name(f"{name}_id", columns) if name in columns else name
