"""Plan: a model flattened into operations over one planned arena of memory, ready to run as a native program.

A layer's `_plan(plan, x)` adds its operation for a value x and returns the value it yields; containers pass values on. From
that list follow the gradients' places, the lifetimes of all arrays, and their addresses: memory is used again once dead.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import fastdl._kernels.move  # noqa: F401 - enters its descriptor
from fastdl._kernels.activation import activation_kinds
from fastdl._kernels.descriptor import (
    BASE_ARENA,
    BASE_ARRAYS,
    BASE_BLOCK,
    BASE_GRAD_INPUT,
    BASE_GRAD_OUTPUT,
    BASE_INPUT,
    BASE_NONE,
    BASE_OUTPUT,
    BASE_TARGET,
    DESCRIPTORS,
    LOSSES,
)
from fastdl._kernels.program.program import FEWEST_ALONE, Program
from fastdl.graph.arena import Storage, placed
from fastdl.graph.records import NOWHERE, ObjectiveRecord, Place, Record
from fastdl.messages import shown
from fastdl.plan.blocks import Blocks, in_blocks, live_in_blocks
from fastdl.plan.chains import in_batch_minor
from fastdl.plan.operations import Activation, Gradient, Objective, Operation, Shape, Value

if TYPE_CHECKING:
    from fastdl.nn.module import Module
    from fastdl.nn.parameter import Parameter

Array = NDArray[Any]
RELU = activation_kinds().index("relu")
# Multiply-adds that take less time than giving the GIL away and taking it again.
LIGHT = 20_000


class NotPlannedError(ValueError):
    """A model that native programs cannot run, and why."""


class InPythonError(NotPlannedError):
    """A module in Python stands among those to be planned, or a loss of a function: a trace may go through them."""


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
        self.nbytes = 0
        # Where in a frame's arena the latest batch's results stand.
        self.output = slice(0)
        self.learning: set[int] = set()
        self.blocks = Blocks()
        self._names: list[str] = []
        self._outside_gradient, self._outside = self._storage(prod(shape)), None
        # The arrays outside of the arena, see Frame; the number of each by what it is.
        self._sources: list[Any] = []
        self._numbers: dict[tuple[int, bool], int] = {}
        # The batch: its memory is the caller's where batches are read where they lie.
        self.input = Value(shape, None, backward and outside)

    # --- what layers call

    def through(self, module: Module, x: Value, name: str = "") -> Value:
        """Plan a module for x; `name` is its name in the container that holds it."""
        if not as_defined(module, "_plan", ("__call__", "forward", "backward", "backward_parameters")):
            raise InPythonError(f"{type(module).__name__} is a module in Python")
        self._names.append(name)
        y = module._plan(self, x)  # pyright: ignore[reportAttributeAccessIssue]
        self._names.pop()
        return y

    def add(
        self,
        name: str,
        module: Module,
        x: Value,
        shape: Shape,
        *,
        parameters: dict[str, Parameter | None] | None = None,
        buffers: dict[str, Array | None] | None = None,
        saved: dict[str, tuple[int, int]] | None = None,
        activation: Activation | None = None,
        y: Value | None = None,
        together: object = None,
        **attributes: Any,
    ) -> Value:
        """Add an operation that turns x into a value of this shape.

        Args:
            name: of its descriptor.
            module: the layer.
            x: what it reads.
            shape: of what it yields, without the batch's axis.
            parameters, buffers: its own by the descriptor's names; None for those that are not there.
            saved: arrays between forward and backward, by the descriptor's names: their bytes for a whole batch, and for a sample
                where samples stand apart in them, else 0.
            activation: the activation that follows.
            y: the value, where another operation has begun it.
            together: the same for all operations that write parts of y side by side.
            attributes: as the descriptor packs them.
        """
        parameters, buffers = parameters or {}, buffers or {}
        learning = any(p is not None and p._requires_grad for p in parameters.values())
        if y is None:
            y = Value(shape, self._storage(prod(shape)), self.backward and (x.differentiated or learning))
        path = ".".join(part for part in self._names if part)
        full = f"{path} {type(module).__name__}".strip()
        arrays = [p._data for p in parameters.values() if p is not None]
        arrays += [array for array in buffers.values() if array is not None and array.dtype.kind == "f"]
        for array in arrays:
            if array.dtype != self.dtype:
                raise NotPlannedError(f"{full} holds {array.dtype} where the input is of {self.dtype}")
        storages = {field: (Storage(size), stride) for field, (size, stride) in (saved or {}).items()}
        self.operations.append(
            Operation(
                DESCRIPTORS[name], full, x, y, attributes, parameters, buffers, storages, activation, together=together
            )
        )
        return y

    def activate(self, module: Module, x: Value, activation: tuple[int, float, float, bool]) -> Value:
        """Add an activation, in the product before it where it fits.

        `activation` is its code, alpha, beta, and whether its derivative reads the output.
        """
        latest = self.operations[-1] if self.operations else None
        found = Activation(*activation)
        if (
            found.keeps_output
            and latest is not None
            and latest.descriptor.activates
            and latest.y.storage is x.storage
            and latest.activation is None
            and not x.shared
        ):
            latest.activation = found
            return x
        return self.add("activation", module, x, x.shape, activation=found)

    def move(
        self, module: Module, x: Value, y: Value, *, n: int, together: object, adds: bool = False, **starts: int
    ) -> None:
        """Move n elements of each sample of x, from x_start on, to those of y from y_start on, where they are stored or added."""
        attributes = {"n": n, "adds": adds, "adds_back": False, "x_start": 0, "y_start": 0, **starts}
        self.add("move", module, x, y.shape, y=y, together=together, **attributes)

    def loss(self, name: str, attributes: dict[str, Any], **options: Any) -> Objective:
        """The loss of this name with the attributes that its descriptor packs; options as for Objective."""
        return Objective(name, attributes, **options)

    def value(self, shape: Shape, differentiated: bool) -> Value:
        """A value that several operations write."""
        return Value(shape, self._storage(prod(shape)), self.backward and differentiated)

    def behind_maximum(self, x: Value) -> tuple[Value, Activation | None]:
        """What a pooling of maxima reads instead of x, and the activation to apply to them: a ReLU that has yielded x.

        max relu(x) = relu(max x), and the gradient goes to the same place, for ReLU joins no two different positive numbers.
        """
        latest = self.operations[-1] if self.operations else None
        activation = None if latest is None else latest.activation
        if (
            latest is None
            or activation is None
            or latest.y.storage is not x.storage
            or x.shared
            or activation.code != RELU
        ):
            return x, None
        latest.activation = None
        if latest.descriptor is DESCRIPTORS["activation"]:
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

    def differentiating(self) -> list[tuple[int, tuple[Parameter, ...]]]:
        """The operations with parameters, from the last to the first: their numbers and those parameters, frozen ones too."""
        found = [
            (number, tuple(p for p in operation.parameters.values() if p is not None))
            for number, operation in enumerate(self.operations)
        ]
        return [(number, parameters) for number, parameters in reversed(found) if parameters]

    def alone(self) -> list[tuple[int, Parameter]]:
        """The large weights that only one operation reads, outside of blocks, whose backward may take their step."""
        users = Counter(id(p) for each in self.operations for p in each.parameters.values())
        weights = [
            (number, next(iter(operation.parameters.values())))
            for number, operation in enumerate(self.operations)
            if number >= self.blocks.operations and operation.descriptor.steps
        ]
        alone = [(number, w) for number, w in weights if w is not None and w._requires_grad and users[id(w)] == 1]
        return [(number, w) for number, w in alone if w.size >= FEWEST_ALONE]

    # --- from the list to a program

    def program(
        self,
        output: Value,
        objective: Objective | None = None,
        target: int = 0,
        accumulating: Iterable[Parameter] = (),
    ) -> Program:
        """The program that yields `output`.

        Args:
            output: the model's.
            objective: the loss; None to predict only.
            target: bytes of a sample's targets.
            accumulating: parameters whose gradients are added to in each step, not stored.
        """
        if output.storage is None:
            raise NotPlannedError("the model gives back its input")
        self.operations = in_batch_minor(self.operations, self.batch_size, self.dtype.itemsize)
        operations, count = self.operations, len(self.operations)
        if objective is not None:
            self.blocks = in_blocks(operations, self.batch_size)
        end = 2 * count + 1
        places: dict[str, Storage] = {}
        # Shuffled batches are gathered into the arena; forward is at 0 to count - 1, the loss at count, backward behind it.
        gathered = self._storage(self.input.size)
        if objective is not None:
            places = {"input": gathered, "target": Storage(target * self.batch_size)}
            gathered.used(0)
            places["target"].used(0)
            places["target"].used(count)
        self._outside = outside = output.storage if objective is None else None
        for time, operation in enumerate(operations):
            # Outside of fit a backward may be called again, so what it reads stays.
            self._live(operation, time, end if self.outside else end - 1 - time)
        output.storage.used(count)
        gradients: dict[int, Gradient] = {}
        if self.backward:
            first = None if objective is None else self._places_of_loss(output, places, objective.losses)
            gradients = self._gradients(output, first)
        if objective is not None:
            for time, operation in enumerate(operations):
                if operation.x.storage is None:
                    gathered.used(end - 1 - time if self._backward_reads(operation, "x") else time)
        self._share_places(end, gradients, outside)
        self.blocks = live_in_blocks(self.blocks, end, self.batch_size, self._storages(gradients), places.values())
        self.nbytes = placed(
            s for s in [*places.values(), *self._storages(gradients)] if s is not outside and not s.own
        )
        if objective is not None:
            start = output.storage.root().offset
            self.output = slice(start, start + output.storage.size)
        written = {id(parameter) for parameter in accumulating}
        records = [self._record(operations[n], gradients.get(n), written) for n in range(count - 1, -1, -1)][::-1]
        self.learning = written
        return Program(
            records,
            None if objective is None else self._objective(objective, output, places, target),
            self.dtype.itemsize,
            self.nbytes,
            [
                (base, places[name].root().offset)
                for base, name in ((BASE_INPUT, "input"), (BASE_TARGET, "target"))
                if places
            ],
            [] if objective is None else [self._place(output.storage, output.size)],
            self.draws,
            LIGHT // max(1, sum(operation.work() for operation in operations)),
            self._sources,
            self.blocks,
        )

    def _backward_reads(self, operation: Operation, which: str) -> bool:
        """Whether an operation's backward reads its x or its y."""
        return self.backward and operation.y.differentiated and operation.reads(which)

    def _live(self, operation: Operation, forward: int, backward: int) -> None:
        for which, value in (("x", operation.x), ("y", operation.y)):
            if value.storage is not None:
                value.storage.used(forward)
                if self._backward_reads(operation, which):
                    value.storage.used(backward)
        for storage, _ in operation.saved.values():
            storage.used(forward)
            if self.backward:
                storage.used(backward)

    def _places_of_loss(self, output: Value, places: dict[str, Storage], losses: int) -> Storage:
        """Places for what the loss keeps and for its gradient, which is returned."""
        size, count = output.size * self.batch_size * self.dtype.itemsize, len(self.operations)
        places |= {"gx": Storage(size), "saved": Storage(size), "losses": self._storage(losses)}
        for name in ("gx", "saved", "losses"):
            places[name].used(count)
        return places["gx"]

    def _gradients(self, output: Value, first: Storage | None) -> dict[int, Gradient]:
        """For each operation with a backward, its gradients' places; `first` is that of the output's, None for outside."""
        end = 2 * len(self.operations) + 1
        of: dict[int, Storage | None] = {id(output.storage): first}
        whose: dict[int, Operation] = {}
        found: dict[int, Gradient] = {}
        alone = DESCRIPTORS["activation"]
        for number in range(len(self.operations) - 1, -1, -1):
            operation, time = self.operations[number], end - 1 - number
            key = id(operation.y.storage)
            if key not in of or not operation.y.differentiated:
                continue
            gradient = found[number] = Gradient(of[key])
            if gradient.gy is None and operation.activation is not None and operation.descriptor is not alone:
                assert operation.y.storage is not None
                gradient.before = Storage(operation.y.storage.size)
            if operation.x.differentiated:
                x = operation.x.storage
                size, key = self._outside_gradient.size if x is None else x.size, id(x)
                before = of.get(key)
                if before is None:
                    gradient.gx = of[key] = self._outside_gradient if x is None else Storage(size)
                    whose[key] = operation
                elif operation.together is not None:
                    # Parts of one value stand side by side: the first to come store, what meets another gradient adds.
                    gradient.gx = before
                    gradient.adds = whose[key].together is not operation.together
                else:
                    gradient.gx, gradient.total = Storage(size), before
            for storage in (gradient.gy, gradient.before, gradient.gx, gradient.total):
                if storage is not None:
                    storage.used(time)
        return found

    def _share_places(self, end: int, gradients: dict[int, Gradient], outside: Storage | None) -> None:
        """Let an elementwise operation write over what it is the last to read."""
        for time, operation in enumerate(self.operations):
            if not operation.descriptor.in_place:
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
        every += [storage for each in self.operations for storage, _ in each.saved.values()]
        every += [storage for g in gradients.values() for storage in (g.gy, g.before, g.gx, g.total)]
        return list({id(s): s for s in every if s is not None and s is not self._outside_gradient}.values())

    def _place(self, storage: Storage | None, elements: int, base: int = BASE_NONE) -> Place:
        """Where a storage with so many elements a sample stands; `base` stands for what is outside of the arena."""
        return self._bytes_place(storage, elements * self.dtype.itemsize, base)

    def _bytes_place(self, storage: Storage | None, stride: int, base: int = BASE_NONE) -> Place:
        """The same, with so many bytes a sample."""
        if storage is self._outside_gradient:
            base = BASE_GRAD_INPUT
        elif storage is not None and storage is self._outside:
            base = BASE_OUTPUT
        elif storage is not None:
            root = storage.root()
            # A block's own memory holds its samples only.
            return (BASE_BLOCK, root.offset, 0) if root.own else (BASE_ARENA, root.offset, stride)
        return (base, 0, stride) if base else NOWHERE

    def _source(self, thing: Any, gradient: bool = False) -> Place:
        """Where an array outside of the arena stands, a parameter, or its gradient; nowhere for None."""
        if thing is None:
            return NOWHERE
        number = self._numbers.setdefault((id(thing), gradient), len(self._sources))
        if number == len(self._sources):
            self._sources.append(thing if isinstance(thing, np.ndarray) else (thing, gradient))
        return BASE_ARRAYS + number, 0, 0

    def _record(self, operation: Operation, gradient: Gradient | None, written: set[int]) -> Record:
        """An operation's record; `written` are the gradients of parameters that later operations have stored already."""
        x_size, y_size, descriptor = operation.x.size, operation.y.size, operation.descriptor
        parameters = [operation.parameters.get(name) for name in descriptor.parameters]
        learning: list[Parameter | None] = [None] * len(parameters)
        gy = gx = before = total = NOWHERE
        accumulates = False
        if gradient is not None:
            learning = [p if p is not None and p._requires_grad else None for p in parameters]
            gy = self._place(gradient.gy, y_size, BASE_GRAD_OUTPUT)
            gx, total = self._place(gradient.gx, x_size), self._place(gradient.total, x_size)
            before = self._place(gradient.before or gradient.gy, y_size)
            # A parameter that stands in several places is stored by the last of them, which comes first, and added to by others.
            earlier = {id(p) in written for p in learning if p is not None}
            if len(earlier) > 1:
                raise NotPlannedError(f"{operation.name} shares one of its parameters, or one is not the optimizer's")
            accumulates = True in earlier
            written |= {id(p) for p in learning if p is not None}
            if gradient.adds:
                operation.attributes["adds_back"] = True
        saved = [operation.saved.get(name) for name in descriptor.saved]
        return Record(
            descriptor=descriptor,
            attributes=descriptor.attributes(operation.attributes),
            x_size=x_size,
            y_size=y_size,
            x_length=operation.x_length,
            y_length=operation.y_length,
            differentiated=gradient is not None and (gradient.gx is not None or any(p is not None for p in learning)),
            accumulates=accumulates,
            sums=operation.sums,
            activation=operation.activation or (0, 0.0, 0.0, False),
            x=self._place(operation.x.storage, x_size, BASE_INPUT),
            y=self._place(operation.y.storage, y_size),
            gy=gy,
            gx=gx,
            before=before,
            total=total,
            parameters=tuple(self._source(p) for p in parameters),
            gradients=tuple(self._source(p, gradient=True) for p in learning),
            sizes=tuple(0 if p is None else p.size for p in parameters),
            saved=tuple(NOWHERE if each is None else self._bytes_place(*each) for each in saved),
            buffers=tuple(self._source(operation.buffers.get(name)) for name in descriptor.buffers),
        )

    def _objective(self, loss: Objective, output: Value, places: dict[str, Storage], target: int) -> ObjectiveRecord:
        descriptor = LOSSES[loss.name]
        return ObjectiveRecord(
            descriptor=descriptor,
            attributes=descriptor.attributes(loss.attributes),
            mean=loss.mean,
            batchmean=loss.batchmean,
            x=self._place(output.storage, output.size),
            gx=self._place(places["gx"], output.size),
            target=(BASE_TARGET, 0, target),
            saved=self._place(places["saved"], output.size),
            losses=self._place(places["losses"], loss.losses),
            weight=self._source(loss.weight),
            pos_weight=self._source(loss.pos_weight),
        )


def as_defined(value: object, name: str, methods: Iterable[str]) -> bool:
    """Whether these methods are those of the class that defines `name`, not a subclass' or the instance's own."""
    kind = type(value)
    owner = next((base for base in kind.__mro__ if name in vars(base)), None)
    own = vars(value)
    return owner is not None and all(getattr(kind, m) is getattr(owner, m) and m not in own for m in methods)
