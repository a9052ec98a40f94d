"""The graphs as a GPU would run them: kernels for all ops, and a second CPU device in the GPU's place."""
import collections
import functools

import numpy as np
import pytest
import tensorflow.compat.v1 as tf

import networks
from core.inference.solvers import robust_solver
from core.training.design import design_run, with_solver
from core.training.graph import build_model
from core.training.stepper import Stepper
from core.training.variables import fetch
from data_loader.parts import Part, Pixels, Spec
from misc.config import Config

GPU, SECOND = "/device:GPU:0", "/device:CPU:1"
TABLE, IMAGES = Spec(23, (3,), 1, None), Spec(11, (8, 8, 3), 10, Pixels(np.full(3, 120.0), np.full(3, 60.0)))
SMALL_NETWORKS = {"vgg2": networks._vgg(1, 1), "resnet8": networks._resnet(1)}  # have the ops of the large ones

REGRESSION = dict(mode="regression", dataset="tiny", model_name="ffn", hidden=[4], batch_size=5, train_particles=2,
                  test_particles=2, epoch=3, epoch_rate=2, Teigen=3, re_init_iters=6)
CLASSIFICATION = dict(mode="classification", dataset="cifar10", width=0.0625, batch_size=4, train_particles=1, epoch=2,
                      test_particles=2, TCov=2, TInv=2, TEigen=2, TScale=2, kl_clip=0.01, learning_rate=0.01)
CASES = {
    **{f"regression {name}": dict(REGRESSION, optimizer=name) for name in ("ekfac", "kfac", "diag", "bbb", "adam")},
    "student_t": dict(REGRESSION, optimizer="ekfac", likelihood="student_t", noise_update="leave_one_out"),
    "held_out": dict(REGRESSION, optimizer="ekfac", noise_update="held_out", held_out_epochs=2),
    "orthogonal_iteration": dict(REGRESSION, optimizer="ekfac", basis_update="orthogonal_iteration",
                                 basis_tolerance=0.1, precision="float64"),
    "vgg": dict(CLASSIFICATION, optimizer="ekfac", model_name="vgg2", batch_norm=True, data_aug=True),
    "resnet": dict(CLASSIFICATION, optimizer="kfac", model_name="resnet8"),
}
EVERY_STEP = {"regression": dict(Teigen=1, re_init_iters=1), "classification": dict(TCov=1, TInv=1, TEigen=1, TScale=1)}

# Placed on a GPU but without a kernel there (TensorFlow 2.21). Soft placement puts them on the CPU; none is heavy.
ON_THE_CPU = {
    ("SaveV2", None): "writes files", ("RestoreV2", None): "reads files", ("ShardedFilename", None): "names of files",
    ("MergeV2Checkpoints", None): "writes files",
    ("Const", "string"): "names of files", ("Placeholder", "string"): "names of files",
    ("PlaceholderWithDefault", "string"): "names of files", ("Pack", "string"): "names of files",
    ("Identity", "string"): "names of files",
    ("VarHandleOp", "int32"): "plan of an epoch: the order of rows",
    ("ResourceGather", "int32"): "plan of an epoch: the order of rows",
    ("PyFunc", None): "LAPACK, in robust factorisations",
}
CONTROL_EDGES = ("Const", "_HostConst")  # what TensorFlow sends where an op only waits for another


@pytest.fixture(scope="module", autouse=True)
def small_networks():
    with pytest.MonkeyPatch.context() as patch:
        for name, network in SMALL_NETWORKS.items():
            patch.setitem(networks.NETWORKS, name, network)
        yield


def design_of(case, **keys):
    made = Config.from_dict(dict(CASES[case], **keys))
    return design_run(made, TABLE if made.mode == "regression" else IMAGES)


def kernels_on_gpus():
    """{op type: constraints of its GPU kernels, [{attribute: types}]} that this TensorFlow has."""
    from tensorflow.python.framework import kernels

    found = collections.defaultdict(list)
    registered = kernels.get_all_registered_kernels().kernel
    if any(kernel.device_type == "GPU" and kernel.op == "MatMul" for kernel in registered):
        for kernel in registered:
            if kernel.device_type in ("GPU", "DEFAULT"):  # DEFAULT: any device without a kernel of its own
                found[kernel.op].append({each.name: set(each.allowed_values.list.type) for each in kernel.constraint})
    return found


def without_kernel(graph, kernels):
    """{(op type, its type or None): an op} of the graph's ops that are placed on a GPU and have no kernel there."""
    missing = {}
    for op in graph.get_operations():
        if not op.device.endswith("GPU:0") or op.type == "NoOp":
            continue
        attributes = op.node_def.attr
        if any(all(attributes[name].type in types for name, types in kernel.items()) for kernel in kernels[op.type]):
            continue
        kinds = [attributes[name].type for name in ("dtype", "T", "Tparams") if attributes[name].type]
        kind = tf.as_dtype(kinds[0]).name if kernels[op.type] or op.type in ("ResourceGather", "Const") else None
        missing[op.type, kind if kinds else None] = op.name
    return missing


@pytest.mark.parametrize("case, robust", [*((case, False) for case in sorted(CASES)), ("regression ekfac", True),
                                          ("regression kfac", True)])
def test_every_op_on_a_gpu_has_a_kernel_there(case, robust):
    """TensorFlow 2.x has GPU kernels even where there is no GPU; the CPU build of 1.15 has none.

    With all updates due at every step, the graph has a single step, which has all ops.
    """
    kernels = kernels_on_gpus()
    if not kernels:
        pytest.skip("this TensorFlow has no GPU kernels")
    design = design_of(case, **EVERY_STEP[CASES[case]["mode"]])
    if robust:
        design = with_solver(design, lambda layer: robust_solver(layer, lambda *_: None))
    missing = without_kernel(build_model(design, GPU).graph, kernels)
    assert set(missing) <= set(ON_THE_CPU), {kind: name for kind, name in missing.items() if kind not in ON_THE_CPU}


def test_an_op_without_a_kernel_is_found():
    kernels = kernels_on_gpus()
    if not kernels:
        pytest.skip("this TensorFlow has no GPU kernels")
    with tf.Graph().as_default() as graph, tf.device(GPU):
        tf.matmul(tf.eye(2), tf.eye(2))
        assert without_kernel(graph, kernels) == {}
        tf.nn.log_softmax(tf.ones([2, 2], tf.float64), name="good")
        tf.unique(tf.constant([1, 1], tf.int32))
        tf.strings.join(["a", "b"])
        assert {kind for kind, _ in without_kernel(graph, kernels)} >= {"StringJoin"}


# A second CPU device in the GPU's place.

class Emulated:
    """A model on a device, in a session with two CPU devices."""

    def __init__(self, case, device, **keys):
        self.design = design_of(case, **keys)
        self.model = build_model(self.design, device)
        config = tf.ConfigProto(device_count={"CPU": 2}, allow_soft_placement=True, inter_op_parallelism_threads=1,
                                intra_op_parallelism_threads=1)
        self.session = tf.Session(graph=self.model.graph, config=config)
        rng, spec = np.random.RandomState(1), self.design.spec
        x = rng.randint(0, 256, (spec.n_rows, *spec.shape)) if spec.pixels else rng.randn(spec.n_rows, *spec.shape)
        y = rng.randint(0, 10, spec.n_rows) if spec.pixels else rng.randn(spec.n_rows)
        kinds = [placeholder.dtype.as_numpy_dtype for placeholder in (self.model.load.x, self.model.load.y)]
        self.session.run(self.model.init)
        self.stepper = Stepper(self.session, self.model, Part(x.astype(kinds[0]), y.astype(kinds[1])))
        self.stepper.load_data()

    def state(self, n_epochs):
        """The variables after some epochs: {scope/name: value}."""
        per_epoch = self.design.steps_per_epoch
        for epoch in range(n_epochs):
            self.stepper.load_epoch(epoch + 1)
            for segment in self.design.schedule.segments(epoch * per_epoch + 1, (epoch + 1) * per_epoch):
                self.stepper.run(segment)
        found = fetch(self.session, self.model.variables)
        return {f"{scope}/{name}": value for scope, values in found.items() for name, value in values.items()}

    def partitions(self, due):
        """The graphs of both devices, as TensorFlow has cut them, of the op for a due set."""
        arguments, found = self.model.run_arguments, tf.RunMetadata()
        self.stepper.load_epoch(1)
        self.session.run(self.model.advance[due],
                         {arguments.n_rounds: 1, arguments.n_base_steps: 1, arguments.epoch: 1},
                         options=tf.RunOptions(output_partition_graphs=True), run_metadata=found)
        return found.partition_graphs


@pytest.fixture(scope="module")
def on_second():
    """Function (case) -> Emulated on the second device, built once. Images are updated at every step."""
    return functools.lru_cache(maxsize=None)(lambda case: Emulated(case, SECOND, **keys_of(case)))


def keys_of(case):
    return EVERY_STEP["classification"] if case == "vgg" else {}


@pytest.mark.parametrize("case", ["regression ekfac", "regression kfac", "regression diag", "vgg"])
def test_another_device_gives_the_same_bits(on_second, case):
    one, other = (run.state(2) for run in (Emulated(case, "/device:CPU:0", **keys_of(case)), on_second(case)))
    assert one.keys() == other.keys()
    for name in one:
        assert np.array_equal(one[name], other[name]), name


def sent_in_loops(partitions):
    """[(type, name of the op)] of the tensors that cross between devices inside a loop."""
    found = []
    for graph in partitions:
        nodes = {node.name: node for node in graph.node}
        for node in graph.node:
            if node.op not in ("_Send", "_HostSend") or "while/" not in node.name:
                continue
            source = nodes[node.input[0].split(":")[0].lstrip("^")]
            if source.op in CONTROL_EDGES:
                continue
            found.append((tf.as_dtype(node.attr["T"].type).name, source.name))
    return found


@pytest.mark.parametrize("case, n_most", [("regression ekfac", 5), ("regression kfac", 5), ("vgg", 11)])
def test_no_state_crosses_between_devices_in_a_loop(on_second, case, n_most):
    """Inside a loop, the host sends steps, the loop's condition and, of images, the bytes of a minibatch."""
    run = on_second(case)
    state = [variable for entries in run.model.variables.values() for variable in entries.values()]
    assert all(variable.dtype.base_dtype.is_floating for variable in state)
    for due in run.model.advance:
        partitions = run.partitions(due)
        found = sent_in_loops(partitions)
        assert len(partitions) == 2 and 2 <= len(found) <= n_most, found
        assert {kind for kind, _ in found} <= {"int32", "bool", "uint8"}, found


def test_a_state_that_crosses_is_found():
    """Roots computed on the host (curvature_device cpu on a GPU) do cross."""
    run = Emulated("regression kfac", SECOND, curvature_device="cpu", Teigen=2)
    found = [each for due in run.model.advance for each in sent_in_loops(run.partitions(due))]
    assert "float32" in {kind for kind, _ in found}
