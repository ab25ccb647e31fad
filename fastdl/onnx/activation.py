"""Activations: one operator each, or a formula of several where ONNX has none."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import nn
from fastdl._kernels.quiet import Quiet
from fastdl.onnx.table import exports, imports

if TYPE_CHECKING:
    from fastdl.onnx.expression import Formula
    from fastdl.onnx.reading import Node, Reader
    from fastdl.onnx.writing import Value, Writer

SILU: Formula = ("Mul", "x", ("Sigmoid", "x"))
GELU: Formula = ("Mul", ("Mul", "x", ("Add", ("Erf", ("Div", "x", math.sqrt(2))), 1.0)), 0.5)
CUBE: Formula = ("Mul", ("Mul", "x", "x"), "x")
INNER: Formula = ("Mul", ("Add", "x", ("Mul", CUBE, 0.044715)), math.sqrt(2 / math.pi))
GELU_TANH: Formula = ("Mul", ("Mul", "x", ("Add", ("Tanh", INNER), 1.0)), 0.5)
SOFTPLUS: Formula = ("Div", ("Softplus", ("Mul", "x", "beta_number")), "beta_number")
SOFTPLUS_TO: Formula = ("Where", ("Greater", ("Mul", "x", "beta_number"), "threshold_number"), "x", SOFTPLUS)
# From this threshold on, softplus and x differ by less than 2.1e-9.
HIGH = 20.0


@exports(nn.ReLU, nn.Tanh, nn.Sigmoid, nn.Identity)
def _(layer: nn.Module, graph: Writer, x: Value) -> str:
    return graph.node("Relu" if isinstance(layer, nn.ReLU) else type(layer).__name__, x.name)


@imports("Relu", 13, 14)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, nn.ReLU(), node.inputs[0])


@imports("Tanh", 13)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, nn.Tanh(), node.inputs[0])


@imports("Sigmoid", 13)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, nn.Sigmoid(), node.inputs[0])


@imports("Identity", 13, 14, 16, 19, 21, 23, 24, 25)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, nn.Identity(), node.inputs[0])


@exports(nn.LeakyReLU)
def _(layer: nn.LeakyReLU, graph: Writer, x: Value) -> str:
    return graph.node("LeakyRelu", x.name, alpha=layer.negative_slope)


@imports("LeakyRelu", 6, 16)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, nn.LeakyReLU(node.number("alpha", 0.01)), node.inputs[0])


@exports(nn.ELU)
def _(layer: nn.ELU, graph: Writer, x: Value) -> str:
    return graph.node("Elu", x.name, alpha=layer.alpha)


@imports("Elu", 6, 22)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, nn.ELU(node.number("alpha", 1.0)), node.inputs[0])


@exports(nn.GELU)
def _(layer: nn.GELU, graph: Writer, x: Value) -> str:
    return graph.formula(GELU if layer.approximate == "none" else GELU_TANH, x=x.name)


@imports("Gelu", 20)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, nn.GELU(node.attribute("approximate", "none")), node.inputs[0])


@exports(nn.SiLU)
def _(layer: nn.SiLU, graph: Writer, x: Value) -> str:
    return graph.formula(SILU, x=x.name)


@exports(nn.Softplus)
def _(layer: nn.Softplus, graph: Writer, x: Value) -> str:
    if layer.threshold < HIGH:
        return graph.formula(SOFTPLUS_TO, x=x.name, beta_number=layer.beta, threshold_number=layer.threshold)
    if layer.beta != 1:
        return graph.formula(SOFTPLUS, x=x.name, beta_number=layer.beta)
    return graph.node("Softplus", x.name)


@imports("Softplus", 1, 22)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, nn.Softplus(), node.inputs[0])


def known(graph: Reader, node: Node) -> tuple[nn.Module, str] | None:
    """The activation that a node is the last operator of, and its input; None where it is of none."""
    value = node.outputs[0]
    for formula, layer in ((SILU, nn.SiLU()), (GELU, nn.GELU()), (GELU_TANH, nn.GELU("tanh"))):
        found = graph.match(formula, value)
        if found is not None:
            return layer, found["x"]
    for formula in (SOFTPLUS_TO, SOFTPLUS):
        found = graph.match(formula, value)
        if found is not None:
            beta, threshold = (graph.number(found.get(f"{name}_number")) for name in ("beta", "threshold"))
            if beta is not None and beta > 0:
                return nn.Softplus(beta, HIGH if threshold is None else threshold), found["x"]
    return None


class Erf(nn.Activation):
    """y = erf(x), the error function; y' = 2 / sqrt(pi) exp(-x^2).

    Example:
        >>> Erf()(np.array([0.0, 1.0])).round(6)
        array([0.      , 0.842701])
    """

    def __init__(self) -> None:
        self._phi = nn.GELU()

    def function(self, x: Any) -> Any:
        """Return erf(x): from gelu(z) = z (1 + erf(z / sqrt(2))) / 2, and near 0 by its series."""
        z = np.ascontiguousarray(x * math.sqrt(2), dtype=x.dtype)
        near = np.abs(x) < 0.5
        with nn.no_grad(), Quiet(invalid="ignore"):
            y = 2 * self._phi(np.where(near, 1, z).astype(x.dtype)) / np.where(near, 1, z) - 1
        small = np.where(near, x, 0).astype(np.float64)
        series = sum((-1) ** n * small ** (2 * n + 1) / (math.factorial(n) * (2 * n + 1)) for n in range(14))
        y = np.where(np.isinf(x), np.sign(x), y)
        return np.where(near, 2 / math.sqrt(math.pi) * series, y)

    def derivative(self, x: Any) -> Any:
        """Return 2 / sqrt(pi) exp(-x^2)."""
        return 2 / math.sqrt(math.pi) * np.exp(-x * x)


@imports("Erf", 13)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, Erf(), node.inputs[0])
