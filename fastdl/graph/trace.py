"""Tracing: a model's forward and its loss, run once on symbolic arrays, as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from inspect import Parameter as Argument
from inspect import signature
from itertools import count
from types import FunctionType
from typing import Any, NamedTuple

import fastdl.graph.functions  # noqa: F401 - lets NumPy's functions take values
from fastdl._kernels.grad_mode import Mode
from fastdl._kernels.replaced import Replaced
from fastdl.data.nested import call, mapped
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph import operations as op
from fastdl.graph.graph import Graph
from fastdl.graph.purity import traced_alike
from fastdl.graph.size import Size, same, spelled
from fastdl.graph.surroundings import Surroundings
from fastdl.graph.value import Value


class Trace(NamedTuple):
    """A traced model: its graph, its outputs as forward returns them, and the loss with its named terms, where there is one."""

    graph: Graph
    output: Any
    loss: Value | None
    terms: dict[str, Value]


class Terms(NamedTuple):
    """Losses by name, whose weighted sum is the loss."""

    losses: dict[str, Any]
    weights: dict[str, Any]


def inputs_of(graph: Graph, prefix: str, value: Any, samples: Any) -> Any:
    """Traced values in the place of arrays; `samples` is the size of their first axis, None for what it is."""
    number = count()

    def made(array: Any) -> Value:
        first = array.shape[0] if samples is None else samples
        return graph.input(f"{prefix}{next(number)}", (first, *array.shape[1:]), array.dtype)

    return mapped(value, made)


def loss_of(criterion: Any, output: Any, target: Any, model: Any, samples: Any) -> tuple[Value, dict[str, Value]]:
    """The loss that is trained on, and its named terms.

    It is one number: the mean of losses (N,) where the criterion returns these, the sum of terms where it returns a dictionary.
    """
    name = getattr(criterion, "__name__", type(criterion).__name__)
    arguments = [output] if target is None else [output, target]
    found = criterion(*arguments, model) if takes_model(criterion, len(arguments)) else criterion(*arguments)
    if isinstance(found, dict):
        found = Terms(found, dict.fromkeys(found, 1.0))
    if not isinstance(found, Terms):
        return _mean(name, found, samples), {}
    if not found.losses:
        raise InvalidValueError(name, "at least one loss in the dictionary", "none")
    terms = {key: _mean(f"{name}, {key!r}", each, samples) for key, each in found.losses.items()}
    weighed = [each if _is_one(found.weights[key]) else found.weights[key] * each for key, each in terms.items()]
    total = weighed[0]
    for each in weighed[1:]:
        total = op.elementwise("add", total, each)
    return total, terms


def _is_one(weight: Any) -> bool:
    return isinstance(weight, (int, float)) and weight == 1


def _mean(name: str, found: Any, samples: Any) -> Value:
    """A loss, or the mean of losses of samples."""
    if not isinstance(found, Value) or found.dtype.kind != "f":
        got = f"{found.dtype} values" if isinstance(found, Value) else type(found).__name__
        raise InvalidTypeError(name, "to return a loss computed from its arguments", got)
    if found.shape == ():
        return found
    if len(found.shape) != 1 or not same(found.shape[0], samples):
        raise InvalidValueError(
            name, "one number, or one loss for each sample", f"shape {spelled(found.shape)}", "write np.mean(...)"
        )
    return op.elementwise("divide", op.reduce("sum", found, (0,), False), found.size)


def takes_model(criterion: Any, given: int) -> bool:
    """Whether a criterion has an argument for the model behind those of outputs and targets: without a default, or so named."""
    if isinstance(criterion, FunctionType) and not vars(criterion):  # most are, and a signature takes long
        code = criterion.__code__
        required = code.co_argcount - len(criterion.__defaults__ or ())
        return given < required or (given < code.co_argcount and code.co_varnames[given] == "model")
    if is_pure(criterion):
        return False
    try:
        of: Any = getattr(criterion, "forward", None) if getattr(criterion, "_forward_only", False) else criterion
        arguments = list(signature(of).parameters.values())
    except (TypeError, ValueError):
        return False
    positional = [a for a in arguments if a.kind in (Argument.POSITIONAL_ONLY, Argument.POSITIONAL_OR_KEYWORD)]
    behind = positional[given:]
    return bool(behind) and (behind[0].default is Argument.empty or behind[0].name == "model")


SAMPLES = Size(1, ("N",))
# What an instance may have of its own that its class does not say.
OWN = {"forward", "backward", "backward_parameters", "_apply"}


def is_pure(module: Any) -> bool:
    """Whether a module or a criterion is fastdl's own, which computes the same each time: one trace tells all."""
    kind = type(module)
    known = hasattr(kind, "_objective") or (getattr(kind, "_pure", False) and kind._has_trace)
    return known and kind.__module__.startswith("fastdl.") and not OWN & vars(module).keys()


def trace(
    model: Any,
    given: tuple[Any, Any],
    dtype: Any,
    capacity: int,
    passing: frozenset[str],
    samples: Any = SAMPLES,
) -> Trace:
    """A model's forward as a graph, for arguments by place and by name like these; attributes named in `passing` may change."""

    def once(earlier: Graph | None, contents: Any = None) -> tuple[Graph, Trace]:
        graph = Graph(dtype, capacity, earlier)
        graph.stand_for(model, contents)
        with graph.traced():
            inputs, named = inputs_of(graph, "x", given, samples)
            return graph, Trace(graph, model(*inputs, **named), None, {})

    return _traced(once, model, [], passing)


def trace_loss(
    model: Any,
    criterion: Any,
    x: Any,
    y: Any,
    dtype: Any,
    capacity: int,
    passing: frozenset[str],
    samples: Any = SAMPLES,
) -> Trace:
    """A model's forward and its loss as a graph; y is None where the criterion takes outputs alone."""

    def once(earlier: Graph | None, contents: Any = None) -> tuple[Graph, Trace]:
        graph = Graph(dtype, capacity, earlier)
        graph.stand_for(model, contents)
        with Replaced(Mode(), "enabled", True), graph.traced():  # a fit within no_grad() is no other
            output = call(model, inputs_of(graph, "x", x, samples))
            target = None if y is None else inputs_of(graph, "y", y, samples)
            return graph, Trace(graph, output, *loss_of(criterion, output, target, model, samples))

    return _traced(once, model, [criterion], passing)


def _traced(once: Any, model: Any, criteria: Sequence[Any], passing: frozenset[str]) -> Any:
    """A trace, made once where all that is traced is fastdl's own."""
    contents = model._contents()
    if all(map(is_pure, (*contents.modules, *criteria))):
        return once(None, contents)[1]
    # Where two traces differ, another thread may have changed the model.
    known = iter([contents, contents])
    return traced_alike(lambda earlier: once(earlier, next(known, None)), model._traced_modules(), passing)


def surroundings(modules: Sequence[Any], *criteria: Any) -> Surroundings:
    """What the functions of modules and criteria read beside their arguments."""
    return Surroundings([each for each in (*modules, *criteria) if not is_pure(each)])
