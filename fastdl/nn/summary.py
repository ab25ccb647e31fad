"""summary: a model's layers as a table, with what each puts out, holds and multiplies."""

from __future__ import annotations

import copy
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count
from math import prod
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastdl._kernels.quiet import Quiet
from fastdl.errors import InvalidValueError
from fastdl.graph.value import Value
from fastdl.messages import shown
from fastdl.nn.copying import copy_of
from fastdl.nn.grad_mode import no_grad
from fastdl.nn.parameter import Parameter
from fastdl.nn.walk import in_python, weights_dtype
from fastdl.validation import sample_shape

if TYPE_CHECKING:
    from fastdl.nn.module import Module

Shape = tuple[int, ...]
# The bytes of a sample up to which a model may be run to find its shapes.
LARGEST = 2**30


class Row(NamedTuple):
    """A call of a layer.

    Args:
        name: its dotted name; empty for the model itself.
        layer: its type, with the arguments where nothing is inside.
        output_shape: of one sample; None where the layer was not called, or gave no array.
        parameters: its own, as far as no row above counts them.
        multiply_adds: its own, for one sample.
    """

    name: str
    layer: str
    output_shape: Shape | None
    parameters: int
    multiply_adds: int


@dataclass(frozen=True, repr=False)
class Summary:
    """A model's table of layers; str and repr are the table.

    Args:
        rows: the calls in their order, a container's before those inside it; at the end the layers that were not called.
        parameters: how many there are.
        trainable: how many of them are not frozen.
        multiply_adds: for one sample, forward.
        nbytes: the bytes of parameters and buffers; gradients are not in it.
    """

    rows: tuple[Row, ...]
    parameters: int
    trainable: int
    multiply_adds: int
    nbytes: int

    def __repr__(self) -> str:
        lines = [("name", "layer", "output", "parameters", "multiply-adds")]
        for row in self.rows:
            output = "-" if row.output_shape is None else str(row.output_shape)
            lines.append((row.name, row.layer, output, f"{row.parameters:,}", f"{row.multiply_adds:,}"))
        lines.append(("total", "", "", f"{self.parameters:,}", f"{self.multiply_adds:,}"))
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        table = [
            "  ".join(f"{cell:{a}{w}}" for cell, a, w in zip(line, "<<<>>", widths, strict=True)) for line in lines
        ]
        frozen = f", {self.parameters - self.trainable:,} of them frozen" if self.trainable < self.parameters else ""
        return "\n".join([*table, f"{self.parameters:,} parameters{frozen}; {self.nbytes:,} bytes"])


class _Samples(NamedTuple):
    """The inputs of a forward, of one sample each: shapes with the axis of samples and dtypes, by place and by name."""

    places: tuple[tuple[Shape, Any], ...]
    named: dict[str, tuple[Shape, Any]]

    def nbytes(self) -> int:
        """The bytes of all inputs."""
        return sum(prod(shape) * np.dtype(dtype).itemsize for shape, dtype in (*self.places, *self.named.values()))

    def call(self, model: Module, make: Callable[[Shape, Any], Any]) -> None:
        """Call the model with inputs that are made of a shape and a dtype each."""
        model(*[make(*each) for each in self.places], **{name: make(*each) for name, each in self.named.items()})

    def __repr__(self) -> str:
        shapes = [shape[1:] for shape, _ in self.places]
        named = {name: shape[1:] for name, (shape, _) in self.named.items()}
        return str(named or (shapes[0] if len(shapes) == 1 else tuple(shapes)))


def _samples(input_shape: Any, dtype: np.dtype[Any]) -> _Samples:
    """What was given as input_shape: a shape, or shapes and arrays of samples in a tuple or dictionary."""

    def one(given: Any) -> tuple[Shape, Any]:
        if isinstance(given, np.ndarray) and given.ndim:
            return (1, *given.shape[1:]), given.dtype if given.dtype.kind in "iub" else dtype
        return (1, *sample_shape(given, "summary")), dtype

    if isinstance(input_shape, dict) and input_shape:
        return _Samples((), {str(name): one(given) for name, given in input_shape.items()})
    several = isinstance(input_shape, (tuple, list)) and any(
        isinstance(each, (tuple, list, np.ndarray)) for each in input_shape
    )
    if several:
        return _Samples(tuple(map(one, input_shape)), {})
    return _Samples((((1, *sample_shape(input_shape, "summary")), dtype),), {})


def summarize(model: Module, input_shape: Any) -> Summary:
    """Return a model's table of layers; see Module.summary."""
    dtype = weights_dtype(model)
    samples = _samples(input_shape, dtype)
    if samples.nbytes() > sys.maxsize:
        raise InvalidValueError("summary", "an input_shape that memory can hold", shown(input_shape))
    numbers = any(len(shape) == 1 for shape, _ in (*samples.places, *samples.named.values()))
    model, calls = _run(model, samples, "samples are numbers") if numbers else _traced(model, samples, dtype)
    rows = tuple(_rows(model, calls))
    parameters = list(model.parameters())
    return Summary(
        rows,
        sum(parameter.size for parameter in parameters),
        sum(parameter.size for parameter in parameters if parameter.requires_grad),
        sum(row.multiply_adds for row in rows),
        sum(array.nbytes for array in (*(parameter.data for parameter in parameters), *model.buffers())),
    )


@dataclass
class _Call:
    name: str
    module: Module
    input_shape: Shape | None
    output_shape: Shape | None = None
    inside: Counter[int] = field(default_factory=Counter)


def _traced(model: Module, samples: _Samples, dtype: np.dtype[Any]) -> tuple[Module, list[_Call]]:
    """A copy of a model and its calls, of a trace where there can be one: it knows shapes and computes nothing."""
    from fastdl.graph.graph import Graph
    from fastdl.graph.layers import LayerRefusedError

    twin = copy_of(model, False)
    if others := [type(each).__name__ for each in twin.modules() if each._forward_only or in_python(each)]:
        return _run(model, samples, f"{others[0]} is a module in Python")
    graph, calls, number = Graph(dtype), _Trace(twin, "_apply").calls, count()
    graph.stand_for(twin)
    try:
        with no_grad(), graph.traced():
            samples.call(twin, lambda shape, kind: graph.input(f"x{next(number)}", shape, kind))
    except (TypeError, ValueError, IndexError) as error:
        if not isinstance(error, LayerRefusedError) and samples.nbytes() > LARGEST:
            raise
        return _run(model, samples, str(error))  # which says more of a shape that does not fit
    return twin, calls


def _run(model: Module, samples: _Samples, why: str) -> tuple[Module, list[_Call]]:
    """A copy and its calls when it is run on a sample of zeros; whatever a forward changes, it changes in the copy."""
    if samples.nbytes() > LARGEST:
        raise ValueError(
            f"summary: expected an input_shape of at most {LARGEST} bytes for a model that has to be run, as {why};"
            f" got {samples}"
        )
    twin = copy.deepcopy(model).eval()
    trace = _Trace(twin, "forward")
    with no_grad(), Quiet(all="ignore"):
        samples.call(twin, np.zeros)
    return twin, trace.calls


class _Trace:
    """The calls of a model's modules, each of which gets a method, `forward` or `_apply`, that notes them."""

    def __init__(self, model: Module, method: str) -> None:
        self.names = {id(module): (name, module) for name, module in model.named_modules()}
        self.calls: list[_Call] = []
        self.running: list[tuple[_Call, dict[int, list[str]]]] = []
        for _, module in self.names.values():
            vars(module)[method] = self._noting(module, getattr(module, method))
            if method == "forward":
                vars(module)["traced"] = False

    def _noting(self, module: Module, forward: Callable[..., Any]) -> Callable[..., Any]:
        def noting(*inputs: Any, **named: Any) -> Any:
            alone = inputs[0] if len(inputs) == 1 and not named else None
            call = _Call(self._place(module), module, _shape(alone))
            self.calls.append(call)
            places: dict[int, list[str]] = {}
            for name, child in module.named_children():
                places.setdefault(id(child), []).append(name)
            self.running.append((call, places))
            y = forward(*inputs, **named)
            call.output_shape = _shape(y)
            self.running.pop()
            return y

        return noting

    def _place(self, module: Module) -> str:
        """The name of the place that a module is called in: it may stand in several."""
        if self.running:
            caller, places = self.running[-1]
            names = places.get(id(module))
            if names:
                name = names[caller.inside[id(module)] % len(names)]
                caller.inside[id(module)] += 1
                return f"{caller.name}.{name}" if caller.name else name
        return self.names[id(module)][0]


def _rows(model: Module, calls: list[_Call]) -> Iterator[Row]:
    """The calls, and after them the modules that were not called, as rows; a collection is none."""
    counted: set[int] = set()
    called = {id(call.module) for call in calls}
    idle = [
        _Call(name, module, None)
        for name, module in model.named_modules()
        if id(module) not in called and module._is_called
    ]
    for call in calls + idle:
        own = {id(part): part.size for part in dict(vars(call.module)).values() if isinstance(part, Parameter)}
        parameters = sum(size for part, size in own.items() if part not in counted)
        counted.update(own)
        multiply_adds = 0
        if call.input_shape is not None and call.output_shape is not None:
            multiply_adds = call.module.multiply_adds(call.input_shape, call.output_shape)
        output = None if call.output_shape is None else call.output_shape[1:]
        yield Row(call.name, _title(call.module), output, parameters, multiply_adds)


def _title(module: Module) -> str:
    if next(module.children(), None) is not None:
        return type(module).__name__
    return repr(module)


def _shape(array: Any) -> Shape | None:
    return tuple(array.shape) if isinstance(array, (np.ndarray, Value)) else None  # pyright: ignore[reportReturnType]
