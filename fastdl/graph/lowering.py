"""Lowering: a graph as the records of a native program, with a place in memory for each value."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import fastdl._kernels.elementwise
import fastdl._kernels.gather
import fastdl._kernels.matmul
import fastdl._kernels.reduce
import fastdl._kernels.scan
import fastdl._kernels.sort  # noqa: F401 - these enter their descriptors
from fastdl._kernels.descriptor import BASE_ARENA, BASE_ARRAYS
from fastdl._kernels.node import NODES
from fastdl._kernels.program.program import Program
from fastdl._kernels.program.python_call import Passed, PythonCall
from fastdl._kernels.program.sequence import (
    RUN_BACKWARD,
    RUN_FORWARD,
    RUN_LOSS,
    RUN_LOSS_BACKWARD,
    RUN_NODE,
    RUN_PYTHON,
    EntryList,
)
from fastdl.errors import InvalidValueError
from fastdl.graph import operations as op
from fastdl.graph.arena import Storage, placed
from fastdl.graph.graph import Graph, Node
from fastdl.graph.interpreter import needed
from fastdl.graph.layers import LayerRecord, LossRecord
from fastdl.graph.layout import (
    Layout,
    broadcast,
    cut,
    dense,
    is_dense,
    merged,
    reshaped,
    transposed,
)
from fastdl.graph.records import NOWHERE, ObjectiveRecord, Place, Record
from fastdl.graph.size import Dimension, Shape, Size, factors, numbers, same, same_shape, total
from fastdl.graph.value import Value

# The kinds of elements to a node, and their bytes.
FLOATING, WHOLE, TRUTH = 0, 1, 2
ELEMENTWISE = {*op.FLOATING, *op.NUMERIC, *op.COMPARING, *op.LOGICAL, *op.TESTING, "where", "cast"}
REDUCTIONS = {"sum", "prod", "max", "min", "any", "all", "argmax", "argmin"}
# Multiply-adds that take less time than giving the GIL away and taking it again.
LIGHT = 20_000
NO_ACTIVATION = (0, 0.0, 0.0, False)
EACH_SAMPLE: Dimension = Size(1, ("N",))


class Given:
    """An array that each run is given: its number outside of the arena."""

    def __init__(self, number: int, gathered: Storage | None) -> None:
        self.number, self.gathered = number, gathered


class Lowered:
    """A program and what its caller must know of it.

    Attributes:
        program: runs the graph.
        inputs: by name, the base of each array that a run is given.
        outputs: the layouts' places of the wanted values.
        results: those of the further values.
        entries: the user's line and the operation of each entry.
        split: the number of the first entry that only gradients need.
        nbytes: of the arena.
    """

    def __init__(self, **fields: Any) -> None:
        self.program: Program = fields["program"]
        self.inputs: dict[str, int] = fields["inputs"]
        self.outputs: list[Place] = fields["outputs"]
        self.results: list[Place] = fields["results"]
        self.entries: list[Node] = fields["entries"]
        self.split: int = fields["split"]
        self.nbytes: int = fields["nbytes"]


class Lowering:
    """Makes a program of a graph.

    Args:
        graph: the graph, with its gradients.
        outputs: the values that are wanted of the forward.
        gradients: by parameter, the value of its gradient, which the program stores in the parameter's `grad`.
        added: of these, those that are added to what is there.
        loss: the value that is trained on.
        results: further values, which the backward entries yield.
        given: names of the inputs that are gathered into the arena where batches are shuffled.
        begin: called before the first module in Python.
        terms: numbers whose means over an epoch are wanted.
    """

    def __init__(
        self,
        graph: Graph,
        outputs: Sequence[Value],
        gradients: Sequence[tuple[Any, Value]] = (),
        added: Sequence[Any] = (),
        loss: Value | None = None,
        given: Sequence[str] = (),
        results: Sequence[Value] = (),
        begin: Callable[[], object] | None = None,
        terms: Sequence[Value] = (),
    ) -> None:
        self.graph, self.itemsize = graph, graph.dtype.itemsize
        self._kinds = {"f": (FLOATING, self.itemsize), "i": (WHOLE, 8), "b": (TRUTH, 1)}
        self._layouts: dict[int, Layout] = {}
        self._sources: list[Any] = []
        self._numbers: dict[Any, int] = {}
        self._inputs: dict[str, Given] = {}
        self._storages: list[Storage] = []
        # What runs: its kind, its samples, and what makes its record once places are known.
        self._entries: list[tuple[int, Dimension, Callable[[], Any], Node]] = []
        self._losses: dict[int, tuple[int, dict[str, Storage]]] = {}
        self._saved: dict[int, dict[str, tuple[Storage, int]]] = {}
        self._operations: list[Callable[[], Record]] = []
        self._nodes: list[Callable[[], Any]] = []
        self._criteria: list[Callable[[], Any]] = []
        self._work = 0
        self._given, self._begin = set(given), begin
        self._node: Node = Node("", (), {}, (), graph.dtype, "")

        wanted = [*outputs, *([loss] if loss is not None else []), *terms]
        forward = needed(graph, [*(v.number for v in (*wanted, *graph.updates.values())), *_with_effects(graph)])
        backward = [value.number for value in (*results, *(v for _, v in gradients))]
        backward += [n for n, node in enumerate(graph.nodes) if node.operation == "python_backward"]
        everything = needed(graph, [*forward, *backward])
        # What is read by others than nodes.
        self._roots = {v.number for v in (*wanted, *results, *(v for _, v in gradients), *graph.updates.values())}
        own = {id(parameter): value.number for parameter, value in gradients}
        adding = {id(parameter) for parameter in added}
        self._readers = _readers(graph, everything)
        # The gradients that a layer may write where the parameter has it: nothing else reads them.
        self._direct = {
            value.number: parameter
            for parameter, value in gradients
            if id(parameter) not in adding
            and graph.nodes[value.number].operation == "layer_gradient"
            and not self._readers.get(value.number)
            and list(own.values()).count(value.number) == 1
        }
        for number in sorted(forward):
            self._visit(number)
        self._outputs = [self._owned(value) for value in outputs]
        self._update_buffers()
        self._loss = None if loss is None else self._dense(loss)
        self._terms = [self._owned(value) for value in terms]
        self._split = len(self._entries)
        for number in sorted(everything - forward):
            self._visit(number)
        for parameter, value in gradients:
            self._keep_gradient(parameter, value, id(parameter) in adding)
        # Where gradients are asked for outside of fit, they may be asked for again.
        self._repeats = loss is None
        self._results = [self._owned(value) for value in results]
        end = len(self._entries)
        for layout in [*self._results, *self._outputs, *([self._loss] if self._loss is not None else []), *self._terms]:
            self._use(layout, end)

    # --- memory

    def _outside(self, key: Any, source: Any) -> int:
        """The base of an array outside of the arena."""
        if key not in self._numbers:
            self._numbers[key] = BASE_ARRAYS + len(self._sources)
            self._sources.append(source)
        return self._numbers[key]

    def _storage(self, elements: int) -> Storage:
        storage = Storage(max(1, elements))
        self._storages.append(storage)
        return storage

    def _kind(self, dtype: np.dtype[Any]) -> tuple[int, int]:
        return self._kinds[dtype.kind]

    def _count(self, shape: Shape) -> int:
        """Elements of the largest batch."""
        count = 1
        for size in shape:
            number, symbols = factors(size)
            count *= number * self.graph.capacity ** len(symbols)
        return count

    def _fresh(self, shape: Shape, dtype: np.dtype[Any]) -> Layout:
        return dense(self._storage(self._count(shape) * self._kind(dtype)[1]), shape)

    def _use(self, layout: Layout | None, time: int | None = None) -> None:
        home = None if layout is None else layout.home
        if isinstance(home, Given):
            home = home.gathered
        if isinstance(home, Storage):
            home.used(len(self._entries) if time is None else time)

    def _place(self, home: Any, nbytes: int = 0) -> Place:
        """Where an operand stands, once storages are placed."""
        if home is None:
            return NOWHERE
        if isinstance(home, Storage):
            return BASE_ARENA, home.root().offset + nbytes, 0
        return (home.number if isinstance(home, Given) else home), nbytes, 0

    def _place_of(self, layout: Layout | None, itemsize: int | None = None) -> Place:
        if layout is None:
            return NOWHERE
        return self._place(layout.home, layout.constant * (itemsize or self.itemsize))

    # --- values

    def _layout(self, value: Value) -> Layout:
        return self._layouts[value.number]

    def _value(self, number: int) -> Value:
        node = self.graph.nodes[number]
        return Value(self.graph, number, node.shape, node.dtype, frozenset())

    def _dense(self, value: Value) -> Layout:
        """The value's elements one behind the other, copied where they do not lie so."""
        layout = self._layouts[value.number]
        if layout.whole or (is_dense(layout, value.shape) and same(layout.offset, 0)):
            return layout
        made = self._fresh(value.shape, value.dtype)
        self._run_elementwise("cast", value.dtype, value.shape, made, [(layout, value.dtype)])
        self._layouts[value.number] = made
        return made

    def _owned(self, value: Value) -> Layout:
        """The value's elements one behind the other in the arena, where nothing else is."""
        layout = self._dense(value)
        if isinstance(layout.home, Storage) and not layout.constant:
            return layout
        made = self._fresh(value.shape, value.dtype)
        self._run_elementwise("cast", value.dtype, value.shape, made, [(layout, value.dtype)])
        return made

    def _visit(self, number: int) -> None:
        node = self._node = self.graph.nodes[number]
        if node.operation in ELEMENTWISE:
            self._elementwise(number, node)
        elif node.operation in REDUCTIONS:
            self._reduce(number, node)
        else:
            getattr(self, f"_lower_{node.operation}")(number, node)

    def _lower_input(self, number: int, node: Node) -> None:
        name = node.attributes["name"]
        base = self._outside(("given", name), None)
        gathered = None
        if name in self._given:
            gathered = self._storage(self._count(node.shape) * self._kind(node.dtype)[1])
            gathered.used(0)
        self._inputs[name] = Given(base, gathered)
        self._layouts[number] = dense(self._inputs[name], node.shape)

    def _lower_constant(self, number: int, node: Node) -> None:
        array = np.ascontiguousarray(node.attributes["array"])
        if array.dtype.kind == "b":
            array = array.view(np.uint8)
        self._layouts[number] = dense(self._outside(("constant", number), array), node.shape)

    def _lower_parameter(self, number: int, node: Node) -> None:
        parameter = self.graph.parameters[number]
        layout = self._layouts[number] = dense(self._outside((id(parameter), False), (parameter, False)), node.shape)
        if number in self.graph.updates:  # the old values, which backward reads too
            made = self._layouts[number] = self._fresh(node.shape, node.dtype)
            self._run_elementwise("cast", node.dtype, node.shape, made, [(layout, node.dtype)])

    def _update_buffers(self) -> None:
        for number, value in self.graph.updates.items():
            buffer = self.graph.parameters[number]
            to = dense(self._outside((id(buffer), False), (buffer, False)), value.shape)
            self._run_elementwise("cast", value.dtype, value.shape, to, [(self._layout(value), value.dtype)])

    def _lower_stop_gradient(self, number: int, node: Node) -> None:
        self._layouts[number] = self._layouts[node.inputs[0]]

    def _lower_alias(self, number: int, node: Node) -> None:
        self._layouts[number] = self._layouts[node.inputs[0]]

    def _lower_given_slope(self, number: int, node: Node) -> None:
        self._layouts[number] = self._layouts[node.inputs[0]]

    def _lower_broadcast_to(self, number: int, node: Node) -> None:
        source = self._value(node.inputs[0])
        self._layouts[number] = broadcast(self._layout(source), source.shape, node.shape)

    def _lower_transpose(self, number: int, node: Node) -> None:
        self._layouts[number] = transposed(self._layouts[node.inputs[0]], node.attributes["axes"])

    def _lower_reshape(self, number: int, node: Node) -> None:
        source = self._value(node.inputs[0])
        found = reshaped(self._layout(source), source.shape, node.shape)
        self._layouts[number] = found or dense(self._dense(source).home, node.shape)._replace(
            constant=self._layout(source).constant
        )

    def _lower_cut(self, number: int, node: Node) -> None:
        source = self._value(node.inputs[0])
        self._layouts[number] = cut(self._layout(source), source.shape, node.attributes["slices"])

    def _lower_size(self, number: int, node: Node) -> None:
        made = self._layouts[number] = self._fresh((), node.dtype)
        self._run("size", {}, [], [node.attributes["of"]], [(made, node.dtype, [])])

    # --- nodes

    def _elementwise(self, number: int, node: Node) -> None:
        made = self._fresh(node.shape, node.dtype)
        inputs = [(self.graph.nodes[each], self._layouts[each]) for each in node.inputs]
        self._layouts[number] = made
        # Mostly, all of an array and numbers.
        if all(not each.shape or (layout.whole and same_shape(each.shape, node.shape)) for each, layout in inputs):
            size = total(node.shape)
            many = [] if type(size) is int and size == 1 else [size]
            operands: list[Any] = [(made, node.dtype, [1] * len(many))]
            operands += [(layout, each.dtype, [1 if each.shape else 0] * len(many)) for each, layout in inputs]
            self._run("elementwise", self._one_instruction(node.operation, operands), many, [], operands)
            return
        views = [(broadcast(layout, each.shape, node.shape), each.dtype) for each, layout in inputs]
        self._run_elementwise(node.operation, node.dtype, node.shape, made, views)

    @staticmethod
    def _one_instruction(name: str, operands: Sequence[tuple[Layout, np.dtype[Any], Any]]) -> dict[str, Any]:
        """The program of one ufunc; the first operand is its result."""
        count = len(operands) - 1
        sources = [*range(count), -1, -1, -1][:3]
        kind = "float" if any(dtype.kind == "f" for _, dtype, _ in operands) else "whole"
        return {"registers": kind, "instructions": [(name, count, *sources)]}

    def _run_elementwise(
        self,
        name: str,
        dtype: np.dtype[Any],
        shape: Shape,
        to: Layout,
        inputs: Sequence[tuple[Layout, np.dtype[Any]]],
    ) -> None:
        """One ufunc of inputs that are broadcast already."""
        sizes, strides = merged(shape, [to.strides, *(layout.strides for layout, _ in inputs)])
        views = [(to, dtype), *inputs]
        operands = [(layout, kind, own) for (layout, kind), own in zip(views, strides, strict=True)]
        self._run("elementwise", self._one_instruction(name, operands), sizes, [], operands)

    def _reduce(self, number: int, node: Node) -> None:
        source = self._value(node.inputs[0])
        over = node.attributes["axes"]
        made = self._layouts[number] = self._fresh(node.shape, node.dtype)
        layout = self._layout(source)
        kept = [axis for axis in range(source.ndim) if axis not in over]
        first, of_first = merged(
            [source.shape[axis] for axis in kept],
            [[made.strides[axis] for axis in kept], [layout.strides[axis] for axis in kept]],
        )
        then, (of_then,) = merged([source.shape[a] for a in over], [[layout.strides[a] for a in over]])
        if not then:
            then, of_then = [1], [0]
        attributes = {"operation": node.operation, "kept": len(first)}
        views = [
            (made, node.dtype, [*of_first[0], *([0] * len(then))]),
            (layout, source.dtype, [*of_first[1], *of_then]),
        ]
        self._run("reduce", attributes, [*first, *then], [], views)

    def _lower_concatenate(self, number: int, node: Node) -> None:
        made = self._layouts[number] = self._fresh(node.shape, node.dtype)
        axis, start = node.attributes["axis"], 0
        for each in map(self._value, node.inputs):
            stop = op.added([start, each.shape[axis]])
            slices = [(start, stop, 1) if n == axis else (None, None, 1) for n in range(each.ndim)]
            part = cut(made, node.shape, slices)
            self._run_elementwise("cast", node.dtype, each.shape, part, [(self._layout(each), each.dtype)])
            start = stop

    def _lower_put(self, number: int, node: Node) -> None:
        source = self._value(node.inputs[0])
        made = self._zeros(number, node)
        part = cut(made, node.shape, node.attributes["slices"])
        self._run_elementwise("cast", node.dtype, source.shape, part, [(self._layout(source), source.dtype)])

    def _zeros(self, number: int, node: Node) -> Layout:
        made = self._layouts[number] = self._fresh(node.shape, node.dtype)
        dtype = np.dtype(np.uint8) if node.dtype.kind == "b" else node.dtype
        zero = dense(self._outside(("zero", dtype.kind), np.zeros((), dtype)), ())
        self._run_elementwise("cast", node.dtype, node.shape, made, [(broadcast(zero, (), node.shape), node.dtype)])
        return made

    def _lower_matmul(self, number: int, node: Node) -> None:
        made = self._layouts[number] = self._fresh(node.shape, node.dtype)
        a, b = (self._value(each) for each in node.inputs)
        lead = node.shape[:-2]
        views = []
        for each in (a, b):
            layout = self._layout(each)
            repeated = any(
                same(s, 0) and not same(n, 1) for s, n in zip(layout.strides[-2:], each.shape[-2:], strict=True)
            )
            layout = self._dense(each) if repeated else layout
            views.append(broadcast(layout, each.shape, (*lead, *each.shape[-2:])))
        batch, strides = merged(lead, [made.strides[:-2], *(view.strides[:-2] for view in views)])
        (m, k), n = a.shape[-2:], b.shape[-1]
        operands = [
            (made, node.dtype, [*strides[0], *made.strides[-2:], 0]),
            (views[0], a.dtype, [*strides[1], views[0].strides[-2], 0, views[0].strides[-1]]),
            (views[1], b.dtype, [*strides[2], 0, views[1].strides[-1], views[1].strides[-2]]),
        ]
        self._work += self._count(node.shape) * self._count((k,)) // max(1, self.graph.capacity)
        self._run("matmul", {}, [*batch, m, n, k], [], operands)

    def _lower_cumsum(self, number: int, node: Node) -> None:
        self._along("cumsum", number, node)

    def _lower_argsort(self, number: int, node: Node) -> None:
        self._along("argsort", number, node)

    def _along(self, name: str, number: int, node: Node) -> None:
        """A kernel that goes along one axis, which comes last."""
        source = self._value(node.inputs[0])
        made = self._layouts[number] = self._fresh(node.shape, node.dtype)
        layout, axis = self._layout(source), node.attributes["axis"] % source.ndim
        others = [n for n in range(source.ndim) if n != axis]
        sizes, strides = merged(
            [source.shape[n] for n in others],
            [[made.strides[n] for n in others], [layout.strides[n] for n in others]],
        )
        views = [
            (made, node.dtype, [*strides[0], made.strides[axis]]),
            (layout, source.dtype, [*strides[1], layout.strides[axis]]),
        ]
        self._run(name, {}, [*sizes, source.shape[axis]], [], views)

    def _lower_take_along(self, number: int, node: Node) -> None:
        x, index = (self._value(each) for each in node.inputs)
        axis = node.attributes["axis"]
        made = self._layouts[number] = self._fresh(node.shape, node.dtype)
        table, stride = self._table(x, axis, 1, node.shape)
        where = broadcast(self._layout(index), index.shape, node.shape)
        self._gather("gather", node.shape, made, node.dtype, table, x.dtype, where, x.shape[axis], stride)

    def _lower_take(self, number: int, node: Node) -> None:
        x, index = (self._value(each) for each in node.inputs)
        axis = node.attributes["axis"]
        made = self._layouts[number] = self._fresh(node.shape, node.dtype)
        table, stride = self._table(x, axis, index.ndim, node.shape)
        where = self._index_along(index, axis, x.ndim)
        self._gather("gather", node.shape, made, node.dtype, table, x.dtype, where, x.shape[axis], stride)

    def _lower_put_along(self, number: int, node: Node) -> None:
        x, index = (self._value(each) for each in node.inputs)
        axis = node.attributes["axis"]
        made = self._zeros(number, node)
        shape = tuple(
            index.shape[n] if n == axis else one if same(other, 1) else other
            for n, (one, other) in enumerate(zip(x.shape, index.shape, strict=True))
        )
        where = broadcast(self._layout(index), index.shape, shape)
        given = broadcast(self._layout(x), x.shape, shape)
        table = made._replace(strides=tuple(0 if n == axis else s for n, s in enumerate(made.strides)))
        self._gather(
            "scatter_add", shape, table, node.dtype, given, x.dtype, where, node.shape[axis], made.strides[axis]
        )

    def _lower_put_taken(self, number: int, node: Node) -> None:
        x, index = (self._value(each) for each in node.inputs)
        axis = node.attributes["axis"]
        made = self._zeros(number, node)
        strides = (*made.strides[:axis], *([0] * index.ndim), *made.strides[axis + 1 :])
        where = self._index_along(index, axis, len(node.shape))
        self._gather(
            "scatter_add",
            x.shape,
            made._replace(strides=strides),
            node.dtype,
            self._layout(x),
            x.dtype,
            where,
            node.shape[axis],
            made.strides[axis],
        )

    def _table(self, x: Value, axis: int, axes: int, shape: Shape) -> tuple[Layout, Dimension]:
        """The layout of an indexed value along the result's axes, of which `axes` are the index's; and its stride there."""
        layout = self._layout(x)
        own = (*x.shape[:axis], *([1] * axes), *x.shape[axis + 1 :])
        strides = (*layout.strides[:axis], *([0] * axes), *layout.strides[axis + 1 :])
        return broadcast(layout._replace(strides=strides), own, shape), layout.strides[axis]

    def _index_along(self, index: Value, axis: int, ndim: int) -> Layout:
        layout = self._layout(index)
        return layout._replace(strides=(*([0] * axis), *layout.strides, *([0] * (ndim - axis - 1))))

    def _gather(
        self,
        name: str,
        shape: Shape,
        to: Layout,
        dtype: np.dtype[Any],
        x: Layout,
        of_x: np.dtype[Any],
        index: Layout,
        size: Dimension,
        stride: Dimension,
    ) -> None:
        sizes, strides = merged(shape, [to.strides, x.strides, index.strides])
        views = [(to, dtype, strides[0]), (x, of_x, strides[1]), (index, np.dtype(np.int64), strides[2])]
        self._run(name, {}, sizes, [size, stride], views)

    def _run(
        self,
        name: str,
        attributes: dict[str, Any],
        sizes: Sequence[Dimension],
        extents: Sequence[Dimension],
        operands: Sequence[tuple[Layout, np.dtype[Any], Sequence[Dimension]]],
    ) -> None:
        """Add an entry for a node."""
        if len(sizes) > 6:
            raise InvalidValueError(self._node.line, "at most 6 axes that cannot be joined", len(sizes))
        descriptor = NODES[name]
        packed = descriptor.attributes(attributes)
        pairs = [_pair(size) for size in sizes]
        for layout, _, _ in operands:
            self._use(layout)
        self._work += self._count(tuple(sizes)) // max(1, self.graph.capacity)

        def record() -> Any:
            views = [
                (
                    self._place_of(layout, self._kind(dtype)[1]),
                    self._kind(dtype),
                    _pair(layout.offset),
                    tuple(map(_pair, strides)),
                )
                for layout, dtype, strides in operands
            ]
            return descriptor, packed, tuple(pairs), tuple(map(_pair, extents)), views

        self._entries.append((RUN_NODE, EACH_SAMPLE, record, self._node))

    # --- layers and losses

    def _lower_layer(self, number: int, node: Node) -> None:
        record: LayerRecord = node.attributes["record"]
        x = self._dense(self._value(node.inputs[0]))
        y = self._layouts[number] = self._fresh(node.shape, node.dtype)
        saved = {name: (self._storage(size), stride) for name, (size, stride) in record.saved.items()}
        self._saved[number] = saved
        weights = self._weights(node)
        for layout in (x, y, *weights):
            self._use(layout)
        for storage, _ in saved.values():
            storage.used(len(self._entries))
        self._work += self._layer_work(record)
        made = self._layer_record(record, x, y, saved, weights)
        self._entries.append((RUN_FORWARD, record.samples, made, node))

    def _weights(self, node: Node) -> list[Layout]:
        """What a layer's parameters are in the program."""
        return [self._dense(self._value(each)) for each in node.inputs[1:]]

    def _layer_work(self, record: LayerRecord) -> int:
        size = int(np.prod(record.shapes[1]))
        return size * (int(np.prod(own[0].shape[1:])) or 1) if (own := record.own()) else size

    def _layer_record(
        self,
        record: LayerRecord,
        x: Layout,
        y: Layout,
        saved: Mapping[str, tuple[Storage, int]],
        weights: Sequence[Layout],
        gy: Layout | None = None,
        gx: Layout | None = None,
        gradients: Mapping[int, Any] | None = None,
    ) -> Callable[[], Record]:
        descriptor, gradients = record.descriptor, gradients or {}
        there = {name: each for name, each in record.parameters.items() if each is not None}
        values = dict(zip(there, weights, strict=True))
        buffers = {
            name: None if array is None else self._outside(id(array), array) for name, array in record.buffers.items()
        }
        numbers_of = {name: n for n, name in enumerate(there)}

        def made() -> Record:
            return Record(
                descriptor=descriptor,
                attributes=descriptor.attributes(record.attributes),
                x_size=int(np.prod(record.shapes[0])),
                y_size=int(np.prod(record.shapes[1])),
                x_length=0,
                y_length=0,
                differentiated=gy is not None,
                accumulates=False,
                sums=0,
                activation=record.activation or NO_ACTIVATION,
                x=self._place_of(x),
                y=self._place_of(y),
                gy=self._place_of(gy),
                gx=self._place_of(gx),
                before=NOWHERE,
                total=NOWHERE,
                parameters=tuple(self._place_of(values.get(name)) for name in descriptor.parameters),
                gradients=tuple(self._place(gradients.get(numbers_of.get(name, -1))) for name in descriptor.parameters),
                sizes=tuple(there[name].size if name in there else 0 for name in descriptor.parameters),
                saved=tuple(
                    (*self._place(saved[name][0])[:2], saved[name][1]) if name in saved else NOWHERE
                    for name in descriptor.saved
                ),
                buffers=tuple(self._place(buffers.get(name)) for name in descriptor.buffers),
            )

        return made

    def _lower_layer_backward(self, number: int, node: Node) -> None:
        of = node.inputs[0]
        forward = self.graph.nodes[of]
        record: LayerRecord = node.attributes["record"]
        x, y = self._dense(self._value(forward.inputs[0])), self._layouts[of]
        gy = self._dense(self._value(node.inputs[1]))
        nodes, readers = self.graph.nodes, self._readers.get(number, [])
        own = [n for n in readers if nodes[n].operation == "layer_gradient" and nodes[n].inputs[0] == number]
        gx = None
        if len(own) < len(readers) or number in self._roots:
            gx = self._fresh(node.shape, node.dtype)
            self._layouts[number] = gx
        gradients: dict[int, Any] = {}
        for each in own:
            reader = nodes[each]
            parameter = self._direct.get(each)
            if parameter is not None:
                home: Any = self._outside((id(parameter), True), (parameter, "always"))
                self._layouts[each] = dense(home, reader.shape)
            else:
                self._layouts[each] = self._fresh(reader.shape, reader.dtype)
                home = self._layouts[each].home
                self._use(self._layouts[each])
            gradients[reader.attributes["parameter"]] = home
        weights = self._weights(forward)
        for layout in (x, y, gy, gx, *weights):
            self._use(layout)
        for storage, _ in self._saved[of].values():
            storage.used(len(self._entries))
        self._work += 2 * self._layer_work(record)
        made = self._layer_record(record, x, y, self._saved[of], weights, gy, gx, gradients)
        self._entries.append((RUN_BACKWARD, record.samples, made, node))

    def _lower_layer_gradient(self, number: int, node: Node) -> None:
        """The layer's backward has written it."""

    def _lower_loss(self, number: int, node: Node) -> None:
        record: LossRecord = node.attributes["record"]
        x, target = (self._value(each) for each in node.inputs)
        layouts = self._dense(x), self._dense(target)
        size = self._count(x.shape) * self.itemsize
        own = {
            "gx": self._storage(size),
            "saved": self._storage(size),
            "losses": self._storage(
                record.losses * numbers((record.samples,), {"N": self.graph.capacity})[0] * self.itemsize
            ),
            "y": self._storage(self.itemsize),
        }
        for storage in own.values():
            storage.used(len(self._entries))
        for layout in layouts:
            self._use(layout)
        self._layouts[number] = dense(own["y"], ())
        self._losses[number] = len(self._losses), own
        weights = [
            None if array is None else self._outside(id(array), array) for array in (record.weight, record.pos_weight)
        ]

        def made() -> Any:
            objective = ObjectiveRecord(
                descriptor=record.descriptor,
                attributes=record.descriptor.attributes(record.attributes),
                mean=record.mean,
                batchmean=record.batchmean,
                x=self._place_of(layouts[0]),
                gx=self._place(own["gx"]),
                target=self._place_of(layouts[1], self._kind(target.dtype)[1]),
                saved=self._place(own["saved"]),
                losses=self._place(own["losses"]),
                weight=self._place(weights[0]),
                pos_weight=self._place(weights[1]),
            )
            return objective, self._place(own["y"])

        self._entries.append((RUN_LOSS, record.samples, made, node))

    def _lower_loss_backward(self, number: int, node: Node) -> None:
        of = node.inputs[0]
        loss = self.graph.nodes[of]
        which, own = self._losses[of]
        for storage in (own["gx"], own["saved"]):
            storage.used(len(self._entries))
        for each in loss.inputs:
            self._use(self._layouts[each])
        self._layouts[number] = dense(own["gx"], node.shape)
        self._entries.append((RUN_LOSS_BACKWARD, loss.attributes["record"].samples, lambda: which, node))

    def _keep_gradient(self, parameter: Any, value: Value, adds: bool) -> None:
        """Store a gradient where its parameter has it, or add it to what is there."""
        if value.number in self._direct:
            return
        self._node = self.graph.nodes[value.number]
        home = self._outside((id(parameter), True), (parameter, "always"))
        to, own = dense(home, value.shape), (self._layout(value), value.dtype)
        inputs = [(to, value.dtype), own] if adds else [own]
        self._run_elementwise("add" if adds else "cast", value.dtype, value.shape, to, inputs)

    # --- modules in Python

    def _lower_python(self, number: int, node: Node) -> None:
        call = node.attributes["call"]
        inputs = [self._passed(self._value(each)) for each in node.inputs]
        made = self._layouts[number] = self._fresh(node.shape, node.dtype)

        begin, self._begin = self._begin, None

        def forward(kept: dict[Any, Any], *arrays: Any) -> tuple[Any]:
            if begin is not None:
                begin()
            y, kept[call] = call.forward(*arrays)
            return (y,)

        self._python(f"{type(call.module).__name__}.forward", forward, inputs, [(made, node.dtype, node.shape)])

    def _lower_python_backward(self, number: int, node: Node) -> None:
        call = node.attributes["call"]
        found = {}
        for each in self._readers.get(number, []):
            reader = self.graph.nodes[each]
            made = self._layouts[each] = self._fresh(reader.shape, reader.dtype)
            found[reader.attributes["number"]] = made, reader.dtype, reader.shape

        def backward(kept: dict[Any, Any], gy: Any) -> list[Any]:
            gradients = call.backward(kept[call], gy, kept.get("adds", True), bool(found))
            return [gradients[number] for number in found]

        gy = self._passed(self._value(node.inputs[1]))
        self._python(f"{type(call.module).__name__}.backward", backward, [gy], list(found.values()))

    def _lower_python_gradient(self, number: int, node: Node) -> None:
        """The module's backward has returned it."""

    def _passed(self, value: Value) -> tuple[Layout, np.dtype[Any], Shape]:
        return self._dense(value), value.dtype, value.shape

    def _python(
        self,
        name: str,
        function: Callable[..., Any],
        reads: list[tuple[Layout, np.dtype[Any], Shape]],
        writes: list[tuple[Layout, np.dtype[Any], Shape]],
    ) -> None:
        """Add an entry for a function in Python."""
        for layout, _, _ in (*reads, *writes):
            self._use(layout)

        def made() -> PythonCall:
            passed = [
                [
                    Passed(self._place_of(layout, dtype.itemsize), dtype, tuple(map(_pair, shape)))
                    for layout, dtype, shape in each
                ]
                for each in (reads, writes)
            ]
            return PythonCall(name, function, tuple(passed[0]), tuple(passed[1]))

        self._entries.append((RUN_PYTHON, EACH_SAMPLE, made, self._node))

    # --- the program

    def lowered(self, criterion: int = -1) -> Lowered:
        """The program; `criterion` is the number of the loss node that is trained on, or -1."""
        for storage in self._storages:
            if storage.first < 0:
                storage.used(0)
            if self._repeats and storage.first < self._split <= storage.last:
                storage.used(len(self._entries))
        nbytes = placed(self._storages)
        entries: list[tuple[int, int, tuple[int, int]]] = []
        operations: list[Record] = []
        nodes: list[Any] = []
        criteria: list[Any] = []
        calls: list[PythonCall] = []
        for what, samples, made, _ in self._entries:
            if what in (RUN_FORWARD, RUN_BACKWARD):
                number = len(operations)
                operations.append(made())
            elif what == RUN_NODE:
                number = len(nodes)
                nodes.append(made())
            elif what == RUN_LOSS:
                number = len(criteria)
                criteria.append(made())
            elif what == RUN_PYTHON:
                number = len(calls)
                calls.append(made())
            else:
                number = made()
            entries.append((what, number, _pair(samples)))
        loss = None if self._loss is None else self._place_of(self._loss)
        which = self._losses[criterion][0] if criterion >= 0 else -1
        program = Program(
            operations,
            None,
            self.itemsize,
            nbytes,
            [self._gathered(name) for name in self._inputs if name in self._given],
            [self._place_of(layout) for layout in self._outputs],
            self.graph.draws,
            LIGHT // max(1, self._work),
            self._sources,
            (0, 1, False, False, 0, 0),
            EntryList(entries, nodes, criteria, calls, self._split, loss, which, [*map(self._place_of, self._terms)]),
        )
        return Lowered(
            program=program,
            inputs={name: given.number for name, given in self._inputs.items()},
            outputs=[self._place_of(layout) for layout in self._outputs],
            results=[self._place_of(layout) for layout in self._results],
            entries=[node for _, _, _, node in self._entries],
            split=self._split,
            nbytes=nbytes,
        )

    def _gathered(self, name: str) -> tuple[int, int]:
        given = self._inputs[name]
        return given.number, given.gathered.root().offset if given.gathered is not None else 0


def _with_effects(graph: Graph) -> list[int]:
    """The nodes that run also where nothing depends on them: layers whose buffers move, and modules in Python."""
    return [
        number
        for number, node in enumerate(graph.nodes)
        if node.operation == "python" or (node.operation == "layer" and node.attributes["record"].moves_buffers)
    ]


def _readers(graph: Graph, among: set[int]) -> dict[int, list[int]]:
    """The nodes that read each, among some."""
    readers: dict[int, list[int]] = {}
    for number in sorted(among):
        for each in graph.nodes[number].inputs:
            readers.setdefault(each, []).append(number)
    return readers


def _pair(size: Dimension) -> tuple[int, int]:
    """A size as a program has it: count and the number of symbols."""
    if type(size) is int:
        return size, 0
    count, symbols = factors(size)
    return count, len(symbols)
