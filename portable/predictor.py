"""Predicts with a posterior that export.py has written (--npz). This file and numpy are all that it needs.

    from predictor import Predictor
    predictions = Predictor("posterior.npz").predict({"rooms": [6.5], "zone": ["z1"]})
"""
import json
import warnings

import numpy as np
from numpy.lib.stride_tricks import as_strided

VERSION, MAX_DISTANCE = 1, 1e12  # of the format; of inputs from the training rows, in standard deviations
ATTRIBUTES = ("columns", "inputs", "classes", "targets")


class Predictor:
    """A trained network with K draws of its weights.

    columns, inputs: names of a table's columns, and of the inputs that are made of them; empty for images.
    classes, targets: names of the classes, or of several targets; empty otherwise.
    about, arrays: all that the file says, among it weights [K, d_in + 1, d_out] and noise."""

    def __init__(self, path):
        self.arrays = dict(np.load(str(path)))
        self.about = json.loads(str(self.arrays["description"]))
        if self.about["version"] > VERSION:
            raise ValueError(f"{path}: its format is version {self.about['version']}, this file reads {VERSION}")
        self.columns, self.inputs, self.classes, self.targets = (self.about[name] for name in ATTRIBUTES)

    def predict(self, X, interval=0.9, quantiles=()):
        """Predicts rows of a table, or images; returns a dict.

        X: a dict or a DataFrame with the table's columns, where None and NaN are missing values; or an array [n, d] of
          numbers, in the order of `inputs`; or images, uint8 [n, height, width, channels].
        interval, quantiles: probability of the central interval, lower to upper; levels of further quantiles.
        For a regression: mean, std, epistemic_std (the part of std that comes from the weights), lower,
        upper, quantile_Q, each [n], or [n, m] for several targets, in the data's own units. For classes: predicted,
        confidence, entropy, mutual_information (nats), each [n], and probabilities [n, C]."""
        x, batch = (self._rows(X), 10000) if self.inputs else (self._images(X), 50)
        outputs = np.concatenate([self._outputs(x[at:at + batch]) for at in range(0, max(len(x), 1), batch)], axis=1)
        return self._of_classes(outputs) if self.classes else self._of_numbers(outputs, interval, quantiles)

    def _images(self, X):
        X = np.asarray(X)
        if X.dtype != np.uint8 or list(X.shape[1:]) != self.about["shape"]:
            raise ValueError(f"images must be uint8, n times {self.about['shape']}, got {X.dtype} {list(X.shape)}")
        return X

    def _rows(self, X):
        if hasattr(X, "iloc"):  # a DataFrame
            X = {name: X[name].astype(object).where(X[name].notna(), None).tolist() for name in X.columns}
        if isinstance(X, dict):
            for name in (name for name in self.columns if name not in X):
                raise ValueError(f"there is no column {name!r}: the columns are {', '.join(self.columns)}")
            if {np.ndim(X[name]) for name in self.columns} != {1} or len({len(X[name]) for name in self.columns}) > 1:
                raise ValueError("columns must be lists of one length; of a single row, {'a': [1.0], 'b': ['x']}")
            values = np.concatenate([ENCODERS[column["kind"]](dict(column, name=name), X[name], self.about["missing"])
                                     for column, name in zip(self.about["encoding"], self.columns)], axis=1)
        else:
            values = converted(X, np.float64, "an array must hold numbers (give columns of words in a dict)")
            if values.ndim != 2 or values.shape[1] != len(self.inputs):
                raise ValueError(f"an array must be [n, {len(self.inputs)}], as in `inputs`, got {list(values.shape)}")
            values = np.where(np.isnan(values), self.arrays["input_fill"], values)
        x = (values - self.arrays["input_mean"]) / self.arrays["input_std"]
        for row, at in np.argwhere(~(np.abs(x) <= MAX_DISTANCE)):
            what = "missing: fill it in" if np.isnan(values[row, at]) else "too far from the training rows: correct it"
            raise ValueError(f"row {row + 1}: {self.inputs[at]!r} is {what}, or leave the row out")
        return np.where(self.arrays["input_constant"], 0.0, x)

    def _outputs(self, x):  # [K, n, n_outputs], of inputs [n, d] or images
        x = x.astype(self.about["precision"])
        if not self.inputs:
            x = (x - self.arrays["input_mean"].astype(x.dtype)) / self.arrays["input_std"].astype(x.dtype)
        return np.stack([self._output(x, draw) for draw in range(self.about["n_draws"])]).astype(np.float64)

    def _output(self, x, draw):  # values[0] is x, and values[i] is the result of operation i - 1
        values = [x]
        for operation in self.about["operations"]:
            of_layer = {name: self.arrays[key][draw] for name, key in operation["arrays"].items()}
            inputs = (values[number] for number in operation["inputs"])
            values.append(LAYERS[operation["kind"]](*inputs, **operation["settings"], **of_layer))
        return values[-1]

    def _of_classes(self, logits):
        powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
        each = powers / powers.sum(axis=-1, keepdims=True)
        mixed = each.mean(axis=0)
        total, expected = (-(p * np.log(np.where(p > 0, p, 1.0))).sum(axis=-1) for p in (mixed, each))
        return {"predicted": np.array([str(name) for name in self.classes], object)[mixed.argmax(axis=1)],
                "confidence": mixed.max(axis=1), "entropy": total,
                "mutual_information": np.maximum(total - expected.mean(axis=0), 0.0), "probabilities": mixed}

    def _of_numbers(self, outputs, interval, quantiles):
        levels = [0.5 * (1.0 - interval), 0.5 * (1.0 + interval), *quantiles]
        if not all(0.0 < level < 1.0 for level in levels):
            raise ValueError("interval and quantiles must be above 0 and below 1")
        precisions, dof = self.arrays["precisions"][:, None], self.arrays["dof"]  # of the noise: [K, 1, m], [m]
        bound = self.about["log_variance_bound"]
        if bound is not None:  # the second half of the outputs are log variances
            outputs, raw = np.split(outputs, 2, axis=-1)
            precisions = precisions * np.exp(-bound * np.tanh(raw / bound))
        epistemic, location, scale = outputs.var(axis=0), self.arrays["target_mean"], self.arrays["target_std"]
        found = np.stack([mixture_quantiles(outputs[..., j], precisions[..., j]**-0.5, levels, dof[j])
                          for j in range(len(dof))], axis=-1)
        values = {"mean": outputs.mean(axis=0), "epistemic_std": np.sqrt(epistemic), "lower": found[0],
                  "std": np.sqrt(epistemic + (1.0 / precisions).mean(axis=0) / (1.0 - 2.0 / dof)), "upper": found[1]}
        values.update({f"quantile_{level:.15g}": each for level, each in zip(quantiles, found[2:])})
        values = {name: scale * value + location * ("std" not in name) for name, value in values.items()}
        return values if self.targets else {name: value[:, 0] for name, value in values.items()}


def mixture_quantiles(f, scales, levels, dof):
    """Returns the quantiles [L, n] of f + scale * t over draws; t: Student's t, or normal where dof is infinite.
    f: [K or 1, n]; scales: [K, 1 or n]. The distribution of t is a table in v = arsinh(t), by Simpson's rule."""
    def slope(v):  # the density of v, up to a factor
        t = np.sinh(v)
        return np.cosh(v) * np.exp(-0.5 * t * t if np.isinf(dof) else -0.5 * (dof + 1.0) * np.log1p(t * t / dof))
    edges, step = np.linspace(-20.0, 20.0, (1 << 18) + 1, retstep=True)  # t up to 2e8
    sides, found = slope(edges), []
    cdf = np.append(0.0, np.cumsum(sides[:-1] + 4.0 * slope(edges[:-1] + 0.5 * step) + sides[1:])) * step / 6.0
    for level in levels:
        unit = np.sinh(np.interp(level * cdf[-1], cdf, edges))
        low, high = (f + scales * (unit - 0.01)).min(axis=0), (f + scales * (unit + 0.01)).max(axis=0)
        x, old, iteration = 0.5 * (low + high), np.inf, 0
        while not (np.abs(x - old) <= 1e-10 * scales.min(axis=0)).all() and iteration < 200:
            v, old, iteration = np.arcsinh((x - f) / scales), x, iteration + 1
            excess = np.interp(v, edges, cdf).mean(axis=0) - level * cdf[-1]
            low, high = np.where(excess <= 0, x, low), np.where(excess >= 0, x, high)
            x = x - excess / np.maximum((slope(v) / (scales * np.cosh(v))).mean(axis=0), 1e-300)
            x = np.where((x >= low) & (x <= high) & (iteration % 10 > 0), x, 0.5 * (low + high))  # or else bisection
        found.append(x)
    return np.array(found)


def windows(h, kernel, strides, padding="SAME", fill=0.0):
    """Returns the pixels [n, H', W', k_h, k_w, C] under each place of a kernel; padding as TensorFlow defines it."""
    sizes, pads = [], [(0, 0)]
    for length, k, stride in zip(h.shape[1:3], kernel, strides):
        sizes.append(-(-length // stride) if padding == "SAME" else (length - k) // stride + 1)
        more = max(0, (sizes[-1] - 1) * stride + k - length)
        pads.append((more // 2, more - more // 2))
    h = np.pad(h, [*pads, (0, 0)], "constant", constant_values=fill)
    n, row, column, channel = h.strides
    return as_strided(h, (len(h), *sizes, *kernel, h.shape[3]),
                      (n, row * strides[0], column * strides[1], row, column, channel), writeable=False)


def add(h, other):  # a shortcut: subsampled where h has fewer pixels, padded with zeros where it has more channels
    if h.ndim == 4:
        stride, more = -(-other.shape[1] // h.shape[1]), h.shape[3] - other.shape[3]
        other = np.pad(other[:, ::stride, ::stride], [(0, 0)] * 3 + [(more // 2, more - more // 2)], "constant")
    return h + other


def converted(values, kind, what):
    try:
        return np.array(values, kind)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what}: {error}") from None


def number(column, values, missing):
    v = converted(values, np.float64, f"column {column['name']!r} must hold numbers")
    filled = np.where(np.isnan(v), np.nan if column["fill"] is None else column["fill"], v)
    return np.stack([filled, np.isnan(v)] if column["has_indicator"] else [filled], axis=1)


def category(column, values, missing):
    words = np.array([None if value is None or value != value else f"{value:.15g}" if isinstance(value, float)
                      else str(value) for value in values], object)
    gone, unknown = np.array([word is None for word in words], bool), sorted(set(words) - {None, *column["levels"]})
    if unknown:
        warnings.warn(f"{column['name']}: {unknown[:5]} did not occur in the training rows", stacklevel=4)
    block = (words[:, None] == np.array(column["levels"], object)).astype(np.float64)
    block[gone] = np.nan if missing == "refuse" else 0.0
    return np.column_stack([block, gone] if column["has_indicator"] else [block])


def date(column, values, missing):  # of datetime64, or texts such as 2020-01-31 and 2020-01-31 12:30
    if any(isinstance(value, (int, float)) and value == value for value in values):
        raise ValueError(f"column {column['name']!r} holds numbers: write dates as 2020-01-31")
    minute = converted(values, "datetime64[m]", f"column {column['name']!r} must hold dates, written as 2020-01-31")
    day, month, year = (minute.astype(f"datetime64[{unit}]") for unit in "DMY")
    parts = {"year": year.astype(int) + 1970, "month": month.astype(int) % 12 + 1,
             "day": (day - month).astype(int) + 1, "weekday": (day.astype(int) + 3) % 7,
             "hour": (minute - day).astype(int) // 60, "minute": (minute - day).astype(int) % 60}
    return np.stack([np.where(np.isnat(minute), np.nan, parts[name]) for name in column["parts"]], axis=1)


ENCODERS = {"number": number, "category": category, "date": date}
LAYERS = {"dense": lambda h, weights, d_out: h @ weights[:-1] + weights[-1],
          "conv2d": lambda h, weights, kernel, strides, padding, **_: weights[-1] + np.tensordot(
              windows(h, kernel, strides, padding), weights[:-1].reshape(*kernel, h.shape[3], -1), 3),
          "batch_norm": lambda h, weights, norm_mean, norm_variance, epsilon: (
              (h - norm_mean) / np.sqrt(norm_variance + h.dtype.type(epsilon)) * weights[0] + weights[1]),
          "relu": lambda h: np.maximum(h, 0), "tanh": np.tanh,
          "elu": lambda h: np.where(h > 0, h, np.expm1(np.minimum(h, 0))), "add": add,
          "flatten": lambda h: h.reshape(len(h), np.prod(h.shape[1:])), "global_pool": lambda h: h.mean(axis=(1, 2)),
          "max_pool": lambda h, size: windows(h, (size, size), (size, size), fill=-np.inf).max(axis=(3, 4)),
          "average_pool": lambda h, size: np.nanmean(windows(h, (size, size), (size, size), fill=np.nan), axis=(3, 4))}
