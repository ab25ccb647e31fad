"""What a trace cannot follow is refused in one sentence that names the user's line and the way out."""

import copy
import pickle
import re

import numpy as np
import pytest

from fastdl.graph.differentiate import grad, jacobian, value_and_grad
from fastdl.graph.graph import Graph
from fastdl.graph.interpreter import first_not_finite

X = np.ones((3, 4))
REFUSED = {
    "if": (lambda x: x if x.sum() > 0 else -x, "np.where"),
    "and": (lambda x: (x > 0) and x, "np.where"),
    "float": (lambda x: float(x[0, 0]), "keep it an array"),
    "int": (lambda x: int(x[0, 0]), "keep it an array"),
    "asarray": (lambda x: np.asarray(x), "NumPy's functions"),
    "array's own dot": (lambda x: X.T.dot(x), "NumPy's functions"),
    "item assignment": (lambda x: x.__setitem__(0, 1), "np.where"),
    "a mask": (lambda x: x[X > 0], "np.where"),
    "where of one argument": (lambda x: np.where(x > 0), "np.where(condition, x, y)"),
    "nonzero": (lambda x: np.nonzero(x), "tracing can"),
    "unique": (lambda x: np.unique(x), "tracing can"),
    "a ufunc of no derivative": (lambda x: np.frexp(x), "tracing can"),
    "out": (lambda x: np.exp(x, out=np.empty_like(X)), "y = f(x)"),
    "ufunc where": (lambda x: np.exp(x, where=X > 0), "np.where"),
    "at": (lambda x: np.add.at(x, 0, 1), "tracing can"),
    "accumulate": (lambda x: np.add.accumulate(x), "tracing can"),
    "einsum of a diagonal": (lambda x: np.einsum("ii", x[:, :3]), "each letter once"),
    "pad of a mode": (lambda x: np.pad(x, 1, mode="edge"), "constant"),
    "in": (lambda x: 1 in x, "np.any"),
    "a number in a text": (lambda x: f"{x[0, 0]:.2f}", "keep it an array"),
    "an element as a number": (lambda x: x.item(0), "keep it an array"),
    "a mode of take": (lambda x: np.take(x, [0], mode="buffered"), '"clip" or "wrap"'),
    "nan_to_num in place": (lambda x: np.nan_to_num(x, copy=False), "y = np.nan_to_num(x)"),
    "einsum to a diagonal": (lambda x: np.einsum("ij->ii", x), "each letter of the operands once"),
    "einsum to a new axis": (lambda x: np.einsum("ij->ijk", x), "each letter of the operands once"),
    "einsum with a sign": (lambda x: np.einsum("i$->i", x), "every axis by a letter"),
    "ravel in another order": (lambda x: x.ravel("F"), "np.ravel, with order='F'; leave it out"),
    "flatten in another order": (lambda x: x.flatten(order="F"), "np.ravel, with order='F'; leave it out"),
    "reshape in another order": (lambda x: x.reshape(4, 3, order="F"), "np.reshape, with order='F'; leave it out"),
    "a slice to a value": (lambda x: x[: x[0, 0]], "keep it an array"),
    "einsum with an Ellipsis": (lambda x: np.einsum(x, [..., 0], [0]), "every axis by a letter"),
    "var where": (lambda x: np.var(x, where=X > 0), "np.var, with where=; leave it out"),
    "mean where": (lambda x: np.mean(x, where=X > 0), "np.mean, with where=; leave it out"),
    "diff with more": (lambda x: np.diff(x, prepend=0), "np.diff, with prepend=; leave it out"),
    "norm of singular values": (lambda x: np.linalg.norm(x, 2), "write axis="),
    "median": (lambda x: np.median(x), "np.sort(x, axis=...)"),
    "average": (lambda x: np.average(x), "np.sum(w * x) / np.sum(w)"),
    "hypot": (lambda x: np.hypot(x, x), "np.sqrt(x**2 + y**2)"),
    "append": (lambda x: np.append(x, x), "np.concatenate"),
    "an attribute of arrays": (lambda x: x.flat, "tracing can"),
    "a method of arrays": (lambda x: x.partition(1), "tracing can"),
    "svd": (lambda x: np.linalg.svd(x), "tracing can"),
}


@pytest.mark.parametrize(("function", "hint"), REFUSED.values(), ids=REFUSED)
def test_what_cannot_be_followed_is_refused(function, hint):
    with pytest.raises(TypeError) as error:
        grad(lambda x: np.sum(function(x)))(X)
    message = str(error.value)
    assert re.match(r"test_refused\.py:\d+: expected .*, got ", message)
    assert hint in message
    assert "\n" not in message


def test_what_arrays_do_not_have_either_is_an_attribute_error():
    value = Graph(np.float64).input("x", (3,), np.float64)
    for name in ("nothing", "__array_interface__"):
        assert not hasattr(value, name)
    with pytest.raises(AttributeError, match="'Value' object has no attribute 'nothing'"):
        value.nothing  # noqa: B018
    assert not hasattr(value, "flat")


def test_shapes_that_do_not_fit_are_value_errors_that_name_the_line():
    for function in (
        lambda x: x + np.ones(3),
        lambda x: x @ x,
        lambda x: x.reshape(5, 2),
        lambda x: np.concatenate([x, np.ones((3, 5))]),
        lambda x: x.sum(axis=2),
        lambda x: x[7],
        lambda x: np.squeeze(x, 0),
        lambda x: np.broadcast_to(x, (3, 5)),
        lambda x: np.split(x, 2),
        lambda x: np.pad(x, ((1, 1), (0, 0), (0, 0))),
        lambda x: np.pad(x, -1),
        lambda x: np.roll(x, (1, 2, 3), axis=(0, 1)),
        lambda x: np.tril(x[0, 0]),
        lambda x: x[::0],
    ):
        with pytest.raises(ValueError, match=r"^test_refused\.py:\d+.*expected .*, got "):
            grad(lambda x, f=function: np.sum(f(x)))(X)


def test_sizes_and_slices_are_whole_numbers():
    for function, message in (
        (lambda x: x.reshape("a"), "reshape: expected whole numbers as sizes, got 'a'"),
        (lambda x: x[:, "a":], "x[...]: expected whole numbers in a slice, got slice('a', None, None)"),
    ):
        with pytest.raises(TypeError, match=rf"^test_refused\.py:\d+: {re.escape(message)}$"):
            grad(lambda x, f=function: np.sum(f(x)))(X)


def test_a_result_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match=r"^grad of <lambda>: expected one number as the result, got shape \(3, 4\); "):
        grad(lambda x: x * 2)(X)
    with pytest.raises(TypeError, match="expected a result that depends on its arguments, got float"):
        grad(lambda x: 3.0)(X)
    with pytest.raises(TypeError, match="expected a floating value to differentiate"):
        grad(lambda x: np.argmax(x))(X)
    with pytest.raises(TypeError, match="expected arrays to differentiate with respect to, got argnums 0"):
        value_and_grad(lambda n, x: np.sum(x) * n)(2, X)
    with pytest.raises(TypeError, match="expected a result that depends"):
        jacobian(lambda x: X)(X)


def test_a_value_of_an_earlier_trace_is_refused():
    stored = []

    def store(x):
        stored.append(x)
        return np.sum(x)

    grad(store)(X)
    with pytest.raises(
        TypeError, match=r"values of one trace, got one that an earlier trace has left; store no values"
    ):
        grad(lambda x: np.sum(x + stored[0]))(X)


def test_a_value_is_not_pickled_or_copied_deeply_but_is_its_own_copy():
    def spread(x):
        assert copy.copy(x) is x
        for duplicate in (copy.deepcopy, pickle.dumps):
            with pytest.raises(TypeError, match="stay in its trace"):
                duplicate(x)
        return np.sum(x)

    grad(spread)(X)


def test_complex_numbers_and_texts_are_refused():
    for constant in (1j, "a"):
        with pytest.raises((TypeError, ValueError)):
            grad(lambda x, c=constant: np.sum(x * c))(X)


def test_the_first_value_that_is_not_finite_is_found_with_its_line():
    graph = Graph(np.float64)
    x = graph.input("x", (3,), np.float64)
    y = np.sum(np.sqrt(np.log(x)) * 0)
    found = first_not_finite(graph, [y], {"x": np.array([1.0, 2.0, 0.5])})
    assert found is not None
    assert found[0] == "sqrt"
    assert re.match(r"test_refused\.py:\d+$", found[1])
    assert first_not_finite(graph, [y], {"x": np.array([1.0, 2.0, 1.5])}) is None


def test_derivatives_of_derivatives():
    x = np.array([0.5, 1.5])
    cubed = grad(grad(lambda t: np.sum(t**3)))  # the second is of one number only
    with pytest.raises(ValueError, match="one number"):
        cubed(x)
    penalty = grad(lambda t: np.sum(grad(lambda s: np.sum(np.sin(s) * s))(t) ** 2))
    step = 1e-6

    def slope(t):
        return np.sum((np.cos(t) * t + np.sin(t)) ** 2)

    want = [(slope(x + step * unit) - slope(x - step * unit)) / (2 * step) for unit in np.eye(2)]
    np.testing.assert_allclose(penalty(x), want, rtol=1e-6)
    np.testing.assert_allclose(jacobian(grad(lambda t: np.sum(t**4)))(x), np.diag(12 * x**2))
