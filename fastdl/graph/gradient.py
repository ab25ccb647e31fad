"""Gradients of a graph: one table of rules, written as graph operations, so that gradients have gradients."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from math import log, pi, sqrt
from typing import Any, TypeAlias

import numpy as np

from fastdl.errors import InvalidTypeError
from fastdl.graph import operations as op
from fastdl.graph import ufuncs
from fastdl.graph.graph import Graph, Node
from fastdl.graph.operations import elementwise as e
from fastdl.graph.size import same, same_shape
from fastdl.graph.value import Value

# A rule takes the node, the gradient of its result, its result and its inputs, and returns the gradient of each input, or None
# where there is none, or a function that returns it, called where it is asked for.
Asked: TypeAlias = "Value | Callable[[], Value] | None"
Rule = Callable[[Node, Value, Value, Sequence[Value]], Sequence[Asked]]
RULES: dict[str, Rule] = {}
# Operations whose results do not change with their inputs, or whose gradients are cut.
FLAT = {
    "floor", "ceil", "rint", "trunc", "sign", "floor_divide", "stop_gradient", "argmax", "argmin", "argsort", "any", "all",
    *ufuncs.COMPARING, *ufuncs.LOGICAL, *ufuncs.TESTING, *ufuncs.BITWISE,
}  # fmt: skip


def gradient(output: Value, wanted: Sequence[Value], seed: Value | None = None) -> list[Value]:
    """Add the gradient of a value with respect to others to their graph.

    Args:
        output: the value; one number, unless `seed` is given.
        wanted: values that it is made of.
        seed: the gradient with respect to the output, of its shape; ones where None.

    Returns:
        A value of the shape of each of `wanted`; zeros where the output does not depend on it.
    """
    graph = output.graph
    if output.dtype.kind != "f":
        raise InvalidTypeError(
            f"{graph.line(output)}: gradient", "a floating value to differentiate", str(output.dtype)
        )
    found: dict[int, Value] = {output.number: ones_like(output) if seed is None else seed}
    depends = _depending(graph, {value.number for value in wanted}, output.number)
    stood = graph.at
    try:
        for number in range(output.number, -1, -1):
            gy = found.get(number)
            if gy is None or number not in depends:
                continue
            node = graph.nodes[number]
            if not node.inputs or node.operation in FLAT or number in graph.cut:
                continue
            rule = RULES.get(node.operation)
            if rule is None:
                raise InvalidTypeError(f"{node.line}: gradient", "operations that have a derivative", node.operation)
            inputs = [_value(graph, each) for each in node.inputs]
            graph.at = node.line
            for source, gx in zip(inputs, rule(node, gy, _value(graph, number), inputs), strict=True):
                if gx is None or source.number not in depends or source.dtype.kind != "f":
                    continue
                gx = reduced_to(gx if isinstance(gx, Value) else gx(), source)
                before = found.get(source.number)
                found[source.number] = gx if before is None else e("add", before, gx)
    finally:
        graph.at = stood
    return [found[value.number] if value.number in found else zeros_like(value) for value in wanted]


def _depending(graph: Graph, wanted: set[int], last: int) -> set[int]:
    """The numbers of nodes, up to the last, that depend on some of these."""
    depends = set(wanted)
    for number in range(last + 1):
        if not depends.isdisjoint(graph.nodes[number].inputs):
            depends.add(number)
    return depends


def _value(graph: Graph, number: int) -> Value:
    node = graph.nodes[number]
    return Value(graph, number, node.shape, node.dtype, _all_axes(len(node.shape)))


@cache
def _all_axes(count: int) -> frozenset[int]:
    return frozenset(range(count))


def zeros_like(value: Value) -> Value:
    """Zeros of a value's shape, in the graph's dtype."""
    return op.broadcast_to(value.graph.constant(np.zeros((), value.graph.dtype)), value.shape)


def ones_like(value: Value) -> Value:
    """Ones of a value's shape, in the graph's dtype."""
    return op.broadcast_to(value.graph.constant(np.ones((), value.graph.dtype)), value.shape)


def reduced_to(gx: Value, source: Value) -> Value:
    """The sum of a gradient over the axes along which its source was broadcast."""
    if same_shape(gx.shape, source.shape):
        return gx
    extra = gx.ndim - source.ndim
    axes = [*range(extra)]
    axes += [extra + n for n, size in enumerate(source.shape) if same(size, 1) and not same(gx.shape[extra + n], 1)]
    if axes:
        gx = op.reshape(op.reduce("sum", gx, axes, True), source.shape)
    return op.broadcast_to(gx, source.shape)


def rule(*names: str) -> Callable[[Rule], Rule]:
    """Enter a rule for these operations."""

    def enter(function: Rule) -> Rule:
        RULES.update(dict.fromkeys(names, function))
        return function

    return enter


def simple(**derivatives: Callable[..., Value]) -> None:
    """Enter rules for operations of one input: the derivative as a function of x and y."""
    for name, derivative in derivatives.items():
        RULES[name] = lambda node, gy, y, inputs, d=derivative: [e("multiply", gy, d(inputs[0], y))]


simple(
    exp=lambda x, y: y,
    expm1=lambda x, y: e("exp", x),
    exp2=lambda x, y: e("multiply", y, log(2)),
    log=lambda x, y: e("reciprocal", x),
    log1p=lambda x, y: e("reciprocal", e("add", x, 1.0)),
    log2=lambda x, y: e("divide", 1 / log(2), x),
    log10=lambda x, y: e("divide", 1 / log(10), x),
    sqrt=lambda x, y: e("divide", 0.5, y),
    square=lambda x, y: e("multiply", x, 2.0),
    reciprocal=lambda x, y: e("negative", e("square", y)),
    absolute=lambda x, y: e("sign", x),
    sin=lambda x, y: e("cos", x),
    cos=lambda x, y: e("negative", e("sin", x)),
    tan=lambda x, y: e("add", e("square", y), 1.0),
    tanh=lambda x, y: e("subtract", 1.0, e("square", y)),
    sinh=lambda x, y: e("cosh", x),
    cosh=lambda x, y: e("sinh", x),
    erf=lambda x, y: e("multiply", e("exp", e("negative", e("square", x))), 2 / sqrt(pi)),
    arctan=lambda x, y: e("reciprocal", e("add", e("square", x), 1.0)),
    arcsin=lambda x, y: e("reciprocal", e("sqrt", e("subtract", 1.0, e("square", x)))),
    arccos=lambda x, y: e("negative", e("reciprocal", e("sqrt", e("subtract", 1.0, e("square", x))))),
)


@rule("given_slope")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Asked]:
    shape = (*gy.shape, *([1] * (inputs[1].ndim - gy.ndim)))
    gx = e("multiply", _value(y.graph, node.attributes["slope"]), op.reshape(gy, shape))
    if "stands_for" not in node.attributes:
        return [None, gx]
    target = _value(y.graph, node.attributes["stands_for"])
    return [None, gx, lambda: gradient(inputs[0], [target], gy)[0]]


@rule("alias")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    return [gy]


@rule("add")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    return [gy, gy]


@rule("subtract")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Asked]:
    return [gy, lambda: e("negative", gy)]


@rule("negative")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    return [e("negative", gy)]


@rule("multiply")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Asked]:
    a, b = inputs
    return [lambda: e("multiply", gy, b), lambda: e("multiply", gy, a)]


@rule("divide")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Asked]:
    _, b = inputs
    ga = e("divide", gy, b)
    return [ga, lambda: e("negative", e("multiply", ga, y))]


@rule("power")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Asked]:
    """x^p: p x^(p - 1), 0 where p is 0; log(x) x^p, 0 where x is 0 and p is not negative, as in torch."""
    x, p = inputs
    exponent = op.number_of(p)
    if exponent is not None:
        return [e("multiply", gy, e("multiply", p, e("power", x, exponent - 1))) if exponent else None, None]

    def to_x() -> Value:
        slope = e("multiply", p, e("power", x, e("subtract", p, 1.0)))
        return e("multiply", gy, op.where_of(e("equal", p, 0.0), 0.0, slope))

    def to_p() -> Value:
        still = e("logical_and", e("equal", x, 0.0), e("greater_equal", p, 0.0))
        return e("multiply", gy, op.where_of(still, 0.0, e("multiply", y, e("log", op.where_of(still, 1.0, x)))))

    return [to_x, to_p]


@rule("maximum", "minimum")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Asked]:
    """To the one that was taken, half to each of equal ones, as in torch."""
    a, b = inputs
    better = "greater" if node.operation == "maximum" else "less"
    half = e("multiply", gy, 0.5)
    ties = e("equal", a, b)
    return [
        lambda: op.where_of(ties, half, op.where_of(e(better, a, b), gy, 0.0)),
        lambda: op.where_of(ties, half, op.where_of(e(better, b, a), gy, 0.0)),
    ]


@rule("remainder")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Asked]:
    a, b = inputs
    return [gy, lambda: e("negative", e("multiply", gy, e("floor", e("divide", a, b))))]


@rule("arctan2")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Asked]:
    """0 at the origin, as in torch."""
    a, b = inputs
    squares = e("add", e("square", a), e("square", b))
    origin = e("equal", squares, 0.0)
    slope = op.where_of(origin, 0.0, e("divide", gy, op.where_of(origin, 1.0, squares)))
    return [lambda: e("multiply", slope, b), lambda: e("negative", e("multiply", slope, a))]


@rule("logaddexp")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Asked]:
    """exp(x - y), which is 1 where the other is nothing beside x, though both be infinite."""

    def share(x: Value) -> Value:
        return e("multiply", gy, e("exp", op.where_of(e("equal", x, y), 0.0, e("subtract", x, y))))

    return [partial(share, each) for each in inputs]


@rule("where")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Asked]:
    condition, _, _ = inputs
    return [None, lambda: op.where_of(condition, gy, 0.0), lambda: op.where_of(condition, 0.0, gy)]


@rule("cast")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    return [gy]


@rule("broadcast_to")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    return [gy]  # summed by `reduced_to`


@rule("reshape")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    return [op.reshape(gy, inputs[0].shape)]


@rule("transpose")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    return [op.transpose(gy, [int(axis) for axis in np.argsort(node.attributes["axes"])])]


@rule("concatenate")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    axis, start, parts = node.attributes["axis"], 0, []
    if len(inputs) == 1:
        return [gy]
    for each in inputs:
        stop = op.added([start, each.shape[axis]])
        parts.append(op.cut(gy, [(start, stop, 1) if n == axis else (None, None, 1) for n in range(gy.ndim)]))
        start = stop
    return parts


@rule("cut")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    return [op.put(gy, inputs[0].shape, node.attributes["slices"])]


@rule("put")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    return [op.cut(gy, node.attributes["slices"])]


@rule("sum")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    return [op.broadcast_to(gy, inputs[0].shape)]


@rule("prod")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    """The product of the others: of all that are not 0 for each, where at most it is 0 itself."""
    (x,) = inputs
    axes = node.attributes["axes"]
    zero = e("equal", x, 0.0)
    others = op.reduce("prod", op.where_of(zero, 1.0, x), axes, True)
    zeros = op.reduce("sum", op.where_of(zero, 1.0, 0.0), axes, True)
    without = op.where_of(zero, e("equal", zeros, 1.0), e("equal", zeros, 0.0))
    return [op.where_of(without, e("divide", e("multiply", gy, others), op.where_of(zero, 1.0, x)), 0.0)]


@rule("max", "min")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    """To the largest, shared evenly by equal ones, as torch's amax does."""
    (x,) = inputs
    best = op.where_of(e("equal", x, y), 1.0, 0.0)
    count = op.reduce("sum", best, node.attributes["axes"], True)
    return [e("multiply", best, e("divide", gy, count))]


@rule("cumsum")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    axis = node.attributes["axis"]
    turned = [(None, None, -1 if n == axis else 1) for n in range(gy.ndim)]
    return [op.cut(op.cumsum(op.cut(gy, turned), axis), turned)]


@rule("matmul")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Asked]:
    a, b = inputs
    return [lambda: op.matmul(gy, swapped(b)), lambda: op.matmul(swapped(a), gy)]


def swapped(value: Value) -> Value:
    """The last two axes in the other order."""
    return op.transpose(value, [*range(value.ndim - 2), value.ndim - 1, value.ndim - 2])


@rule("take_along")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    value, index = inputs
    axis = node.attributes["axis"]
    return [op.put_along(gy, index, axis, value.shape[axis]), None]


@rule("put_along")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    return [op.take_along(gy, inputs[1], node.attributes["axis"]), None]


@rule("take")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    value, index = inputs
    axis = node.attributes["axis"]
    return [op.put_taken(gy, index, axis, value.shape[axis]), None]


@rule("put_taken")
def _(node: Node, gy: Value, y: Value, inputs: Sequence[Value]) -> Sequence[Value | None]:
    return [op.take(gy, inputs[1], node.attributes["axis"]), None]


def missing() -> Any:
    """The operations without a rule, for tests."""
    return {*ufuncs.FLOATING, *ufuncs.SPECIAL, *ufuncs.NUMERIC} - RULES.keys() - FLAT
