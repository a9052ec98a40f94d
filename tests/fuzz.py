"""Tries generated configs and data files: each one trains, or is refused in one line and leaves no file.

    python -m tests.fuzz [--configs N] [--files N] [--seed S]

A run must not end in a traceback, nor with exit code 0 and a metric that is not finite, and a refusal must leave no
file. The script prints how often each outcome occurred. An example that breaks a rule is reduced by hypothesis to its
smallest form and printed; the exit code is then 1.
"""
import argparse
import collections
import contextlib
import io
import json
import os
import pathlib
import shutil
import sys
import tempfile

import hypothesis
import numpy as np
from hypothesis import strategies as st

from misc import backend

backend.prepare()

import train  # noqa: E402
from tests.fuzz_examples import TINY, configs, image_sets, images, is_small, tables  # noqa: E402

# The rules that every run must keep.

class Place:
    """A folder with data in which train.py is run again and again; counts what happened."""

    def __init__(self, root):
        self.root, self.counts = root, collections.Counter()
        rng = np.random.RandomState(0)
        x = rng.randn(40, 3)
        self.table = np.column_stack([x, np.sin(2.0 * x[:, 0]) + x[:, 1] + 0.1 * rng.randn(40)])
        np.savetxt(str(root / "tiny.data"), self.table, fmt="%.4f")

    def files(self):
        return {str(path) for path in self.root.rglob("*")}

    def run(self, config, *flags):
        """Runs train.py on the text of a config; raises AssertionError if a rule is broken."""
        (self.root / "config.json").write_bytes(config if isinstance(config, bytes) else config.encode())
        before, stderr, stdout, code, before_cwd = self.files(), io.StringIO(), io.StringIO(), 0, os.getcwd()
        os.chdir(str(self.root))
        try:
            with contextlib.redirect_stderr(stderr), contextlib.redirect_stdout(stdout):
                train.main(["--config", "config.json", *flags])
        except SystemExit as stop:
            code = stop.code
        finally:
            os.chdir(before_cwd)
        new = self.files() - before
        try:
            lines = stderr.getvalue().splitlines()
            if code == 0 and "--explain" not in flags:
                results = [path for path in new if path.endswith("result.json")]
                assert len(results) == 1, f"{len(results)} results"
                metrics = json.loads(pathlib.Path(results[0]).read_text())["metrics"]
                assert metrics and all(np.isfinite(value) for value in metrics.values()), metrics
            elif code == 0:
                assert stdout.getvalue() and not new, f"left {sorted(new)}"
            elif code == 2:
                assert len(lines) == 1 and lines[0].startswith("train.py: "), lines
                assert not new, f"left {sorted(new)}"
            else:
                assert code == 1 and lines[-1].startswith("train.py: "), (code, lines[-3:])
            self.counts[{0: "explained" if "--explain" in flags else "trained", 1: "ended in a line"}.get(
                code, "refused")] += 1
        finally:
            for path in sorted(new, key=len):
                if os.path.isdir(path):
                    shutil.rmtree(path)
                elif os.path.exists(path):
                    os.remove(path)


# The search.

def search(check, strategy, n, seed):
    """Calls check(example) for `n` generated examples."""
    run = hypothesis.given(strategy)(check)
    run = hypothesis.settings(max_examples=n, deadline=None, database=None, print_blob=False,
                              suppress_health_check=list(hypothesis.HealthCheck))(run)
    hypothesis.seed(seed)(run)()


def fuzz_configs(place, n, seed):
    def check(example):
        text, flags = example
        place.run(text, *flags, *([] if is_small(text, flags) else ["--explain"]))

    search(check, configs(), n, seed)


def fuzz_tables(place, n, seed):
    def check(example):
        content, method = example
        (place.root / "mine.data").write_bytes(content)
        place.run(json.dumps(dict(TINY["regression"], dataset="mine", data_path=".", optimizer=method)))

    search(check, st.tuples(tables(place.table), st.sampled_from(["ekfac", "kfac", "diag"])), n, seed)


def fuzz_images(place, n, seed):
    sets = image_sets(place.root)

    def check(example):
        name, file, content = example
        whole = file.read_bytes()
        file.write_bytes(content)
        try:
            # NOTE: The method is diag because kfac would spend its time on a factor of 3073 inputs.
            place.run(json.dumps(dict(TINY["classification"], dataset=name, optimizer="diag", batch_size=5,
                                      data_path="images" if name == "images" else ".")))
        finally:
            file.write_bytes(whole)

    search(check, images(sets), n, seed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--configs", type=int, default=600)
    parser.add_argument("--files", type=int, default=300)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    broken = False
    for what, fuzz, n in (("configs", fuzz_configs, args.configs), ("tables", fuzz_tables, 2 * args.files // 3),
                          ("images", fuzz_images, args.files // 3)):
        with tempfile.TemporaryDirectory() as folder:
            place = Place(pathlib.Path(folder))
            try:
                fuzz(place, n, args.seed)
            except Exception as error:  # the reduced example is in its notes
                broken = True
                for one in getattr(error, "exceptions", [error]):  # an exception group if several rules were broken
                    print(f"BROKEN: {type(one).__name__}: {one}\n" + "\n".join(getattr(one, "__notes__", [])))
            counts = ", ".join(f"{name} {count}" for name, count in sorted(place.counts.items()))
            print(f"{what}: {counts}", flush=True)
    sys.exit(broken)


if __name__ == "__main__":
    main()
