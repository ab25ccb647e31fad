"""Layers and losses in a trace: one node for the operation of each, which runs and differentiates as its descriptor says."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy
from functools import cache
from math import prod
from typing import Any

import numpy as np

from fastdl._kernels.descriptor import DESCRIPTORS, LOSSES
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph import operations as op
from fastdl.graph.gradient import gradient, ones_like, rule
from fastdl.graph.graph import Graph, Node
from fastdl.graph.interpreter import Symbols, computes
from fastdl.graph.size import Dimension, Size, numbers, spelled
from fastdl.graph.value import Value, mode, where, where_in_trace


class LayerRefusedError(InvalidValueError):
    """A layer that cannot be traced; `got` says why."""


class LayerRecord:
    """What a layer's node runs: a descriptor with its attributes, parameters, buffers and what it keeps for backward."""

    def __init__(self, name: str, module: Any, samples: Dimension, **rest: Any) -> None:
        self.descriptor, self.module, self.samples = DESCRIPTORS[name], module, samples
        self.attributes: dict[str, Any] = rest["attributes"]
        self.parameters: dict[str, Any] = rest["parameters"]
        self.buffers: dict[str, Any] = rest["buffers"]
        # Bytes for a whole batch, and for a sample where samples stand apart, else 0.
        self.saved: dict[str, tuple[int, int]] = rest["saved"]
        self.activation: tuple[int, float, float, bool] | None = rest["activation"]
        self.shapes: tuple[tuple[int, ...], tuple[int, ...]] = rest["shapes"]
        # Whether the weights are values of the graph, and the module's own stand for their shapes alone.
        self.weights_given: bool = rest["weights_given"]

    def own(self) -> list[Any]:
        """The parameters that are there."""
        return [parameter for parameter in self.parameters.values() if parameter is not None]

    def without_parameters(self) -> LayerRecord:
        """The record of the same layer without parameters."""
        copied = copy(self)
        copied.parameters, copied.weights_given = dict.fromkeys(self.parameters), True
        return copied

    def facts(self) -> tuple[Any, ...]:
        """What two traces of one layer have in common."""
        parameters = self.own() if not self.weights_given else ()
        held = [id(each) for each in (*parameters, *self.buffers.values())]
        return held, self.descriptor.name, self.attributes, self.saved, self.activation, self.shapes

    def held(self, name: str) -> Any:
        """A buffer."""
        return self.buffers[name]

    @property
    def moves_buffers(self) -> bool:
        """Whether a forward changes the layer's buffers."""
        return bool(self.attributes.get("training")) and any(each is not None for each in self.buffers.values())

    @property
    def name(self) -> str:
        """The layer's class."""
        return type(self.module).__name__


class LossRecord:
    """What a loss's node runs: a descriptor with its attributes and weights, and how the losses are reduced."""

    def __init__(self, name: str, attributes: dict[str, Any], samples: Dimension, module: Any, **rest: Any) -> None:
        self.descriptor, self.attributes, self.samples, self.module = LOSSES[name], attributes, samples, module
        self.losses: int = rest.get("losses", 0)
        self.weight: Any = rest.get("weight")
        self.pos_weight: Any = rest.get("pos_weight")
        self.mean: bool = rest.get("mean", False)
        self.batchmean: bool = rest.get("batchmean", False)

    def held(self, name: str) -> Any:
        """The weights of classes, or those of positive targets; None where there are none."""
        return {"weight": self.weight, "pos_weight": self.pos_weight}[name]

    def facts(self) -> tuple[Any, ...]:
        """What two traces of one loss have in common."""
        arrays = self.weight, self.pos_weight
        return self.descriptor.name, self.attributes, self.losses, self.mean, self.batchmean, arrays


class Sample:
    """A traced value as a layer sees it: its shape without the axis of samples."""

    def __init__(self, value: Value) -> None:
        shape: Any = value.shape[1:]
        for size in shape:
            if isinstance(size, Size):
                raise InvalidValueError(where(), "samples of fixed sizes for a layer", str(value))
        self.value, self.shape = value, shape

    @property
    def size(self) -> int:
        """Elements of one sample."""
        return prod(self.shape)

    def reshaped(self, shape: tuple[int, ...]) -> Sample:
        """The same elements in another shape."""
        return Sample(op.reshape(self.value, (self.value.shape[0], *shape)))


class LayerTrace:
    """What a layer's `_plan` adds its operation to.

    Args:
        graph: the trace's.
        samples: their number.
        module: the layer.
        weights: values in the place of all of its parameters, in their order.
    """

    def __init__(self, graph: Graph, samples: Dimension, module: Any, weights: Sequence[Value] = ()) -> None:
        self.weights = weights
        self.graph, self.samples, self.dtype = graph, samples, graph.dtype
        (self.batch_size,) = numbers((samples,), {"N": graph.capacity})
        self.module = module

    def add(
        self,
        name: str,
        module: Any,
        x: Sample,
        shape: tuple[int, ...],
        *,
        parameters: dict[str, Any] | None = None,
        buffers: dict[str, Any] | None = None,
        saved: dict[str, tuple[int, int]] | None = None,
        activation: tuple[int, float, float, bool] | None = None,
        **attributes: Any,
    ) -> Sample:
        """Add an operation that turns x into a value of this shape.

        Args:
            name: of its descriptor.
            module: the layer.
            x: what it reads.
            shape: of what it yields, without the axis of samples.
            parameters, buffers: its own by the descriptor's names; None for those that are not there.
            saved: arrays between forward and backward, by the descriptor's names: their bytes for a whole batch, and for a sample
                where samples stand apart in them, else 0.
            activation: of an activation: its code, alpha, beta, and whether its derivative reads the output.
            attributes: as the descriptor packs them.
        """
        record = LayerRecord(
            name,
            module,
            self.samples,
            attributes=attributes,
            parameters=parameters or {},
            buffers=buffers or {},
            saved=saved or {},
            activation=activation,
            shapes=(x.shape, tuple(shape)),
            weights_given=bool(self.weights),
        )
        own = () if self.weights else record.own()
        for each in (*own, *record.buffers.values()):
            if each is not None and each.dtype.kind == "f" and each.dtype != self.dtype:
                raise self.refusal(f"{record.name} holds {each.dtype} where the graph is of {self.dtype}")
        inputs = (x.value, *(self.weights or map(self.graph.parameter, own)))
        return Sample(self.graph.add("layer", inputs, (self.samples, *shape), self.dtype, record=record))

    def loss(self, name: str, attributes: dict[str, Any], **options: Any) -> LossRecord:
        """The record of a loss with the attributes that its descriptor packs; options as for LossRecord."""
        return LossRecord(name, attributes, self.samples, self.module, **options)

    def draw(self) -> int:
        """The number of a dropout among a forward's."""
        self.graph.draws += 1
        return self.graph.draws - 1

    def at_least(self, samples: int, module: Any) -> None:
        """A batch must have so many samples, for this module."""
        if samples > self.graph.least_samples:
            self.graph.least_samples, self.graph.demanding = samples, module

    def refused_shape(self, owner: str, expected: str, x: Sample) -> Exception:
        """The error by which a layer refuses samples of this shape."""
        return LayerRefusedError(f"{where()}: {owner}", expected, spelled(x.value.shape))

    def refusal(self, why: str) -> Exception:
        """The error by which a layer says that it cannot be traced."""
        return LayerRefusedError(where(), "a layer that can be traced", why)


def layer(module: Any, x: Any, weights: Sequence[Value] = ()) -> Value:
    """A layer of fastdl's own applied to a traced value, with its own weights or with values in their place."""
    if not isinstance(x, Value) or not x.shape:
        raise InvalidTypeError(f"{where()}: {type(module).__name__}", "a traced array with an axis of samples", str(x))
    value = op.cast(x, x.graph.dtype)
    last = module._last_axes
    if last is not None and any(isinstance(size, Size) for size in x.shape[1:]):
        kept, own = x.shape[: x.ndim - last], x.shape[x.ndim - last :]
        if not any(isinstance(size, Size) for size in own):  # what is before them is samples
            y = layer(module, op.reshape(value, (-1, *own)), weights)
            return op.reshape(y, (*kept, *y.shape[1:]))
    try:
        return module._plan(LayerTrace(x.graph, x.shape[0], module, weights), Sample(value)).value
    except LayerRefusedError:
        raise
    except InvalidValueError as error:
        error.context = where_in_trace()
        if error.got == str((1, *x.shape[1:])):
            error.got = spelled(x.shape)
        raise


def loss(module: Any, output: Value, target: Any) -> Value:
    """A loss of fastdl's own of traced values: one number."""
    graph = output.graph
    target = op.as_value(graph, target)
    x, plan = Sample(op.cast(output, graph.dtype)), LayerTrace(graph, output.shape[0], module)
    if not target.shape or target.shape[0] != output.shape[0]:
        raise InvalidValueError(f"{where()}: {type(module).__name__}", "a target for each sample", str(target))
    example = np.zeros((1, *target.shape[1:]), target.dtype)
    record = module._objective(plan, x, example)
    return graph.add("loss", (x.value, target), (), graph.dtype, record=record)


@rule("layer")
def _(node: Node, gy: Value, y: Value, inputs: Any) -> Any:
    graph, record = y.graph, node.attributes["record"]
    # The inputs are what the gradients are functions of.
    back = graph.add("layer_backward", (y, gy, *inputs), inputs[0].shape, graph.dtype, record=record)
    return [
        back,
        *(
            graph.add("layer_gradient", (back, y, gy, *inputs), p.shape, graph.dtype, parameter=n, record=record)
            for n, p in enumerate(record.own())
        ),
    ]


@rule("layer_backward")
def _(node: Node, gy: Value, y: Value, inputs: Any) -> Any:
    return [None, *_second(node, gy, 0, *inputs)]


@rule("layer_gradient")
def _(node: Node, gy: Value, y: Value, inputs: Any) -> Any:
    return [None, None, *_second(node, gy, 1 + node.attributes["parameter"], *inputs[1:])]


def _second(node: Node, seed: Value, which: int, y: Value, gy: Value, x: Value, *weights: Value) -> list[Any]:
    """The gradients of one of a layer's gradients, with respect to gy, x and the weights: those of its formula."""
    record: LayerRecord = node.attributes["record"]
    formula = getattr(record.module, "_formula", None)
    if formula is None:
        raise InvalidTypeError(f"{node.line}: gradient", "layers that can be differentiated twice", record.name)

    def gradients() -> list[Value]:
        gy_, x_, *weights_ = map(op.alias, (gy, x, *weights))
        there = [name for name, parameter in record.parameters.items() if parameter is not None]
        named = dict.fromkeys(record.parameters) | dict(zip(there, weights_, strict=True))
        first = gradient(formula(LayerNode(record, y, x, weights), x_, **named), [x_, *weights_], gy_)[which]
        return gradient(first, [gy_, x_, *weights_], seed)

    found = cache(gradients)
    return [lambda n=n: found()[n] for n in range(2 + len(weights))]


class LayerNode:
    """What a layer's formula may use of its node: kernels compute values whose derivatives the formula says.

    Attributes:
        y: the output.
    """

    def __init__(self, record: LayerRecord, y: Value, x: Value, weights: Sequence[Value]) -> None:
        self.record, self.y, self._inputs = record, y, (x, *weights)

    def slope(self) -> Value:
        """The gradient with respect to x for ones as that with respect to y: f'(x) of a function of each element."""
        back = (self.y, ones_like(self.y), *self._inputs)
        return self.y.graph.add("layer_backward", back, self._inputs[0].shape, self.y.dtype, record=self.record)

    def without_parameters(self) -> LayerNode:
        """The node of the same layer without parameters."""
        record, x, graph = self.record.without_parameters(), self._inputs[0], self.y.graph
        return LayerNode(record, graph.add("layer", (x,), self.y.shape, self.y.dtype, record=record), x, ())


@rule("loss")
def _(node: Node, gy: Value, y: Value, inputs: Any) -> Any:
    record: LossRecord = node.attributes["record"]
    slope = y.graph.add("loss_backward", (y, *inputs), inputs[0].shape, y.graph.dtype, record=record)

    def with_respect_to_target() -> Value:
        x, target = map(op.alias, inputs)
        return gradient(record.module._formula(x, target), [target], gy)[0]

    return [op.elementwise("multiply", gy, slope), with_respect_to_target]


@rule("loss_backward")
def _(node: Node, gy: Value, y: Value, inputs: Any) -> Any:
    module = node.attributes["record"].module

    def gradients() -> list[Value]:
        x, target = map(op.alias, inputs[1:])
        (slope,) = gradient(module._formula(x, target), [x])
        return gradient(slope, [x, target], gy)

    found = cache(gradients)
    return [None, lambda: found()[0], lambda: found()[1]]


# What the interpreter does: it calls the modules themselves, whose running statistics stay as they are.


@computes("layer")
def _(node: Node, values: Symbols, x: Any, *parameters: Any) -> Any:
    record = node.attributes["record"]
    module = _with_weights(record, parameters) if record.weights_given else record.module
    buffers = () if values.moves else [vars(module)[name] for name in module._buffer_names]
    before = [(buffer, buffer.copy()) for buffer in buffers]
    enabled, mode.enabled = mode.enabled, True
    try:
        y, saved = module._forward(x)
    finally:
        mode.enabled = enabled
        for buffer, array in before:
            np.copyto(buffer, array)
    values.kept[id(record)] = module, saved
    return y


def _with_weights(record: LayerRecord, weights: Sequence[Any]) -> Any:
    """A copy of a record's layer that has these weights."""
    twin, arrays = copy(record.module), iter(weights)
    for name, parameter in zip(twin._held, record.parameters.values(), strict=True):
        setattr(twin, name, None if parameter is None else type(parameter)(next(arrays)))
    return twin


@computes("layer_backward")
def _(node: Node, values: Symbols, y: Any, gy: Any, *_: Any) -> Any:
    record = node.attributes["record"]
    module, saved = values.kept[id(record)]
    parameters = [getattr(module, name) for name in module._held] if record.weights_given else record.own()
    parameters = [each for each in parameters if each is not None]
    before = [(p._grad, p._forgotten, p._requires_grad) for p in parameters]
    for parameter in parameters:
        parameter._grad, parameter._forgotten, parameter._requires_grad = np.zeros_like(parameter._data), False, True
    try:
        gx = module._backward(saved, np.ascontiguousarray(gy), True, True)
        values.kept[id(record), "gradients"] = [p._grad for p in parameters]
    finally:
        for parameter, (grad, forgotten, wanted) in zip(parameters, before, strict=True):
            parameter._grad, parameter._forgotten, parameter._requires_grad = grad, forgotten, wanted
    return gx


@computes("layer_gradient")
def _(node: Node, values: Symbols, gx: Any, *_: Any) -> Any:
    return values.kept[id(node.attributes["record"]), "gradients"][node.attributes["parameter"]]


@computes("loss")
def _(node: Node, values: Symbols, x: Any, target: Any) -> Any:
    record = node.attributes["record"]
    loss, values.kept[id(record)] = record.module._forward(x, target)
    return loss


@computes("loss_backward")
def _(node: Node, values: Symbols, loss: Any, *_: Any) -> Any:
    record = node.attributes["record"]
    return record.module._backward(values.kept[id(record)], None, True, False)
