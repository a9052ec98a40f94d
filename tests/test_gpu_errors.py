"""Errors of GPUs and of memory: what leads to another try, and what ends a run with one line and a saved state."""
import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import evaluate
import train
from core.assessment.restore import ADVICE
from core.inference import linalg
from core.inference.kfac import solve_damped
from core.inference.solvers import DEFAULT
from core.training import failures, recovery
from core.training.checkpoints import progress_notes
from core.training.recovery import FAILED_ON_GPU, UNDECOMPOSABLE, failed_quantity, set_step
from core.training.stepper import Stepper
from misc import backend
from misc.folders import run_folder
from misc.records import read_json, read_rows

pytestmark = pytest.mark.usefixtures("shared_graphs")  # most tests train the same few settings

ILLEGAL = ("Could not synchronize CUDA stream: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access was encountered\n"
           "\t [[{{node steps/while/MatMul}}]]")
GEMM = "Blas GEMM launch failed : a.shape=(100, 51), b.shape=(51, 1), m=100, n=1, k=51"
OUT = "CUDA runtime implicit initialization on GPU:0 failed. Status: out of memory"

# Error, what is tried again, what is said if it cannot be. The texts are those of TensorFlow 1.15 to 2.21.
TEXTS = [
    (tf.errors.InternalError, "tensorflow/core/util/cuda_solvers.cc:803: cuSolverDN call failed with status =7",
     UNDECOMPOSABLE, "the GPU failed"),
    (tf.errors.InternalError, "tensorflow/core/util/gpu_solvers.cc:631: cuSolverDN call failed with status =6",
     UNDECOMPOSABLE, "the GPU failed"),
    (tf.errors.InvalidArgumentError, "Got info = 3 for batch index 0, expected info = 0. Debug_info = potrf",
     UNDECOMPOSABLE, None),
    (tf.errors.InternalError, GEMM, FAILED_ON_GPU, "the GPU failed"),
    (tf.errors.InternalError, "Blas xGEMM launch failed : a.shape=[1,9,50]", FAILED_ON_GPU, "the GPU failed"),
    (tf.errors.InternalError, "Blas GEMV launch failed:  m=1, n=50", FAILED_ON_GPU, "the GPU failed"),
    (tf.errors.InternalError, "Blas SGEMMBatched launch failed : a.shape=[10,9,9]", FAILED_ON_GPU, "the GPU failed"),
    (tf.errors.InternalError, "Blas xGEMMBatched launch failed : a.shape=[10,9,9]", FAILED_ON_GPU, "the GPU failed"),
    (tf.errors.InternalError, "Blas xGEMV launch failed : a.shape=[9,9]", FAILED_ON_GPU, "the GPU failed"),
    (tf.errors.InternalError, "gpu_solvers.cc:99: cuBlas call failed status = 13", FAILED_ON_GPU, "the GPU failed"),
    (tf.errors.InternalError, "Attempting to perform BLAS operation using StreamExecutor without BLAS support",
     FAILED_ON_GPU, "the GPU failed"),
    (tf.errors.InternalError, ILLEGAL, None, "the GPU failed (Could not synchronize CUDA stream: CUDA_ERROR_ILLEGAL_A"),
    (tf.errors.InternalError, "CUDA_ERROR_LAUNCH_FAILED: unspecified launch failure", None, "the GPU failed"),
    (tf.errors.InternalError, "GPU sync failed", None, "the GPU failed"),
    (tf.errors.InternalError, "cuDNN launch failure : input shape ([10,64,8,8])", None, "the GPU failed"),
    (tf.errors.UnknownError, "Failed to get convolution algorithm. This is probably because cuDNN failed to initialize",
     None, "the GPU failed"),
    (tf.errors.UnimplementedError, "DNN library: CUDNN_STATUS_EXECUTION_FAILED in tensorflow/stream_executor", None,
     "the GPU failed"),
    (tf.errors.ResourceExhaustedError, "OOM when allocating tensor with shape[128,512] on /device:GPU:0 by GPU_0_bfc",
     None, "out of memory"),
    (tf.errors.InternalError, OUT, None, "out of memory"),
    (tf.errors.InternalError, "Blas GEMM launch failed: CUBLAS_STATUS_ALLOC_FAILED", None, "out of memory"),
    (tf.errors.ResourceExhaustedError, "model-7.data; No space left on device", None, None),
    (tf.errors.ResourceExhaustedError, "model-7.data; Disk quota exceeded", None, None),
    (tf.errors.ResourceExhaustedError, "model-7.data; Too many open files", None, None),
    (tf.errors.InvalidArgumentError, "indices[0] = 9 is not in [0, 3)", None, None),
]


@pytest.mark.parametrize("kind, text, quantity, line", TEXTS, ids=[text[:40] for _, text, _, _ in TEXTS])
def test_what_gpus_say(kind, text, quantity, line):
    error = kind(None, None, text)
    assert failed_quantity(error) == quantity
    found = failures.described(error)
    assert found is None if line is None else found.startswith(line) and "\n" not in found


# Before a factorisation.

FACTORISATIONS = {"inverse_root": lambda matrix: linalg.inverse_root(matrix, 0.1), "eigh": linalg.eigh,
                  "eigvalsh": linalg.eigvalsh, "qr": lambda matrix: linalg.orthogonal_iteration(matrix, matrix)}


@pytest.mark.parametrize("size", [3, linalg.LAPACK_MIN_DIM])
@pytest.mark.parametrize("name", sorted(FACTORISATIONS.keys() - {"inverse_root"}))
def test_no_factorisation_is_given_what_is_not_finite(session, name, size):
    """On a GPU, what it makes of NaN is anybody's guess; an error is raised before."""
    for value in (np.nan, np.inf):
        matrix = np.eye(size, dtype=np.float32)
        matrix[1, 0] = value
        with pytest.raises(tf.errors.OpError) as error:
            session.run(FACTORISATIONS[name](tf.constant(matrix)))
        assert linalg.NOT_FINITE in str(error.value) and failed_quantity(error.value) == UNDECOMPOSABLE


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("damping", [0.0, 0.1])
@pytest.mark.parametrize("bad", [0, 1])
def test_a_cholesky_factorisation_on_a_cpu_does_not_hide_what_is_not_finite(session, value, damping, bad):
    """There, the check comes after it. An infinite diagonal entry would have a finite root, but for the damping."""
    for row in (0, 1, 2):
        factors = [2.0 * np.eye(3, dtype=np.float32), 3.0 * np.eye(3, dtype=np.float32)]
        factors[bad][row, 0] = factors[bad][0, row] = value
        try:
            roots = session.run(solve_damped(DEFAULT.root, *map(tf.constant, factors), damping))
            assert not all(np.isfinite(root).all() for root in roots)
        except tf.errors.InvalidArgumentError as error:
            assert failed_quantity(error) == UNDECOMPOSABLE


@pytest.mark.parametrize("name, kind, device", [
    ("eigh", "SelfAdjointEigV2", "CPU"), ("eigh", "SelfAdjointEigV2", "GPU"), ("eigvalsh", "SelfAdjointEigV2", "CPU"),
    ("eigvalsh", "SelfAdjointEigV2", "GPU"), ("qr", "Qr", "CPU"), ("qr", "Qr", "GPU"),
    ("inverse_root", "Cholesky", "GPU")])
def test_the_check_is_on_the_very_matrix(session, name, kind, device):
    with tf.device(f"/device:{device}:0"):
        FACTORISATIONS[name](tf.placeholder(tf.float32, [5, 5]))
    found = [op for op in tf.get_default_graph().get_operations() if op.type == kind]
    assert found and all(op.inputs[0].op.type == "CheckNumerics" for op in found)


# In training.

@pytest.fixture
def breaks(monkeypatch):
    """Function (error, call, times): Stepper.run raises from its call number `call` on, so many times.

    The steps of the first such call are in the state then, but the graph's number of steps is not yet moved. Returns
    a list, which will hold the number of steps in the state.
    """

    def make(error, call=5, times=1):
        run, calls, done = Stepper.run, [], []

        def fail(stepper, segment):
            calls.append(segment)
            start = stepper.step
            if len(calls) == call:
                run(stepper, segment)
                done.append(stepper.step)
                set_step(stepper.session, stepper.model, start)
            if call <= len(calls) < call + times:
                raise error
            run(stepper, segment)

        monkeypatch.setattr(Stepper, "run", fail)
        return done

    return make


def last_line(capsys, arguments, code=1):
    with pytest.raises(SystemExit) as stop:
        train.main(arguments)
    assert stop.value.code == code
    return capsys.readouterr().err.strip().splitlines()[-1]


def final_state(folder):
    prefix = max(progress_notes(folder.checkpoint), key=lambda path: int(path.name.split("-")[1]))
    reader = tf.train.load_checkpoint(str(prefix))
    return {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}


@pytest.mark.parametrize("error", [tf.errors.InternalError(None, None, ILLEGAL), MemoryError(),
                                   tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")])
def test_the_state_is_saved_before_a_run_ends(finished_run, config_file, capsys, breaks, monkeypatch, error):
    """One line that says so; and the resumed run ends with the bits of the uninterrupted one."""
    path, folder = finished_run(steps_per_run=3, optimizer="diag")
    expected = final_state(folder)
    done = breaks(error)
    line = last_line(capsys, ["--config", str(path)])
    assert failures.described(error) in line and f"the state after step {done[0]} is saved: --resume continues" in line
    assert done[0] % 8  # within an epoch
    assert failures.described(error) in folder.log.read_text()
    monkeypatch.undo()
    train.main(["--config", str(path), "--resume"])
    found = final_state(folder)
    assert found.keys() == expected.keys() and all(np.array_equal(found[name], expected[name]) for name in found)
    assert [row["step"] for row in read_rows(folder.metrics)] == ["16", "32"]


def test_a_gpu_whose_state_is_lost(config, config_file, capsys, breaks, monkeypatch):
    error = tf.errors.InternalError(None, None, ILLEGAL)
    keys = dict(optimizer="diag", steps_per_run=2, save_interval=1)
    path, folder = config_file(**keys), run_folder(config(**keys))

    def lost(*_):
        raise error

    for call, what in ((2, "there is no checkpoint"), (7, "--resume continues from the checkpoint of step 8")):
        breaks(error, call)
        monkeypatch.setattr(recovery, "fetch", lost)
        line = last_line(capsys, ["--config", str(path)])
        assert "CUDA_ERROR_ILLEGAL_ADDRESS" in line and "the state could not be saved: " + what in line
        monkeypatch.undo()
    assert folder.root.is_dir()


@pytest.mark.parametrize("optimizer, text", [("adam", GEMM), ("kfac", "cuSolverDN call failed with status =7")])
def test_a_step_that_failed_on_the_gpu_is_tried_again(config, config_file, breaks, optimizer, text):
    breaks(tf.errors.InternalError(None, None, text))
    train.main(["--config", str(config_file(optimizer=optimizer, steps_per_run=1))])
    folder = run_folder(config(optimizer=optimizer))
    assert read_json(folder.result)["incidents"] == {"skipped": 0, "recovered": 1}


def test_a_gpu_that_fails_again(config_file, capsys, breaks):
    breaks(tf.errors.InternalError(None, None, GEMM), times=2)
    line = last_line(capsys, ["--config", str(config_file(optimizer="adam", steps_per_run=1))])
    assert "the GPU failed (Blas GEMM launch failed" in line and "the state after step 5 is saved" in line


def test_an_error_of_another_kind_is_not_hidden(config_file, breaks):
    breaks(tf.errors.InvalidArgumentError(None, None, "a bug"))
    with pytest.raises(tf.errors.InvalidArgumentError, match="a bug"):
        train.main(["--config", str(config_file(optimizer="adam", steps_per_run=1))])


# Before and after training.

@pytest.mark.parametrize("owner, name", [(Stepper, "load_data"), (backend, "session"),
                                         ("core.training.checkpoints.tf.train.Saver", "restore")])
def test_out_of_memory_outside_training(finished_run, capsys, monkeypatch, owner, name):
    path, folder = finished_run(optimizer="diag")

    def fail(*_, **__):
        raise tf.errors.InternalError(None, None, OUT)

    folder.result.unlink()
    before = sorted(item.name for item in folder.checkpoint.iterdir())
    monkeypatch.setattr(*([owner, name] if not isinstance(owner, str) else [f"{owner}.{name}"]), fail)
    assert "out of memory: try fewer particles" in last_line(capsys, ["--config", str(path), "--resume"])
    assert sorted(item.name for item in folder.checkpoint.iterdir()) == before  # none is called damaged


def test_out_of_memory_in_an_evaluation(finished_run, capsys, monkeypatch):
    _, folder = finished_run(optimizer="diag")

    def fail(*_, **__):
        raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")

    monkeypatch.setattr("core.training.evaluation.network_outputs", fail)
    with pytest.raises(SystemExit) as stop:
        evaluate.main([str(folder.root)])
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert stop.value.code == 1 and line == f"evaluate.py: out of memory: {ADVICE}"
