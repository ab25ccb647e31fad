"""Rows of layers: layers of a graph one behind the other, between which nobody else reads or writes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator

from fastdl.graph.graph import Graph
from fastdl.graph.registered import is_moved
from fastdl.graph.size import Dimension, same


class Row:
    """Layers' nodes in their order, and those of their backwards; None where there is none, or several of a layer alone."""

    def __init__(self, first: int, backward: int | None, differentiated: bool) -> None:
        self.layers, self.backwards, self.differentiated = [first], [backward], differentiated

    @property
    def last(self) -> int:
        """The latest layer's node, at which the row is run."""
        return self.layers[-1]

    @property
    def first_backward(self) -> int | None:
        """The node of the backward that comes first, at which all of them are run; the last layer's, if some have one."""
        return self.backwards[-1]


class Rows:
    """The rows of a graph.

    Args:
        graph: the graph.
        among: the nodes that are computed.
        readers: the nodes that read each.
        roots: the nodes whose values are read by others than nodes.
    """

    def __init__(self, graph: Graph, among: Iterable[int], readers: dict[int, list[int]], roots: set[int]) -> None:
        self._graph, self._readers, self._roots = graph, readers, roots
        # The row of each layer, and of each backward.
        self.of: dict[int, Row] = {}
        self.of_backward: dict[int, Row] = {}
        # Nodes that are run with their row and whose values nobody else reads.
        self.inside: set[int] = set()
        layers = [number for number in sorted(among) if graph.nodes[number].operation == "layer"]
        uses = Counter(id(graph.nodes[number].attributes["record"].module) for number in layers)
        uses.update(id(leaf.module) for leaf in graph.parameters.values() if is_moved(leaf))
        # Running statistics move in the order of the calls and of what reads them.
        self._alone = {number for number in layers if self._moves_others(number, uses)}
        for number in layers:
            if number not in self._alone and self._joins(number):
                continue
            backwards = self._backwards(number)
            row = self.of[number] = Row(number, backwards[0] if len(backwards) == 1 else None, bool(backwards))
            for each in backwards:
                self.of_backward[each] = row

    def gradients(self, backward: int | None) -> list[int]:
        """The nodes of the parameters' gradients that a backward writes."""
        if backward is None:
            return []
        return [
            each
            for each in self._readers.get(backward, [])
            if self._graph.nodes[each].operation == "layer_gradient" and self._graph.nodes[each].inputs[0] == backward
        ]

    def is_read(self, backward: int) -> bool:
        """Whether the gradient with respect to x is read, by others than the gradients of parameters beside it."""
        return backward in self._roots or set(self._readers.get(backward, ())) - set(self.gradients(backward)) != set()

    def source_of(self, number: int) -> int:
        """The node that has computed a value, which others may have reshaped."""
        return [*self._before(number)][-1]

    def is_final(self, number: int) -> bool:
        """Whether nobody but the caller reads a value, or what it is reshaped from, beside a layer's other gradients."""
        *reshaped, source = self._before(number)
        gradients = self.gradients(source) if self._graph.nodes[source].operation == "layer_backward" else ()
        after = -1
        for each in (*reshaped, source):
            if (each != number and each in self._roots) or set(self._readers.get(each, ())) - {after, *gradients}:
                return False
            after = each
        return True

    def is_only_read_by(self, number: int, layer: int) -> bool:
        """Whether a value is read by nobody but a layer and its backward."""
        return self._read_by(number, {layer, *self._own(layer)})

    def ends_in(self, row: Row, loss: int, gradient: int) -> bool:
        """Whether only a loss reads what a row yields, and only the row's backward that loss's gradient."""
        others = set(self._readers[row.last]) - self._own(row.last) - {loss, gradient}
        return not others and self._read_by(gradient, self._own(row.last))

    def _backwards(self, number: int) -> list[int]:
        nodes = self._graph.nodes
        return [
            each
            for each in self._readers.get(number, ())
            if nodes[each].operation == "layer_backward" and nodes[each].inputs[0] == number
        ]

    def _own(self, number: int) -> set[int]:
        """The nodes of a layer's backward."""
        backwards = self._backwards(number)
        return {*backwards, *(each for backward in backwards for each in self.gradients(backward))}

    def _joins(self, number: int) -> bool:
        """Add a layer to the row of the one that has yielded its x, where that is possible."""
        nodes = self._graph.nodes
        way = [*self._before(nodes[number].inputs[0])]
        before = way[-1]
        row = self.of.get(before)
        if row is None or row.last != before or before in self._alone:
            return False
        if not same(nodes[before].attributes["record"].samples, self._samples(number)):
            return False
        one, other = self._backwards(before), self._backwards(number)
        if len(one) > 1 or len(other) > 1 or (one and not other):
            return False
        if other and not one and self.is_read(other[0]):
            return False
        own_before, own = self._own(before), self._own(number)
        back: list[int] = []
        if one:
            back = [*self._before(nodes[one[0]].inputs[1])]
            if back[-1] != other[0]:
                return False
        after = number
        for each in way:
            if not self._read_by(
                each, {after, *(own if after == number else ()), *(own_before if each == before else ())}
            ):
                return False
            after = each
        after = one[0] if one else -1
        for each in back:
            gradients = self.gradients(each) if each == back[-1] else ()
            if not self._read_by(each, {after, *gradients, *(own_before if after in one else ())}):
                return False
            after = each
        row.layers.append(number)
        row.backwards.append(other[0] if other else None)
        row.differentiated |= bool(other)
        self.of[number] = row
        for each in other:
            self.of_backward[each] = row
        self.inside |= {*way, *back[:-1], *one}
        return True

    def _moves_others(self, number: int, uses: Counter[int]) -> bool:
        """Whether a layer moves running statistics that are moved or read elsewhere too."""
        record = self._graph.nodes[number].attributes["record"]
        return record.moves_buffers and uses[id(record.module)] > 1

    def _samples(self, number: int) -> Dimension:
        return self._graph.nodes[number].attributes["record"].samples

    def _before(self, number: int) -> Iterator[int]:
        """A node, and where it only reshapes the one before it, up to one that does not."""
        yield number
        while self._graph.nodes[number].operation == "reshape":
            number = self._graph.nodes[number].inputs[0]
            yield number

    def _read_by(self, number: int, these: set[int]) -> bool:
        """Whether a value is read by no other nodes than these."""
        return number not in self._roots and set(self._readers.get(number, ())) <= these
