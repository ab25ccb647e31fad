"""Linear: a Gemm for rows, a MatMul and an Add for more axes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from fastdl import nn
from fastdl.errors import InvalidValueError
from fastdl.messages import shown
from fastdl.nn.parameter import Parameter
from fastdl.onnx import operation
from fastdl.onnx.table import exports, imports

if TYPE_CHECKING:
    from fastdl.onnx.reading import Node, Reader
    from fastdl.onnx.writing import Value, Writer


@exports(nn.Linear)
def _(layer: nn.Linear, graph: Writer, x: Value) -> str:
    if x.array.ndim < 2:
        raise InvalidValueError("onnx.export", f"an input_shape of at least one axis for {shown(layer)}", "none")
    W, b = graph.weight(layer.weight), [] if layer.bias is None else [graph.weight(layer.bias)]
    if x.array.ndim == 2:
        return graph.node("Gemm", x.name, W, *b, transB=1)
    y = graph.node("MatMul", x.name, graph.node("Transpose", W, perm=(1, 0)))
    return graph.node("Add", y, *b) if b else y


@imports("Gemm", 13)
def _(graph: Reader, node: Node) -> None:
    x, B, C = node.input(0), node.input(1), node.input(2)
    W = graph.array(B, node, "the second matrix")
    assert x is not None
    assert B is not None
    if W.ndim != 2:
        raise node.refusal("a matrix", f"one of shape {W.shape}")
    turned = not node.attribute("transB", 0)
    alpha, beta = node.number("alpha", 1.0), node.number("beta", 1.0)
    W = np.ascontiguousarray(W.T if turned else W)
    b = None if C is None else graph.array(C, node, "what is added")
    if node.attribute("transA", 0):
        x = graph.add(node, operation.Transpose((1, 0)), x, output=node.between("turned"))
    layer = _layer(graph, B, W * W.dtype.type(alpha), turned)
    if b is None or b.ndim < 2 or len(b) == 1:
        if b is not None and C is not None:
            _add_bias(graph, layer, C, b * b.dtype.type(beta), node)
        graph.add(node, layer, x, name=graph.layer_name(B, node))
    else:
        assert C is not None
        y = graph.add(node, layer, x, output=node.between("product"), name=graph.layer_name(B, node))
        addend = C if beta == 1 else graph.constant(node.between("addend"), b * b.dtype.type(beta))
        graph.add(node, operation.Add(), y, addend)


@imports("MatMul", 13)
def _(graph: Reader, node: Node) -> None:
    W = _turned_weight(graph, node)
    if W is None:
        graph.add(node, operation.MatMul(), *node.inputs)
    else:
        name = graph.layer_name(node.inputs[1], node)
        graph.add(node, _product(graph, node, W), node.inputs[0], name=name)


def with_bias(graph: Reader, node: Node) -> bool:
    """Whether an Add is the bias of a linear layer, which takes its place then."""
    for product, C in (node.inputs, node.inputs[::-1]):
        matmul = graph.node_of(product, "MatMul")
        W = None if matmul is None else _turned_weight(graph, matmul)
        if matmul is None or W is None or not graph.learns(C):
            continue
        b = graph.array(C, node, "a bias")
        if b.shape != W.shape[:1]:
            continue
        layer = _product(graph, matmul, W)
        _add_bias(graph, layer, C, b, node)
        graph.add(node, layer, matmul.inputs[0], name=graph.layer_name(matmul.inputs[1], node))
        return True
    return False


def _turned_weight(graph: Reader, node: Node) -> np.ndarray | None:
    """A MatMul's second matrix, as a linear layer has it, where that is a weight; else None."""
    B = node.inputs[1]
    if not graph.learns(B) or graph.is_constant(node.inputs[0]):
        return None
    W = graph.array(B, node, "the second matrix")
    return np.ascontiguousarray(W.T) if W.ndim == 2 else None


def _product(graph: Reader, node: Node, W: np.ndarray) -> nn.Linear:
    B = node.inputs[1]
    return _layer(graph, B, W, True)


def _layer(graph: Reader, value: str, W: np.ndarray, turned: bool) -> nn.Linear:
    graph.check_dtype(value, W)
    layer = nn.Linear(W.shape[1], W.shape[0], bias=False, rng=0, dtype=W.dtype)
    layer.weight = graph.weight(value, W, turned)
    return layer


def _add_bias(graph: Reader, layer: nn.Linear, value: str, b: np.ndarray, node: Node) -> None:
    graph.check_dtype(value, b)
    try:
        whole = np.array(np.broadcast_to(b.reshape(-1) if b.ndim == 2 else b, layer.weight.shape[:1]))
    except ValueError:
        raise node.refusal(f"a bias of {layer.out_features} numbers", f"one of shape {b.shape}") from None
    layer.bias = graph.weight(value, whole) if whole.shape == b.shape else Parameter(whole)
