"""Which device a run uses, what is said about it, and what TensorFlow is told about GPUs. No GPU is needed."""
import json
import os

import pytest
import tensorflow.compat.v1 as tf

import train
from core.baseline import pool
from core.baseline.gpu_share import share_gpu
from core.baseline.options import Options
from core.baseline.planning import plan_repeat
from core.inference.optimizer import METHODS
from core.training import devices, run
from core.training.design import design_run
from core.training.devices import choose_device
from data_loader.parts import Pixels, Spec
from misc import backend, gpu
from misc.config import Config
from misc.errors import UserError
from misc.folders import run_folder
from misc.records import read_json
from tests.conftest import ROOT

pytestmark = pytest.mark.usefixtures("shared_graphs")

OLD_WORDS = """2026-11-28 10:40:00.1: I tensorflow/core/platform/cpu_feature_guard.cc:142] Your CPU supports AVX
2026-11-28 10:40:00.2: W tensorflow/stream_executor/platform/default/dso_loader.cc:59] Could not load dynamic library \
'libcuda.so.1'; dlerror: libcuda.so.1: cannot open shared object file
2026-11-28 10:40:00.3: E tensorflow/stream_executor/cuda/cuda_driver.cc:318] failed call to cuInit: UNKNOWN ERROR (303)
"""
NEW_WORDS = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1795862714.254165   15068 port.cc:153] oneDNN custom operations are on.
I0000 00:00:1795862714.254526   15068 cudart_stub.cc:31] Could not find cuda drivers on your machine, GPU will \
not be used.
E0000 00:00:1795862714.254527   15068 cuda_dnn.cc:8579] Unable to register cuDNN factory: already been registered
E0000 00:00:1795862721.846017   15068 cuda_platform.cc:52] failed call to cuInit: INTERNAL: UNKNOWN ERROR (303)
"""


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """Function (seen=..., built=...): a machine with an NVIDIA GPU, which TensorFlow sees or not; what it then says."""

    def make(seen=False, cuda=True, stderr=OLD_WORDS):
        gpu._tensorflows_words.cache_clear()
        monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
        monkeypatch.setattr(gpu, "DRIVER_FILES", (str(tmp_path),))
        monkeypatch.setattr(backend, "gpus", lambda: ["GPU"] * seen)
        monkeypatch.setattr(tf.test, "is_built_with_cuda", lambda: cuda)
        monkeypatch.setattr(gpu, "PROBE", f"import sys; sys.stderr.write({stderr!r})")

    yield make
    gpu._tensorflows_words.cache_clear()


# What TensorFlow is told.

def test_switches_of_tensorflow(monkeypatch):
    """TensorFloat-32 is off, and kernels are deterministic; the environment can change the latter."""
    for name in backend.SWITCHES:
        monkeypatch.delenv(name)
    monkeypatch.setenv("TF_CUDNN_DETERMINISTIC", "0")
    has_switch = hasattr(tf.config.experimental, "enable_tensor_float_32_execution")
    if has_switch:
        tf.config.experimental.enable_tensor_float_32_execution(True)
    backend.prepare()
    switches = [os.environ[name] for name in ("TF_DETERMINISTIC_OPS", "TF_CUDNN_DETERMINISTIC", "NVIDIA_TF32_OVERRIDE")]
    assert switches == ["1", "0", "0"]
    assert not has_switch or not tf.config.experimental.tensor_float_32_execution_enabled()


def test_only_the_gpu_in_use_is_opened():
    with backend.session(tf.Graph(), 1) as on_cpu, backend.session(tf.Graph(), 1, gpu=True) as on_gpu:
        assert on_cpu._config.device_count["GPU"] == 0 and "GPU" not in on_gpu._config.device_count
        assert on_cpu._config.gpu_options.visible_device_list == on_gpu._config.gpu_options.visible_device_list == "0"


# Why there is no GPU.

def test_tensorflows_words_are_quoted_errors_first():
    assert gpu.quoted(OLD_WORDS) == [
        "failed call to cuInit: UNKNOWN ERROR (303)",
        "Could not load dynamic library 'libcuda.so.1'; dlerror: libcuda.so.1: cannot open shared object file"]
    assert gpu.quoted(NEW_WORDS) == ["failed call to cuInit: INTERNAL: UNKNOWN ERROR (303)",
                                     "Could not find cuda drivers on your machine, GPU will not be used."]


def test_a_gpu_that_tensorflow_does_not_see(machine, config, monkeypatch):
    """The cause is in the error, or in the reason for the CPU; it says nothing where there is no GPU."""
    monkeypatch.setattr(devices, "LAUNCH_BOUND", 0.0)
    cases = [(dict(), 'TensorFlow says: "failed call to cuInit: UNKNOWN ERROR (303)"; "Could not load'),
             (dict(stderr=""), "TensorFlow does not say why"),
             (dict(cuda=False), f"this TensorFlow ({tf.__version__}) is built without CUDA: install requirements-gpu")]
    for machine_keys, cause in cases:
        machine(**machine_keys)
        for keys, device, message in ((dict(), "gpu", "--device gpu: TensorFlow sees no GPU here ("),
                                      (dict(curvature_device="gpu"), "cpu", "curvature_device gpu: TensorFlow sees")):
            with pytest.raises(UserError) as error:
                run.plan(config(**keys), device)
            assert message in str(error.value) and cause in str(error.value)
        planned = run.plan(config())
        assert planned.device == "/device:CPU:0"
        assert "this machine has a GPU that TensorFlow does not use" in planned.device_reason
        assert cause in planned.device_reason
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert "CUDA_VISIBLE_DEVICES hides it" in run.plan(config()).device_reason
    monkeypatch.setattr(gpu, "DRIVER_FILES", ())
    assert run.plan(config()).device_reason == "no GPU"


def test_a_real_probe_says_something(machine, monkeypatch):
    """TensorFlow 2.x is built with CUDA, and says here that there is no driver."""
    if backend.has_gpu() or not tf.test.is_built_with_cuda():
        pytest.skip("TensorFlow sees a GPU, or is built without CUDA")
    probe = gpu.PROBE
    machine()
    monkeypatch.setattr(gpu, "PROBE", probe)
    assert 'TensorFlow says: "' in gpu.why_unseen() and "cuInit" in gpu.why_unseen()


@pytest.mark.parametrize("device", ["auto", "cpu"])
def test_the_log_and_the_explanation_name_the_device(config, config_file, capsys, device):
    reason = {"auto": "MFLOP per layer and step are too few for a GPU", "cpu": "as asked for"}[device]
    arguments = ["--config", str(config_file(optimizer="diag", model_name="linear", epoch=1)), "--device", device]
    train.main([*arguments, "--explain"])
    assert "device     /device:CPU:0: " in capsys.readouterr().out
    train.main(arguments)
    log = run_folder(config(optimizer="diag", model_name="linear")).log.read_text()
    assert "device /device:CPU:0: " in log and reason in log


# Which device.

@pytest.mark.parametrize("name, shape, device", [
    ("regression/ekfac_concrete", (8,), "CPU"), ("regression/ekfac_protein", (9,), "CPU"),
    ("regression/ekfac_year", (90,), "GPU"), ("classification/ekfac_digits", (8, 8, 1), "CPU"),
    ("classification/sgd_lenet_fashion", (28, 28, 1), "GPU"), ("classification/kfac_vgg16_plain", (32, 32, 3), "GPU"),
    ("classification/ekfac_resnet20_cifar10", (32, 32, 3), "GPU")])
def test_auto_takes_the_cpu_where_a_gpu_would_only_launch_kernels(machine, name, shape, device):
    machine(seen=True)
    made = Config.from_file(str(ROOT / "config" / f"{name}.json"))
    pixels = Pixels([0.0] * shape[-1], [1.0] * shape[-1]) if len(shape) == 3 else None
    design = design_run(made, Spec(40000, shape, 10 if pixels else 1, pixels))
    assert choose_device("auto", design).device == f"/device:{device}:0"
    assert choose_device("gpu", design).device == "/device:GPU:0"


def test_provenance_names_the_gpu_and_its_libraries(machine, monkeypatch):
    machine(seen=True)
    card = gpu.Card("NVIDIA X", "555.1", 2**34)
    monkeypatch.setattr(gpu, "cards", lambda: [card])
    if hasattr(tf.config.experimental, "get_device_details"):
        monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda device: {"device_name": "NVIDIA X"})
    monkeypatch.setattr(gpu, "_built_with", lambda: {"cuda": "12.5.1", "cudnn": "9"})
    found = run.provenance(on_gpu=True)["versions"]
    assert {"gpu": "NVIDIA X", "driver": "555.1", "cuda": "12.5.1", "cudnn": "9"}.items() <= found.items()
    assert set(found) - set(run.provenance()["versions"]) == {"gpu", "driver", "cuda", "cudnn"}


def test_a_resumed_run_names_another_gpu(config, config_file):
    train.main(["--config", str(config_file(optimizer="diag", epoch=1))])
    folder, now = run_folder(config(optimizer="diag")), run.provenance()
    before = read_json(folder.config)
    before["versions"].update(gpu="NVIDIA X")
    folder.config.write_text(json.dumps(before))
    assert any("gpu None, begun with NVIDIA X" in line for line in run.changes_of_provenance(folder, now))


def test_versions_that_tensorflow_was_built_with():
    assert set(gpu._built_with()) == {"cuda", "cudnn"}
    if tf.test.is_built_with_cuda():
        assert all(gpu._built_with().values())


# Repeated runs.

@pytest.mark.parametrize("jobs, gibibytes, per_gpu", [(None, 80, 1), (1, 80, 1), (4, 80, 4), (4, 8, 2), (4, 1, 1),
                                                      (4, None, 1)])
def test_no_more_runs_share_a_gpu_than_fit(monkeypatch, jobs, gibibytes, per_gpu):
    cards = [gpu.Card("NVIDIA X", "555.1", gibibytes * 2**30)] if gibibytes else []
    monkeypatch.setattr(gpu, "cards", lambda: cards)
    share = share_gpu(jobs, 1.5 * 2**30)
    assert share.per_gpu == per_gpu
    assert (share.note is not None) == (jobs is not None and per_gpu < jobs)


@pytest.mark.parametrize("backend_name, n_jobs", [("loky", 1), ("dask", 1), ("ray", 4)])
def test_repeated_runs_on_a_gpu_come_one_at_a_time(machine, config_file, monkeypatch, backend_name, n_jobs):
    machine(seen=True)
    monkeypatch.setattr(pool.joblib, "cpu_count", lambda: 4)
    monkeypatch.setattr("core.baseline.planning.check_backend", lambda *arguments: None)
    options = Options([str(config_file())], backend=backend_name, device="gpu")
    plan = plan_repeat(options)
    assert plan.devices == [("/device:GPU:0", "as asked for")] and plan.workers.per_gpu == 1
    assert pool._n_jobs(plan.workers) == n_jobs  # Ray's GPUs are counted when it has started
    plan = plan_repeat(options._replace(device="auto"))
    assert [choice.device for choice in plan.devices] == ["/device:CPU:0"]
    assert plan.workers.per_gpu == 0 and pool._n_jobs(plan.workers) == 4


def test_ray_is_asked_for_gpus():
    assert pool._gpu_keys(4, 1, 2.0) == {"n_jobs": 2, "ray_remote_args": {"num_gpus": 1.0}}
    assert pool._gpu_keys(-1, 2, 4.0) == {"n_jobs": 8, "ray_remote_args": {"num_gpus": 0.5}}
    with pytest.raises(UserError, match="Ray knows of no GPU"):
        pool._gpu_keys(4, 1, 0)


def test_a_dask_cluster_and_gpus(machine, config_file, monkeypatch):
    machine(seen=True)
    monkeypatch.setattr("core.baseline.planning.check_backend", lambda *arguments: None)
    with pytest.raises(UserError, match="Dask does not count GPUs"):
        plan_repeat(Options([str(config_file())], backend="dask", address="host:1", device="gpu"))


def test_every_method_can_choose_a_device(config):
    for method in METHODS:
        design = design_run(config(optimizer=method), Spec(39, (3,), 1, None))
        assert choose_device("auto", design).device == "/device:CPU:0"
