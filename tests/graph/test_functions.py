"""Every NumPy function that a trace follows: the values NumPy gives, and gradients as central differences have them."""

import inspect
import sys
import warnings

import numpy as np
import pytest

from fastdl.graph import execution
from fastdl.graph.differentiate import value_and_grad
from fastdl.graph.gradient import missing
from fastdl.graph.graph import Graph
from fastdl.graph.interpreter import run
from fastdl.graph.size import Size
from fastdl.graph.value import FUNCTIONS, UFUNCS
from tests.graph import test_whole_numbers

RNG = np.random.default_rng(0)
A = RNG.uniform(0.2, 0.9, (3, 4))  # within every function's domain
B = RNG.uniform(1.1, 1.9, (3, 4))
M = RNG.standard_normal((4, 2))
T = RNG.standard_normal((2, 3, 4))
V = RNG.standard_normal(4)
I = np.array([[0, 3, 1], [2, 2, 0], [1, 0, 3]])
TIES = np.array([[1.0, 2.0, 2.0], [3.0, 3.0, 3.0]])

# Functions of one array, by a name for the test.
ONE = {
    **{name: getattr(np, name) for name in (
        *("exp", "expm1", "exp2", "log", "log1p", "log2", "log10", "sqrt", "square", "reciprocal", "abs", "negative"),
        *("sin", "cos", "tan", "tanh", "sinh", "cosh", "arctan", "arcsin", "arccos"),
    )},
    "power with a number": lambda x: x**3,
    "number to a power": lambda x: 2.0**x,
    "power -1": lambda x: x**-1.0,
    "reversed operators": lambda x: 2 - x + 3 / x - (-x) * 0.5,
    "remainder": lambda x: x % 0.3,
    "floor": lambda x: x * np.floor(3 * x),
    "round": lambda x: x * np.round(3 * x),
    "clip": lambda x: np.clip(x, 0.4, 0.7) * x,
    "clip above": lambda x: np.clip(x, None, 0.7) * x,
    "clip as a method": lambda x: x.clip(0.4, 0.7),
    "where": lambda x: np.where(x > 0.5, x**2, -x),
    "nan_to_num": lambda x: np.nan_to_num(x) * x,
    "sum": np.sum,
    "sum of axes": lambda x: np.sum(x, axis=(0, -1)),
    "sum keepdims": lambda x: x / x.sum(axis=1, keepdims=True),
    "add.reduce": lambda x: np.add.reduce(x, axis=1),
    "mean": lambda x: x.mean(axis=0),
    "var": lambda x: x.var(axis=1, ddof=1),
    "var with a correction": lambda x: np.var(x, axis=0, correction=1),
    "std with a correction": lambda x: np.std(x, correction=2),
    "std": lambda x: np.std(x, axis=0),
    "norm": lambda x: np.linalg.norm(x),
    "norm of rows": lambda x: x / np.linalg.norm(x, axis=1, keepdims=True),
    "norm of matrices": lambda x: np.linalg.norm(x[None], axis=(1, 2)) * np.linalg.norm(x, "fro"),
    "norms of other orders": lambda x: sum(np.linalg.norm(x, p, axis=0) for p in (0, 1, 3, -1, np.inf, -np.inf)),
    "prod": lambda x: np.prod(x, axis=1),
    "max": lambda x: x.max(axis=1),
    "min": lambda x: np.min(x),
    "maximum.reduce": lambda x: np.maximum.reduce(x),
    "argmax": lambda x: x * np.argmax(x, axis=1)[:, None],
    "argmin": lambda x: x.sum() * np.argmin(x, axis=0),
    "argmax of all": lambda x: x.sum() * np.argmax(x),
    "cumsum": lambda x: np.cumsum(x, axis=1) * x,
    "cumsum of all": lambda x: np.cumsum(x),
    "sort": lambda x: np.sort(x, axis=1) * np.arange(4),
    "argsort": lambda x: np.take_along_axis(x, np.argsort(x, axis=0), 0) * np.arange(3)[:, None],
    "any and all": lambda x: x * np.any(x > 0.8, axis=1)[:, None] + x * np.all(x > 0.1),
    "isfinite": lambda x: np.where(np.isfinite(x), x, 0),
    "reshape": lambda x: x.reshape(2, 6) * np.arange(6),
    "reshape -1": lambda x: x.reshape((-1, 2)) * np.arange(2),
    "ravel": lambda x: np.ravel(x) * np.arange(12),
    "transpose": lambda x: x.T * np.arange(3),
    "transpose as a method": lambda x: x.transpose(1, 0) * np.arange(3),
    "swapaxes": lambda x: np.swapaxes(x, 0, 1) * np.arange(3),
    "moveaxis": lambda x: np.moveaxis(x, 0, -1) * np.arange(3),
    "expand_dims": lambda x: np.expand_dims(x, 1) * np.ones((5, 1)),
    "squeeze": lambda x: np.squeeze(x[:, None]) * np.arange(4),
    "broadcast_to": lambda x: np.broadcast_to(x, (2, 3, 4)) * np.arange(2)[:, None, None],
    "concatenate": lambda x: np.concatenate([x, 2 * x, np.ones((1, 4))]) ** 2,
    "stack": lambda x: np.stack([x, x**2], axis=1),
    "split": lambda x: np.split(x, 2, axis=1)[0] * np.split(x, [1, 3], axis=1)[1],
    "flip": lambda x: np.flip(x, 1) * np.arange(4),
    "roll": lambda x: np.roll(x, 1, axis=1) * x,
    "roll of all": lambda x: np.roll(x, -5) * x,
    "repeat": lambda x: np.repeat(x, 2, axis=0) * np.arange(6)[:, None],
    "tile": lambda x: np.tile(x, (2, 3)) * np.arange(12),
    "pad": lambda x: np.pad(x, ((1, 0), (2, 1))) * np.arange(7),
    "pad with a number": lambda x: np.pad(x, 1, constant_values=2.0) ** 2,
    "pad with a number for each end": lambda x: np.pad(x, ((0, 2), (1, 1)), constant_values=((0, 0), (1.0, 2.0))) ** 2,
    "pad with numbers in corners": lambda x: np.pad(x, 1, constant_values=((1.0, 2.0), (3.0, 4.0))) ** 2,
    "pad of an axis": lambda x: np.pad(x, ((0, 0), (1, 0)), constant_values=-1) ** 2,
    "tril": lambda x: np.tril(x) ** 2,
    "triu": lambda x: np.triu(x, 1) ** 2,
    "tril of a row": lambda x: np.tril(x[0]) * np.arange(4),
    "triu of a row": lambda x: np.triu(x[0], -1) * np.arange(4),
    "diff": lambda x: np.diff(x, axis=0) ** 2,
    "diff of more": lambda x: np.diff(x, 2) ** 2,
    "vstack": lambda x: np.vstack([x, x[0] ** 2]),
    "hstack": lambda x: np.hstack([x, x**2]) * np.arange(8),
    "hstack of rows": lambda x: np.hstack((x[0], x[1])) * np.arange(8),
    "roll of axes": lambda x: np.roll(x, (1, -1), axis=(0, 1)) * x,
    "roll of axes by one number": lambda x: np.roll(x, 2, axis=(0, 1)) * x,
    "roll of an axis twice": lambda x: np.roll(x, (1, 2), axis=1) * x,
    "split of no columns": lambda x: np.concatenate([x, *np.split(x[:, :0], 3, axis=1)], axis=1) * x,
    "round to decimals": lambda x: x * np.round(9 * x, 1),
    "round to tens": lambda x: x * np.round(90 * x, -1),
    "divmod": lambda x: sum(divmod(3 * x, 0.7)),
    "divmod reversed": lambda x: sum(divmod(2.0, x)),
    "zeros_like": lambda x: np.zeros_like(x) + x,
    "full_like": lambda x: np.full_like(x, 3.0) * x,
    "an integer": lambda x: x[1] * x[-1],
    "a slice": lambda x: x[1:, ::2] * 3,
    "a slice backwards": lambda x: x[::-1, 3:0:-2] * np.arange(2),
    "None and an Ellipsis": lambda x: x[None, ..., 1] * np.arange(3),
    "an integer array": lambda x: x[:, np.array([0, 0, 3])] ** 2,
    "rows by a list": lambda x: x[[2, 0, 2]] ** 2,
    "pairs": lambda x: x[np.arange(3), np.array([3, 0, 3])] ** 2,
    "take": lambda x: np.take(x, I, axis=1) ** 2,
    "take clipped": lambda x: np.take(x, np.array([-2, 1, 9]), axis=1, mode="clip") ** 2,
    "take around": lambda x: np.take(x, np.array([-2, 1, 9]), axis=1, mode="wrap") ** 2,
    "take of all": lambda x: np.take(x, np.array([11, 0, 0])) ** 2,
    "take_along_axis": lambda x: np.take_along_axis(x, I, axis=1) ** 2,
    "astype": lambda x: x.astype(np.float64) * x.astype(int),
    "iteration": lambda x: sum(row * n for n, row in enumerate(x)),
    "copy": lambda x: x.copy() * 2,
    "shape, ndim and size": lambda x: x * np.shape(x)[1] * np.ndim(x) * np.size(x) * np.size(x, 0),
}  # fmt: skip
TWO = {
    "add": lambda x, y: x + y,
    "subtract": np.subtract,
    "multiply": lambda x, y: x * y,
    "divide": lambda x, y: x / y,
    "power": lambda x, y: x**y,
    "maximum": lambda x, y: np.maximum(x, y - 1),
    "minimum": lambda x, y: np.minimum(x, y - 1),
    "arctan2": np.arctan2,
    "logaddexp": np.logaddexp,
    "floor_divide": lambda x, y: x * (y // 0.3),
    "a row": lambda x, y: x * y[0],
    "a column": lambda x, y: x * y[:, :1],
    "an outer product": lambda x, y: x[:, 0][:, None] * y[0],
    "np.outer": lambda x, y: np.outer(x[0], y[:, 0]),
    "matmul": lambda x, y: x @ y.T,
    "dot": lambda x, y: np.dot(x, y.T),
    "dot of vectors": lambda x, y: x[0].dot(y[0]),
    "matrix and vector": lambda x, y: x @ y[0],
    "vector and matrix": lambda x, y: x[:, 0] @ y,
    "stacks of matrices": lambda x, y: np.matmul(T * x, y.T),
    "einsum": lambda x, y: np.einsum("ij,kj->ik", x, y),
    "einsum of three": lambda x, y: np.einsum("ij,kj,jl->ikl", x, y, M),
    "einsum without an arrow": lambda x, y: np.einsum("ij,ij", x, y),
    "einsum by numbers": lambda x, y: np.einsum(x, [0, 1], y, [2, 1], [2, 0]),
    "einsum by numbers without a result": lambda x, y: np.einsum(x, [0, 1], y, [2, 1]),
    "where of a condition": lambda x, y: np.where(x > y - 1, x, y),
}


def differences(function, x):
    found = np.zeros_like(x)
    for place in np.ndindex(x.shape):
        step = np.zeros_like(x)
        step[place] = 1e-6
        found[place] = (function(x + step) - function(x - step)) / 2e-6
    return found


def weighted(function, *arguments):
    """A function's sum, each element of its own weight, so that no part of a gradient is lost."""
    shape = np.shape(function(*arguments))
    weights = np.random.default_rng(1).uniform(0.5, 1.5, shape)
    return lambda *given: np.sum(function(*given) * weights)


def check(function, *arguments):
    graph = Graph(np.float64)
    values = [graph.input(str(n), each.shape, each.dtype) for n, each in enumerate(arguments)]
    (got,) = run(graph, [function(*values)], {str(n): each for n, each in enumerate(arguments)})
    want = np.asarray(function(*arguments))
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-13)
    number = weighted(function, *arguments)
    for n, x in enumerate(arguments):
        value, gradient = value_and_grad(number, n)(*arguments)
        assert value == pytest.approx(number(*arguments), rel=1e-12)
        assert gradient.shape == x.shape

        def of_one(one, n=n):
            return number(*(one if k == n else each for k, each in enumerate(arguments)))

        np.testing.assert_allclose(gradient, differences(of_one, x), rtol=2e-5, atol=2e-8)


@pytest.mark.parametrize("function", ONE.values(), ids=ONE)
def test_functions_of_one_array(function):
    check(function, A)


@pytest.mark.parametrize("function", TWO.values(), ids=TWO)
def test_functions_of_two_arrays(function):
    check(function, A, B)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3), (1, 1), (2, 1, 2)], ids=str)
def test_shapes_of_no_and_of_one_element(shape):
    x = np.random.default_rng(2).uniform(0.2, 0.9, shape)
    check(lambda x: np.exp(x) * x + np.sum(x), x)
    check(lambda x: np.sum(np.tanh(x), axis=tuple(range(x.ndim)), keepdims=True), x)


def test_float32_stays_float32_whatever_it_meets():
    value, gradient = value_and_grad(lambda x: np.sum(x / np.sqrt(8) * np.float64(3) + np.arange(4) * x))(
        V.astype(np.float32)
    )
    assert gradient.dtype == np.float32
    np.testing.assert_allclose(gradient, np.full(4, 3 / np.sqrt(8)) + np.arange(4), rtol=1e-6)
    assert isinstance(value, float)


def test_ties_share_the_gradient_as_in_torch():
    _, gradient = value_and_grad(lambda x: np.sum(x.max(axis=1)))(TIES)
    np.testing.assert_allclose(gradient, [[0, 0.5, 0.5], [1 / 3, 1 / 3, 1 / 3]])
    _, (one, other) = value_and_grad(lambda x, y: np.sum(np.maximum(x, y)), (0, 1))(np.zeros(2), np.array([0.0, 1.0]))
    np.testing.assert_allclose([one, other], [[0.5, 0], [0.5, 1]])


def test_the_product_of_some_zeros():
    _, gradient = value_and_grad(lambda x: np.sum(np.prod(x, axis=1)))(np.array([[2.0, 0.0, 3.0], [0.0, 0.0, 5.0]]))
    np.testing.assert_allclose(gradient, [[0, 6, 0], [0, 0, 0]])


def test_a_power_of_zero_has_the_derivative_that_torch_gives():
    _, gradient = value_and_grad(lambda x, p: np.sum(x**p), (0, 1))(
        np.array([0.0, 0.0, 2.0]), np.array([0.0, 2.0, 0.0])
    )
    np.testing.assert_allclose(gradient[0], [0, 0, 0])
    np.testing.assert_allclose(gradient[1], [0, 0, np.log(2)])


def test_derivatives_at_the_origin_and_at_infinity_are_those_of_torch():
    a, b = np.array([0.0, 1.0, 0.0, -0.0]), np.array([0.0, 0.0, 2.0, -0.0])
    of_a, of_b = value_and_grad(lambda a, b: np.sum(np.arctan2(a, b)), (0, 1))(a, b)[1]
    np.testing.assert_allclose(of_a, [0, 0, 0.5, 0])
    np.testing.assert_allclose(of_b, [0, -1, 0, 0])
    a, b = np.array([np.inf, 1.0, -np.inf, 5.0, 1000.0]), np.array([1.0, np.inf, 2.0, 5.0, 0.0])
    of_a, of_b = value_and_grad(lambda a, b: np.sum(np.logaddexp(a, b)), (0, 1))(a, b)[1]
    np.testing.assert_allclose(of_a, [1, 0, 0, 0.5, 1])
    np.testing.assert_allclose(of_b, [0, 1, 1, 0.5, 0])
    for order in (None, 1, 2, 3, np.inf):
        _, gradient = value_and_grad(lambda x, p=order: np.sum(np.linalg.norm(x, p, axis=1)))(np.zeros((2, 3)))
        np.testing.assert_array_equal(gradient, 0)


def test_variances_without_degrees_of_freedom_are_those_of_numpy():
    for ddof in (0, 1, 2, 3):
        for shape in ((0, 3), (1, 3), (2, 3), (3, 3)):
            x = np.random.default_rng(0).standard_normal(shape)
            graph = Graph(np.float64)
            values = [graph.input("x", shape, x.dtype), graph.input("n", (Size(1, ("N",)), 3), x.dtype)]
            for function in (np.var, np.std):
                given = {"x": x, "n": x}
                for value in values:
                    for got in (run, execution.run):
                        (found,) = got(graph, [function(value, axis=0, ddof=ddof)], given)
                        with np.errstate(all="ignore"), warnings.catch_warnings():
                            warnings.simplefilter("ignore")
                            np.testing.assert_allclose(found, function(x, axis=0, ddof=ddof), atol=1e-15)


@pytest.mark.parametrize("name", ["max", "min", "argmax", "argmin"])
def test_no_element_has_no_extreme(name):
    function, message = (
        getattr(np, name),
        rf"^test_functions\.py:\d+: np\.{name}: expected at least one element, got none$",
    )
    graph = Graph(np.float32)
    with pytest.raises(ValueError, match=message):
        function(graph.input("x", (3, 0), np.float32), axis=1)
    value = function(graph.input("n", (Size(1, ("N",)), 3), np.float32), axis=0)
    for each in (run, execution.run):
        with pytest.raises(ValueError, match=message):
            each(graph, [value], {"x": np.zeros((3, 0)), "n": np.zeros((0, 3), np.float32)})
    of_rows = function(graph.input("m", (Size(1, ("N",)), 3), np.float32), axis=1)
    truths = np.max(graph.input("b", (Size(1, ("N",)), 3), bool), axis=0)
    given = {
        "x": np.zeros((3, 0)),
        "n": np.zeros((0, 3)),
        "m": np.zeros((0, 3), np.float32),
        "b": np.zeros((0, 3), bool),
    }
    for each in (run, execution.run):
        assert each(graph, [of_rows], given)[0].shape == (0,)
        np.testing.assert_array_equal(each(graph, [truths], given)[0], False)


def test_what_is_not_chosen_by_where_sends_no_nan_back():
    _, gradient = value_and_grad(lambda x: np.sum(np.where(x > 0, np.log(np.where(x > 0, x, 1)), 0)))(
        np.array([-1.0, 2.0])
    )
    np.testing.assert_allclose(gradient, [0, 0.5])


def test_every_floating_operation_has_a_derivative():
    assert not missing()


def test_every_function_that_is_entered_is_tried_here():
    """The names of NumPy's functions stand in the sources of these tests and those of whole numbers."""
    source = inspect.getsource(sys.modules[__name__]) + inspect.getsource(test_whole_numbers)
    names = {function.__name__ for function in (*UFUNCS, *FUNCTIONS)}
    aliases = {"absolute": "abs", "amax": "max", "amin": "min", "rint": "round"}
    operators = {
        "equal",
        "not_equal",
        "less",
        "less_equal",
        "greater",
        "greater_equal",
        "sign",
        "isnan",
        "isinf",
        "trunc",
        "ceil",
    }
    logical = {"logical_and", "logical_or", "logical_xor", "logical_not", "ones_like"}
    untried = {name for name in names - operators - logical if aliases.get(name, name) not in source}
    assert not untried
