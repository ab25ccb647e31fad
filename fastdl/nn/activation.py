"""Activations: a function of each element and its derivative, forward beside backward."""

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from fastdl._kernels.activation import activation_backward, activation_forward, activation_kinds, keeps_output
from fastdl._kernels.array import empty_like, ready
from fastdl._kernels.option import Option
from fastdl.casting import cast
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.graph.size import same_shape
from fastdl.graph.value import NotTraceableError, Value
from fastdl.messages import shown
from fastdl.nn.layer import Layer
from fastdl.validation import one_of, positive_number, real_number


class Activation(Layer):
    """y = f(x), element by element, for an f of one's own.

    Args:
        function: takes an array x, returns f(x) of the same shape.
        derivative: takes x, returns f'(x); None takes the derivative of the function, see `fastdl.grad`.

    Either give them, or define them as methods of a subclass. A function without a derivative is traced in every backward, which
    takes longer than a given one.

    Example:
        >>> swish = Activation(lambda x: x / (1 + np.exp(-x)))
        >>> swish(np.zeros(2)), swish.backward(np.ones(2))
        (array([0., 0.]), array([0.5, 0.5]))
        >>> sine = Activation(np.sin, np.cos)
        >>> sine(np.zeros(2)), sine.backward(np.ones(2))
        (array([0., 0.]), array([1., 1.]))

    Shape:
        x and y have the same shape, any.
    """

    _keeps_shape = True
    derivative: Any = None

    def __init__(
        self,
        function: Callable[[NDArray[Any]], NDArray[Any]],
        derivative: Callable[[NDArray[Any]], NDArray[Any]] | None = None,
    ) -> None:
        for name, value in (("function", function), ("derivative", derivative)):
            if not callable(value) and not (name == "derivative" and value is None):
                raise InvalidTypeError("Activation", "a callable", shown(value), argument=name)
        self.function, self.derivative = function, derivative

    _pure = False

    def _apply(self, *inputs: Any, **named: Any) -> Any:
        """The function of a traced value, with its derivative if given; what cannot be traced runs in Python then."""
        from fastdl.graph.operations import given_slope
        from fastdl.nn.python_call import call_in_python

        (x,) = (*inputs, *named.values())
        if self.derivative is None:
            return self.function(x)
        try:
            return given_slope(x, *self._of_shape(x))
        except NotTraceableError:
            return call_in_python(self, (x,))

    def _of_shape(self, x: Any) -> list[Any]:
        """The function and its derivative of a traced value."""
        found = []
        for name in ("function", "derivative"):
            value = getattr(self, name)(x)
            if not isinstance(value, Value) or not same_shape(value.shape, x.shape):
                shape = getattr(value, "shape", type(value).__name__)
                raise InvalidValueError(shown(self), f"{name} to return shape {x.shape}", shape)
            found.append(value)
        return found

    def _forward(self, x: Any) -> tuple[NDArray[Any], Any]:
        """f(x)."""
        x = ready(x, None, self)
        return self._checked(self.function(x), x, "function"), x

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """gy f'(x)."""
        gy = self._gradient(grad_output, saved.shape, saved.dtype)
        if self.derivative is None:
            from fastdl.graph.differentiate import weighed_gradient

            return weighed_gradient(self.function, saved, gy)
        return gy * self._checked(self.derivative(saved), saved, "derivative")

    def _checked(self, y: Any, x: NDArray[Any], name: str) -> NDArray[Any]:
        y = np.asarray(y)
        if y.shape != x.shape:
            raise InvalidValueError(shown(self), f"{name} to return shape {x.shape}", y.shape)
        return cast(y, x.dtype, copy=False, order="C")

    def spec(self) -> str:
        """Spell the activation by its functions' names, or as the subclass it is."""
        if type(self).__init__ is not Activation.__init__:
            return super().spec()
        if "function" not in vars(self):
            return f"{type(self).__name__}()"
        functions = (self.function, self.derivative) if self.derivative else (self.function,)
        names = (getattr(f, "__name__", repr(f)) for f in functions)
        return f"{type(self).__name__}({', '.join(names)})"


class _Elementwise(Layer):
    """An activation of the core: f and f' are named there."""

    kind: str
    _keeps_shape = True
    _last_axes = 0
    _keeps_output: ClassVar[bool]
    _alpha: float = 0.0
    _beta: float = 0.0

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        if "kind" in vars(cls):
            cls._keeps_output = keeps_output(cls.kind)

    def _forward(self, x: Any) -> tuple[NDArray[Any], Any]:
        """f(x)."""
        x = ready(x, None, self)
        y = empty_like(x)
        activation_forward(x, self.kind, self._alpha, self._beta, y)
        return y, y if self._keeps_output else x

    def _plan(self, plan: Any, x: Any) -> Any:
        activation = activation_kinds().index(self.kind), self._alpha, self._beta, self._keeps_output
        return plan.add("activation", self, x, x.shape, activation=activation)

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """gy f'."""
        gy = self._gradient(grad_output, saved.shape, saved.dtype)
        gx = empty_like(gy)
        activation_backward(gy, saved, saved, self.kind, self._alpha, self._beta, gx)
        return gx


class ReLU(_Elementwise):
    """y = max(x, 0); the derivative at 0 is 0, and a NaN stays.

    Example:
        >>> ReLU()(np.array([-1.0, 2.0]))
        array([0., 2.])

    Source: torch.nn.ReLU.
    """

    kind = "relu"

    def _formula(self, node: Any, x: Any) -> Any:
        return np.where(x > 0, x, 0.0)


class LeakyReLU(_Elementwise):
    """y = x where x > 0, else negative_slope x.

    Example:
        >>> LeakyReLU(0.1)(np.array([-1.0, 2.0]))
        array([-0.1,  2. ])

    Source: torch.nn.LeakyReLU.
    """

    kind = "leaky_relu"
    negative_slope = Option(real_number, stored="_alpha")

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = negative_slope

    def _formula(self, node: Any, x: Any) -> Any:
        return np.where(x > 0, x, self._alpha * x)


class ELU(_Elementwise):
    """y = x where x > 0, else alpha (exp(x) - 1).

    Example:
        >>> ELU()(np.array([0.0, 2.0]))
        array([0., 2.])

    Source: torch.nn.ELU.
    """

    kind = "elu"
    alpha = Option(real_number, stored="_alpha")

    def __init__(self, alpha: float = 1.0) -> None:
        self.alpha = alpha

    def _formula(self, node: Any, x: Any) -> Any:
        return np.where(x > 0, x, self._alpha * np.expm1(np.minimum(x, 0.0)))


class Tanh(_Elementwise):
    """y = tanh(x); the derivative is 1 - y^2.

    Example:
        >>> Tanh()(np.array([0.0]))
        array([0.])

    Source: torch.nn.Tanh.
    """

    kind = "tanh"

    def _formula(self, node: Any, x: Any) -> Any:
        return np.tanh(x)


class Sigmoid(_Elementwise):
    """y = 1 / (1 + exp(-x)); the derivative is y (1 - y).

    Example:
        >>> Sigmoid()(np.array([0.0]))
        array([0.5])

    Source: torch.nn.Sigmoid.
    """

    kind = "sigmoid"

    def _formula(self, node: Any, x: Any) -> Any:
        return 0.5 * (1 + np.tanh(0.5 * x))


class GELU(_Elementwise):
    """y = x Phi(x), Phi the normal distribution function.

    Args:
        approximate: "none", or "tanh" for x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2.

    Example:
        >>> GELU()(np.array([0.0, 10.0]))
        array([ 0., 10.])

    Source: torch.nn.GELU; D. Hendrycks, K. Gimpel, "Gaussian Error Linear Units", 2016.
    """

    kind = "gelu"

    def __init__(self, approximate: str = "none") -> None:
        self.approximate = approximate

    @property
    def approximate(self) -> str:
        """Which formula is computed."""
        return "tanh" if self.kind == "gelu_tanh" else "none"

    @approximate.setter
    def approximate(self, approximate: str) -> None:
        tanh = one_of(("none", "tanh"), approximate, "approximate", type(self).__name__) == "tanh"
        self.kind = "gelu_tanh" if tanh else "gelu"

    def _formula(self, node: Any, x: Any) -> Any:
        if self.kind == "gelu_tanh":
            return 0.5 * x * (1 + np.tanh(sqrt(2 / pi) * (x + 0.044715 * x**3)))
        from fastdl.graph.operations import given_slope

        second = np.exp(-0.5 * np.square(x)) * (2 - np.square(x)) / sqrt(2 * pi)
        return given_slope(x, node.y, given_slope(x, node.slope(), second))


class SiLU(_Elementwise):
    """y = x / (1 + exp(-x)).

    Example:
        >>> SiLU()(np.array([0.0]))
        array([0.])

    Source: torch.nn.SiLU.
    """

    kind = "silu"

    def _formula(self, node: Any, x: Any) -> Any:
        return 0.5 * x * (1 + np.tanh(0.5 * x))


class Softplus(_Elementwise):
    """y = log(1 + exp(beta x)) / beta, and x where beta x > threshold.

    Example:
        >>> Softplus()(np.array([30.0]))
        array([30.])

    Source: torch.nn.Softplus.
    """

    kind = "softplus"
    beta = Option(positive_number, stored="_alpha")
    threshold = Option(real_number, stored="_beta")

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta, self.threshold = beta, threshold

    def _formula(self, node: Any, x: Any) -> Any:
        scaled = self.beta * x
        return np.where(scaled > self.threshold, x, np.log1p(np.exp(np.minimum(scaled, self.threshold))) / self.beta)


class Identity(Layer):
    """y = x, the same array.

    Source: torch.nn.Identity (which takes and forgets any arguments; this one takes none).
    """

    _keeps_shape = True
    _last_axes = 0

    def _forward(self, x: Any) -> tuple[Any, Any]:
        """x."""
        return x, True

    def _plan(self, plan: Any, x: Any) -> Any:
        return x

    def _backward(self, saved: Any, grad_output: Any, with_input: bool, with_parameters: bool) -> Any:
        """gy."""
        return grad_output
