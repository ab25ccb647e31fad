"""Nodes of layers and losses: rows of operations and their records, forward beside backward."""

from __future__ import annotations

from math import prod
from typing import Any

from fastdl._kernels.program.sequence import (
    RUN_BACKWARD,
    RUN_BLOCK_GRADIENTS,
    RUN_BLOCKS_BACKWARD,
    RUN_BLOCKS_FORWARD,
    RUN_BLOCKS_THROUGH,
    RUN_FORWARD,
    RUN_LOSS,
    RUN_LOSS_BACKWARD,
)
from fastdl.graph.graph import Node
from fastdl.graph.layers import LayerRecord, LossRecord
from fastdl.graph.layout import Layout, dense
from fastdl.graph.lowering.batch_minor import in_batch_minor
from fastdl.graph.lowering.blocks import Blocks, cut
from fastdl.graph.lowering.entries import EACH_SAMPLE, Entries, lowers
from fastdl.graph.lowering.operation import Operation, joined
from fastdl.graph.lowering.rows import Row
from fastdl.graph.lowering.sources import Held, Leaf
from fastdl.graph.records import ObjectiveRecord
from fastdl.graph.size import numbers, same


@lowers("layer")
def _(low: Entries, number: int, node: Node) -> None:
    row = low.rows.of[number]
    of_layers = [_operation(low, layer, backward) for layer, backward in zip(row.layers, row.backwards, strict=True)]
    samples = _samples(low, node)
    low.operations[row] = in_batch_minor(joined(of_layers), samples)
    if low.trained is not None and same(node.attributes["record"].samples, EACH_SAMPLE):
        _cut(low, row)
    if row is not low.through:  # which the loss runs
        _run_forward(low, row)


def _cut(low: Entries, row: Row) -> None:
    """Let a row's first operations go in blocks, if they suit."""
    operations = low.operations[row]
    found = cut(operations, low.graph.capacity)
    if found is None:
        return
    differentiated = [each.backward is not None for each in operations[: found.operations]]
    if differentiated[-1] or not any(differentiated):
        whole = found.lone and found.operations == len(operations) and low.ends_in_loss(row)
        low.blocks[row] = Blocks(found, whole, low.graph.capacity, low.itemsize)
        low.through = row if whole else low.through


def _operation(low: Entries, number: int, backward: int | None) -> Operation:
    node = low.graph.nodes[number]
    record: LayerRecord = node.attributes["record"]
    parameters = {name: each for name, each in record.parameters.items() if each is not None}
    weights = [low.dense(low.value(each)) for each in node.inputs[1:]]
    return Operation(
        record.descriptor,
        number,
        prod(record.shapes[0]),
        prod(record.shapes[1]),
        record.attributes,
        parameters,
        record.buffers,
        dict(zip(parameters, weights, strict=True)),
        record.activation,
        backward,
    )


def _samples(low: Entries, node: Node) -> int:
    """The most samples that a layer finds in a batch."""
    return numbers((node.attributes["record"].samples,), {"N": low.graph.capacity})[0]


def _run_forward(low: Entries, row: Row) -> None:
    operations, nodes = low.operations[row], low.graph.nodes
    last = nodes[row.last]
    samples = _samples(low, last)
    x = low.dense(low.value(nodes[row.layers[0]].inputs[0]))
    blocks = low.blocks.get(row)
    if blocks is not None:
        kind, count = (RUN_BLOCKS_THROUGH if blocks.whole else RUN_BLOCKS_FORWARD), blocks.cut.operations
        low.enter(kind, EACH_SAMPLE, blocks, count + blocks.whole)
        blocks.run(low.time, count, count + blocks.whole)
    for operation in operations:
        low.number = operation.number
        operation.x = x
        x = operation.y = low.room(operation.y_size, operation.y_length or samples)
        if operation.descriptor.saved and (row.differentiated or not operation.descriptor.omits):
            saved = nodes[operation.number].attributes["record"].saved
            operation.saved = {name: (low.storage(size), stride) for name, (size, stride) in saved.items()}
        for layout in (operation.x, operation.y, *operation.weights.values()):
            low.use(layout)
        for storage, _ in operation.saved.values():
            storage.used(low.time)
        if operation.descriptor.in_place:
            low.replaces(operation.y, operation.x)
        low.work += operation.work()
        low.enter(RUN_FORWARD, last.attributes["record"].samples, operation)
    operations[-1].y = low.layouts[row.last] = dense(x.home, last.shape)


@lowers("layer_backward")
def _(low: Entries, number: int, node: Node) -> None:
    row, nodes = low.rows.of_backward[number], low.graph.nodes
    operations = low.operations[row]
    if row.backwards[-1] != number:  # one of several of the row's only layer
        operations = [each.again() for each in operations]
        operations[-1].backward = number
    samples, own = _samples(low, nodes[row.last]), node.attributes["record"].samples
    first = next(n for n, each in enumerate(operations) if each.backward is not None)
    back = operations[first].backward
    assert back is not None
    gx_is_read = low.rows.is_read(back)
    if gx_is_read and first > 0:  # what makes x batch-minor has none of its own
        first -= 1
    blocks = low.blocks.get(row) if operations is low.operations[row] else None
    gy = low.dense(low.value(node.inputs[1]))
    to_add: list[tuple[int, int]] = []
    for n in range(len(operations) - 1, first - 1, -1):
        operation = operations[n]
        low.number = operation.backward if operation.backward is not None else number
        if blocks is not None and n == blocks.cut.operations - 1:
            kind = RUN_BLOCK_GRADIENTS if blocks.whole else RUN_BLOCKS_BACKWARD
            low.enter(kind, EACH_SAMPLE, blocks, n + 1 - first)
            blocks.run(low.time, n + 1 - first, n + 1 - first)
        operation.gy = gy
        if operation.activation is not None and operation.descriptor.name != "activation":
            operation.before = low.room(operation.y_size, operation.y_length or samples)
            low.replaces(operation.before, gy)
        if n > first or gx_is_read:
            base = low.written_to.get(back) if n == first else None
            operation.gx = low.room(operation.x_size, operation.x_length or samples, base)
            if operation.descriptor.in_place:
                low.replaces(operation.gx, gy)
        to_add += _gradients(low, operation)
        used = [operation.gy, operation.before, operation.gx, *operation.weights.values()]
        used += [getattr(operation, which) for which in ("x", "y") if operation.reads(which)]
        for layout in used:
            low.use(layout)
        for storage, _ in operation.saved.values():
            storage.used(low.time)
        low.work += 2 * operation.work()
        low.enter(RUN_BACKWARD, own, operation)
        gy = operation.gx or gy
    if gx_is_read:
        low.layouts[back] = dense(gy.home, nodes[back].shape)
    for parameter, gradient in to_add:
        low.keep_gradient(parameter, low.value(gradient), adds=True)


def _gradients(low: Entries, operation: Operation) -> list[tuple[int, int]]:
    """Find places for the gradients of an operation's parameters; returns those that remain to be added to others.

    A gradient is stored in its parameter's memory or, where another has been, added there by the operation itself, if that holds
    for all of its parameters. Where calls say which, they say it of all.
    """
    readers = low.rows.gradients(operation.backward) if operation.parameters else []
    names, nodes = list(operation.parameters), low.graph.nodes
    own = [low.direct.get(each) for each in readers]
    added = [parameter in low.stored for parameter in own]
    if low.by_call:
        operation.by_call = tuple([parameter for parameter in own if parameter is not None])
        if len(operation.by_call) < len(own):
            operation.by_call, added = (), [True] * len(own)
    else:
        operation.accumulates = all(added) and bool(added)
    to_add: list[tuple[int, int]] = []
    for each, parameter, adds in zip(readers, own, added, strict=True):
        node = nodes[each]
        if parameter is not None and (operation.accumulates or not adds):
            home = low.outside(Leaf(parameter, True if operation.by_call else "always"))
            low.layouts[each] = dense(home, node.shape)
        else:
            low.layouts[each] = low.fresh(node.shape, node.dtype)
            home = low.layouts[each].home
            low.use(low.layouts[each])
            to_add += [(parameter, each)] if parameter is not None else []
        operation.gradients[names[node.attributes["parameter"]]] = home
    if not low.by_call:
        low.stored |= {parameter for parameter in own if parameter is not None}
    return to_add


@lowers("layer_gradient")
def _(low: Entries, number: int, node: Node) -> None:
    """The layer's backward has written it."""


@lowers("loss")
def _(low: Entries, number: int, node: Node) -> None:
    record: LossRecord = node.attributes["record"]
    x, target = (low.value(each) for each in node.inputs)
    layouts: list[Layout] = [low.dense(target)]
    if number == low.trained and low.through is not None:
        low.dense(low.value(low.graph.nodes[low.through.layers[0]].inputs[0]))
        _run_forward(low, low.through)
        low.number = number
    layouts.insert(0, low.dense(x))
    samples = numbers((record.samples,), {"N": low.graph.capacity})[0]
    stride, losses = low.count(x.shape) // max(1, samples) * low.itemsize, record.losses * low.itemsize
    own = {
        "gx": low.storage(stride * samples),
        "saved": low.storage(stride * samples),
        "losses": low.storage(losses * samples),
        "y": low.storage(low.itemsize),
        "exact": low.storage(16),
    }
    for storage in own.values():
        storage.used(low.time)
    for layout in layouts:
        low.use(layout)
    low.layouts[number] = dense(own["y"], ())
    low.losses[number] = len(low.losses), own
    names = "weight", "pos_weight"
    weights = [None if record.held(name) is None else low.outside(Held(number, name)) for name in names]
    of_target, kind = low.count(target.shape) // max(1, samples), low.kind(target.dtype)[1]

    def made() -> Any:
        objective = ObjectiveRecord(
            descriptor=record.descriptor,
            attributes=record.descriptor.attributes(record.attributes),
            mean=record.mean,
            batchmean=record.batchmean,
            x=low.place_of(layouts[0], stride),
            gx=low.place(own["gx"], stride),
            target=low.place_of(layouts[1], of_target * kind, kind),
            saved=low.place(own["saved"], stride),
            losses=low.place(own["losses"], losses),
            weight=low.place(weights[0]),
            pos_weight=low.place(weights[1]),
        )
        return objective, low.place(own["y"]), low.place(own["exact"])

    low.enter(RUN_LOSS, record.samples, made)


@lowers("loss_backward")
def _(low: Entries, number: int, node: Node) -> None:
    of = node.inputs[0]
    loss = low.graph.nodes[of]
    which, own = low.losses[of]
    # A backward may write where the losses stood.
    for storage in (own["gx"], own["saved"], own["losses"], own["exact"]):
        storage.used(low.time)
    for each in loss.inputs:
        low.use(low.layouts[each])
    low.layouts[number] = dense(own["gx"], node.shape)
    if of != low.trained or low.through is None:
        low.enter(RUN_LOSS_BACKWARD, loss.attributes["record"].samples, lambda: which)
