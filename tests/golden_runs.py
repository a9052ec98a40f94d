"""Short runs whose final weights and metrics tests/golden/ records, so that no change of the code changes a result.

    python -m tests.golden_runs --write [GROUP ...]     records the cases of these groups (all): tests/golden/tf*.json
    python -m tests.golden_runs --write-runs            makes the interrupted runs of tests/golden/runs again
    python -m tests.golden_runs --measure GROUP FILE    runs the cases of one group and writes their results

A group of cases runs in a process of its own, on one thread and without oneDNN, whose rounding depends on the machine.
All data are made of integers, so that the files are the same everywhere.
"""
import argparse
import contextlib
import hashlib
import itertools
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
from unittest import mock

import numpy as np
import scipy
import scipy.linalg

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "",
               "TF_ENABLE_ONEDNN_OPTS": "0"}
if __name__ == "__main__":
    os.environ.update(ENVIRONMENT)

# The only imports from the project.
import evaluate  # noqa: E402
import train  # noqa: E402
from misc import backend  # noqa: E402
from misc.signals import Signals  # noqa: E402
from tests.golden_cases import CASES, CHANCE, GROUPS, ROUNDING, RUNS, Case  # noqa: E402

ROOT = pathlib.Path(__file__).resolve().parent.parent
GOLDEN = ROOT / "tests" / "golden"

RENAMED = {}
"""Name of a variable in a checkpoint, or of a metric -> the name under which it is recorded."""



# Data.

def make_data(folder):
    """Writes blend.data, 100 rows of 8 inputs and a target, and images of three classes, into `folder`."""
    rng = np.random.RandomState(7)
    x = rng.randint(-200, 201, (100, 8))
    y = x[:, 0] * x[:, 1] // 100 + 2 * x[:, 2] - x[:, 3] + rng.randint(-40, 41, 100)
    lines = [" ".join(f"{value / 100:.2f}" for value in [*row, target]) for row, target in zip(x, y)]
    (folder / "blend.data").write_text("\n".join(lines) + "\n")
    from PIL import Image

    for part, count in (("train", 16), ("test", 6)):
        for label in range(3):
            place = folder / part / f"class{label}"
            place.mkdir(parents=True)
            for number in range(count):
                pixels = rng.randint(0, 160, (9, 9, 3))
                pixels[2 * label:2 * label + 4, :, label] += 90
                Image.fromarray(pixels.astype(np.uint8)).save(str(place / f"{number:02d}.png"))


# The results of a case.

@contextlib.contextmanager
def interrupted(looks):
    """Asks training to stop, as by SIGTERM, when it checks for a signal for the time `looks` + 1."""
    count = itertools.count()
    asked = property(lambda self: signal.SIGTERM if next(count) >= looks else None, lambda self, value: None)
    with mock.patch.object(Signals, "received", asked, create=True):
        yield


def run(case, data, place):
    """Runs a case with its files below `place`. Returns what is recorded of it."""
    settings = dict({name: value for name, value in case.settings.items() if value is not None}, exp_name="run",
                    data_path=str(data), experiments_path=str(place))
    (place / "config.json").write_text(json.dumps(settings))
    command = ["--config", str(place / "config.json"), "--device", "cpu"]
    root, more = place / settings["dataset"] / "run", {}
    if case.folder:
        shutil.copytree(str(GOLDEN / "runs" / case.folder), str(root))
        more["evaluation"] = assessed(root, data)
    if case.stop_after:
        stop(case, command, root)
    if case.folder or case.stop_after:
        command.append("--resume")
    train.main(command)
    metrics = json.loads((root / "result.json").read_text())["metrics"]
    return dict(more, settings=case.settings, metrics=metrics, weights=weights(root / "checkpoint"))


def stop(case, command, root):
    """Begins a run and interrupts it in the middle of an epoch."""
    with interrupted(case.stop_after):
        try:
            train.main(command)
            raise RuntimeError("the run was over before it was interrupted")
        except SystemExit as error:
            if error.code != 128 + signal.SIGTERM:
                raise
    steps = max(int(path.stem.split("-")[1]) for path in (root / "checkpoint").glob("model-*.json"))
    rows = {"blend": 90, "digits": 1438, "images": 48}[case.settings["dataset"]]
    rows -= int(round(rows * case.settings.get("validation_fraction", 0.0)))
    if steps % -(-rows // case.settings["batch_size"]) == 0:
        raise RuntimeError(f"the run was interrupted after step {steps}, which ends an epoch")


def assessed(root, data):
    """Metrics that evaluate.py reports of the run in `root`: {metric: value}."""
    with contextlib.redirect_stdout(sys.stderr):
        evaluate.main([str(root), "--data-path", str(data), "--device", "cpu"])
    metrics = json.loads((root / "evaluation" / "metrics.json").read_text())["metrics"]
    return {name: metric["value"] for name, metric in metrics.items()}


def weights(checkpoint):
    """{variable: [first 16 hex digits of the SHA-256 of its little-endian bytes, root mean square, largest size]}."""
    reader = backend.prepare().train.load_checkpoint(str(checkpoint))
    summaries = {}
    for name in sorted(reader.get_variable_to_shape_map()):
        array = np.asarray(reader.get_tensor(name))
        sizes = np.abs(array.astype(np.float64))
        summaries[name] = [digest(array), float(f"{np.sqrt(np.mean(sizes**2)):.7g}"), float(f"{sizes.max():.7g}")]
    return summaries


def digest(array):
    little = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    return hashlib.sha256(little.tobytes()).hexdigest()[:16]


# Rounding of the machine.

def probe():
    """Versions, and hashes of results computed from fixed numbers: equal hashes mean equal rounding."""
    tf = backend.prepare()
    rng = np.random.RandomState(0)
    tall, images, kernel = rng.randn(150, 60), rng.randn(6, 9, 9, 5), rng.randn(3, 3, 5, 7)
    hashes = {}
    for dtype in (np.float32, np.float64):
        with tf.Graph().as_default() as graph, backend.session(graph, 1) as session:
            fed = [tf.placeholder(dtype, value.shape) for value in (tall, images, kernel)]
            gram = tf.matmul(fed[0], fed[0], transpose_a=True) / 150.0
            conv = tf.nn.conv2d(fed[1], fed[2], [1, 1, 1, 1], "SAME")
            size = tf.abs(fed[0]) + 0.1
            made = {"product": gram, "cholesky": tf.linalg.cholesky(gram), "conv": conv,
                    "conv_gradients": tf.concat([tf.reshape(value, [-1]) for value in tf.gradients(conv, fed[1:])], 0),
                    "normal": tf.random.stateless_normal([500], seed=[3, 4], dtype=dtype),
                    "sums": tf.concat([tf.reduce_sum(fed[0], 0), tf.reduce_mean(fed[0], 1)], 0),
                    "softmax": tf.nn.softmax(fed[0])}
            made.update(zip(("eigenvalues", "eigenvectors"), tf.linalg.eigh(gram)))
            made["qr"] = tf.linalg.qr(gram)[0]
            made["solve"] = tf.linalg.triangular_solve(made["cholesky"], tf.eye(60, dtype=dtype))
            for function in (tf.exp, tf.tanh, tf.log, tf.lgamma, tf.digamma, tf.sqrt, tf.rsqrt):
                made[function.__name__] = function(size)
            values = session.run(made, dict(zip(fed, (tall, images, kernel))))
        array = tall.astype(dtype)
        values.update(numpy_product=array.T @ array, numpy_exp=np.exp(array), numpy_log=np.log(np.abs(array)),
                      numpy_sum=array.sum(axis=0), scipy_eigh=scipy.linalg.eigh(array.T @ array, driver="evd")[1])
        hashes.update({f"{name}_{np.dtype(dtype).name}": digest(value) for name, value in values.items()})
    versions = {"tensorflow": tf.__version__, "numpy": np.__version__, "scipy": scipy.__version__,
                "machine": platform.machine()}
    return {"versions": versions, "hashes": hashes}


# Groups.

def golden_file():
    """The record of the TensorFlow that is installed, by its major version."""
    return GOLDEN / f"tf{backend.prepare().__version__.split('.')[0]}.json"


def cases_of(group):
    return {name: case for name, case in CASES.items() if case.group in GROUPS[group]}


def measure(group):
    """{"probe": probe(), "cases": {name: results}}, computed in this process."""
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data"
        data.mkdir()
        make_data(data)
        results = {}
        for name, case in cases_of(group).items():
            place = pathlib.Path(folder) / name.replace("/", "_")
            place.mkdir()
            results[name] = run(case, data, place)
        return {"probe": probe(), "cases": results}


def measured(group):
    """Returns the same, computed in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "results.json"
        command = [sys.executable, "-m", "tests.golden_runs", "--measure", group, str(path)]
        done = subprocess.run(command, cwd=str(ROOT), env=dict(os.environ, **ENVIRONMENT), capture_output=True,
                              text=True)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-4000:]}")
        return json.loads(path.read_text())


def record(group):
    """Writes the results of a group into the record, whose other results stay if they were made with this rounding."""
    results, path = measured(group), golden_file()
    earlier = json.loads(path.read_text()) if path.is_file() else {"probe": results["probe"], "cases": {}}
    kept = earlier["cases"] if earlier["probe"] == results["probe"] else {}
    cases = {name: result for name, result in {**kept, **results["cases"]}.items() if name in CASES}
    write(path, {"probe": results["probe"], "cases": cases})


def different_rounding(recorded, actual):
    """Names of the versions and hashes in which two probes differ."""
    return [name for part in ("versions", "hashes") for name in sorted({**recorded[part], **actual[part]})
            if recorded[part].get(name) != actual[part].get(name)]


def differences(name, recorded, actual, exact):
    """Lines that say where two results of the case `name` differ: in a bit if `exact`, else beyond its tolerance."""
    tolerance, lines = CASES[name].tolerance, []
    for part, far in (("metrics", tolerance), ("evaluation", ROUNDING)):
        values = recorded_names(actual.get(part, {}))
        for key, then in recorded.get(part, {}).items():
            now = values.get(key)
            if now is None or abs(now - then) > (0.0 if exact else far) * max(1.0, abs(then)):
                lines.append(f"{name}: {key} is {now!r}, recorded is {then!r}")
    values = recorded_names(actual["weights"])
    for key in sorted({*values, *recorded["weights"]}):
        now, then = (tensors.get(key) for tensors in (values, recorded["weights"]))
        if now is None or then is None:
            lines.append(f"{name}: {key} is {'missing' if now is None else 'not recorded'}")
        elif exact and now[0] != then[0]:
            lines.append(f"{name}: {key} has other bits, root mean square {now[1]}, recorded {then[1]}")
        elif not exact and (key.endswith("/mean") or tolerance < CHANCE) and (
                abs(now[1] - then[1]) > tolerance * max(1e-3, then[1])):
            lines.append(f"{name}: {key} has the root mean square {now[1]}, recorded is {then[1]}")
    return lines


def recorded_names(values):
    return {RENAMED.get(name, name): value for name, value in values.items()}


def write(path, record):
    """JSON with a line for every tensor."""
    text = json.dumps(record, indent=1, sort_keys=True)
    parts = text.split("[\n")
    lines = parts[:1] + [" ".join(part.split("]", 1)[0].split()) + "]" + part.split("]", 1)[1] for part in parts[1:]]
    path.write_text("[".join(lines) + "\n")


def make_runs():
    """Makes the folders of tests/golden/runs: runs that were interrupted."""
    for name, (settings, looks) in RUNS.items():
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            data = place / "data"
            data.mkdir()
            make_data(data)
            given = {key: value for key, value in settings.items() if value is not None}
            (place / "config.json").write_text(json.dumps(dict(
                given, exp_name="run", data_path=str(data), experiments_path=str(place))))
            root, target = place / settings["dataset"] / "run", GOLDEN / "runs" / name
            stop(Case("runs", settings, stop_after=looks), ["--config", str(place / "config.json"), "--device", "cpu"],
                 root)
            shutil.rmtree(str(root / "summary"))
            (root / "log.txt").unlink()
            about = json.loads((root / "config.json").read_text())
            about["config"].update(data_path="data", experiments_path="experiments")
            about.update(host="host", source=about["source"].replace(str(data), "data"))
            (root / "config.json").write_text(json.dumps(about, indent=2) + "\n")
            shutil.rmtree(str(target), ignore_errors=True)
            shutil.copytree(str(root), str(target))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", nargs="*", choices=[*GROUPS, []], metavar="GROUP", help="record groups (all)")
    parser.add_argument("--write-runs", action="store_true", help="make the interrupted runs again")
    parser.add_argument("--measure", nargs=2, metavar=("GROUP", "FILE"), help="run one group")
    args = parser.parse_args()
    if args.measure:
        pathlib.Path(args.measure[1]).write_text(json.dumps(measure(args.measure[0])))
    if args.write_runs:
        make_runs()
    if args.write is not None:
        for group in args.write or GROUPS:
            record(group)


if __name__ == "__main__":
    main()
