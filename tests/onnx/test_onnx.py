"""ONNX: every case is exported as onnxruntime computes it, and comes back as it was."""

import copy
import inspect
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest

import fastdl
from fastdl import Trainer, nn, optim
from fastdl.nn import Module, Parameter
from fastdl.testing import LAYER_CASES, gradcheck, make_input

pytest.importorskip("onnx", reason="onnx is not installed (the onnx extra)")

import onnx
import onnx.parser
import onnx.reference

import fastdl.onnx
from fastdl.onnx.graph import Graph
from fastdl.onnx.table import LAYERS, OPERATORS, fill
from tests.combinations import in_turn

fill()
FEW = 3


@pytest.fixture
def path(tmp_path):
    return tmp_path / "model.onnx"


def samples_of(case):
    """The shapes of samples that a case is used with: without the batch's axis, which an export leaves free."""
    module = case.make(np.float32)
    fixed = len(getattr(module, "normalized_shape", ())) or isinstance(module, nn.Linear)
    shapes = [shape[1:] for shape in case.shapes if len(shape) > fixed and 0 not in shape[1:]]
    return sorted(set(shapes))


def batch_sizes(module, sample):
    """1 and another one; where statistics of the batch need two values at least, 2 instead of 1."""
    by_batch = any(getattr(each, "running_mean", 0) is None for each in module.modules())
    return (2 if by_batch and len(sample) == 1 else 1, FEW)


def computed(path, x):
    """What onnxruntime makes of x; onnx's own evaluator where that has no kernel for an operator in float64."""
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    try:
        session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    except runtime.capi.onnxruntime_pybind11_state.NotImplemented:
        assert x.dtype == np.float64
        session = onnx.reference.ReferenceEvaluator(onnx.load(path))
    return session.run(None, {"input": x})[0]


def assert_equal(got, want):
    """Equal to 1e-5 of the largest magnitude."""
    assert got.shape == want.shape
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-5 * max(np.abs(want).max(initial=0), 1e-30))


def operators(path):
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize(("case", "dtype"), in_turn(LAYER_CASES, (np.float32, np.float64)))
def test_onnxruntime_computes_what_the_case_does_and_so_does_what_comes_back(case, dtype, path):
    assert samples_of(case)
    for sample in samples_of(case):
        model = case.make(dtype).eval()
        fastdl.onnx.export(model, path, sample, dtype=dtype)
        written = onnx.load(path)
        onnx.checker.check_model(written, full_check=True)
        onnx.shape_inference.infer_shapes(written, check_type=True, strict_mode=True, data_prop=True)
        assert written.ir_version == 8
        assert [(entry.domain, entry.version) for entry in written.opset_import] == [("", 17)]
        twin = fastdl.onnx.load(path).eval()
        for size in batch_sizes(model, sample):
            x = make_input(case, (size, *sample), np.random.default_rng(size), dtype)
            want = model(x)
            assert_equal(computed(path, x), want)
            assert_equal(twin(x), want)


def is_small(case):
    return case.smooth and sum(parameter.size for parameter in case.make(np.float64).parameters()) < 1000


@pytest.mark.parametrize("case", [case for case in LAYER_CASES if is_small(case)], ids=str)
def test_what_comes_back_has_the_right_gradients(case, path):
    sample = min(samples_of(case), key=np.prod)
    fastdl.onnx.export(case.make(np.float64), path, sample, dtype=np.float64)
    twin = fastdl.onnx.load(path).eval()
    assert gradcheck(twin, np.random.default_rng(1).standard_normal((2, *sample)))


def public_layers():
    found = {value for name, value in vars(nn).items() if inspect.isclass(value) and not name.startswith("_")}
    collections = {nn.ModuleList, nn.ModuleDict, nn.ParameterList}
    return {each for each in found if issubclass(each, Module)} - {Module, nn.Activation, *collections}


@pytest.mark.parametrize("layer", sorted(public_layers(), key=lambda c: c.__name__))
def test_every_public_layer_can_be_exported(layer):
    assert issubclass(layer, nn.Loss) or layer in LAYERS


def lenet(dtype=np.float32):
    return nn.Sequential(
        *(nn.Conv2d(1, 6, 5, padding=2, rng=0, dtype=dtype), nn.Tanh(), nn.AvgPool2d(2)),
        *(nn.Conv2d(6, 16, 5, rng=1, dtype=dtype), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten()),
        *(nn.Linear(400, 120, rng=2, dtype=dtype), nn.Tanh(), nn.Linear(120, 10, rng=3, dtype=dtype)),
    )


def digits_net():
    return nn.Sequential(
        nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1, rng=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Dropout(0.25)
        ),
        nn.Sequential(nn.Flatten(), nn.Linear(128, 32, rng=3), nn.GELU(), nn.Dropout(0.5), nn.Linear(32, 10, rng=4)),
    )


def block(channels=3, dtype=np.float64):
    """A residual block whose shortcut has a weight, beside a branch, and a body for two inputs before them."""

    def conv(i, o, size, **options):
        return nn.Conv1d(i, o, size, rng=i + o, dtype=dtype, **options)

    body = nn.Sequential(conv(channels, 4, 3, padding="same"), nn.Tanh(), conv(4, 4, 1))
    return nn.Sequential(
        nn.Siamese(nn.Sequential(conv(2, 2, 1), nn.Sigmoid())),
        conv(4, channels, 1),
        nn.Parallel(nn.Residual(body, conv(channels, 4, 1)), nn.Identity()),
        nn.Flatten(),
        nn.Linear(5 * (4 + channels), 2, rng=0, dtype=dtype),
    )


def test_nodes_are_called_as_layers_and_weights_as_in_the_state_dict(path):
    model = digits_net()
    fastdl.onnx.export(model, path, (1, 8, 8))
    graph = onnx.load(path).graph
    assert [node.name for node in graph.node if node.op_type in ("Conv", "MaxPool", "Gemm")] == [
        "0.0",
        "0.3",
        "1.1",
        "1.4",
    ]
    written = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer}
    state = model.state_dict()
    assert written.keys() == {name for name in state if "num_batches" not in name}
    for name, array in written.items():
        assert array.tobytes() == state[name].tobytes()


def test_the_batch_is_called_n_and_the_file_says_who_wrote_it(path):
    fastdl.onnx.export(lenet(), path, input_shape=(1, 28, 28))
    written = onnx.load(path)
    assert (written.producer_name, written.producer_version) == ("fastdl", fastdl.__version__)
    for value, name, sizes in (
        (written.graph.input[0], "input", [1, 28, 28]),
        (written.graph.output[0], "output", [10]),
    ):
        batch, *axes = value.type.tensor_type.shape.dim
        assert (value.name, batch.dim_param, [axis.dim_value for axis in axes]) == (name, "N", sizes)


def test_a_weight_in_several_places_is_written_once_and_comes_back_as_one(path):
    shared = nn.Linear(4, 4, rng=0, dtype=np.float64)
    model = nn.Sequential(shared, nn.Tanh(), shared, nn.Residual(shared))
    fastdl.onnx.export(model, path, 4)
    assert [tensor.name for tensor in onnx.load(path).graph.initializer] == ["0.weight", "0.bias"]
    twin = fastdl.onnx.load(path)
    assert len(list(twin.parameters())) == 2
    assert gradcheck(twin, np.random.default_rng(0).standard_normal((3, 4)))


def test_linear_layers_of_more_axes_keep_their_weights_layout(path):
    model = nn.Sequential(nn.Linear(4, 3, rng=0), nn.Linear(3, 2, bias=False, rng=1), nn.Linear(2, 1, rng=2))
    fastdl.onnx.export(model, path, (5, 4))
    assert {tensor.name: tuple(tensor.dims) for tensor in onnx.load(path).graph.initializer} == {
        name: array.shape for name, array in model.state_dict().items()
    }
    assert nn.to_spec(fastdl.onnx.load(path)) == nn.to_spec(model)


@pytest.mark.parametrize(
    "spec",
    [
        ["Linear(4, 3)", "ReLU()", "Linear(3, 2, bias=False)", "LogSoftmax(dim=1)"],
        ["LeakyReLU(negative_slope=0.2)", "ELU(alpha=1.5)", "Dropout(p=0.3)", "Softmax(dim=1)", "Identity()"],
        ["GELU()", "GELU(approximate='tanh')", "SiLU()", "Softplus()", "Softplus(beta=3.0, threshold=2.0)"],
        ["LayerNorm((4,))", "LayerNorm((4,), bias=False)", "LayerNorm((4,), elementwise_affine=False)"],
        ["BatchNorm1d(4)", "BatchNorm1d(4, eps=0.5, momentum=0.3, bias=False)", "BatchNorm1d(4, affine=False)"],
        ["BatchNorm1d(4, track_running_stats=False)", "BatchNorm1d(4, affine=False, track_running_stats=False)"],
        ["Sequential(Tanh(), Sequential(Sigmoid(), Linear(4, 4)))", "Linear(4, 1)"],
    ],
    ids=str,
)
def test_layers_come_back_as_what_they_were(spec, path):
    fastdl.onnx.export(nn.from_spec(spec), path, 4)
    assert nn.to_spec(fastdl.onnx.load(path)) == spec


@pytest.mark.parametrize(
    "spec",
    [
        ["Conv2d(3, 4, 3)", "MaxPool2d(2)", "AvgPool2d(2)", "AdaptiveAvgPool2d(1)", "Flatten()"],
        ["Conv2d(3, 6, (3, 2), padding=(1, 0), dilation=(1, 2), groups=3)", "BatchNorm2d(6)"],
        ["Conv2d(3, 4, (2, 4), padding='same', bias=False)", "MaxPool2d(3, stride=2, padding=1)"],
        ["MaxPool2d(3, stride=2, ceil_mode=True)", "AvgPool2d(3, padding=1, ceil_mode=True, count_include_pad=False)"],
    ],
    ids=str,
)
def test_layers_of_images_come_back_as_what_they_were(spec, path):
    fastdl.onnx.export(nn.from_spec(spec), path, (3, 12, 14))
    assert nn.to_spec(fastdl.onnx.load(path)) == spec


def test_an_export_leaves_the_model_as_it_was(path):
    fastdl.manual_seed(3)
    model = digits_net()
    x = np.random.default_rng(0).random((4, 1, 8, 8), dtype=np.float32)
    model(x)
    before = pickle.dumps(model.state_dict())
    twin = copy.deepcopy(model)
    fastdl.onnx.export(model, path, (1, 8, 8))
    assert pickle.dumps(model.state_dict()) == before
    assert all(module.training for module in model.modules())
    fastdl.manual_seed(4)
    want = twin(x)
    fastdl.manual_seed(4)
    assert (model(x) == want).all()
    model.backward(np.ones((4, 10), np.float32))


def test_the_same_model_gives_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        fastdl.onnx.export(lenet(), tmp_path / name, (1, 28, 28))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_lenet_runs_in_onnxruntime(path):
    model = lenet()
    fastdl.onnx.export(model, path, (1, 28, 28))
    for size in (1, 7):
        x = np.random.default_rng(size).random((size, 1, 28, 28), dtype=np.float32)
        assert_equal(computed(path, x), model.eval()(x))


def test_a_network_that_learned_digits_classifies_them_in_onnxruntime_and_learns_on(path):
    pytest.importorskip("sklearn", reason="scikit-learn is not installed (the sklearn extra)")
    (images, labels), (test_images, test_labels) = fastdl.data.split(*fastdl.data.digits(), 0.2, rng=0)
    scaling = fastdl.data.Standardize().fit(images, per="channel")
    x, test_x = scaling.transform(images), scaling.transform(test_images)

    def trainer(model):
        return Trainer(model, nn.CrossEntropyLoss(), optim.AdamW(model.parameters(), lr=0.005))

    model = digits_net()
    trainer(model).fit(x, labels, epochs=4, batch_size=64, seed=5)
    fastdl.onnx.export(model, path, (1, 8, 8))
    output = computed(path, test_x)
    assert_equal(output, model.eval()(test_x))
    assert (output.argmax(axis=1) == test_labels).mean() > 0.9
    twin = fastdl.onnx.load(path)
    assert nn.to_spec(twin) == nn.to_spec(model)
    histories = [trainer(each).fit(x, labels, epochs=1, batch_size=64, seed=6) for each in (model, twin)]
    assert histories[0].engine.startswith("native")
    assert histories[1]["loss"] == pytest.approx(histories[0]["loss"], rel=1e-5)


def test_a_graph_learns_as_the_model_does_that_it_came_from(path):
    model = block()
    fastdl.onnx.export(model, path, (2, 2, 5))
    twin = fastdl.onnx.load(path)
    assert isinstance(twin, Graph)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((40, 2, 2, 5)), rng.standard_normal((40, 2))
    losses = []
    for each in (model, twin):
        trainer = Trainer(each, nn.MSELoss(), optim.Adam(each.parameters(), lr=0.01))
        losses.append(trainer.fit(x, y, epochs=5, batch_size=8, seed=1)["loss"])
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
    assert losses[0][-1] < losses[0][0]


def test_a_graph_is_a_module_like_any_other(path, tmp_path):
    model = block()
    fastdl.onnx.export(model, path, (2, 2, 5))
    twin = fastdl.onnx.load(path)
    x = np.random.default_rng(0).standard_normal((3, 2, 2, 5))
    assert gradcheck(twin, x)
    assert gradcheck(nn.Sequential(twin, nn.Tanh()), x)
    want = model(x)
    for each in (copy.deepcopy(twin), pickle.loads(pickle.dumps(twin))):
        np.testing.assert_allclose(each(x), want, rtol=1e-12)
    fresh = fastdl.onnx.load(path)
    for parameter in fresh.parameters():
        parameter.data = np.zeros(parameter.shape)
    fastdl.save(twin, tmp_path / "graph.safetensors")
    fastdl.load(tmp_path / "graph.safetensors", fresh)
    np.testing.assert_allclose(fresh(x), want, rtol=1e-12)
    small = twin.astype(np.float32)(x.astype(np.float32))
    assert small.dtype == np.float32
    np.testing.assert_allclose(small, want, atol=1e-5)
    assert "Conv1d(2, 2, 1)" in repr(twin)


def test_two_inputs_give_two_gradients(path):
    node = onnx.helper.make_node("Mul", ["a", "b"], ["y"])
    values = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.DOUBLE, ["N", 2]) for name in "aby"]
    graph = onnx.helper.make_graph([node], "product", values[:2], values[2:])
    opset = onnx.helper.make_opsetid("", 17)
    model = fastdl.onnx.load(onnx.helper.make_model(graph, opset_imports=[opset], ir_version=8))
    a, b = np.array([[1.0, 2.0]]), np.array([[3.0, 4.0]])
    assert model(a, b).tolist() == [[3, 8]]
    ga, gb = model.backward(np.ones((1, 2)))
    assert (ga.tolist(), gb.tolist()) == ([[3, 4]], [[1, 2]])
    with pytest.raises(TypeError, match="expected 2 inputs, got 1"):
        model(a)


def test_import_fastdl_is_enough_to_get_there(python):
    code = "import sys, fastdl; assert 'fastdl.onnx' not in sys.modules; print(fastdl.onnx.load.__name__)"
    done = python(code)
    assert (done.stdout, done.stderr) == ("load\n", "")


class Scaled(Module):
    """A layer that says itself what it is in ONNX."""

    def __init__(self):
        self.factor = Parameter(np.full(1, 2, np.float32))

    def forward(self, x):
        return self.factor.data * x

    def backward(self, grad_output):
        return self.factor.data * grad_output

    def to_onnx(self, graph, x):
        return graph.node("Mul", x.name, graph.weight(self.factor))


class Doubled(nn.Linear):
    """A layer that is no longer what its class is."""

    def forward(self, x):
        return 2 * super().forward(x)


class Renamed(nn.Linear):
    """A layer that still is."""


def test_a_layer_of_ones_own_says_what_it_is(path):
    model = nn.Sequential(nn.Linear(3, 4, rng=0), Scaled())
    fastdl.onnx.export(model, path, 3)
    assert operators(path) == ["Gemm", "Mul"]
    assert [tensor.name for tensor in onnx.load(path).graph.initializer] == ["0.weight", "0.bias", "1.factor"]
    x = np.ones((2, 3), np.float32)
    assert_equal(computed(path, x), model(x))
    assert_equal(fastdl.onnx.load(path)(x), model(x))


def test_layers_may_be_called_as_the_inputs_and_outputs_are(path):
    model = nn.Sequential({"output": nn.Linear(2, 3, rng=0), "input": nn.ReLU(), "body": nn.Linear(3, 2, rng=1)})
    fastdl.onnx.export(model, path, 2)
    x = np.ones((2, 2), np.float32)
    assert_equal(computed(path, x), model(x))
    assert list(fastdl.onnx.load(path).state_dict()) == list(model.state_dict())


def test_a_window_that_passes_the_end_by_more_than_its_size_is_written_too(path):
    model = nn.Sequential(nn.MaxPool2d(2, 3, dilation=3, ceil_mode=True))
    x = -1 - np.random.default_rng(0).random((2, 1, 5, 5), dtype=np.float32)
    fastdl.onnx.export(model, path, (1, 5, 5))
    assert model(x).shape == (2, 1, 2, 2)
    assert_equal(computed(path, x), model(x))
    assert nn.to_spec(fastdl.onnx.load(path)) == nn.to_spec(model)


def test_a_model_without_layers_passes_its_input_on(path):
    fastdl.onnx.export(nn.Sequential(), path, 2)
    x = np.ones((3, 2), np.float32)
    assert_equal(computed(path, x), x)
    assert_equal(fastdl.onnx.load(path)(x), x)


def test_a_subclass_that_computes_the_same_is_exported_as_its_class(path):
    fastdl.onnx.export(Renamed(3, 4), path, 3)
    assert operators(path) == ["Gemm"]


class Silent(Module):
    """A layer that says nothing."""

    def forward(self, x):
        return x


class Odd(Silent):
    """A layer that says what cannot be."""

    def __init__(self, operator):
        self.operator = operator

    def to_onnx(self, graph, x):
        return self.operator and graph.node(self.operator, x.name)


@pytest.mark.parametrize(
    ("model", "shape", "kind", "message"),
    [
        (nn.Sequential(nn.Linear(2, 3), Silent()), 2, TypeError, r"or with a method to_onnx, got Silent\(\)"),
        (Doubled(2, 3), 2, TypeError, r"got Doubled\(2, 3\) with a forward in Python"),
        (nn.Activation(np.sin, np.cos), 2, TypeError, r"got Activation\(sin, cos\)"),
        (nn.MSELoss(), 2, TypeError, r"got MSELoss\(\)"),
        (Odd("Ln"), 2, ValueError, "onnx.export: expected a model that onnx's checker accepts, got this from it: .*Ln"),
        (Odd(None), 2, TypeError, r"to_onnx of Odd\(.*\) to return the name of a node's output, got None"),
        ("model", 2, TypeError, "expected a fastdl Module, got str"),
        (
            nn.Linear(2, 3),
            (28, 28),
            ValueError,
            r"Linear\(2, 3\): expected input of shape \(..., 2\), got \(2, 28, 28\)",
        ),
        (nn.Linear(2, 3), (), ValueError, "an input_shape of at least one axis"),
        (nn.LayerNorm(2), (), ValueError, "an input_shape of 1 or more axes"),
        (nn.Siamese(nn.Linear(2, 3)), (), ValueError, "at least one axis"),
        (nn.Residual(nn.Linear(2, 3)), 2, ValueError, "body and shortcut of one shape"),
        (nn.Linear(2, 3), (0,), ValueError, r"such as \(1, 28, 28\), for input_shape, got \(0,\)"),
        (nn.Linear(2, 3), "2", TypeError, r"such as \(1, 28, 28\), for input_shape, got '2'"),
        (nn.ReLU(), (2**40, 2**40), ValueError, "an input_shape that memory can hold"),
        (nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 2, dtype=np.float64)), 2, TypeError, "float64"),
    ],
)
def test_what_cannot_be_exported_leaves_the_older_file(model, shape, kind, message, path):
    path.write_text("older")
    with pytest.raises(kind, match=message):
        fastdl.onnx.export(model, path, shape)
    assert path.read_text() == "older"
    assert list(path.parent.iterdir()) == [path]


def test_a_file_that_cannot_be_written_or_read_is_named(tmp_path):
    with pytest.raises(OSError, match="missing"):
        fastdl.onnx.export(nn.ReLU(), tmp_path / "missing" / "model.onnx", 2)
    with pytest.raises(FileNotFoundError, match="missing"):
        fastdl.onnx.load(tmp_path / "missing")
    with pytest.raises(TypeError, match=r"expected a path or an onnx\.ModelProto, got int"):
        fastdl.onnx.load(3)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(ValueError, match="expected an ONNX model, got"):
        fastdl.onnx.load(tmp_path / "text.onnx")


def changed(change, model=None):
    """A small model's ModelProto with a change in it."""
    proto = onnx.ModelProto()
    writer = pytest.importorskip("fastdl.onnx.writing").Writer(
        model or nn.Sequential(nn.Linear(2, 3), nn.ReLU()), np.dtype("f")
    )
    with nn.no_grad():
        proto.ParseFromString(writer.content((2,)))
    change(proto)
    return proto


def external(proto):
    tensor = proto.graph.initializer[0]
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="/etc/passwd")


def two_outputs(proto):
    proto.graph.output.append(onnx.helper.make_tensor_value_info("0", onnx.TensorProto.FLOAT, ["N", 3]))


def older(proto):
    proto.opset_import[0].version = 9


def foreign(proto):
    proto.opset_import.add(domain="com.example", version=1)
    proto.graph.node[0].domain = "com.example"


def test_names_that_are_no_text_are_refused(path):
    fastdl.onnx.export(nn.Sequential(nn.Linear(2, 3)), path, 2)
    path.write_bytes(path.read_bytes().replace(b"0.weight", b"0.w\xffight"))
    with pytest.raises(ValueError, match="expected names in UTF-8"):
        fastdl.onnx.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (external, "expected weights in the model, got 0.weight in another file"),
        (two_outputs, "at least one input and one output, got 1 and 2"),
        (older, "expected a model of opset 13 to .*, got 9"),
        (foreign, "expected operators of fastdl's subset, got com.example.Gemm"),
        (lambda p: setattr(p.graph.node[0], "op_type", "LSTM"), "expected operators of fastdl's subset, got LSTM"),
        (
            lambda p: p.graph.initializer[0].dims.append(7),
            r"expected 0.weight to hold the numbers of shape \(3, 2, 7\), got 6",
        ),
        (lambda p: p.graph.initializer[0].dims.append(2**62), r"expected 0.weight to hold the numbers"),
        (lambda p: p.graph.initializer[0].dims.__setitem__(0, -3), r"expected 0.weight to hold the numbers"),
        (
            lambda p: setattr(p.graph.initializer[0], "data_type", 10),
            "float32, float64, int64 or bool, got 0.weight of float16",
        ),
        (lambda p: setattr(p.graph.initializer[0], "data_type", 11), "expected 0.weight to hold the numbers"),
        (
            lambda p: p.graph.node[0].input.__setitem__(0, "nowhere"),
            "onnx's checker accepts, got this from it: .*nowhere",
        ),
        (
            lambda p: p.graph.node[0].attribute.add(name="alpha", type=1, f=2.0, ref_attr_name="b"),
            "plain attributes for Gemm 0",
        ),
        (lambda p: p.functions.add(name="f"), "without functions, got one with 1"),
        (lambda p: p.graph.ClearField("input"), "checker accepts|at least one input"),
        (lambda p: p.graph.ClearField("node"), "checker accepts"),
        (lambda p: p.ClearField("opset_import"), "expected a model of opset 13"),
        (lambda p: setattr(p.graph.input[0].type.tensor_type, "elem_type", 7), "checker accepts|float32 or float64"),
    ],
)
def test_a_file_that_is_not_as_it_should_be_is_refused_in_a_sentence(change, message):
    with pytest.raises(ValueError, match=message) as caught:
        fastdl.onnx.load(changed(change))
    assert "\n" not in str(caught.value)


def test_windows_and_steps_of_nothing_are_refused_before_they_are_divided_by():
    for model, name in (
        (nn.Conv1d(1, 1, 1), "strides"),
        (nn.MaxPool1d(2), "strides"),
        (nn.AvgPool1d(2), "kernel_shape"),
    ):

        def change(proto, name=name):
            (attribute,) = (each for each in proto.graph.node[0].attribute if each.name == name)
            attribute.ints[0] = 0

        proto = onnx.ModelProto()
        with nn.no_grad():
            proto.ParseFromString(fastdl.onnx.writing.Writer(model, np.dtype("f")).content((1, 4)))
        change(proto)
        with pytest.raises(ValueError, match=f"expected {name} of at least 1 for"):
            fastdl.onnx.load(proto)


def test_a_damaged_file_is_read_or_refused_and_nothing_else(path):
    fastdl.onnx.export(block(dtype=np.float32), path, (2, 2, 5))
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    refusals = []
    for _ in range(300):
        damaged = bytearray(whole)
        for place in rng.integers(0, len(damaged), rng.integers(1, 4)):
            damaged[place] = rng.integers(256)
        path.write_bytes(damaged[: rng.integers(len(damaged))] if rng.random() < 0.2 else damaged)
        try:
            fastdl.onnx.load(path)
        except ValueError as error:
            refusals.append(str(error))
    assert len(refusals) > 50
    assert max(map(len, refusals)) < 1000


def test_a_missing_onnx_is_named_with_its_extra(monkeypatch, path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    for call in (lambda: fastdl.onnx.export(nn.ReLU(), path, 2), lambda: fastdl.onnx.load(path)):
        with pytest.raises(ImportError, match=r'needs onnx; write pip install "\.\[onnx\]"'):
            call()


PAGE = Path(__file__).parent.parent.parent / "docs" / "onnx.md"


def rows(heading):
    """The first two columns of the table under a heading."""
    table = PAGE.read_text(encoding="utf-8").split(f"## {heading}\n")[1].split("\n## ")[0]
    cells = [line.split("|")[1:3] for line in table.splitlines() if line.startswith("| `")]
    return {
        name: set(re.findall("`([A-Z][A-Za-z0-9]*)`", text))
        for names, text in cells
        for name in re.findall("`(.*?)`", names)
    }


def test_the_examples_on_the_page_run_as_they_are(tmp_path, monkeypatch):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 3
    exec("\n".join(blocks), {})
    x = np.ones((2, 3), np.float32)
    assert_equal(fastdl.onnx.load("scaled.onnx")(x), computed("scaled.onnx", x))


def test_the_page_names_every_layer_and_every_operator():
    assert rows("Layers that are written").keys() == {layer.__name__ for layer in LAYERS}
    assert rows("Operators that are read").keys() == OPERATORS.keys()


@pytest.mark.parametrize("case", LAYER_CASES, ids=str)
def test_the_page_shows_the_operators_of_a_layer(case, path):
    listed = rows("Layers that are written")
    model = case.make(np.float32)
    fastdl.onnx.export(model, path, samples_of(case)[0])
    wanted = {name for module in model.modules() for name in listed[type(module).__name__]}
    assert set(operators(path)) - {"Constant"} <= wanted


def parsed(nodes, sizes, **weights):
    """A model of these nodes, from x (N, sizes) to y, in ONNX's own notation."""
    axes, outputs = ", ".join(map(str, sizes)), ", ".join("MKLR"[: 1 + len(sizes)])
    text = f'<ir_version: 8, opset_import: ["" : 17]> g (double[N, {axes}] x) => (double[{outputs}] y) {{ {nodes} }}'
    model = onnx.parser.parse_model(text)
    for name, array in weights.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(array), name))
    return model


def evaluated(model, x):
    return onnx.reference.ReferenceEvaluator(model).run(None, {"x": x})[0]


@pytest.mark.parametrize(
    ("nodes", "sizes", "weights"),
    [
        ("y = Conv <pads = [0, 1], strides = [2]> (x, W)", (1, 6), {"W": np.ones((1, 1, 2))}),
        ("y = Conv <pads = [0, 2]> (x, W)", (1, 6), {"W": np.arange(3.0).reshape(1, 1, 3)}),
        ("a = Mul (x, c) b = Softplus (a) y = Div (b, c)", (3,), {"c": np.array(-2.0)}),
        ("a = Mul (x, c) b = Softplus (a) y = Div (b, d)", (3,), {"c": np.array(2.0), "d": np.array(3.0)}),
        (
            "a = MatMul (x, W) y = Add (a, b)",
            (4, 3),
            {"W": np.arange(6.0).reshape(3, 2), "b": np.arange(4.0).reshape(4, 1)},
        ),
        ("a = MatMul (x, W) y = Add (b, a)", (3,), {"W": np.arange(6.0).reshape(3, 2), "b": np.arange(2.0)}),
        ("a = MatMul (x, W) c = Relu (a) y = Add (a, c)", (3,), {"W": np.eye(3)[:, :2] - 0.5}),
        ("s = Sigmoid (x) t = Mul (x, s) y = Add (t, s)", (3,), {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_only_looks_like_a_layer_computes_what_it_says(nodes, sizes, weights):
    model = parsed(nodes, sizes, **weights)
    x = np.random.default_rng(0).standard_normal((4, *sizes))
    twin = fastdl.onnx.load(model)
    np.testing.assert_allclose(twin(x), evaluated(model, x), rtol=1e-12, atol=1e-12)
    assert gradcheck(twin, x)


def test_statistics_over_other_axes_are_no_batch_norms():
    nodes = """
        m = ReduceMean <axes = [0], keepdims = 1> (x) c = Sub (x, m) q = Mul (c, c)
        mean = ReduceMean <axes = [0], keepdims = 0> (x) var = ReduceMean <axes = [0], keepdims = 0> (q)
        y = BatchNormalization (x, W, b, mean, var)
    """
    weights = {"W": np.ones(3), "b": np.zeros(3)}
    x = np.random.default_rng(0).standard_normal((4, 3))
    model = parsed(nodes, (3,), **weights)
    np.testing.assert_allclose(fastdl.onnx.load(model)(x), evaluated(model, x), rtol=1e-9)
    with pytest.raises(ValueError, match="or ReduceMeans of the same input"):
        fastdl.onnx.load(parsed(nodes.replace("[0], keepdims = 1", "[1], keepdims = 1"), (3,), **weights))
    other = nodes.replace("BatchNormalization (x", "BatchNormalization (r").replace("m =", "r = Relu (x) m =", 1)
    with pytest.raises(ValueError, match="or ReduceMeans of the same input"):
        fastdl.onnx.load(parsed(other, (3,), **weights))


@pytest.mark.parametrize("layer", [nn.Flatten(2), nn.Flatten(1, 2), nn.Flatten(2, 3), nn.Flatten(0, 1)], ids=str)
def test_axes_are_joined_in_batches_of_any_size(layer, path):
    fastdl.onnx.export(layer, path, (2, 3, 4, 5))
    for size in (1, 3):
        x = np.random.default_rng(size).random((size, 2, 3, 4, 5), dtype=np.float32)
        assert_equal(computed(path, x), layer(x))
        assert_equal(fastdl.onnx.load(path)(x), layer(x))


def test_what_fastdl_does_not_know_of_an_operator_is_refused(monkeypatch):
    indices = parsed("y, i = MaxPool <kernel_shape = [2]> (x)", (1, 6))
    with pytest.raises(ValueError, match="expected one output for MaxPool y, got 2"):
        fastdl.onnx.load(indices)
    with pytest.raises(ValueError, match=r"expected pads of at least 0 for Conv .*, got \[-1, 0\]"):
        fastdl.onnx.load(parsed("y = Conv <pads = [-1, 0]> (x, W)", (1, 6), W=np.ones((1, 1, 2))))
    monkeypatch.setitem(OPERATORS, "Relu", OPERATORS["Relu"]._replace(versions=(6,)))
    with pytest.raises(ValueError, match=r"expected version 6 of the operator .* for Relu y, got 14"):
        fastdl.onnx.load(parsed("y = Relu (x)", (3,)))


def test_the_approximate_gelu_has_all_its_digits(path):
    model = nn.GELU("tanh")
    fastdl.onnx.export(model, path, 50, dtype=np.float64)
    x = np.linspace(-4, 4, 100).reshape(2, 50)
    np.testing.assert_allclose(
        onnx.reference.ReferenceEvaluator(onnx.load(path)).run(None, {"input": x})[0], model(x), rtol=1e-9
    )
