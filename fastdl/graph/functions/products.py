"""Products of traced vectors and matrices."""

from __future__ import annotations

from string import ascii_letters
from typing import Any

import numpy as np

from fastdl.errors import InvalidValueError
from fastdl.graph import operations as op
from fastdl.graph.functions.entering import implements, nothing_else, whole_number
from fastdl.graph.operations import elementwise as e
from fastdl.graph.value import FUNCTIONS, Value, refused, where


@implements(np.matmul)
def matmul(x1: Any, x2: Any) -> Value:
    """The product of matrices; vectors count as a row on the left, a column on the right."""
    graph = op.graph_of(x1, x2)
    a, b = op.as_value(graph, x1), op.as_value(graph, x2)
    if not a.ndim or not b.ndim:
        raise InvalidValueError(f"{where()}: np.matmul", "values with axes", "one without")
    rows, columns = a.ndim == 1, b.ndim == 1
    y = op.matmul(op.expand(a, 0) if rows else a, op.expand(b, 1) if columns else b)
    gone = [y.ndim - 2] * rows + [y.ndim - 1] * columns
    return op.reshape(y, [size for n, size in enumerate(y.shape) if n not in gone]) if gone else y


@implements(np.dot)
def dot(a: Any, b: Any, out: Any = None) -> Value:
    """matmul for at most two axes."""
    nothing_else("dot", {"out": out})
    if np.ndim(a) == 0 or np.ndim(b) == 0:
        return e("multiply", a, b)
    if np.ndim(b) > 2:
        raise refused("np.dot", "of more than two axes", "write np.matmul or np.einsum")
    return matmul(a, b)


FUNCTIONS[np.outer] = lambda a, b, out=None: outer(a, b)


def outer(a: Any, b: Any) -> Value:
    """All products of two vectors' elements."""
    graph = op.graph_of(a, b)
    one, other = (op.reshape(op.as_value(graph, each), (-1,)) for each in (a, b))
    return e("multiply", op.expand(one, 1), op.expand(other, 0))


@implements(np.einsum)
def einsum(subscripts: Any, *operands: Any, **rest: Any) -> Value:
    """Products summed over the letters that the result lacks."""
    nothing_else("einsum", {name: each for name, each in rest.items() if name != "optimize"})
    if not isinstance(subscripts, str):
        subscripts, operands = _by_letters(subscripts, *operands)
    text = subscripts.replace(" ", "")
    left, _, right = text.partition("->")
    terms = left.split(",")
    if not all(each.isalpha() or each == "," for each in left + right) or len(terms) != len(operands):
        raise refused("np.einsum", f"with {subscripts!r}", "name every axis by a letter")
    if "->" not in text:
        right = "".join(sorted(each for each in set(left) - {","} if left.count(each) == 1))
    if len(set(right)) < len(right) or not set(right) <= set(left):
        raise refused("np.einsum", f"with {subscripts!r}", "use each letter of the operands once in the result")
    graph = op.graph_of(*operands)
    letters = right + "".join(sorted(set(left) - {","} - set(right)))
    product: Any = None
    for term, operand in zip(terms, operands, strict=True):
        value = op.as_value(graph, operand)
        if len(set(term)) < len(term) or len(term) != value.ndim:
            raise refused("np.einsum", f"with {subscripts!r}", "use each letter once for each axis of an operand")
        present = [each for each in letters if each in term]
        value = op.transpose(value, [term.index(each) for each in present])
        for n, each in enumerate(letters):
            if each not in term:
                value = op.expand(value, n)
        product = value if product is None else e("multiply", product, value)
    if len(operands) == 1 and len(right) == len(letters):
        return product  # a view, as in NumPy
    return op.reduce("any" if product.dtype.kind == "b" else "sum", product, range(len(right), len(letters)), False)


def _by_letters(*given: Any) -> tuple[str, tuple[Any, ...]]:
    """The subscripts and operands of einsum(a, [0, 1], b, [1, 2], [0, 2])."""
    operands, axes = given[0 : len(given) // 2 * 2 : 2], given[1::2]
    if Ellipsis in [each for one in (*axes, *given[len(operands) * 2 :]) for each in one]:
        raise refused("np.einsum", "with an Ellipsis", "name every axis by a letter")
    terms = ["".join(ascii_letters[whole_number(each, "axes", low=0)] for each in one) for one in axes]
    result = "->" + "".join(ascii_letters[each] for each in given[-1]) if len(given) % 2 else ""
    return ",".join(terms) + result, operands
