"""Plan: a model flattened into operations over one planned arena of memory, ready to run as a native program.

A layer's `_plan(plan, x)` adds its operation for a value x and returns the value it yields; containers pass values on. From
that list follow the gradients' places, the lifetimes of all arrays, and their addresses: memory is used again once dead.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.program import OBJECTIVE, OPERATION, Program
from fastdl.nn.module import Module
from fastdl.nn.parameter import Parameter

Array = NDArray[Any]
Shape = tuple[int, ...]
LINE = 64

# The operations' kinds, numbered as in operation.pxd.
KINDS = (
    "linear",
    "conv",
    "activation",
    "softmax",
    "log_softmax",
    "max_pool",
    "avg_pool",
    "adaptive_avg_pool",
    "batch_norm",
    "layer_norm",
    "dropout",
    "move",
)
# Whose backward reads x, and whose reads y; and whose y may take the place of an x that nobody reads any more.
READS_X = {"linear", "conv", "batch_norm", "layer_norm"}
READS_Y = {"softmax", "log_softmax"}
IN_PLACE = {"activation", "dropout"}


class NotPlannedError(Exception):
    """A model that native programs cannot run, and why."""


@dataclass(eq=False)
class Storage:
    """An array in the arena: so many bytes, from its first use to its last."""

    size: int
    first: int = -1
    last: int = -1
    offset: int = -1
    place_of: Storage | None = None

    def used(self, time: int) -> None:
        """Extend the lifetime to this time."""
        if self.place_of is not None:
            self.place_of.used(time)
            return
        self.first = time if self.first < 0 else min(self.first, time)
        self.last = max(self.last, time)

    def root(self) -> Storage:
        """The storage whose memory this one takes."""
        return self if self.place_of is None else self.place_of.root()


@dataclass(eq=False)
class Value:
    """What an operation reads or yields: its shape without the batch's axis, and whether its gradient is wanted.

    A shared one is read by several operations.
    """

    shape: Shape
    storage: Storage | None
    differentiated: bool
    shared: bool = False

    @property
    def size(self) -> int:
        """Elements of one sample."""
        return prod(self.shape)

    def for_several(self) -> Value:
        """The same value, to be read by several operations."""
        return Value(self.shape, self.storage, self.differentiated, True)

    def reshaped(self, shape: Shape) -> Value:
        """The same memory in another shape."""
        return Value(shape, self.storage, self.differentiated, self.shared)


@dataclass(eq=False)
class Operation:
    """One operation of the list: its record's fields, its values, and the storages it keeps for backward."""

    kind: str
    name: str
    x: Value
    y: Value
    fields: dict[str, Any]
    parameters: dict[str, Parameter | None]
    kept: dict[str, Storage] = field(default_factory=dict)

    def learning(self) -> bool:
        """Whether a parameter of its own is differentiated."""
        return any(p is not None and p._requires_grad for p in self.parameters.values())


class Plan:
    """The operations of a model for batches up to a size.

    Args:
        shape: the shape of x without the batch's axis.
        dtype: float32 or float64.
        batch_size: the most samples of a batch.
        backward: whether gradients will be asked for.
    """

    def __init__(self, shape: Shape, dtype: np.dtype[Any], batch_size: int, backward: bool) -> None:
        self.dtype, self.batch_size, self.backward = dtype, batch_size, backward
        self.operations: list[Operation] = []
        self.draws = 0
        self.least_samples, self.demanding = 1, ""
        self.arrays: list[Array] = []
        self.nbytes = 0
        self.learning: set[int] = set()
        self._names: list[str] = []
        # The batch: its memory is the caller's where batches are read where they lie.
        self.input = Value(shape, None, False)

    # --- what layers call

    def through(self, module: Module, x: Value, name: str = "") -> Value:
        """Plan a module for x; `name` is its name in the container that holds it."""
        if not as_defined(module, "_plan", ("__call__", "forward", "backward", "backward_parameters")):
            raise NotPlannedError(f"{type(module).__name__} is a module in Python")
        self._names.append(name)
        y = module._plan(self, x)  # pyright: ignore[reportAttributeAccessIssue]
        self._names.pop()
        return y

    def add(
        self,
        kind: str,
        module: Module,
        x: Value,
        shape: Shape,
        parameters: dict[str, Parameter | None] | None = None,
        *,
        kept: dict[str, int] | None = None,
        y: Value | None = None,
        **fields: Any,
    ) -> Value:
        """Add an operation that turns x into a value of this shape.

        Args:
            kind: one of KINDS.
            parameters: W and b, by these names.
            kept: arrays between forward and backward, by the record's field: their bytes for a whole batch.
            y: the value, where another operation has begun it.
            fields: of the operation's record; arrays stand for their addresses.
        """
        parameters = parameters or {}
        learning = any(p is not None and p._requires_grad for p in parameters.values())
        if y is None:
            y = Value(shape, self._storage(prod(shape)), self.backward and (x.differentiated or learning))
        name = ".".join(part for part in self._names if part)
        storages = {field: Storage(size) for field, size in (kept or {}).items()}
        self.operations.append(Operation(kind, f"{name} {module.spec()}".strip(), x, y, fields, parameters, storages))
        return y

    def value(self, shape: Shape, differentiated: bool) -> Value:
        """A value that several operations write."""
        return Value(shape, self._storage(prod(shape)), self.backward and differentiated)

    def fuse_activation(self, x: Value, code: int, alpha: float, beta: float) -> bool:
        """Let the product that has just yielded x apply an activation whose derivative reads its output."""
        latest = self.operations[-1] if self.operations else None
        if latest is None or latest.kind not in ("linear", "conv") or latest.y.storage is not x.storage:
            return False
        if latest.fields.get("activation") or x.shared:
            return False
        latest.fields |= {"activation": code, "alpha": alpha, "beta": beta}
        return True

    def refusal(self, why: str) -> NotPlannedError:
        """The error by which a layer says that it cannot be planned."""
        return NotPlannedError(why)

    def draw(self) -> int:
        """The number of a dropout among a forward's."""
        self.draws += 1
        return self.draws - 1

    def at_least(self, samples: int, module: Module) -> None:
        """A batch must have so many samples, for this module."""
        if samples > self.least_samples:
            self.least_samples, self.demanding = samples, module.spec()

    def _storage(self, elements: int) -> Storage:
        return Storage(elements * self.batch_size * self.dtype.itemsize)

    # --- from the list to a program

    def program(
        self,
        output: Value,
        objective: dict[str, Any] | None = None,
        target: tuple[int, int] = (0, 0),
        accumulating: Iterable[Parameter] = (),
    ) -> Program:
        """The program that yields `output`.

        Args:
            output: the model's.
            objective: fields of the loss's record, but for addresses in the arena; None to predict only.
            target: bytes of a sample's targets, and the elements of its losses.
            accumulating: parameters whose gradients are added to in each step, not stored.
        """
        operations, count = self.operations, len(self.operations)
        end = 2 * count + 1
        places: dict[str, Storage] = {}
        # Shuffled batches are gathered into the arena; forward is at 0 to count - 1, the loss at count, backward behind it.
        gathered = self._storage(self.input.size)
        if self.backward:
            places = {"input": gathered, "target": Storage(target[0] * self.batch_size)}
            gathered.used(0)
            places["target"].used(0)
            places["target"].used(count)
        for time, operation in enumerate(operations):
            self._live(operation, time, end - 1 - time)
        if output.storage is not None:
            output.storage.used(count if self.backward else end)
        gradients = self._gradients(output, places, target[1]) if self.backward else {}
        if self.backward:
            for time, operation in enumerate(operations):
                if operation.x.storage is None:
                    gathered.used(end - 1 - time if self._backward_reads(operation, "x") else time)
        self._share_places(count, end, gradients)
        arena = self._arena([*places.values(), *self._storages(gradients)])
        base = arena.ctypes.data
        self.arrays.append(arena)

        def address(storage: Storage | None) -> int:
            return 0 if storage is None else base + storage.root().offset

        records = np.zeros(count, OPERATION)
        written = {id(parameter) for parameter in accumulating}
        fields: dict[int, dict[str, Any]] = {}
        for number in range(count - 1, -1, -1):
            fields[number] = self._record(operations[number], gradients.get(number), address, written)
        for number in range(count):
            if not self.backward and operations[number].y is output:
                fields[number]["y"] = 0
            records[number] = record_of(OPERATION, fields[number])
        self.learning = written
        record = None
        if objective is not None:
            places_of = {name: address(places.get(name)) for name in ("gx", "kept", "losses")}
            placed = objective | {"x": address(output.storage)} | places_of
            self.arrays += [value for value in placed.values() if isinstance(value, np.ndarray)]
            record = np.array(record_of(OBJECTIVE, placed), OBJECTIVE)
        return Program(
            records,
            record,
            self.dtype.itemsize,
            address(places.get("input")),
            address(places.get("target")),
            self.draws,
            self.arrays,
        )

    def _backward_reads(self, operation: Operation, which: str) -> bool:
        """Whether an operation's backward reads its x or its y."""
        if not (self.backward and operation.y.differentiated):
            return False
        if operation.fields.get("activation"):
            own = operation.kind == "activation"
            if which == "y":
                return not own or operation.fields["keeps_output"]
            return not own or not operation.fields["keeps_output"]
        return operation.kind in (READS_X if which == "x" else READS_Y)

    def _live(self, operation: Operation, forward: int, backward: int) -> None:
        for which, value in (("x", operation.x), ("y", operation.y)):
            if value.storage is not None:
                value.storage.used(forward)
                if self._backward_reads(operation, which):
                    value.storage.used(backward)
        for storage in operation.kept.values():
            storage.used(forward)
            if self.backward:
                storage.used(backward)

    def _gradients(
        self, output: Value, places: dict[str, Storage], losses: int
    ) -> dict[int, tuple[Storage, Storage | None, Storage | None, bool]]:
        """For each operation with a backward: where gy and gx stand, what gx is added to, whether a move adds."""
        count = len(self.operations)
        end = 2 * count + 1
        of: dict[int, Storage] = {}
        whose: dict[int, Operation] = {}
        first = Storage(output.size * self.batch_size * self.dtype.itemsize)
        for name, storage in (
            ("gx", first),
            ("kept", Storage(first.size)),
            ("losses", Storage(losses * self.batch_size * self.dtype.itemsize)),
        ):
            storage.used(count)
            places[name] = storage
        if output.storage is not None:
            of[id(output.storage)] = first
        found: dict[int, tuple[Storage, Storage | None, Storage | None, bool]] = {}
        for number in range(count - 1, -1, -1):
            operation, time = self.operations[number], end - 1 - number
            gy = of.get(id(operation.y.storage))
            if gy is None or not operation.y.differentiated:
                continue
            gy.used(time)
            gx = total = None
            adds = False
            if operation.x.differentiated and operation.x.storage is not None:
                key = id(operation.x.storage)
                before = of.get(key)
                if before is None:
                    gx = of[key] = self._storage(operation.x.size)
                elif operation.kind == "move":
                    # Parts of one value, side by side: the first to come store.
                    gx, adds = before, whose[key].fields.get("together") is not operation.fields.get("together")
                else:
                    gx, total = self._storage(operation.x.size), before
                    total.used(time)
                if before is None:
                    whose[key] = operation
                elif operation.kind == "move" and not adds:
                    pass
                elif operation.kind == "move":
                    adds = True
                gx.used(time)
            found[number] = gy, gx, total, adds
        return found

    def _share_places(self, count: int, end: int, gradients: dict[int, Any]) -> None:
        """Let an elementwise operation write over what it is the last to read."""
        for time, operation in enumerate(self.operations):
            if operation.kind not in IN_PLACE:
                continue
            x, y = operation.x.storage, operation.y.storage
            if x is not None and y is not None and x.root().last == time and x.root() is not y.root():
                _take_place(y.root(), x.root())
            if time in gradients:
                gy, gx, total, _ = gradients[time]
                if gx is not None and total is None and gy.root().last == end - 1 - time and gy.root() is not gx.root():
                    _take_place(gx.root(), gy.root())

    def _storages(self, gradients: dict[int, Any]) -> list[Storage]:
        every = [value.storage for each in self.operations for value in (each.x, each.y)]
        every += [storage for each in self.operations for storage in each.kept.values()]
        every += [storage for entry in gradients.values() for storage in entry[:3]]
        return list({id(s): s for s in every if s is not None}.values())

    def _arena(self, storages: list[Storage]) -> Array:
        """Memory for all storages: each at the lowest place that is free for its lifetime."""
        placed: list[Storage] = []
        own = {id(s): s for s in storages if s.place_of is None and s.first >= 0}
        size = 0
        for storage in sorted(own.values(), key=lambda s: (-s.size, s.first)):
            others = [s for s in placed if s.first <= storage.last and storage.first <= s.last]
            storage.offset = 0
            for other in sorted(others, key=lambda s: s.offset):
                if storage.offset + _rounded(storage.size) <= other.offset:
                    break
                storage.offset = max(storage.offset, other.offset + _rounded(other.size))
            placed.append(storage)
            size = max(size, storage.offset + _rounded(storage.size))
        self.nbytes = size
        raw = np.zeros(size + LINE, np.uint8)
        start = -raw.ctypes.data % LINE
        return raw[start : start + size]

    def _record(self, operation: Operation, gradient: Any, address: Any, written: set[int]) -> dict[str, int | float]:
        """An operation's record; `written` are the gradients of parameters that later operations have stored already."""
        fields = {n: v for n, v in operation.fields.items() if n not in ("keeps_output", "together")}
        fields |= {
            "kind": KINDS.index(operation.kind),
            "x": address(operation.x.storage),
            "y": address(operation.y.storage),
            "x_size": operation.x.size,
            "y_size": operation.y.size,
        }
        fields |= {name: address(storage) for name, storage in operation.kept.items()}
        for name, parameter in operation.parameters.items():
            fields[name] = 0 if parameter is None else parameter._data
        if gradient is not None:
            gy, gx, total, adds = gradient
            learning = {n: p for n, p in operation.parameters.items() if p is not None and p._requires_grad}
            fields["differentiated"] = int(gx is not None or bool(learning))
            fields |= {"gy": address(gy), "gx": address(gx), "total": address(total), "adds_back": int(adds)}
            for name, parameter in learning.items():
                fields[f"g{name}"] = parameter._grad
            # A parameter that stands in several places is stored by the last of them, which comes first, and added to by others.
            before = {id(p) in written for p in learning.values()}
            if len(before) > 1:
                raise NotPlannedError(f"{operation.name} shares one of its parameters, or one is not the optimizer's")
            fields["accumulate"] = int(True in before)
            written |= {id(p) for p in learning.values()}
        if fields.get("activation"):
            keeps = operation.kind != "activation" or operation.fields["keeps_output"]
            fields["kept"] = fields["y"] if keeps else fields["x"]
        self.arrays += [value for value in fields.values() if isinstance(value, np.ndarray)]
        return fields


def as_defined(value: object, name: str, methods: Iterable[str]) -> bool:
    """Whether these methods are those of the class that defines `name`, not a subclass' or the instance's own."""
    kind = type(value)
    owner = next((base for base in kind.__mro__ if name in vars(base)), None)
    own = vars(value)
    return owner is not None and all(getattr(kind, m) is getattr(owner, m) and m not in own for m in methods)


def _take_place(later: Storage, earlier: Storage) -> None:
    later.place_of = earlier
    earlier.used(later.first)
    earlier.used(later.last)


def _rounded(size: int) -> int:
    return -(-size // LINE) * LINE


def record_of(dtype: np.dtype[Any], fields: dict[str, Any]) -> tuple[Any, ...]:
    """A record with these fields, arrays standing for their addresses, and zeros elsewhere."""
    record = _zeros(dtype) | fields
    return tuple(v.ctypes.data if isinstance(v, np.ndarray) else v for v in record.values())


@cache
def _zeros(dtype: np.dtype[Any]) -> dict[str, Any]:
    zero = np.zeros((), dtype)
    return {name: zero[name].item() for name in dtype.names or ()}
