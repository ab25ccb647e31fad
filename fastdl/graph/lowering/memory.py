"""What a graph's values are in memory while it is lowered: storages in the arena, arrays outside of it, layouts."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from fastdl._kernels.descriptor import BASE_ARENA, BASE_ARRAYS, BASE_BLOCK
from fastdl.graph.arena import Storage
from fastdl.graph.graph import Graph
from fastdl.graph.layout import Layout, dense_strides
from fastdl.graph.lowering.sources import Source
from fastdl.graph.records import NOWHERE, Place
from fastdl.graph.size import Dimension, Shape, factors, total
from fastdl.graph.value import Value

# The kinds of elements to a node.
FLOATING, WHOLE, TRUTH = 0, 1, 2


class Given:
    """An array that each run is given: its number outside of the arena."""

    def __init__(self, number: int, gathered: Storage | None) -> None:
        self.number, self.gathered = number, gathered


class Known(NamedTuple):
    """Of a shape: elements for the largest batch, strides of elements one behind the other, sizes where all axes are joined."""

    elements: int
    strides: tuple[Dimension, ...]
    sizes: tuple[Dimension, ...]


class Memory:
    """The places of a graph's values, which are known once all of them are there.

    Args:
        graph: the graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph, self.itemsize = graph, graph.dtype.itemsize
        self.kinds = {"f": (FLOATING, self.itemsize), "i": (WHOLE, 8), "b": (TRUTH, 1)}
        self.layouts: dict[int, Layout] = {}
        self._known: dict[Shape, Known] = {}
        self.sources: list[Source] = []
        self.numbers: dict[Any, int] = {}
        self.inputs: dict[str, Given] = {}
        self.storages: list[Storage] = []
        # Counts the entries.
        self.time = 0
        # Storages that may stand where others did which are not needed beyond a time.
        self.replacing: list[tuple[int, Storage, Storage]] = []

    def outside(self, source: Source, key: Any = None) -> int:
        """The base of an array outside of the arena; the same for one key, which is the source itself where none is given."""
        key = source if key is None else key
        if key not in self.numbers:
            self.numbers[key] = BASE_ARRAYS + len(self.sources)
            self.sources.append(source)
        return self.numbers[key]

    def storage(self, nbytes: int) -> Storage:
        """Room in the arena."""
        storage = Storage(max(1, nbytes))
        self.storages.append(storage)
        return storage

    def kind(self, dtype: np.dtype[Any]) -> tuple[int, int]:
        """The kind of elements to a node, and their bytes."""
        return self.kinds[dtype.kind]

    def count(self, shape: Shape) -> int:
        """Elements of the largest batch."""
        count = 1
        for size in shape:
            number, symbols = factors(size)
            count *= number * self.graph.capacity ** len(symbols)
        return count

    def known(self, shape: Shape) -> Known:
        """What there is to know of a shape."""
        found = self._known.get(shape)
        if found is None:
            size = total(shape)
            sizes = () if type(size) is int and size == 1 else (size,)
            found = self._known[shape] = Known(self.count(shape), dense_strides(shape), sizes)
        return found

    def fresh(self, shape: Shape, dtype: np.dtype[Any]) -> Layout:
        """Room for a value, its elements one behind the other."""
        known = self._known.get(shape) or self.known(shape)
        return Layout(self.storage(known.elements * self.kinds[dtype.kind][1]), 0, 0, known.strides, True)

    def room(self, size: int, samples: int, base: int | None = None) -> Layout:
        """Room for so many floating elements of each sample, outside of the arena if a base is given."""
        return Layout(self.storage(size * samples * self.itemsize) if base is None else base, 0, 0, (), True)

    def use(self, layout: Layout | None, time: int | None = None) -> None:
        """Let memory be in use now, or at another time."""
        home = None if layout is None else layout.home
        if type(home) is Given:
            home = home.gathered
        if type(home) is Storage:
            home.used(self.time if time is None else time)

    def replaces(self, new: Layout, old: Layout | None) -> None:
        """Let a value stand where another of its size stands, if that is not needed after now."""
        home = None if old is None or old.constant or not old.whole else old.home
        if isinstance(home, Storage) and isinstance(new.home, Storage) and home.size == new.home.size:
            self.replacing.append((self.time, new.home, home))

    def share(self) -> None:
        """Let values stand where others did, once all lifetimes are known."""
        for time, new, old in self.replacing:
            if old.root().last == time and new.root() is not old.root():
                new.take_place_of(old.root())

    def place(self, home: Any, stride: int = 0, nbytes: int = 0) -> Place:
        """Where an operand stands, once storages are placed; a sample has so many bytes where blocks of them are run."""
        if home is None:
            return NOWHERE
        if type(home) is Storage:
            root = home.root() if home.place_of is not None else home
            # A block's own memory holds its samples only.
            return (BASE_BLOCK, root.offset + nbytes, 0) if root.own else (BASE_ARENA, root.offset + nbytes, stride)
        return (home.number if type(home) is Given else home), nbytes, stride

    def place_of(self, layout: Layout | None, stride: int = 0, itemsize: int | None = None) -> Place:
        """Where a layout's first element stands, once storages are placed; see `place`."""
        if layout is None:
            return NOWHERE
        return self.place(layout.home, stride, layout.constant * (itemsize or self.itemsize))

    def layout(self, value: Value) -> Layout:
        """Where a value is."""
        return self.layouts[value.number]

    def value(self, number: int) -> Value:
        """A node's result."""
        node = self.graph.nodes[number]
        return Value(self.graph, number, node.shape, node.dtype, frozenset())


def pair(size: Dimension) -> tuple[int, int]:
    """A size as a program has it: count and the number of symbols."""
    if type(size) is int:
        return size, 0
    count, symbols = factors(size)
    return count, len(symbols)
