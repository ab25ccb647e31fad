"""grad, value_and_grad, jacobian and stop_gradient: derivatives of functions written in NumPy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import fastdl.graph.functions  # noqa: F401 - lets NumPy's functions take values
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph import operations
from fastdl.graph.gradient import gradient
from fastdl.graph.graph import Graph
from fastdl.graph.interpreter import run
from fastdl.graph.value import Value


def value_and_grad(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """Return a function that gives the result of another and its gradient.

    Args:
        function: takes arrays, computes in NumPy and returns one number.
        argnums: the number of the argument to differentiate with respect to, or a tuple of numbers.

    Returns:
        A function of the same arguments. It returns the result and the gradient, of the shape of that argument; a tuple of
        gradients where `argnums` is one. Within traced code it takes and returns traced values.

    Raises:
        TypeError: if the function uses what tracing cannot follow, or its result is no floating number.
        ValueError: if its result has axes.

    Example:
        >>> import numpy as np
        >>> value_and_grad(lambda x: np.sum(x**2))(np.array([1.0, 3.0]))
        (10.0, array([2., 6.]))

    Source: jax.value_and_grad.
    """
    name = getattr(function, "__name__", type(function).__name__)

    def differentiated(*arguments: Any) -> Any:
        wanted = argnums if isinstance(argnums, tuple) else (argnums,)
        traced = any(isinstance(each, Value) for each in arguments)
        values, graph, inputs = (list(arguments), None, {}) if traced else _traced(arguments)
        if any(not isinstance(values[n], Value) for n in wanted):
            raise InvalidTypeError(f"grad of {name}", "arrays to differentiate with respect to", f"argnums {argnums}")
        output = function(*values)
        if not isinstance(output, Value):
            raise InvalidTypeError(f"grad of {name}", "a result that depends on its arguments", type(output).__name__)
        if output.shape != ():
            raise InvalidValueError(
                f"grad of {name}",
                "one number as the result",
                f"shape {output.shape}",
                "write np.sum(...) or np.mean(...)",
            )
        gradients = gradient(output, [values[n] for n in wanted])
        if graph is not None:
            output, *gradients = run(graph, [output, *gradients], inputs)
            output = output.item()
        return output, tuple(gradients) if isinstance(argnums, tuple) else gradients[0]

    return differentiated


def grad(function: Callable[..., Any], argnums: int | tuple[int, ...] = 0) -> Callable[..., Any]:
    """Return a function that gives the gradient of another's result; see value_and_grad.

    Example:
        >>> import numpy as np
        >>> grad(grad(lambda x: x**3))(np.array(2.0))
        array(12.)

    Source: jax.grad.
    """
    both = value_and_grad(function, argnums)
    return lambda *arguments: both(*arguments)[1]


def jacobian(function: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """Return a function that gives all derivatives of another's result, of shape (*result, *argument).

    Example:
        >>> import numpy as np
        >>> jacobian(lambda x: x**2)(np.array([1.0, 3.0]))
        array([[2., 0.],
               [0., 6.]])

    Source: jax.jacobian.
    """
    name = getattr(function, "__name__", type(function).__name__)

    def all_derivatives(*arguments: Any) -> Any:
        values, graph, inputs = _traced(arguments)
        output = function(*values)
        if not isinstance(output, Value):
            raise InvalidTypeError(
                f"jacobian of {name}", "a result that depends on its arguments", type(output).__name__
            )
        shape = tuple(int(size) for size in output.shape)
        seed = graph.input("seed", output.shape, graph.dtype)
        (found,) = gradient(output, [values[argnums]], seed)
        rows = []
        for place in np.ndindex(shape):
            unit = np.zeros(shape, graph.dtype)
            unit[place] = 1
            rows.append(run(graph, [found], {**inputs, "seed": unit})[0])
        return np.array(rows, graph.dtype).reshape(shape + tuple(int(size) for size in values[argnums].shape))

    return all_derivatives


def weighed_gradient(function: Callable[[Any], Any], x: Any, weights: Any = None) -> Any:
    """The gradient with respect to x of the sum of a function's result, each element times its weight (1 where None).

    The function is traced at each call, so that it may read what changes in between.
    """
    (value,), graph, inputs = _traced((x,))
    output = function(value)
    if not isinstance(output, Value) or output.dtype.kind != "f":
        return np.zeros_like(x)
    seed = None
    if weights is not None:
        seed, inputs["weights"] = graph.input("weights", output.shape, graph.dtype), weights
    return run(graph, gradient(output, [value], seed), inputs)[0]


def stop_gradient(x: Any) -> Any:
    """Return x itself, which no gradient goes through where it is a traced value.

    Example:
        >>> import numpy as np
        >>> grad(lambda x: np.sum(x * stop_gradient(x)))(np.array([3.0]))
        array([3.])

    Source: jax.lax.stop_gradient, torch.Tensor.detach.
    """
    return operations.stop_gradient(x) if isinstance(x, Value) else x


def _traced(arguments: tuple[Any, ...]) -> tuple[list[Any], Graph, dict[str, Any]]:
    """Values for arguments, their graph, and the arrays that it reads."""
    arrays = [np.asarray(each) if isinstance(each, (np.ndarray, np.generic, float)) else None for each in arguments]
    kinds = {array.dtype for array in arrays if array is not None and array.dtype.kind == "f"}
    graph = Graph(np.float32 if kinds == {np.dtype(np.float32)} else np.float64)
    inputs = {str(n): array for n, array in enumerate(arrays) if array is not None}
    values = [
        each if array is None else graph.input(str(n), array.shape, array.dtype)
        for n, (each, array) in enumerate(zip(arguments, arrays, strict=True))
    ]
    return values, graph, inputs
