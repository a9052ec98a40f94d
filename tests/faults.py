"""Kills, stops and damages runs at random moments; each must end with the weights of an undisturbed run.

    python -m tests.faults [--kills N] [--damages N] [--seed S] [--full-disk FOLDER]

Every method is trained once undisturbed on every data set. Then it is trained again and again, with kill -9 (one in
five: SIGTERM) at random moments, and resumed until it is finished; its final weights are compared to the last bit.
Checkpoints are truncated, get a flipped byte or lose a file. --full-disk takes a folder on a small file system (a
tmpfs, say), which a run fills up; without it this part is skipped. The exit code is 1 if anything is lost.
"""
import argparse
import collections
import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np

from misc import backend
from tests.conftest import ROOT

KINDS = {
    "regression": dict(dataset="tiny", model_name="ffn50", epoch=1500, batch_size=10, epoch_rate=100, save_interval=50,
                       train_particles=5, test_particles=20),
    "digits": dict(mode="classification", dataset="digits", model_name="ffn", hidden=[30], epoch=60, batch_size=64,
                   epoch_rate=5, save_interval=2, train_particles=1, test_particles=5, TEigen=20, TInv=20, threads=1),
}
METHODS = ("kfac", "ekfac", "diag")


def run(config, *flags, after=None, number=signal.SIGKILL):
    """Runs train.py and sends it a signal after `after` seconds.

    Returns (exit code, stderr, whether the signal was sent).
    """
    process = subprocess.Popen([sys.executable, "train.py", "--config", str(config), *flags], cwd=str(ROOT),
                               stderr=subprocess.PIPE)
    try:
        errors = process.communicate(timeout=after)[1].decode()
        return process.returncode, errors, False
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        errors = process.communicate()[1].decode()
        return process.returncode, errors, True
    finally:
        process.wait()


def weights(folder):
    """Returns all arrays of the newest checkpoint by their names."""
    import tensorflow.compat.v1 as tf

    reader = tf.train.load_checkpoint(str(folder / "checkpoint"))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


def same(one, other):
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


class Campaign:
    """Runs the experiments and counts what was done and what was lost."""

    def __init__(self, place, seed):
        self.place, self.rng, self.counts = place, random.Random(seed), collections.Counter()
        rng = np.random.RandomState(0)
        x = rng.randn(120, 4)
        np.savetxt(str(place / "tiny.data"), np.column_stack([x, np.sin(x[:, 0]) + 0.1 * rng.randn(120)]))

    def note(self, what, fine, detail=""):
        self.counts[what] += 1
        if not fine:
            self.counts[f"LOST in {what}"] += 1
            print(f"LOST in {what}: {detail}", flush=True)

    def config(self, kind, method, name, place=None):
        """Writes a config file; returns (its path, folder of its run)."""
        experiments = place or self.place / "experiments"
        values = dict(KINDS[kind], optimizer=method, exp_name=name, data_path=str(self.place), experiments_path=str(
            experiments))
        path = self.place / f"{name}.json"
        path.write_text(json.dumps(values))
        return path, experiments / values["dataset"] / name

    def straight(self, kind, method):
        """Trains undisturbed; returns (folder, weights, seconds)."""
        path, folder = self.config(kind, method, f"{kind}_{method}")
        start = time.time()
        code, errors, _ = run(path)
        assert code == 0, errors
        return folder, weights(folder), time.time() - start

    def kills(self, kind, method, expected, seconds, n):
        """Kills runs by at least `n` SIGKILLs and some SIGTERMs, and resumes them, over as many runs as that takes."""
        while n > 0:
            path, folder = self.config(kind, method, f"killed_{kind}_{method}")
            shutil.rmtree(str(folder), ignore_errors=True)
            code, n_here = None, 0
            while code != 0:
                resume = ["--resume"] if any((folder / "checkpoint").glob("model-*.json")) else []
                number = signal.SIGTERM if self.rng.random() < 0.2 else signal.SIGKILL
                after = self.rng.uniform(0.3, 1.1) * seconds if n_here < 4 else None
                code, errors, struck = run(path, *resume, after=after, number=number)
                if struck and code != 0:
                    n, n_here = n - (number == signal.SIGKILL), n_here + 1
                    self.counts[f"{signal.Signals(number).name}"] += 1
                    if number == signal.SIGTERM:
                        saved = [int(file.stem.split("-")[1]) for file in (folder / "checkpoint").glob("model-*.json")]
                        begun = saved and "resuming after" in errors  # else SIGTERM ends it at once
                        ended = max(saved, default=0) == expected["global_step"]
                        self.note("SIGTERM's exit code", code == 143 or (
                            code == -signal.SIGTERM and (ended or not begun)), f"{code}: {errors[-300:]}")
                elif code != 0:
                    self.note("resumed run", False, errors[-500:])
                    return
            self.note("run after signals", same(weights(folder), expected), f"{path}: other weights")

    def damage(self, folder, expected, path, n):
        """Damages the newest checkpoint `n` times; a run resumed from the one before must end with the same weights."""
        for _ in range(n):
            copy = folder.with_name(f"{folder.name}_damaged")
            shutil.rmtree(str(copy), ignore_errors=True)
            shutil.copytree(str(folder), str(copy))
            (copy / "result.json").unlink()
            newest = max((copy / "checkpoint").glob("model-*.json"), key=lambda file: int(file.stem.split("-")[1]))
            victim = self.rng.choice(sorted((copy / "checkpoint").glob(newest.stem + ".*")))
            content = victim.read_bytes()
            how = self.rng.choice(["truncated", "flipped", "missing"])
            if how == "missing":
                victim.unlink()
            elif how == "truncated":
                victim.write_bytes(content[: self.rng.randrange(len(content))])
            else:
                at = self.rng.randrange(len(content))
                victim.write_bytes(content[:at] + bytes([content[at] ^ 0x10]) + content[at + 1:])
            values = json.loads(path.read_text())
            values["exp_name"] = copy.name
            written = json.loads((copy / "config.json").read_text())
            written["config"]["exp_name"] = copy.name
            (copy / "config.json").write_text(json.dumps(written))
            other = self.place / "damaged.json"
            other.write_text(json.dumps(values))
            code, errors, _ = run(other, "--resume")
            self.note("damaged checkpoint", code == 0 and same(weights(copy), expected),
                      f"{how} {victim.name}: exit code {code}: {errors[-300:]}")

    def full_disk(self, disk):
        """Trains on a full disk, which must end in a one-line error, then with free space, which must succeed."""
        path, folder = self.config("regression", "ekfac", "full", disk)
        filler = disk / "filler"
        with open(str(filler), "wb", buffering=0) as handle:
            try:
                while True:
                    handle.write(b"0" * 4096)
            except OSError:
                pass
        size = filler.stat().st_size
        with open(str(filler), "r+b") as handle:
            handle.truncate(size - 96 * 1024)  # enough space to begin
        code, errors, _ = run(path)
        self.note("full disk", code in (1, 2) and "Traceback" not in errors, f"{code}: {errors[-800:]}")
        filler.unlink()
        shutil.rmtree(str(folder.parent), ignore_errors=True)
        code, errors, _ = run(path)
        self.note("disk with room", code == 0, errors[-300:])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=54)
    parser.add_argument("--damages", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--full-disk", type=pathlib.Path)
    args = parser.parse_args()
    backend.prepare()
    with tempfile.TemporaryDirectory() as place:
        campaign, pairs = Campaign(pathlib.Path(place), args.seed), [(kind, method) for kind in KINDS
                                                                     for method in METHODS]
        for kind, method in pairs:
            folder, expected, seconds = campaign.straight(kind, method)
            campaign.kills(kind, method, expected, seconds, -(-args.kills // len(pairs)))
            campaign.damage(folder, expected, campaign.place / f"{kind}_{method}.json", -(-args.damages // len(pairs)))
            print(kind, method, dict(campaign.counts), flush=True)
        if args.full_disk:
            campaign.full_disk(args.full_disk)
        print(", ".join(f"{what}: {count}" for what, count in sorted(campaign.counts.items())))
        sys.exit(any(what.startswith("LOST") for what in campaign.counts))


if __name__ == "__main__":
    main()
