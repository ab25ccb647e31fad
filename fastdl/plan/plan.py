"""Plan: a model flattened into operations over one planned arena of memory, ready to run as a native program.

A layer's `_plan(plan, x)` adds its operation for a value x and returns the value it yields; containers pass values on. From
that list follow the gradients' places, the lifetimes of all arrays, and their addresses: memory is used again once dead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.activation import activation_kinds
from fastdl._kernels.program.program import FEWEST_ALONE, OBJECTIVE, OPERATION, Program
from fastdl.messages import shown
from fastdl.plan.arena import Storage, arena
from fastdl.plan.blocks import Blocks, in_blocks, live_in_blocks
from fastdl.plan.chains import in_lanes
from fastdl.plan.operations import IN_PLACE, KINDS, READS_X, READS_Y, Gradient, Operation, Shape, Value, record_of

if TYPE_CHECKING:
    from fastdl.nn.module import Module
    from fastdl.nn.parameter import Parameter

Array = NDArray[Any]
Address = Callable[[Storage | None], int]
# An activation in an operation's record, and the code of one.
ACTIVATION = ("activation", "alpha", "beta", "keeps_output")
RELU = activation_kinds().index("relu")
# What stands for the address of an array outside of the arena, where 0 means none.
OUTSIDE = 1
# Multiply-adds that take less time than giving the GIL away and taking it again.
LIGHT = 20_000


class NotPlannedError(ValueError):
    """A model that native programs cannot run, and why."""


class Plan:
    """The operations of a model for batches up to a size.

    Args:
        shape: the shape of x without the batch's axis.
        dtype: float32 or float64.
        batch_size: the most samples of a batch.
        backward: whether gradients will be asked for.
        outside: whether the caller gives the arrays of the output and of its gradient, and wants the gradient of x.
    """

    def __init__(
        self, shape: Shape, dtype: np.dtype[Any], batch_size: int, backward: bool, outside: bool = False
    ) -> None:
        self.dtype, self.batch_size, self.backward, self.outside = dtype, batch_size, backward, outside
        self.operations: list[Operation] = []
        self.draws = 0
        self.least_samples, self.demanding = 1, ""
        self.arrays: list[Array] = []
        self.nbytes = 0
        # Where the latest batch's results stand.
        self.output = np.empty(0, dtype)
        self.learning: set[int] = set()
        self.blocks = Blocks()
        self._names: list[str] = []
        self._outside_gradient = self._storage(prod(shape))
        # The batch: its memory is the caller's where batches are read where they lie.
        self.input = Value(shape, None, backward and outside)

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
        name = f"{name} {type(module).__name__}".strip()
        arrays = [p._data for p in parameters.values() if p is not None]
        arrays += [value for value in fields.values() if isinstance(value, np.ndarray) and value.dtype.kind == "f"]
        for array in arrays:
            if array.dtype != self.dtype:
                raise NotPlannedError(f"{name} holds {array.dtype} where the input is of {self.dtype}")
        storages = {field: Storage(size) for field, size in (kept or {}).items()}
        self.operations.append(Operation(kind, name, x, y, fields, parameters, storages))
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
        latest.fields |= dict(zip(ACTIVATION, (code, alpha, beta, True), strict=True))
        return True

    def behind_maximum(self, x: Value) -> tuple[Value, dict[str, Any]]:
        """What a pooling of maxima reads instead of x, and the activation to apply to them: a ReLU that has yielded x.

        max relu(x) = relu(max x), and the gradient goes to the same place, for ReLU joins no two different positive numbers.
        """
        latest = self.operations[-1] if self.operations else None
        if latest is None or latest.y.storage is not x.storage or x.shared or latest.fields.get("activation") != RELU:
            return x, {}
        activation = {name: latest.fields.pop(name) for name in ACTIVATION}
        if latest.kind == "activation":
            x = self.operations.pop().x
        return x, activation

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
            self.least_samples, self.demanding = samples, shown(module)

    def _storage(self, elements: int) -> Storage:
        return Storage(elements * self.batch_size * self.dtype.itemsize)

    def bindings(self) -> list[tuple[int, Parameter | None, Parameter | None]]:
        """The operations with parameters: their numbers, W and b."""
        named = [(number, each.parameters) for number, each in enumerate(self.operations) if each.parameters]
        return [(number, parameters.get("W"), parameters.get("b")) for number, parameters in named]

    def differentiating(self) -> list[tuple[int, tuple[Parameter, ...]]]:
        """The operations with parameters, from the last to the first: their numbers and those parameters, frozen ones too."""
        found = [(number, tuple(p for p in (W, b) if p is not None)) for number, W, b in reversed(self.bindings())]
        return [(number, parameters) for number, parameters in found if parameters]

    def alone(self) -> list[tuple[int, Parameter]]:
        """The large weights that one linear operation outside of blocks reads and no other one: its number, W."""
        users = Counter(id(p) for each in self.operations for p in each.parameters.values())
        first, operations = self.blocks.operations, self.operations
        weights = [
            (n, operations[n].parameters["W"]) for n in range(first, len(operations)) if operations[n].kind == "linear"
        ]
        alone = [(number, w) for number, w in weights if w is not None and w._requires_grad and users[id(w)] == 1]
        return [(number, w) for number, w in alone if w.size >= FEWEST_ALONE]

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
        if output.storage is None:
            raise NotPlannedError("the model gives back its input")
        self.operations = in_lanes(self.operations, self.batch_size, self.dtype.itemsize)
        operations, count = self.operations, len(self.operations)
        if objective is not None:
            self.blocks = in_blocks(operations, self.batch_size)
        end = 2 * count + 1
        places: dict[str, Storage] = {}
        # Shuffled batches are gathered into the arena; forward is at 0 to count - 1, the loss at count, backward behind it.
        gathered = self._storage(self.input.size)
        if objective is not None:
            places = {"input": gathered, "target": Storage(target[0] * self.batch_size)}
            gathered.used(0)
            places["target"].used(0)
            places["target"].used(count)
        outside = output.storage if objective is None else None
        for time, operation in enumerate(operations):
            # Outside of fit a backward may be called again, so what it reads stays.
            self._live(operation, time, end if self.outside else end - 1 - time)
        output.storage.used(count)
        gradients: dict[int, Gradient] = {}
        if self.backward:
            first = None if objective is None else self._places_of_loss(output, places, target[1])
            gradients = self._gradients(output, first)
        if objective is not None:
            for time, operation in enumerate(operations):
                if operation.x.storage is None:
                    gathered.used(end - 1 - time if self._backward_reads(operation, "x") else time)
        self._share_places(end, gradients, outside)
        self.blocks = live_in_blocks(self.blocks, end, self.batch_size, self._storages(gradients), places.values())
        memory = arena(s for s in [*places.values(), *self._storages(gradients)] if s is not outside and not s.own)
        base, self.nbytes = memory.ctypes.data, memory.nbytes
        self.arrays.append(memory)
        if objective is not None:
            start = output.storage.root().offset
            self.output = memory[start : start + output.storage.size].view(self.dtype)

        def address(storage: Storage | None) -> int:
            if storage is None or storage is outside:
                return 0
            if storage is self._outside_gradient:
                return OUTSIDE
            return storage.root().offset + (0 if storage.root().own else base)

        records = np.zeros(count, OPERATION)
        written = {id(parameter) for parameter in accumulating}
        fields: dict[int, dict[str, Any]] = {}
        for number in range(count - 1, -1, -1):
            fields[number] = self._record(operations[number], gradients.get(number), address, written)
        for number in range(count):
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
            LIGHT // max(1, sum(operation.work() for operation in operations)),
            self.arrays,
            self.blocks,
        )

    def _backward_reads(self, operation: Operation, which: str) -> bool:
        """Whether an operation's backward reads its x or its y."""
        if not (self.backward and operation.y.differentiated):
            return False
        if operation.fields.get("activation"):
            if which == "y":
                return bool(operation.fields["keeps_output"])
            return operation.kind in READS_X or not operation.fields["keeps_output"]
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

    def _places_of_loss(self, output: Value, places: dict[str, Storage], losses: int) -> Storage:
        """Places for what the loss keeps and for its gradient, which is returned."""
        size, count = output.size * self.batch_size * self.dtype.itemsize, len(self.operations)
        places |= {"gx": Storage(size), "kept": Storage(size), "losses": self._storage(losses)}
        for name in ("gx", "kept", "losses"):
            places[name].used(count)
        return places["gx"]

    def _gradients(self, output: Value, first: Storage | None) -> dict[int, Gradient]:
        """For each operation with a backward, its gradients' places; `first` is that of the output's, None for outside."""
        end = 2 * len(self.operations) + 1
        of: dict[int, Storage | None] = {id(output.storage): first}
        whose: dict[int, Operation] = {}
        found: dict[int, Gradient] = {}
        for number in range(len(self.operations) - 1, -1, -1):
            operation, time = self.operations[number], end - 1 - number
            key = id(operation.y.storage)
            if key not in of or not operation.y.differentiated:
                continue
            gradient = found[number] = Gradient(of[key])
            if gradient.gy is None and operation.kind != "activation" and operation.fields.get("activation"):
                assert operation.y.storage is not None
                gradient.before = Storage(operation.y.storage.size)
            if operation.x.differentiated:
                x = operation.x.storage
                size, key = self._outside_gradient.size if x is None else x.size, id(x)
                before = of.get(key)
                if before is None:
                    gradient.gx = of[key] = self._outside_gradient if x is None else Storage(size)
                    whose[key] = operation
                elif operation.kind == "move":
                    # Parts of one value stand side by side: the first to come store, what meets another gradient adds.
                    gradient.gx = before
                    gradient.adds = whose[key].fields.get("together") is not operation.fields["together"]
                else:
                    gradient.gx, gradient.total = Storage(size), before
            for storage in (gradient.gy, gradient.before, gradient.gx, gradient.total):
                if storage is not None:
                    storage.used(time)
        return found

    def _share_places(self, end: int, gradients: dict[int, Gradient], outside: Storage | None) -> None:
        """Let an elementwise operation write over what it is the last to read."""
        for time, operation in enumerate(self.operations):
            if operation.kind not in IN_PLACE:
                continue
            x, y = operation.x.storage, operation.y.storage
            if x is not None and y is not None and y is not outside and x.root().last == time:
                y.root().take_place_of(x.root())
            gradient = gradients.get(time)
            if gradient is None or gradient.gy is None or gradient.gx is None or gradient.total is not None:
                continue
            if gradient.gx is not self._outside_gradient and gradient.gy.root().last == end - 1 - time:
                gradient.gx.root().take_place_of(gradient.gy.root())

    def _storages(self, gradients: dict[int, Gradient]) -> list[Storage]:
        every = [value.storage for each in self.operations for value in (each.x, each.y)]
        every += [storage for each in self.operations for storage in each.kept.values()]
        every += [storage for g in gradients.values() for storage in (g.gy, g.before, g.gx, g.total)]
        return list({id(s): s for s in every if s is not None and s is not self._outside_gradient}.values())

    def _record(
        self, operation: Operation, gradient: Gradient | None, address: Address, written: set[int]
    ) -> dict[str, Any]:
        """An operation's record; `written` are the gradients of parameters that later operations have stored already."""
        fields = {n: v for n, v in operation.fields.items() if n != "together"}
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
        places = [operation.x.storage, operation.y.storage]
        if gradient is not None:
            learning = {n: p for n, p in operation.parameters.items() if p is not None and p._requires_grad}
            fields["differentiated"] = int(gradient.gx is not None or bool(learning))
            fields |= {"gy": address(gradient.gy), "gx": address(gradient.gx), "total": address(gradient.total)}
            fields |= {"before": address(gradient.before or gradient.gy), "adds_back": int(gradient.adds)}
            places += [gradient.gy, gradient.gx, gradient.total, gradient.before or gradient.gy]
            for name, parameter in learning.items():
                fields[f"g{name}"] = parameter._grad
            # A parameter that stands in several places is stored by the last of them, which comes first, and added to by others.
            before = {id(p) in written for p in learning.values()}
            if len(before) > 1:
                raise NotPlannedError(f"{operation.name} shares one of its parameters, or one is not the optimizer's")
            fields["accumulate"] = int(True in before)
            written |= {id(p) for p in learning.values()}
        fields["own"] = sum(1 << bit for bit, place in enumerate(places) if place is not None and place.root().own)
        self.arrays += [value for value in fields.values() if isinstance(value, np.ndarray)]
        return fields


def as_defined(value: object, name: str, methods: Iterable[str]) -> bool:
    """Whether these methods are those of the class that defines `name`, not a subclass' or the instance's own."""
    kind = type(value)
    owner = next((base for base in kind.__mro__ if name in vars(base)), None)
    own = vars(value)
    return owner is not None and all(getattr(kind, m) is getattr(owner, m) and m not in own for m in methods)
