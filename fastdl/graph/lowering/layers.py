"""Nodes of layers and losses: their records, forward beside backward."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from fastdl._kernels.program.sequence import RUN_BACKWARD, RUN_FORWARD, RUN_LOSS, RUN_LOSS_BACKWARD
from fastdl.graph.arena import Storage
from fastdl.graph.graph import Node
from fastdl.graph.layers import LayerRecord, LossRecord
from fastdl.graph.layout import Layout, dense
from fastdl.graph.lowering.entries import Entries, lowers
from fastdl.graph.records import NOWHERE, ObjectiveRecord, Record
from fastdl.graph.size import numbers

NO_ACTIVATION = (0, 0.0, 0.0, False)


@lowers("layer")
def _(low: Entries, number: int, node: Node) -> None:
    record: LayerRecord = node.attributes["record"]
    x = low.dense(low.value(node.inputs[0]))
    y = low.layouts[number] = low.fresh(node.shape, node.dtype)
    saved = {name: (low.storage(size), stride) for name, (size, stride) in record.saved.items()}
    low.saved[number] = saved
    weights = _weights(low, node)
    for layout in (x, y, *weights):
        low.use(layout)
    for storage, _ in saved.values():
        storage.used(low.time)
    low.work += _layer_work(low, record)
    made = _layer_record(low, record, x, y, saved, weights)
    low.enter(RUN_FORWARD, record.samples, made)


def _weights(low: Entries, node: Node) -> list[Layout]:
    """What a layer's parameters are in the program."""
    return [low.dense(low.value(each)) for each in node.inputs[1:]]


def _layer_work(low: Entries, record: LayerRecord) -> int:
    size = int(np.prod(record.shapes[1]))
    return size * (int(np.prod(own[0].shape[1:])) or 1) if (own := record.own()) else size


def _layer_record(
    low: Entries,
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
    buffers = {name: None if array is None else low.outside(id(array), array) for name, array in record.buffers.items()}
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
            x=low.place_of(x),
            y=low.place_of(y),
            gy=low.place_of(gy),
            gx=low.place_of(gx),
            before=NOWHERE,
            total=NOWHERE,
            parameters=tuple(low.place_of(values.get(name)) for name in descriptor.parameters),
            gradients=tuple(low.place(gradients.get(numbers_of.get(name, -1))) for name in descriptor.parameters),
            sizes=tuple(there[name].size if name in there else 0 for name in descriptor.parameters),
            saved=tuple(
                (*low.place(saved[name][0])[:2], saved[name][1]) if name in saved else NOWHERE
                for name in descriptor.saved
            ),
            buffers=tuple(low.place(buffers.get(name)) for name in descriptor.buffers),
        )

    return made


@lowers("layer_backward")
def _(low: Entries, number: int, node: Node) -> None:
    of = node.inputs[0]
    forward = low.graph.nodes[of]
    record: LayerRecord = node.attributes["record"]
    x, y = low.dense(low.value(forward.inputs[0])), low.layouts[of]
    gy = low.dense(low.value(node.inputs[1]))
    nodes, readers = low.graph.nodes, low.readers.get(number, [])
    own = [n for n in readers if nodes[n].operation == "layer_gradient" and nodes[n].inputs[0] == number]
    gx = None
    if len(own) < len(readers) or number in low.roots:
        gx = low.fresh(node.shape, node.dtype)
        low.layouts[number] = gx
    gradients: dict[int, Any] = {}
    for each in own:
        reader = nodes[each]
        parameter = low.direct.get(each)
        if parameter is not None:
            home: Any = low.outside((id(parameter), True), (parameter, "always"))
            low.layouts[each] = dense(home, reader.shape)
        else:
            low.layouts[each] = low.fresh(reader.shape, reader.dtype)
            home = low.layouts[each].home
            low.use(low.layouts[each])
        gradients[reader.attributes["parameter"]] = home
    weights = _weights(low, forward)
    for layout in (x, y, gy, gx, *weights):
        low.use(layout)
    for storage, _ in low.saved[of].values():
        storage.used(low.time)
    low.work += 2 * _layer_work(low, record)
    made = _layer_record(low, record, x, y, low.saved[of], weights, gy, gx, gradients)
    low.enter(RUN_BACKWARD, record.samples, made)


@lowers("layer_gradient")
def _(low: Entries, number: int, node: Node) -> None:
    """The layer's backward has written it."""


@lowers("loss")
def _(low: Entries, number: int, node: Node) -> None:
    record: LossRecord = node.attributes["record"]
    x, target = (low.value(each) for each in node.inputs)
    layouts = low.dense(x), low.dense(target)
    size = low.count(x.shape) * low.itemsize
    own = {
        "gx": low.storage(size),
        "saved": low.storage(size),
        "losses": low.storage(record.losses * numbers((record.samples,), {"N": low.graph.capacity})[0] * low.itemsize),
        "y": low.storage(low.itemsize),
    }
    for storage in own.values():
        storage.used(low.time)
    for layout in layouts:
        low.use(layout)
    low.layouts[number] = dense(own["y"], ())
    low.losses[number] = len(low.losses), own
    weights = [None if array is None else low.outside(id(array), array) for array in (record.weight, record.pos_weight)]

    def made() -> Any:
        objective = ObjectiveRecord(
            descriptor=record.descriptor,
            attributes=record.descriptor.attributes(record.attributes),
            mean=record.mean,
            batchmean=record.batchmean,
            x=low.place_of(layouts[0]),
            gx=low.place(own["gx"]),
            target=low.place_of(layouts[1], low.kind(target.dtype)[1]),
            saved=low.place(own["saved"]),
            losses=low.place(own["losses"]),
            weight=low.place(weights[0]),
            pos_weight=low.place(weights[1]),
        )
        return objective, low.place(own["y"])

    low.enter(RUN_LOSS, record.samples, made)


@lowers("loss_backward")
def _(low: Entries, number: int, node: Node) -> None:
    of = node.inputs[0]
    loss = low.graph.nodes[of]
    which, own = low.losses[of]
    for storage in (own["gx"], own["saved"]):
        storage.used(low.time)
    for each in loss.inputs:
        low.use(low.layouts[each])
    low.layouts[number] = dense(own["gx"], node.shape)
    low.enter(RUN_LOSS_BACKWARD, loss.attributes["record"].samples, lambda: which)
