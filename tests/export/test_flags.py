"""Flags of export.py, and what it refuses: one line, exit code 2, nothing written."""
import shutil

import pytest

import export
from networks.layers import LayerBuilder, ShapeRecorder
from networks.recording import operations
from tests.predict.conftest import refused


@pytest.fixture
def refuse(capsys, tmp_path):
    """Function (words of the message, *arguments): asserts that export.py says them in one line and writes nothing."""

    def check(message, *flags):
        before = sorted(tmp_path.rglob("*"))
        lines = refused(capsys, export.main, *flags)
        assert len(lines) == 1 and lines[0].startswith("export.py: ") and message in lines[0], lines
        assert sorted(tmp_path.rglob("*")) == before

    return check


def test_bad_flags(run, refuse, tmp_path):
    root = run("gaussian")
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "there").mkdir()
    refuse("give --npz FILE, --onnx FILE or --saved-model FOLDER", root)
    refuse("--particles must be at least 1, got 0", root, "--npz", tmp_path / "a.npz", "--particles", 0)
    refuse("--factors is for --npz FILE", root, "--onnx", tmp_path / "a.onnx", "--factors")
    refuse("--npz a.zip: the name must end in .npz", root, "--npz", "a.zip")
    refuse("--onnx a.npz: the name must end in .onnx", root, "--onnx", "a.npz")
    refuse("folder.npz: this is a folder", root, "--npz", tmp_path / "folder.npz")
    refuse("none/a.npz: its folder does not exist", root, "--npz", tmp_path / "none" / "a.npz")
    refuse("there exists already: remove it, or choose another name", root, "--saved-model", tmp_path / "there")


def test_no_run(run, refuse, tmp_path):
    refuse("holds no run (there is no config.json)", tmp_path, "--npz", tmp_path / "a.npz")
    root = tmp_path / "run"
    shutil.copytree(str(run("gaussian")), str(root))
    shutil.rmtree(str(root / "checkpoint"))
    refuse("has no checkpoint (yet)", root, "--npz", tmp_path / "a.npz")


def test_a_file_that_cannot_be_written(run, refuse, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    root = run("gaussian")
    monkeypatch.setattr("numpy.savez_compressed", full)
    (tmp_path / "a.npz").write_bytes(b"before")
    refuse(f"cannot write {tmp_path / 'a.npz'}: No space left on device", root, "--npz", tmp_path / "a.npz")
    assert (tmp_path / "a.npz").read_bytes() == b"before"


def test_a_layer_of_ones_own(run, refuse, tmp_path, monkeypatch):
    """Any layer is recorded; what no exporter knows is named."""
    monkeypatch.setattr(ShapeRecorder, "halve", lambda self, shape, times=1: shape, raising=False)
    monkeypatch.setattr(LayerBuilder, "halve", lambda self, h, times=1: h * 0.5**times, raising=False)

    def network(x, layers, n_outputs, **_):
        return layers.dense(layers.halve(x, times=3), n_outputs)

    halve, dense = operations(network, (4,), 2)
    assert halve == ("halve", (0,), None, {"times": 3}, (4,))
    assert (dense.kind, dense.inputs, dense.spec.name, dense.settings) == ("dense", (1,), "dense0", {"d_out": 2})
    root, recorded = run("gaussian"), operations(network, (4,), 2)
    monkeypatch.setattr("core.export.frozen.operations", lambda *_: recorded)
    refuse("the network's layer halve cannot be exported", root, "--npz", tmp_path / "a.npz")
