"""Constants of a file: folded where all is known, weights staying weights, and chains of any length."""

import copy
import pickle

import numpy as np
import pytest

pytest.importorskip("onnx", reason="onnx is not installed (the onnx extra)")

from onnx import TensorProto, helper, numpy_helper

import fastdl.onnx
from fastdl import nn
from fastdl.onnx import arrangement, elementwise
from fastdl.testing import gradcheck

X = np.random.default_rng(0).standard_normal((5, 4)).astype(np.float32)
W = np.random.default_rng(1).standard_normal((3, 4)).astype(np.float32)


def loaded(nodes, initializers=(), x=(4,), samples="N", y=2):
    """What a file of these nodes, from "x" to "y", comes back as."""
    graph = helper.make_graph(
        [helper.make_node(operator, inputs, outputs, **attributes) for operator, inputs, outputs, attributes in nodes],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [samples, *x])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list("abcdef"[:y]))],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in dict(initializers).items()],
    )
    return fastdl.onnx.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8))


def constant(name, value):
    return ("Constant", [], [name], {"value": numpy_helper.from_array(np.asarray(value))})


REARRANGED = {
    "Identity": ([("Identity", ["w"], ["v"], {})], W, 1),
    "Cast": ([("Cast", ["w"], ["v"], {"to": TensorProto.FLOAT})], W.astype(np.float64), 1),
    "Transpose": ([("Transpose", ["w"], ["v"], {"perm": (1, 0)})], np.ascontiguousarray(W.T), 1),
    "Reshape": ([constant("s", [3, -1]), ("Reshape", ["w", "s"], ["v"], {})], W.reshape(12), 1),
    "Unsqueeze": ([constant("s", [0]), ("Unsqueeze", ["w", "s"], ["v"], {})], W[0], 1),
    "Squeeze": ([constant("s", [0]), ("Squeeze", ["w", "s"], ["v"], {})], W[None], 1),
    "Flatten": ([("Flatten", ["w"], ["v"], {"axis": 1})], W.reshape(3, 2, 2), 1),
}


@pytest.mark.parametrize("name", REARRANGED)
def test_a_weight_in_another_form_is_a_weight(name):
    nodes, stored, _ = REARRANGED[name]
    model = loaded([*nodes, ("Gemm", ["x", "v"], ["y"], {"transB": 1})], {"w": stored})
    assert [type(layer) for layer in model] == [nn.Linear]
    (weight,) = model.parameters()
    np.testing.assert_allclose(model(X), X @ weight.data.T, rtol=1e-5)
    assert weight.data.ravel().tolist() == (W[0] if name == "Unsqueeze" else W).ravel().tolist()


def test_an_identity_of_a_weight_is_a_weight_of_its_own_and_statistics_stay_buffers():
    ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
    model = loaded(
        [
            ("Identity", ["1.weight"], ["1.running_var"], {}),
            ("Identity", ["1.bias"], ["1.running_mean"], {}),
            ("BatchNormalization", ["x", "1.weight", "1.bias", "1.running_mean", "1.running_var"], ["y"], {}),
        ],
        {"1.weight": ones, "1.bias": zeros},
    )
    assert list(model.state_dict()) == [
        f"1.{name}" for name in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]
    assert len(list(model.parameters())) == 2
    np.testing.assert_allclose(model.eval()(X), X, rtol=1e-4)


def test_a_weight_that_is_read_as_it_is_and_turned_is_one():
    square = np.ascontiguousarray(W[:, :3] @ W[:, :3].T)
    model = loaded(
        [
            ("MatMul", ["x", "w"], ["h"], {}),
            ("Transpose", ["w"], ["v"], {"perm": (1, 0)}),
            ("Gemm", ["h", "v"], ["y"], {"transB": 1}),
        ],
        {"w": square},
        (3,),
    )
    assert len(list(model.parameters())) == 1


def test_a_weight_that_several_read_is_not_copied_into_another_form():
    model = loaded(
        [
            constant("s", [4]),
            ("Reshape", ["w", "s"], ["v"], {}),
            ("Add", ["x", "v"], ["h"], {}),
            ("Mul", ["h", "w"], ["y"], {}),
        ],
        {"w": W[:1]},
    )
    assert len(list(model.parameters())) == 1
    np.testing.assert_allclose(model(X), (X + W[0]) * W[:1], rtol=1e-6)
    assert gradcheck(model.astype(np.float64), X.astype(np.float64))


def test_arithmetic_on_constants_is_done_once():
    model = loaded(
        [
            constant("a", np.float32(6)),
            constant("b", np.float32(4)),
            ("Sub", ["a", "b"], ["c"], {}),
            ("Sqrt", ["b"], ["d"], {}),
            ("Div", ["c", "d"], ["e"], {}),
            ("Mul", ["x", "e"], ["h"], {}),
            constant("i", np.int64([7, -7])),
            constant("j", np.int64([2, 2])),
            ("Div", ["i", "j"], ["k"], {}),
            ("Concat", ["m", "n"], ["s"], {"axis": 0}),
            ("Reshape", ["h", "s"], ["y"], {}),
        ],
        {"m": np.int64([-1]), "n": np.int64([2, 2])},
        y=3,
    )
    np.testing.assert_allclose(model(X), X.reshape(-1, 2, 2), rtol=1e-6)
    assert not list(model.parameters())


@pytest.mark.parametrize("length", [1500, pytest.param(5000, marks=pytest.mark.slow)])  # beyond Python's 1000 frames
@pytest.mark.parametrize(
    "name", ["Relu", "Identity", "Add", "Transpose of a weight", "Identity of a weight", "Cast of a weight"]
)
def test_chains_of_any_length_load_and_are_used(name, length):
    operator, _, weight = name.partition(" of a ")
    attributes = {"Transpose": {"perm": (1, 0)}, "Cast": {"to": TensorProto.FLOAT}}.get(operator, {})
    if weight:
        nodes = [(operator, [f"w{i}"], [f"w{i + 1}"], attributes) for i in range(length)]
        nodes.append(("Gemm", ["x", f"w{length}"], ["y"], {"transB": 1}))
        model = loaded(nodes, {"w0": W})
        np.testing.assert_allclose(model(X), X @ W.T, rtol=1e-5)
        return
    values = ["x", *(f"v{i}" for i in range(1, length)), "y"]
    others = ["x"] if operator == "Add" else []
    model = loaded([(operator, [values[i], *others], [values[i + 1]], {}) for i in range(length)])
    assert model(X).shape == X.shape
    assert len(list(model.modules())) == length + 1
    assert model.backward(model(X)).shape == X.shape
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert len(list(twin.children())) == length


def test_names_of_many_dots_are_no_levels_without_end():
    name = ".".join("a" * 5000)
    model = loaded([("Relu", ["x"], ["h"], {"name": name + ".0"}), ("Tanh", ["h"], ["y"], {"name": name + ".1"})])
    np.testing.assert_allclose(model(X), np.tanh(np.maximum(X, 0)), rtol=1e-6)


def test_constants_do_not_grow_without_end():
    big = np.zeros((1000, 1000), np.float32)
    with pytest.raises(ValueError, match=r"onnx.load: expected constants of about the file's size"):
        loaded(
            [("Transpose", [f"w{i}"], [f"w{i + 1}"], {"perm": (1, 0)}) for i in range(100)]
            + [("MatMul", ["x", "w100"], ["y"], {})],
            {"w0": big},
            (1000,),
        )
    column, row = np.zeros((4000, 1), np.float32), np.zeros((1, 4000), np.float32)
    model = loaded(
        [constant("a", column), constant("b", row), ("Add", ["a", "b"], ["c"], {}), ("MatMul", ["x", "c"], ["y"], {})],
        x=(4000,),
    )
    assert isinstance(model, fastdl.onnx.Graph)


def shaped(*sizes):
    """Nodes that reshape x to what these values say, in a row."""
    return [("Concat", list(sizes), ["t"], {"axis": 0}), ("Reshape", ["x", "t"], ["y"], {})]


LEFT = constant("m", [-1])
SHAPE = ("Shape", ["x"], ["s"], {})
BOUNDS = constant("b", [0]), constant("e", [2])
PARTIAL = {
    "flatten from 2": (
        [SHAPE, *BOUNDS, ("Slice", ["s", "b", "e"], ["p"], {}), LEFT, *shaped("p", "m")],
        (5, 2, 12),
        nn.Flatten,
    ),
    "view of samples": (
        [
            *(SHAPE, constant("i", 0), ("Gather", ["s", "i"], ["g"], {"axis": 0}), constant("a", [0])),
            *(("Unsqueeze", ["g", "a"], ["u"], {}), LEFT, *shaped("u", "m")),
        ],
        (5, 24),
        nn.Flatten,
    ),
    "by start and end": (
        [("Shape", ["x"], ["p"], {"end": 1}), ("Shape", ["x"], ["q"], {"start": 3}), LEFT, *shaped("p", "m", "q")],
        (5, 6, 4),
        nn.Flatten,
    ),
    "samples elsewhere": (
        [("Shape", ["x"], ["p"], {"end": 1}), constant("c", [2]), constant("n", [12]), *shaped("c", "p", "n")],
        (2, 5, 12),
        None,
    ),
}


@pytest.mark.parametrize("name", PARTIAL)
def test_shapes_in_which_the_samples_are_not_known_are_followed(name):
    nodes, shape, layer = PARTIAL[name]
    model = loaded(nodes, x=(2, 3, 4), y=len(shape))
    x = np.arange(120, dtype=np.float32).reshape(5, 2, 3, 4)
    np.testing.assert_array_equal(model(x), x.reshape(shape))
    if layer is not None:
        assert [type(each) for each in model] == [layer]


def test_more_than_one_unknown_size_is_refused():
    nodes = [("Shape", ["x"], ["s"], {}), *shaped("s", "s", "s")]
    with pytest.raises(ValueError, match=r"one size at most is not known for Reshape y, got \(\?, 4, \?, 4, \?, 4\)"):
        loaded(nodes, y=6)
    nodes = [("Shape", ["x"], ["p"], {"end": 1}), constant("c", [2]), constant("n", [-1]), *shaped("c", "p", "n")]
    with pytest.raises(ValueError, match=r"one size at most is not known for Reshape y, got \(2, \?, -1\)"):
        loaded(nodes, x=(2, 3, 4), y=3)


@pytest.mark.parametrize(
    ("wanted", "shape"), [((1, 24), (5, 24)), ((1, 2, 12), (5, 2, 12)), ((1, -1, 4), (5, 6, 4)), ((1, 4, 6), (5, 4, 6))]
)
def test_a_file_for_one_sample_takes_several(wanted, shape):
    model = loaded([constant("s", wanted), ("Reshape", ["x", "s"], ["y"], {})], x=(2, 3, 4), samples=1, y=len(shape))
    x = np.arange(120, dtype=np.float32).reshape(5, 2, 3, 4)
    np.testing.assert_array_equal(model(x), x.reshape(shape))
    assert model(x[:1]).shape == (1, *shape[1:])


OPERATIONS = [
    arrangement.Slice(((1, 1, 100, 2),)),
    arrangement.Slice(((1, -1, -100, -1), (0, 0, -1, 1))),
    arrangement.Unsqueeze((1, -1)),
    elementwise.Exp(),
    elementwise.Neg(),
    elementwise.Abs(),
    elementwise.Reciprocal(),
    elementwise.Softsign(),
    elementwise.Power(2.0),
    elementwise.Power(3.0),
    elementwise.Clip(-0.75, 0.8),
    elementwise.HardSigmoid(0.2, 0.5),
    elementwise.HardSwish(),
    elementwise.Selu(1.6, 1.05),
    elementwise.Selu(0.7, 1.0, 0.7),
    elementwise.Mish(),
]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.spec())
def test_gradients_are_those_of_differences(operation):
    assert gradcheck(operation, X.astype(np.float64) * 2)


def test_gradients_of_what_is_defined_above_zero_are_those_of_differences():
    for operation in (elementwise.Sqrt(), elementwise.Log(), elementwise.Power(0.5)):
        assert gradcheck(operation, np.abs(X.astype(np.float64)) + 0.5)
    assert gradcheck(arrangement.Squeeze((1,)), X.astype(np.float64)[:, None])
