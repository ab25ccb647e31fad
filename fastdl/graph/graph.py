"""Graph: the nodes of one trace in the order in which they were made, which is an order to compute them in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.registered import Registered
from fastdl.graph.size import Shape
from fastdl.graph.value import Memory, Value, current, mode, trace_into, where

# The most operations of forward and loss; their gradients come to some times as many.
MOST_NODES = 20_000
# Of arrays that are not the traced code's, which no in-place operator may change.
LEAF, ARGUMENT = Memory("a parameter or buffer, or a view of one"), Memory("an argument or a view of one")
# The operations whose results are views of an array in NumPy, or the array itself.
VIEWS = {"alias", "broadcast_to", "cut", "reshape", "stop_gradient", "transpose"}


class Node(NamedTuple):
    """One operation: its name, its inputs by number, what else it is given, its result's shape and dtype, the user's line."""

    operation: str
    inputs: tuple[int, ...]
    attributes: dict[str, Any]
    shape: Shape
    dtype: np.dtype[Any]
    line: str


class Graph:
    """Nodes, and what they read from outside.

    Attributes:
        at_once: whether values are computed as they are traced, so that nothing is a constant.

    Args:
        dtype: that of all floating values, float32 or float64.
        capacity: the most samples that the symbol N may stand for.
        earlier: the graph of an earlier trace of the same code, whose nodes tell where the same ones come from.
    """

    at_once = False

    def __init__(self, dtype: Any, capacity: int = 1, earlier: Graph | None = None) -> None:
        self._earlier: Sequence[Node] = () if earlier is None else earlier.nodes
        self.capacity = capacity
        # The draws that layers take in a run, the fewest samples of a batch, and the layer that asks for them.
        self.draws, self.least_samples, self.demanding = 0, 1, None
        self.dtype: np.dtype[Any] = np.dtype(dtype)
        self.nodes: list[Node] = []
        # The values of nodes that were made alike, by what they are: equal ones are computed once.
        self._known: dict[Any, Value] = {}
        self._constants: dict[int, tuple[Value, Any]] = {}
        # Parameters by their number in the graph, and values by parameter.
        self.parameters: dict[int, Any] = {}
        self._of_parameter: dict[int, Value] = {}
        # Whether the model is in training mode, and the new values of buffers, by their number in the graph.
        self.training, self.updates = False, dict[int, Value]()
        # The model's modules, parameters and buffers, by id.
        self.members: set[int] = set()
        # Where nodes come from that no line of the user's makes, such as gradients.
        self.at: str | None = None
        # The nodes made within no_grad(), which no gradient goes through; outside of it, what the trace began in counts.
        self.cut: set[int] = set()
        self._differentiates = False

    def add(
        self,
        operation: str,
        inputs: tuple[Value, ...],
        shape: Shape,
        dtype: Any,
        deliberate: frozenset[int] = frozenset(),
        **attributes: Any,
    ) -> Value:
        """Add a node, or find the one that computes the same; returns its value."""
        numbers = tuple([value.number for value in inputs])
        named = sorted(attributes.items(), key=itemgetter(0)) if attributes else ()
        key = (operation, numbers, *named, deliberate, mode.enabled)
        try:
            known = self._known.get(key)
        except TypeError:  # an attribute without a hash
            return self._new(operation, numbers, attributes, shape, dtype, deliberate)
        if known is None:
            found = self._known[key] = self._new(operation, numbers, attributes, shape, dtype, deliberate)
        else:
            found = known.twin()
        if operation in VIEWS:
            found._memory = inputs[0].memory()
        return found

    def _new(
        self,
        operation: str,
        inputs: tuple[int, ...],
        attributes: dict[str, Any],
        shape: Shape,
        dtype: Any,
        deliberate: Any,
    ) -> Value:
        number = len(self.nodes)
        if number >= MOST_NODES and current.graph is self:
            hint = "let a loop over samples be an operation of whole arrays, or set traced = False"
            raise InvalidValueError(f"{where()}: traced code", f"at most {MOST_NODES:,} operations", "more", hint)
        if self._differentiates and not mode.enabled:
            self.cut.add(number)
        shape = tuple(shape)
        if not isinstance(dtype, np.dtype):
            dtype = np.dtype(dtype)
        line = self.at
        if line is None and number < len(self._earlier):
            earlier = self._earlier[number]
            line = earlier.line if earlier.operation == operation and earlier.inputs == inputs else None
        self.nodes.append(Node(operation, inputs, attributes, shape, dtype, line or where(3)))
        return Value(self, number, shape, dtype, deliberate)

    def input(self, name: str, shape: Shape, dtype: Any) -> Value:
        """A value that each run is given by this name."""
        value = self._new("input", (), {"name": name}, shape, self.own(dtype), frozenset())
        value._memory = ARGUMENT
        return value

    def constant(self, array: Any) -> Value:
        """An array or a number as a value; floating ones are cast to the graph's dtype. The array is copied."""
        if type(array) in (float, int):
            key = type(array), array or repr(array)  # 0.0 and -0.0 are two numbers
            value = self._known.get(key)
            if value is None:
                value = self._known[key] = self._constant(array)
            return value.twin()
        found = self._constants.get(id(array))
        return (self._constant(array) if found is None else found[0]).twin()

    def _constant(self, array: Any) -> Value:
        """The value of a constant that has none under its id."""
        own = np.array(array, dtype=self.own(np.asarray(array).dtype))
        number = ("constant", own.dtype, own.tobytes()) if own.shape == () else None
        if number in self._known:
            return self._known[number]
        ones = frozenset(range(own.ndim)) if own.size == 1 else frozenset[int]()
        # What was given is compared between traces: a number that differs may not differ when it is cast.
        given = {} if number is None else {"given": array.item() if isinstance(array, np.ndarray) else repr(array)}
        value = self._new("constant", (), {"array": own, **given}, own.shape, own.dtype, ones)
        if number is not None:
            self._known[number] = value
        if isinstance(array, np.ndarray):
            self._constants[id(array)] = value, array
        return value

    def parameter(self, parameter: Any) -> Value:
        """A parameter's or buffer's values; the same value wherever it stands."""
        found = self._of_parameter.get(id(parameter))
        if found is None:
            of_graph = getattr(parameter, "_of_graph", None)
            leaf = parameter if of_graph is None else of_graph(self.dtype)
            if leaf.dtype.kind == "f" and leaf.dtype != self.dtype:
                hint = f"write model.astype(np.{self.dtype}), or make it so"
                raise InvalidTypeError(where(), f"parameters of {self.dtype}, as the model's first", leaf.dtype, hint)
            found = self._new("parameter", (), {}, parameter.shape, self.own(leaf.dtype), frozenset())
            found._memory = LEAF
            self._of_parameter[id(parameter)] = found
            self.parameters[found.number] = leaf
        return found

    def registered(self, leaf: Registered) -> Value | None:
        """The value that a registered array has where it is read; None where the program could not read it as it lies."""
        array = leaf._data
        if array.dtype != self.own(array.dtype) or not (array.flags.c_contiguous and array.flags.aligned):
            return None
        value = self._new("parameter", (), {}, array.shape, array.dtype, frozenset())
        self.parameters[value.number], value._memory = leaf, LEAF
        return value

    def stand_for(self, model: Any, contents: Any = None) -> None:
        """Let this be a trace of a model: of its mode, and of what it holds (`contents`, where that is known already)."""
        self.training = model.training
        self.members = {id(each) for kind in contents or model._contents() for each in kind}

    def update(self, buffer: Any, value: Value) -> None:
        """Let a buffer have another value from here on, see operations.update."""
        value = self._of_parameter[id(buffer)] = value.copy()
        value._memory = LEAF
        if self.training:
            self.updates[next(number for number, leaf in self.parameters.items() if leaf is buffer)] = value

    @contextmanager
    def traced(self) -> Iterator[None]:
        """Let this be the thread's graph inside the block."""
        before = trace_into(self)
        differentiates, self._differentiates = self._differentiates, mode.enabled
        try:
            yield
        finally:
            trace_into(before)
            self._differentiates, self._earlier = differentiates, ()

    def end(self) -> None:
        """Nothing is added from here on: let go of what only that needs, so that a graph without users is freed at once."""
        self._known, self._constants, self._of_parameter, self._earlier = {}, {}, {}, ()

    def own(self, dtype: Any) -> np.dtype[Any]:
        """The dtype that values of this kind have in the graph."""
        if dtype is self.dtype:
            return self.dtype
        kind = np.dtype(dtype).kind
        if kind == "f":
            return self.dtype
        return np.dtype(np.bool_ if kind == "b" else np.int64)

    def array_of(self, value: Value) -> Any:
        """The elements of a value, where they are computed as it is traced (EagerGraph); else None."""
        return None

    def line(self, value: Value) -> str:
        """Where a value comes from: file:line."""
        return self.nodes[value.number].line
