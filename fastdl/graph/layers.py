"""Layers and losses in a trace: one node for the operation of each, which runs and differentiates as its descriptor says."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from fastdl._kernels.descriptor import DESCRIPTORS, LOSSES
from fastdl._kernels.grad_mode import Mode
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph import operations as op
from fastdl.graph.gradient import rule
from fastdl.graph.graph import Graph, Node
from fastdl.graph.interpreter import Symbols, computes
from fastdl.graph.size import Dimension, Size, numbers
from fastdl.graph.value import Value, where

mode = Mode()


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

    def facts(self) -> tuple[Any, ...]:
        """What two traces of one layer have in common."""
        held = [id(each) for each in (*self.parameters.values(), *self.buffers.values())]
        return held, self.descriptor.name, self.attributes, self.saved, self.activation, self.shapes

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

    def facts(self) -> tuple[Any, ...]:
        """What two traces of one loss have in common."""
        arrays = self.weight, self.pos_weight
        return self.descriptor.name, self.attributes, self.losses, self.mean, self.batchmean, arrays


class Sample:
    """A traced value as a layer plans for it: its shape without the axis of samples."""

    differentiated = True
    shared = False

    def __init__(self, value: Value) -> None:
        shape = value.shape[1:]
        if any(isinstance(size, Size) for size in shape):
            raise InvalidValueError(where(), "samples of fixed sizes for a layer", str(value))
        self.value, self.shape = value, tuple(int(size) for size in shape)

    @property
    def size(self) -> int:
        """Elements of one sample."""
        return prod(self.shape)

    def reshaped(self, shape: tuple[int, ...]) -> Sample:
        """The same elements in another shape."""
        return Sample(op.reshape(self.value, (self.value.shape[0], *shape)))


class LayerTrace:
    """What a layer's `_plan` is given in a trace, in the place of a plan."""

    def __init__(self, graph: Graph, samples: Dimension, module: Any) -> None:
        self.graph, self.samples, self.dtype, self.backward = graph, samples, graph.dtype, True
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
        """See Plan.add."""
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
        )
        own = [parameter for parameter in record.parameters.values() if parameter is not None]
        for each in (*own, *record.buffers.values()):
            if each is not None and each.dtype.kind == "f" and each.dtype != self.dtype:
                raise self.refusal(f"{record.name} holds {each.dtype} where the graph is of {self.dtype}")
        inputs = (x.value, *map(self.graph.parameter, own))
        return Sample(self.graph.add("layer", inputs, (self.samples, *shape), self.dtype, record=record))

    def activate(self, module: Any, x: Sample, activation: tuple[int, float, float, bool]) -> Sample:
        """See Plan.activate."""
        return self.add("activation", module, x, x.shape, activation=activation)

    def behind_maximum(self, x: Sample) -> tuple[Sample, None]:
        """See Plan.behind_maximum."""
        return x, None

    def loss(self, name: str, attributes: dict[str, Any], **options: Any) -> LossRecord:
        """See Plan.loss."""
        return LossRecord(name, attributes, self.samples, self.module, **options)

    def draw(self) -> int:
        """See Plan.draw."""
        self.graph.draws += 1
        return self.graph.draws - 1

    def at_least(self, samples: int, module: Any) -> None:
        """See Plan.at_least."""
        if samples > self.graph.least_samples:
            self.graph.least_samples, self.graph.demanding = samples, module

    def refusal(self, why: str) -> Exception:
        """The error by which a layer says that it cannot be traced."""
        return InvalidValueError(where(), "a layer that can be traced", why)


def layer(module: Any, x: Any) -> Value:
    """A layer of fastdl's own applied to a traced value."""
    if not isinstance(x, Value) or not x.shape:
        raise InvalidTypeError(f"{where()}: {type(module).__name__}", "a traced array with an axis of samples", str(x))
    value = op.cast(x, x.graph.dtype)
    return module._plan(LayerTrace(x.graph, x.shape[0], module), Sample(value)).value


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
    back = graph.add("layer_backward", (y, gy), inputs[0].shape, graph.dtype, record=record)
    own = [p for p in record.parameters.values() if p is not None]
    return [
        back,
        *(
            graph.add("layer_gradient", (back,), p.shape, graph.dtype, parameter=n, record=record)
            for n, p in enumerate(own)
        ),
    ]


@rule("loss")
def _(node: Node, gy: Value, y: Value, inputs: Any) -> Any:
    slope = y.graph.add("loss_backward", (y,), inputs[0].shape, y.graph.dtype, record=node.attributes["record"])
    return [op.elementwise("multiply", gy, slope), None]


# What the interpreter does: it calls the modules themselves, whose running statistics stay as they are.


@computes("layer")
def _(node: Node, values: Symbols, x: Any, *parameters: Any) -> Any:
    module = node.attributes["record"].module
    buffers = () if values.moves else [getattr(module, name) for name in module._buffer_names]
    before = [(buffer, buffer.copy()) for buffer in buffers]
    enabled, mode.enabled = mode.enabled, True
    try:
        y, saved = module._forward(x)
    finally:
        mode.enabled = enabled
        for buffer, array in before:
            np.copyto(buffer, array)
    values.kept[id(node.attributes["record"])] = saved
    return y


@computes("layer_backward")
def _(node: Node, values: Symbols, y: Any, gy: Any) -> Any:
    record = node.attributes["record"]
    parameters = [p for p in record.parameters.values() if p is not None]
    before = [(p._grad, p._forgotten, p._requires_grad) for p in parameters]
    for parameter in parameters:
        parameter._grad, parameter._forgotten, parameter._requires_grad = np.zeros_like(parameter._data), False, True
    try:
        gx = record.module._backward(values.kept[id(record)], np.ascontiguousarray(gy), True, True)
        values.kept[id(record), "gradients"] = [p._grad for p in parameters]
    finally:
        for parameter, (grad, forgotten, wanted) in zip(parameters, before, strict=True):
            parameter._grad, parameter._forgotten, parameter._requires_grad = grad, forgotten, wanted
    return gx


@computes("layer_gradient")
def _(node: Node, values: Symbols, gx: Any) -> Any:
    return values.kept[id(node.attributes["record"]), "gradients"][node.attributes["parameter"]]


@computes("loss")
def _(node: Node, values: Symbols, x: Any, target: Any) -> Any:
    record = node.attributes["record"]
    loss, values.kept[id(record)] = record.module._forward(x, target)
    return loss


@computes("loss_backward")
def _(node: Node, values: Symbols, loss: Any) -> Any:
    record = node.attributes["record"]
    return record.module._backward(values.kept[id(record)], None, True, False)
