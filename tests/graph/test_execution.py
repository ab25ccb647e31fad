"""Graphs as native programs: what the interpreter computes, of every function, in both dtypes and for any number of samples."""

import numpy as np
import pytest
from hypothesis import given, settings

from fastdl.graph import execution, interpreter
from fastdl.graph.differentiate import _traced
from fastdl.graph.gradient import gradient
from fastdl.graph.graph import Graph
from fastdl.graph.size import ObservedSizeError, Size
from tests.graph.test_functions import ONE, TWO, A, B, I
from tests.graph.test_random_graphs import STEPS, X, Y, computation

F32 = np.float32


def compare(graph, values, inputs, tolerance=1e-10):
    """Both ways to run a graph; whole numbers and truth values alike, floats to rounding."""
    wanted, got = interpreter.run(graph, values, inputs), execution.run(graph, values, inputs)
    for one, other in zip(wanted, got, strict=True):
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        if one.dtype.kind == "f":
            bound = tolerance * (1 + np.abs(one[np.isfinite(one)]).max(initial=0))
            np.testing.assert_allclose(other, one, rtol=tolerance, atol=bound)
        else:
            np.testing.assert_array_equal(other, one)


@pytest.mark.parametrize("function", [*ONE.values(), *TWO.values()], ids=[*ONE, *TWO])
def test_every_function_and_its_gradient(each_dtype, function):
    for dtype in each_dtype():
        arrays = [each.astype(dtype) for each in ((A, B) if function in TWO.values() else (A,))]
        values, graph, inputs = _traced(tuple(arrays))
        result = function(*values)
        seed = graph.input("seed", result.shape, graph.dtype)
        inputs["seed"] = np.random.default_rng(3).standard_normal(tuple(map(int, result.shape)))
        compare(graph, [result, *gradient(result, values, seed)], inputs, 1e-10 if dtype == np.float64 else 2e-5)


@settings(max_examples=40, deadline=None, derandomize=True)
@given(STEPS)
def test_random_computations(steps):
    values, graph, inputs = _traced((X, Y))
    result = computation(steps)(*values)
    compare(graph, [result, *gradient(result, values)], inputs)


# Functions of samples by features, whatever the number of samples.
OPEN = {
    "elements": lambda x: np.tanh(x) * x + 1,
    "mean over samples": lambda x: x - np.mean(x, axis=0),
    "all products": lambda x: x @ x.T,
    "reshape": lambda x: np.sum(x.reshape(-1), keepdims=True) * x,
    "transpose": lambda x: np.exp(x.T).T,
    "cut of features": lambda x: x[:, 1:3] * x[:, :1],
    "first feature": lambda x: x[:, 0] ** 2,
    "flip of samples": lambda x: x[::-1] * x,
    "put": lambda x: np.pad(x, ((0, 0), (1, 2))) * 2,
    "concatenate samples": lambda x: np.concatenate([x, 2 * x]) ** 2,
    "concatenate features": lambda x: np.concatenate([x, x * x, np.ones_like(x)], axis=1),
    "stack": lambda x: np.stack([x, np.sin(x)], axis=1),
    "outer": lambda x: x[:, None, :] * x[None, :, :],
    "sort": lambda x: np.sort(x, axis=0) * x,
    "cumsum": lambda x: np.cumsum(x, axis=0) * x,
    "largest": lambda x: np.max(x, axis=1) + np.min(x),
    "argmax": lambda x: x * np.argmax(x, axis=1)[:, None],
    "take": lambda x: np.take(x, np.argsort(x[:, 0]), axis=0) * x,
    "size": lambda x: x / x.size + x.shape[1],
    "var": lambda x: np.var(x, axis=0) + np.std(x),
}


@pytest.mark.parametrize("name", OPEN)
def test_one_program_serves_every_number_of_samples(name):
    """The same graph is lowered once for the largest batch, and run for smaller ones."""
    graph = Graph(np.float64)
    value = graph.input("x", (Size(1, ("N",)), 5), np.float64)
    result = OPEN[name](value)
    gradients = gradient(result, [value])
    for samples in (7, 1, 64, 2):
        x = np.random.default_rng(samples).uniform(0.2, 0.9, (samples, 5))
        compare(graph, [result, *gradients], {"x": x})


def test_an_index_that_is_out_of_range_is_an_error_that_names_the_line():
    graph = Graph(np.float32)
    x, index = graph.input("x", A.shape, F32), graph.input("i", I.shape, np.int64)
    value = np.take_along_axis(x, index, axis=1)
    for wrong in (4, -5, 2**40):
        bad = I.copy()
        bad[1, 2] = wrong
        with pytest.raises(IndexError, match=r"^test_execution\.py:\d+: expected indices within the axis"):
            execution.run(graph, [value], {"x": A, "i": bad})
    execution.run(graph, [value], {"x": A, "i": I - 4})  # from the end


def test_whole_numbers_beyond_float32_stay_exact():
    graph = Graph(np.float32)
    ids = graph.input("ids", (3,), np.int64)
    got = execution.run(graph, [ids + 1, ids // 3, ids % 7, ids > 2**24], {"ids": np.array([2**24 + 1, -5, 2**60 + 3])})
    np.testing.assert_array_equal(got[0], [2**24 + 2, -4, 2**60 + 4])
    np.testing.assert_array_equal(got[1], [(2**24 + 1) // 3, -2, (2**60 + 3) // 3])
    np.testing.assert_array_equal(got[2], [(2**24 + 1) % 7, 2, (2**60 + 3) % 7])
    np.testing.assert_array_equal(got[3], [True, False, True])


def test_numbers_are_computed_by_the_trace():
    graph = Graph(np.float32)
    x = graph.input("x", (3,), F32)
    assert all(each.number == x.number for each in (x * 1.0, 1.0 * x, x / 1, x**1))
    before = len(graph.nodes)
    assert graph.nodes[(x**2).number].operation == "square"
    assert {node.operation for node in graph.nodes[before:]} <= {"square", "constant"}


def test_a_size_that_the_trace_asks_for_is_said():
    graph = Graph(np.float32)
    x = graph.input("x", (Size(1, ("N",)), 2), F32)
    with pytest.raises(ObservedSizeError):
        len(x)


def test_axes_are_joined_only_where_elements_follow_one_another():
    x = np.arange(16.0).reshape(4, 4)
    graph = Graph(np.float64)
    value = graph.input("x", (4, 4), np.float64)
    compare(graph, [np.tanh(value[:, :3]), np.sum(value[:, :3]), np.exp(-value[:, 1:].T)], {"x": x})
