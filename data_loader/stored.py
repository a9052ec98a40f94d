"""What predictions need to know of a run's data, as a JSON object: the run's folder holds it in model.json.

It describes columns, categories, classes and statistics, and holds no row of the data.
"""
import hashlib
import json
import typing

import numpy as np

from data_loader.classification import ImageData
from data_loader.parts import Pixels, Spec
from data_loader.splits import Split
from data_loader.table_data import TableData
from data_loader.table_transform import Column, Place, TableTransform
from misc.errors import UserError

VERSION = 1  # of the format
Stored = typing.Dict[str, typing.Any]


def describe(data: typing.Any) -> Stored:
    """Returns the description of a run's data, TableData or ImageData."""
    spec = data.spec
    common = {"version": VERSION, "source": data.source, "rows_hash": data.rows_hash, "n_rows": spec.n_rows,
              "shape": list(spec.shape), "n_outputs": spec.n_outputs, "protocol": data.split.protocol,
              "split": data.split.index, "split_hash": data.split_hash}
    kind = "images" if spec.pixels is not None else "table" if data.classes is None else "table of classes"
    return dict(common, kind=kind, **KINDS[kind].write(data))


def hash_of(description: Stored) -> str:
    """Returns the first 16 hex digits of the SHA-256 of a description, whatever the layout of its file."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode("utf-8")).hexdigest()[:16]


def restore(stored: Stored) -> typing.Any:
    """Returns the data that `describe` has described, without rows.

    Raises KeyError, TypeError or ValueError for other objects, and UserError for those of a later version.
    """
    if stored["version"] > VERSION:
        raise UserError(f"its format is version {stored['version']}, of a later release (this one reads version "
                        f"{VERSION})")
    spec = Spec(stored["n_rows"], tuple(stored["shape"]), stored["n_outputs"], None)
    none = np.zeros(0, int)
    common = {"train": None, "valid": None, "test": None, "spec": spec, "source": stored["source"],
              "rows_hash": stored["rows_hash"], "split_hash": stored["split_hash"],
              "split": Split(stored["protocol"], stored["split"], none, none), "n_valid_in_train": None,
              "n_test_in_train": None, "notices": ()}
    return KINDS[stored["kind"]].read(stored, common)


def _write_columns(data: typing.Any) -> Stored:
    """Describes the columns of a table."""
    transform = data.transform
    return {"columns": [dict(column._asdict()) for column in transform.columns], "missing": transform.missing,
            "target": dict(transform.target._asdict()),
            "further_targets": [dict(place._asdict()) for place in transform.further],
            "row_id": transform.row_id and dict(transform.row_id._asdict()),
            "n_columns": transform.n_columns,
            "inputs": [{"name": name, "mean": float(mean), "std": float(std), "constant": bool(constant),
                        "low": float(low), "high": float(high)}
                       for name, mean, std, constant, (low, high) in zip(
                           transform.names, data.input_mean, data.input_std, data.constant, data.input_range.T)],
            "names": data.names and list(data.names), "is_commented": data.is_commented}


def _read_columns(stored: Stored) -> Stored:
    columns = tuple(Column(**dict(column, levels=tuple(column["levels"]), parts=tuple(column["parts"])))
                    for column in stored["columns"])
    transform = TableTransform(columns, stored["missing"], Place(**stored["target"]),
                               stored["row_id"] and Place(**stored["row_id"]), stored["n_columns"],
                               tuple(Place(**place) for place in stored.get("further_targets", ())))
    mean, std, constant = (np.array([column[key] for column in stored["inputs"]], kind)
                           for key, kind in (("mean", float), ("std", float), ("constant", bool)))
    if not [len(mean)] == [len(transform.names)] == stored["shape"] or not (std > 0).all():
        raise ValueError("the inputs do not fit the columns")
    ends = [[column.get(key) for column in stored["inputs"]] for key in ("low", "high")]
    return {"input_mean": mean, "input_std": std, "constant": constant, "transform": transform, "train_hashes": None,
            "input_range": None if None in ends[0] + ends[1] else np.array(ends, float),
            "names": stored["names"] and tuple(stored["names"]), "is_commented": stored["is_commented"]}


def _write_table(data: TableData) -> Stored:
    numbers = {"target_mean": data.target_mean, "target_std": data.target_std}
    return dict(_write_columns(data), **{name: np.asarray(value).tolist() for name, value in numbers.items()})


def _read_table(stored: Stored, common: Stored) -> TableData:
    mean, std = (np.array(value, float) if isinstance(value, list) else float(value)
                 for value in (stored["target_mean"], stored["target_std"]))
    columns = _read_columns(stored)
    n_targets = 1 + len(columns["transform"].further)
    if not np.size(mean) == np.size(std) == n_targets or not np.all(np.asarray(std) > 0):
        raise ValueError("the statistics of the targets do not fit their columns")
    return TableData(target_mean=mean, target_std=std, **columns, **common)


def _write_class_table(data: TableData) -> Stored:
    return dict(_write_columns(data), classes=list(data.classes or ()))


def _read_class_table(stored: Stored, common: Stored) -> TableData:
    return TableData(classes=stored["classes"], **_read_columns(stored), **common)


def _write_images(data: ImageData) -> Stored:
    pixels = data.spec.pixels
    assert pixels is not None, "images have statistics of their pixels"
    return {"classes": list(data.classes), "pixel_mean": [float(value) for value in pixels.mean],
            "pixel_std": [float(value) for value in pixels.std]}


def _read_images(stored: Stored, common: Stored) -> ImageData:
    pixels = Pixels(np.array(stored["pixel_mean"], float), np.array(stored["pixel_std"], float))
    return ImageData(classes=stored["classes"], **dict(common, spec=common["spec"]._replace(pixels=pixels)))


class Kind(typing.NamedTuple):
    """How one kind of data is described."""

    write: typing.Callable[[typing.Any], Stored]
    read: typing.Callable[[Stored, Stored], typing.Any]  # of the description, and the fields that all kinds share


KINDS = {"table": Kind(_write_table, _read_table),
         "table of classes": Kind(_write_class_table, _read_class_table),
         "images": Kind(_write_images, _read_images)}
