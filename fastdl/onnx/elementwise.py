"""Elementwise: functions of one variable that ONNX has and fastdl has no layer for, on NumPy, with their derivatives."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl import nn
from fastdl._kernels.quiet import Quiet
from fastdl.onnx import operation
from fastdl.onnx.table import imports

if TYPE_CHECKING:
    from fastdl.onnx.reading import Node, Reader

SELU_ALPHA, SELU_GAMMA = 1.6732632423543772, 1.0507009873554805


class Function(operation.Operation):
    """y = f(x), element by element."""

    def function(self, x: Any) -> Any:
        """Return f(x)."""
        raise NotImplementedError

    def derivative(self, x: Any) -> Any:
        """Return f'(x)."""
        raise NotImplementedError

    def _forward(self, x: Any) -> tuple[Any, Any]:
        """f(x) in x's dtype."""
        with Quiet(all="ignore"):
            return np.asarray(self.function(x), x.dtype), x

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """gy f'(x)."""
        with Quiet(all="ignore"):
            return np.asarray(grad_output * self.derivative(saved), saved.dtype)


class Sqrt(Function):
    """y = sqrt(x); y' = 1 / (2 y)."""

    def function(self, x: Any) -> Any:
        """Return sqrt(x)."""
        return np.sqrt(x)

    def derivative(self, x: Any) -> Any:
        """Return 1 / (2 sqrt(x))."""
        return 0.5 / np.sqrt(x)


class Exp(Function):
    """y = exp(x); y' = y."""

    def function(self, x: Any) -> Any:
        """Return exp(x)."""
        return np.exp(x)

    def derivative(self, x: Any) -> Any:
        """Return exp(x)."""
        return np.exp(x)


class Log(Function):
    """y = ln x; y' = 1 / x."""

    def function(self, x: Any) -> Any:
        """Return the natural logarithm."""
        return np.log(x)

    def derivative(self, x: Any) -> Any:
        """Return 1 / x."""
        return 1 / x


class Neg(Function):
    """y = -x; y' = -1."""

    def function(self, x: Any) -> Any:
        """Return -x."""
        return -x

    def derivative(self, x: Any) -> Any:
        """Return -1."""
        return np.full_like(x, -1)


class Abs(Function):
    """y = |x|; y' is the sign of x, 0 at 0."""

    def function(self, x: Any) -> Any:
        """Return |x|."""
        return np.abs(x)

    def derivative(self, x: Any) -> Any:
        """Return the sign of x."""
        return np.sign(x)


class Reciprocal(Function):
    """y = 1 / x; y' = -1 / x^2."""

    def function(self, x: Any) -> Any:
        """Return 1 / x."""
        return 1 / x

    def derivative(self, x: Any) -> Any:
        """Return -1 / x^2."""
        return -1 / (x * x)


class Softsign(Function):
    """y = x / (1 + |x|); y' = 1 / (1 + |x|)^2."""

    def function(self, x: Any) -> Any:
        """Return x / (1 + |x|)."""
        return x / (1 + np.abs(x))

    def derivative(self, x: Any) -> Any:
        """Return 1 / (1 + |x|)^2."""
        return (1 + np.abs(x)) ** -2


class Power(Function):
    """y = x^p of a number p; y' = p x^(p - 1)."""

    def __init__(self, exponent: float) -> None:
        self.exponent = exponent

    def function(self, x: Any) -> Any:
        """Return x^p."""
        return x * x if self.exponent == 2 else np.power(x, self.exponent)

    def derivative(self, x: Any) -> Any:
        """Return p x^(p - 1)."""
        p = self.exponent
        return np.zeros_like(x) if p == 0 else 2 * x if p == 2 else p * np.power(x, p - 1)


class Clip(Function):
    """y = x within two bounds, and the bound where x is beyond; y' is 1 within them, 0 beyond, as torch has it."""

    def __init__(self, low: float, high: float) -> None:
        self.low, self.high = low, high

    def function(self, x: Any) -> Any:
        """Return x, or the bound that it is beyond; the upper one where the lower is above it."""
        return np.minimum(np.maximum(x, self.low), self.high)

    def derivative(self, x: Any) -> Any:
        """Return 1 within the bounds, else 0."""
        return (x >= self.low) & (x <= self.high)


class HardSigmoid(Function):
    """y = max(0, min(1, a x + b)); y' = a between."""

    def __init__(self, alpha: float, beta: float) -> None:
        self.alpha, self.beta = alpha, beta

    def function(self, x: Any) -> Any:
        """Return a x + b within 0 and 1."""
        return np.clip(self.alpha * x + self.beta, 0, 1)

    def derivative(self, x: Any) -> Any:
        """Return a where a x + b is between 0 and 1, else 0."""
        z = self.alpha * x + self.beta
        return self.alpha * ((z > 0) & (z < 1))


class HardSwish(Function):
    """y = x max(0, min(1, x / 6 + 1 / 2))."""

    def function(self, x: Any) -> Any:
        """Return x times x / 6 + 1 / 2 within 0 and 1."""
        return x * np.clip(x / 6 + 0.5, 0, 1)

    def derivative(self, x: Any) -> Any:
        """Return 0 up to -3, 1 from 3 on, x / 3 + 1 / 2 between."""
        return np.where(x <= -3, 0, np.where(x >= 3, 1, x / 3 + 0.5))


class Selu(Function):
    """y = g x for x > 0, g a (exp(x) - 1) below; of other numbers also Celu, with g = 1 and exp(x / a)."""

    def __init__(self, alpha: float, gamma: float, scale: float = 1.0) -> None:
        self.alpha, self.gamma, self.scale = alpha, gamma, scale

    def function(self, x: Any) -> Any:
        """Return g x, or g a (exp(x / scale) - 1)."""
        return self.gamma * np.where(x > 0, x, self.alpha * np.expm1(np.minimum(x, 0) / self.scale))

    def derivative(self, x: Any) -> Any:
        """Return g, or g a / scale exp(x / scale)."""
        return self.gamma * np.where(x > 0, 1, self.alpha / self.scale * np.exp(np.minimum(x, 0) / self.scale))


class Mish(Function):
    """y = x tanh(ln(1 + exp(x)))."""

    def function(self, x: Any) -> Any:
        """Return x tanh(softplus(x))."""
        return x * np.tanh(np.logaddexp(0, x))

    def derivative(self, x: Any) -> Any:
        """Return tanh(s) + x sigmoid(x) (1 - tanh(s)^2), s = softplus(x)."""
        t = np.tanh(np.logaddexp(0, x))
        return t + x * (1 - t * t) * 0.5 * (1 + np.tanh(0.5 * x))


def _without_options(name: str, kind: type[Function], *versions: int) -> None:
    @imports(name, *versions)
    def _(graph: Reader, node: Node) -> None:
        graph.add(node, kind(), node.inputs[0])


for _name, _kind, _versions in (
    ("Sqrt", Sqrt, (13,)),
    ("Exp", Exp, (13,)),
    ("Log", Log, (13,)),
    ("Neg", Neg, (13,)),
    ("Abs", Abs, (13,)),
    ("Reciprocal", Reciprocal, (13,)),
    ("Softsign", Softsign, (1, 22)),
    ("HardSwish", HardSwish, (14, 22)),
    ("Mish", Mish, (18, 22)),
):
    _without_options(_name, _kind, *_versions)


@imports("Pow", 13, 15)
def _(graph: Reader, node: Node) -> None:
    exponent = graph.number(node.inputs[1])
    if exponent is None or graph.learns(node.inputs[1]):
        raise node.refusal("one number in the file as the exponent", "another one")
    if exponent == 1:
        graph.add(node, nn.Identity(), node.inputs[0])
    else:
        graph.add(node, Power(exponent), node.inputs[0])


@imports("Clip", 13)
def _(graph: Reader, node: Node) -> None:
    bounds = []
    for number, missing in ((1, -math.inf), (2, math.inf)):
        name = node.input(number)
        bound = missing if name is None else graph.number(name)
        if bound is None:
            raise node.refusal("numbers in the file as bounds", "others")
        bounds.append(bound)
    graph.add(node, nn.ReLU() if bounds == [0, math.inf] else Clip(*bounds), node.inputs[0])


@imports("HardSigmoid", 6, 22)
def _(graph: Reader, node: Node) -> None:
    graph.add(node, HardSigmoid(node.number("alpha", 0.2), node.number("beta", 0.5)), node.inputs[0])


@imports("Selu", 6, 22)
def _(graph: Reader, node: Node) -> None:
    alpha, gamma = node.number("alpha", SELU_ALPHA), node.number("gamma", SELU_GAMMA)
    graph.add(node, Selu(alpha, gamma), node.inputs[0])


@imports("Celu", 12, 28)
def _(graph: Reader, node: Node) -> None:
    alpha = node.number("alpha", 1.0)
    graph.add(node, Selu(alpha, 1.0, alpha), node.inputs[0])
