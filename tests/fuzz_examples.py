"""Examples for tests/fuzz.py: configs, tables and images, most of them nearly right, as hypothesis strategies."""
import gzip
import itertools
import json
import os
import pickle
import typing

import numpy as np
from hypothesis import strategies as st
from typing_extensions import Literal

from core.inference.optimizer import METHODS
from misc.config import Config, key_mode
from misc.errors import UserError
from networks import NETWORKS
from tests.images.files import write_cifar10, write_idx

LARGEST = dict(epoch=3, train_particles=4, test_particles=9, width=1.0)  # larger runs are only explained
TINY = {
    "regression": dict(dataset="tiny", data_path=".", model_name="ffn", hidden=[4], epoch=2, batch_size=10,
                       train_particles=2, test_particles=4, Teigen=2),
    "classification": dict(mode="classification", dataset="digits", model_name="ffn", hidden=[4], epoch=1,
                           batch_size=700, train_particles=1, test_particles=3, TEigen=2, TInv=2, TCov=1, TScale=1),
}


# Configs.

ANYTHING = st.one_of(
    st.none(), st.booleans(), st.integers(), st.sampled_from([2**31, 2**63, 10**30, -1, 0]), st.floats(),
    st.text(max_size=12), st.lists(st.integers(-2, 5), max_size=3), st.dictionaries(st.text(max_size=3), st.none()))
NAMES = st.one_of(st.text(max_size=12), st.sampled_from(
    ["", ".", "..", "../x", "a/b", "/", "tiny.data", "x\0y", "a" * 300, "~", "nowhere/at/all", "\ud800", "CON", "a b"]))
PATHS = {"data_path", "experiments_path", "image_cache"}  # from a list only, so that no run writes elsewhere
SPECIAL = {
    "dataset": st.one_of(NAMES, st.sampled_from(["tiny", "digits", "concrete", "cifar10", "images", "tinny"])),
    "exp_name": NAMES,
    "optimizer": st.sampled_from(sorted(METHODS) + ["ekfca", "SGD"]),
    "model_name": st.sampled_from(sorted(NETWORKS) + ["fnn50"]),
    "image_size": st.lists(st.sampled_from([1, 8, 12, 0, -3, 10**9, 1.5, True]), max_size=3),
    "labels_file": st.sampled_from(["tiny.data", "nowhere.csv", ".", "e", "x\0y", "a" * 300, ""]),
    "hidden": st.lists(st.sampled_from([1, 2, 7, 0, -3, 10**9, 1.5, True]), max_size=3),
    **{name: st.sampled_from(["e", "e/f", "tiny.data", "tiny.data/below", "x\0y", "a" * 300, "", ".", "\ud800"])
       for name in PATHS},
}


def value_of(name):
    """Values for a key: most are of its type and in its range, the others are arbitrary."""
    field = Config.model_fields[name]
    kind, limits = field.annotation, {}
    if getattr(kind, "__origin__", None) is typing.Union:
        kind = kind.__args__[0]
    for item in field.metadata:
        limits.update({bound: getattr(item, bound) for bound in ("ge", "gt", "le", "lt") if hasattr(item, bound)})
    low, high = limits.get("ge", limits.get("gt", 0)), limits.get("le", limits.get("lt"))
    if name in SPECIAL:
        good = SPECIAL[name]
    elif getattr(kind, "__origin__", None) is Literal:
        good = st.sampled_from(kind.__args__)
    elif kind is bool:
        good = st.booleans()
    elif kind is int:
        good = st.one_of(st.integers(low, low + 8), st.sampled_from([10**3, 10**6, 10**12]))
    else:
        good = st.one_of(st.floats(low, 2.0 if high is None else high),
                         st.sampled_from([1e-300, 1e-30, 1e-8, 1e8, 1e30, 1e300, 1]))
    if name in PATHS:
        return good
    return st.integers(0, 9).flatmap(lambda number: ANYTHING if number == 9 else good)


@st.composite
def configs(draw):
    """(text of a config, flags)."""
    mode = draw(st.sampled_from(sorted(TINY)))
    values = dict(TINY[mode], optimizer=draw(st.sampled_from(sorted(METHODS))))
    names = st.sampled_from([name for name in Config.model_fields if key_mode(name) in (None, mode)])
    for name in draw(st.lists(names, max_size=4, unique=True)):
        values[name] = draw(value_of(name))
    odd = draw(st.sampled_from([""] * 15 + ["unknown", "other mode", "missing", "text", "set"]))
    if odd == "unknown":
        values[draw(st.text(max_size=12))] = draw(ANYTHING)
    elif odd == "other mode":
        name = draw(st.sampled_from(sorted(Config.model_fields)))
        values[name] = draw(value_of(name))
    elif odd == "missing":
        values.pop(draw(st.sampled_from(sorted(values))))
    text = json.dumps(values)
    if odd == "text":
        return draw(damaged(text.encode())), []
    flags = ["--set", draw(st.one_of(st.text(max_size=15), st.sampled_from(
        ["epoch", "epoch=", "=3", "kl=1e", "hidden=[3,", "kl=NaN", "seed=2=3", "activation=tanh"])))] * (odd == "set")
    return text, flags


def is_small(text, flags):
    """Whether the run would be over in a second or two."""
    try:
        values = json.loads(text)
        config = Config.from_dict(dict(values)) if not flags else None
    except (ValueError, TypeError, UserError, UnicodeError):
        return True  # it will be refused
    return config is None or (
        all(getattr(config, name) <= limit for name, limit in LARGEST.items()) and sum(config.hidden or [60]) < 100
        and (config.dataset == "digits" or config.mode == "regression")
        and config.model_name in ("ffn", "ffn50", "ffn100", "linear", "mlp"))


# Data.

@st.composite
def damaged(draw, content):
    """The bytes of `content` with one to three damages."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(content)))
        to = draw(st.integers(at, min(len(content), at + 40)))
        how = draw(st.sampled_from(["cut", "delete", "insert", "flip", "double"]))
        if how == "cut":
            content = content[:at]
        elif how == "delete":
            content = content[:at] + content[to:]
        elif how == "insert":
            content = content[:at] + draw(st.binary(min_size=1, max_size=6)) + content[at:]
        elif how == "flip" and at < len(content):
            content = content[:at] + bytes([content[at] ^ (1 << draw(st.integers(0, 7)))]) + content[at + 1:]
        else:
            content = content + content[at:to]
    return content


WORDS = st.sampled_from(["0", "1e5", "1e308", "-1e308", "1e-320", "nan", "inf", "-inf", "1e400", "x", "", "1,5",
                         "0x10", "1_000", "\u0661", "--1", "\x00", '"3"', "#", "1;2", "NA", "\ufeff1", "1" * 400])


@st.composite
def tables(draw, table):
    """Bytes of a NAME.data file with wrong words, columns or rows, or with damaged bytes."""
    n, d = table.shape
    rows = [[f"{value:.4f}" for value in row] for row in table[: draw(st.sampled_from([n] * 6 + [12, 11, 9, 1, 0]))]]
    for _ in range(draw(st.integers(0, 3))):
        how = draw(st.sampled_from(["word", "constant", "scale", "scale", "ragged", "header", "blank", "copy"]))
        i, j = draw(st.integers(0, max(0, len(rows) - 1))), draw(st.integers(0, d - 1))
        if not rows or j >= min(map(len, rows)):
            continue
        if how == "word":
            rows[i][j] = draw(WORDS)
        elif how == "constant":
            word = draw(WORDS)
            rows = [[*row[:j], word, *row[j + 1:]] for row in rows]
        elif how == "scale":
            power = draw(st.sampled_from(["e300", "e-300", "e30", "e-30", "e8", "e-8"]))
            rows = [[*row[:j], row[j] + power, *row[j + 1:]] for row in rows]
        elif how == "ragged":
            rows[i] = draw(st.sampled_from([rows[i][:-1], rows[i] + ["1"], []]))
        elif how == "copy":
            rows = [list(rows[i]) for _ in rows]
        else:
            rows.insert(i, ["a", "b", "c", "d"] if how == "header" else [""])
    separator = draw(st.sampled_from([" ", " ", " ", " ", "\t", ",", ", ", ";", "  "]))
    end = draw(st.sampled_from(["\n", "\n", "\r\n", "\n\n", "\r"]))
    content = end.join(separator.join(row) for row in rows).encode("utf-8", "replace")
    if draw(st.integers(0, 4)) == 0:
        content = draw(damaged(content))
    return content


@st.composite
def images(draw, sets):
    """(data set, file to damage, its bytes)."""
    name = draw(st.sampled_from(sorted(sets)))
    file = draw(st.sampled_from(sorted(sets[name])))
    content = file.read_bytes()
    if file.suffix == ".gz":
        return name, file, draw(st.one_of(damaged(content), damaged(gzip.decompress(content)).map(gzip.compress)))
    if name == "cifar10" and draw(st.booleans()):
        batch = pickle.loads(content, encoding="bytes")
        key = draw(st.sampled_from([b"data", b"labels"]))
        batch[key] = draw(st.sampled_from([None, [], [1], [-1] * 2, [10] * 2, "abc", 3, [1.5] * 2, [[1, 2], [3]], {},
                                           os.system, np.zeros((2, 5)), np.zeros((2, 3072))]))
        return name, file, pickle.dumps(batch, protocol=2)
    return name, file, draw(damaged(content))


def image_sets(place):
    """{data set: files} of small, undamaged sets."""
    from PIL import Image

    rng = np.random.RandomState(0)
    write_cifar10(place, rng)
    write_idx(place / "mnist", rng, packed=("train-images-idx3-ubyte",), sizes=(9, 6))
    for kind, i in itertools.product("ab", range(6)):
        path = place / "images" / kind / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.randint(0, 256, (6, 5)).astype(np.uint8)).save(str(path))
    return {"cifar10": [path for path in (place / "cifar-10-batches-py").iterdir() if "batch" in path.name],
            "mnist": list((place / "mnist").iterdir()), "images": list((place / "images").rglob("*.png"))}
