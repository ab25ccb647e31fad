"""Graphs and their operations: values and gradients, with and without broadcasting. None of this needs onnx."""

import math

import numpy as np
import pytest

from fastdl import nn
from fastdl.onnx import operation
from fastdl.onnx.activation import Erf
from fastdl.onnx.expression import match, write
from fastdl.onnx.graph import Constant, Graph, Step, Weight
from fastdl.testing import gradcheck

DOUBLE = np.float64


def drawn(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def with_weight(module, weight, first=True):
    """A graph of one operation on its input and a weight, in this order or the other."""
    reads = ("x", "w") if first else ("w", "x")
    weight = Weight(nn.Parameter(weight))
    return Graph(["x"], [Step("w", weight, (), "w"), Step("operation", module, reads, "y")], "y")


TWO = {
    "Add": (operation.Add(), np.add),
    "Sub": (operation.Sub(), np.subtract),
    "Mul": (operation.Mul(), np.multiply),
    "Div": (operation.Div(), np.divide),
}
SHAPES = [((3, 4), (3, 4)), ((3, 4), (4,)), ((2, 3, 4), (3, 1)), ((4,), (2, 3, 4)), ((3, 1), (1, 4)), ((3, 4), ())]


@pytest.mark.parametrize(("x", "w"), SHAPES, ids=str)
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("name", TWO)
def test_arithmetic_is_numpys_and_has_its_gradients(name, first, x, w):
    module, function = TWO[name]
    x, w = drawn(*x), np.asarray(drawn(*w, seed=1)) + 3
    pair = (x + 3, w) if first else (w, x + 3)
    model = with_weight(module, w, first)
    np.testing.assert_allclose(model(x + 3), function(*pair), rtol=1e-15)
    assert gradcheck(model, x + 3)


@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize(
    ("x", "w"),
    [
        ((3, 4), (4, 2)),
        ((2, 3, 4), (4, 2)),
        ((5, 2, 3, 4), (2, 4, 2)),
        ((4,), (2, 4, 3)),
        ((2, 3, 4), (4,)),
        ((4,), (4,)),
    ],
    ids=str,
)
def test_products_are_numpys_and_have_their_gradients(first, x, w):
    a, b = (drawn(*x), drawn(*w, seed=1))
    x, w = (a, b) if first else (b, a)
    model = with_weight(operation.MatMul(), w, first)
    np.testing.assert_allclose(model(x), np.matmul(a, b), rtol=1e-12)
    assert gradcheck(model, x)


EDGES = ((0, 0), (0, 0), (1, 2), (0, 3))
ONE = {
    "Reshape": (operation.Reshape((0, -1)), (2, 3, 4), lambda x: x.reshape(2, 12)),
    "Reshape to what is left": (operation.Reshape((-1, 4)), (2, 3, 4), lambda x: x.reshape(6, 4)),
    "Matrix": (operation.Matrix(2), (2, 3, 4), lambda x: x.reshape(6, 4)),
    "Matrix from the end": (operation.Matrix(-2), (2, 3, 4), lambda x: x.reshape(2, 12)),
    "Transpose": (operation.Transpose((1, 2, 0)), (2, 3, 4), lambda x: x.transpose(1, 2, 0)),
    "Transpose around": (operation.Transpose(), (2, 3, 4), lambda x: x.T),
    "Take": (operation.Take(-1, 1), (2, 3, 4), lambda x: x[:, -1]),
    "Take several": (operation.Take(((0, 2), (0, 0)), 2), (2, 3, 4), lambda x: x[:, :, [[0, 2], [0, 0]]]),
    "Mean": (operation.Mean((0, -1), False), (2, 3, 4), lambda x: x.mean(axis=(0, 2))),
    "Mean of all": (operation.Mean(), (2, 3, 4), lambda x: x.mean(keepdims=True)),
    "Mean of planes": (operation.Mean(...), (2, 3, 4), lambda x: x.mean(axis=2, keepdims=True)),
    "Pad": (operation.Pad((1, 0), (2, 3), 5.0), (2, 1, 3, 4), lambda x: np.pad(x, EDGES, constant_values=5)),
    "Erf": (Erf(), (4, 5), np.vectorize(math.erf)),
    "Concat with itself": (Graph("x", [Step("c", operation.Concat(-1), ("x", "x"), "y")], "y"), (2, 3), lambda x: np.tile(x, 2)),
    "square": (Graph("x", [Step("m", operation.Mul(), ("x", "x"), "y")], "y"), (2, 3), np.square),
}  # fmt: skip


@pytest.mark.parametrize("name", ONE)
def test_operations_of_one_input_have_their_gradients(name):
    module, shape, function = ONE[name]
    x = drawn(*shape)
    np.testing.assert_allclose(module(x), function(x), rtol=1e-12)
    assert gradcheck(module, x)


def test_the_error_function_is_good_everywhere(dtype):
    x = np.concatenate([np.linspace(-6, 6, 2001), [0.0, -0.0, 1e-30, -1e-8, 0.49999, 0.5, np.inf, -np.inf]])
    y = Erf()(x.astype(dtype))
    want = np.vectorize(math.erf)(x.astype(dtype).astype(DOUBLE))
    assert y.dtype == dtype
    np.testing.assert_allclose(y, want, rtol=8 * np.finfo(dtype).eps)
    assert np.isnan(Erf()(np.array([np.nan], dtype))).all()


def test_where_takes_from_either_side_and_so_do_gradients():
    steps = [
        Step("zero", Constant(np.zeros(())), (), "zero"),
        Step("w", Weight(nn.Parameter(drawn(3, seed=2))), (), "w"),
        Step("above", operation.Greater(), ("x", "zero"), "above"),
        Step("choose", operation.Where(), ("above", "x", "w"), "y"),
    ]
    model, x = Graph(["x"], steps, "y"), drawn(4, 3)
    np.testing.assert_array_equal(model(x), np.where(x > 0, x, steps[1].module.value.data))
    assert gradcheck(model, x)


def test_concat_puts_side_by_side_and_takes_gradients_apart():
    model = with_weight(operation.Concat(1), drawn(2, 5))
    np.testing.assert_array_equal(model(drawn(2, 3)), np.concatenate([drawn(2, 3), drawn(2, 5)], axis=1))
    assert gradcheck(model, drawn(2, 3))


def test_a_frozen_weight_has_no_gradient_and_a_constant_never_has():
    model = with_weight(operation.Mul(), drawn(3)).requires_grad_(False)
    model.backward(np.ones_like(model(drawn(2, 3))))
    assert all((parameter.grad == 0).all() for parameter in model.parameters())
    assert list(Constant(np.ones(2)).parameters()) == []


def test_an_input_that_nothing_reads_has_a_gradient_of_zeros():
    model = Graph(["a", "b"], [Step("relu", nn.ReLU(), ("a",), "y")], "y")
    model(np.ones(2), np.ones(3))
    ga, gb = model.backward(np.ones(2))
    assert (ga.tolist(), gb.tolist()) == ([1, 1], [0, 0, 0])


def test_one_module_may_stand_in_several_steps():
    tanh = nn.Tanh()
    model = Graph(["x"], [Step("first", tanh, ("x",), "a"), Step("second", tanh, ("a",), "y")], "y")
    assert gradcheck(model, drawn(2, 3))


def test_without_gradients_nothing_is_kept():
    model = with_weight(operation.Mul(), drawn(3))
    with nn.no_grad():
        model(drawn(2, 3))
    with pytest.raises(RuntimeError, match=r"Graph\(x -> y, 2 steps\): expected a forward before each backward"):
        model.backward(np.ones((2, 3)))


@pytest.mark.parametrize(
    ("call", "kind", "message"),
    [
        (
            lambda: operation.Add()(np.ones(2), np.ones(3)),
            ValueError,
            r"Add\(\): .* go together, got \(2,\) and \(3,\)",
        ),
        (lambda: operation.MatMul()(np.ones(2), np.ones(3)), ValueError, r"MatMul\(\): .* go together"),
        (lambda: operation.Concat(1)(np.ones((2, 2)), np.ones((3, 2))), ValueError, r"Concat\(1\): .* go together"),
        (
            lambda: operation.Reshape((5,))(np.ones(4)),
            ValueError,
            r"Reshape\(\(5,\)\): .* this shape holds, got \(4,\)",
        ),
        (lambda: operation.Matrix(3)(np.ones(4)), ValueError, "an axis 3"),
        (lambda: operation.Transpose((0, 0))(np.ones((2, 2))), ValueError, "an input of 2 axes"),
        (lambda: operation.Take(4, 0)(np.ones(4)), ValueError, "with these places"),
        (lambda: operation.Take(0, 1)(np.ones(4)), ValueError, "with these places"),
        (lambda: operation.Mean((1,))(np.ones(4)), ValueError, "with these axes"),
        (lambda: operation.Pad((1,), (1,))(np.ones(4)), ValueError, "an input of 3 axes"),
        (lambda: Graph(["x"], [], "y"), ValueError, "a step that yields 'y'"),
        (lambda: Graph(["x"], [Step("a", nn.ReLU(), ("z",), "y")], "y"), ValueError, "'a' with 'z' before it is there"),
        (lambda: Graph(["x"], [Step("a", nn.ReLU(), ("x",), "x")], "x"), ValueError, "'a' with a name that is taken"),
        (lambda: Graph(["x"], [Step("a", "relu", ("x",), "y")], "y"), TypeError, "a Module for a, got 'relu'"),
        (lambda: Graph(["x"], [Step("a", nn.ReLU(), ("x",), "y")], "y")([1.0]), TypeError, "a NumPy array"),
    ],
)
def test_what_does_not_go_together_is_refused(call, kind, message):
    with pytest.raises(kind, match=message):
        call()


SILU = ("Mul", "x", ("Sigmoid", "x"))


def written(formula, **variables):
    """The nodes of a formula by their outputs, its constants, and its result."""
    nodes, constants = {}, {}

    def node(operator, *inputs):
        nodes[f"v{len(nodes)}"] = operator, list(inputs)
        return f"v{len(nodes) - 1}"

    def constant(number):
        constants[f"c{len(constants)}"] = number
        return f"c{len(constants) - 1}"

    return nodes, constants, write(formula, variables, node, constant)


def test_a_formula_is_recognized_as_it_was_written():
    formula = ("Mul", ("Add", ("Erf", ("Div", "x", 2.0)), 1.0), "x")
    nodes, constants, value = written(formula, x="input")
    assert match(formula, value, nodes.get, constants.get) == {"x": "input"}


def test_equal_parts_are_written_once():
    square = ("Mul", "x", "x")
    nodes, constants, _ = written(("Add", ("Sub", square, 1.0), ("Sub", square, 1.0)), x="input")
    assert [operator for operator, _ in nodes.values()] == ["Mul", "Sub", "Add"]
    assert len(constants) == 1


@pytest.mark.parametrize(
    ("nodes", "found"),
    [
        ({"s": ("Sigmoid", ["a"]), "y": ("Mul", ["a", "s"])}, {"x": "a"}),
        ({"s": ("Sigmoid", ["a"]), "y": ("Mul", ["s", "a"])}, {"x": "a"}),
        ({"s": ("Sigmoid", ["b"]), "y": ("Mul", ["s", "a"])}, None),
        ({"s": ("Tanh", ["a"]), "y": ("Mul", ["s", "a"])}, None),
        ({"s": ("Sigmoid", ["a"]), "y": ("Sub", ["a", "s"])}, None),
        ({"y": ("Mul", ["a", "s"])}, None),
    ],
)
def test_products_are_recognized_in_either_order_and_only_of_the_same_value(nodes, found):
    assert match(SILU, "y", nodes.get, {}.get) == found


def test_numbers_are_those_of_the_formula_or_are_reported():
    nodes = {"y": ("Div", ["a", "c"])}
    assert match(("Div", "x", 2.0), "y", nodes.get, {"c": 2.0}.get) == {"x": "a"}
    assert match(("Div", "x", 2.0), "y", nodes.get, {"c": 2.1}.get) is None
    assert match(("Div", "x", "beta_number"), "y", nodes.get, {"c": 2.1}.get) == {"x": "a", "beta_number": "c"}
    assert match(("Div", "x", "beta_number"), "y", nodes.get, {}.get) is None
    twice = {"m": ("Mul", ["a", "c"]), "y": ("Div", ["m", "d"])}
    formula = ("Div", ("Mul", "x", "beta_number"), "beta_number")
    assert match(formula, "y", twice.get, {"c": 2.0, "d": 2.0}.get) == {"x": "a", "beta_number": "c"}
    assert match(formula, "y", twice.get, {"c": 2.0, "d": 3.0}.get) is None
