"""Initializer: a distribution as a value that can be compared, printed and stored."""

from __future__ import annotations

import functools
import inspect
import math
import numbers
from collections.abc import Callable
from typing import Annotated, Any, Concatenate, Literal, NoReturn, ParamSpec, get_args, get_origin, get_type_hints

import numpy as np
import numpy.typing as npt

from fastdl.casting import cast
from fastdl.errors import InvalidTypeError, InvalidValueError, add_context
from fastdl.messages import shown
from fastdl.nn.parameter import Parameter
from fastdl.random import as_generator
from fastdl.validation import as_float_dtype

Shape = tuple[int, ...]
Positive = Annotated[float, "positive"]
P = ParamSpec("P")

INITIALIZERS: dict[str, Callable[..., Initializer]] = {}


class Initializer:
    """A distribution with its arguments; the functions of `fastdl.nn.init` make them.

    Called, it draws in float64 and rounds last, so that both dtypes see the same numbers.

    Args of a call:
        shape: an int or a tuple; of a weight, (out, in, *kernel).
        rng: None, a seed or a `numpy.random.Generator`, as for `fastdl.random.as_generator`.
        dtype: float32 or float64.

    Raises:
        TypeError: if the dtype is another, or the shape is no shape.
        ValueError: if the distribution has no use for the shape, or the values do not fit the dtype.

    Example:
        >>> from fastdl.nn import init
        >>> weight = init.xavier_normal(gain=2)((25, 2), rng=0)
        >>> weight.shape, weight.dtype
        ((25, 2), dtype('float32'))
        >>> init.xavier_normal(gain=2)
        xavier_normal(gain=2.0)
        >>> init.xavier_normal(gain=2) == init.xavier_normal(2.0)
        True
    """

    name: str
    arguments: tuple[tuple[str, object], ...]
    factory: Callable[..., Initializer]
    draw: Callable[..., np.ndarray]

    def __init__(
        self,
        name: str,
        arguments: tuple[tuple[str, object], ...],
        factory: Callable[..., Initializer],
        draw: Callable[..., np.ndarray],
    ) -> None:
        vars(self).update(name=name, arguments=arguments, factory=factory, draw=draw)

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"cannot assign to {name!r} of {self}")

    def __delattr__(self, name: str) -> NoReturn:
        raise AttributeError(f"cannot delete {name!r} of {self}")

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return (self.name, self.arguments) == (other.name, other.arguments)

    def __hash__(self) -> int:
        return hash((self.name, self.arguments))

    def __call__(
        self, shape: int | Shape, rng: int | np.random.Generator | None = None, dtype: npt.DTypeLike = np.float32
    ) -> np.ndarray:
        dtype = as_float_dtype(dtype, self)
        shape = _sizes(self, shape)
        rng = as_generator(rng)
        if 0 in shape:
            return np.empty(shape, dtype)
        try:
            values = cast(self.draw(rng, shape, **dict(self.arguments)), dtype, copy=False)
        except ValueError as error:
            add_context(error, str(self))
            raise
        if not np.isfinite(values).all():
            raise InvalidValueError(self, f"values that {dtype} can hold", "infinite ones")
        return values

    def apply(self, target: Any, rng: int | np.random.Generator | None = None) -> None:
        """Fill a Parameter or an array in place.

        Args:
            target: a Parameter, or an array of float32 or float64.
            rng: as in a call.

        Raises:
            TypeError: if the target is neither.
            ValueError: if it is read-only, or has a shape that the distribution has no use for.

        Example:
            >>> x = np.empty((2, 3))
            >>> from fastdl.nn import init
            >>> init.constant(0.5).apply(x)
            >>> x
            array([[0.5, 0.5, 0.5],
                   [0.5, 0.5, 0.5]])
        """
        array = target if isinstance(target, np.ndarray) else getattr(target, "data", target)
        if not isinstance(array, np.ndarray):
            raise InvalidTypeError(f"{self}.apply", "a Parameter or an array", type(target).__name__)
        if not array.flags.writeable:
            raise InvalidValueError(f"{self}.apply", "an array that can be written to", "a read-only one")
        array[...] = self(array.shape, rng, array.dtype)
        if isinstance(target, Parameter):
            target._changed += 1

    def __repr__(self) -> str:
        default = {name: p.default for name, p in inspect.signature(self.factory).parameters.items()}
        spelled = [
            repr(value) if default[name] is inspect.Parameter.empty else f"{name}={value!r}"
            for name, value in self.arguments
            if value != default[name]
        ]
        return f"{self.name}({', '.join(spelled)})"

    def __getstate__(self) -> dict[str, Any]:
        """Return the maker, which pickles by name, and its arguments."""
        return {"factory": self.factory, "arguments": self.arguments}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(vars(state["factory"](**dict(state["arguments"]))))


def initializer(
    draw: Callable[Concatenate[np.random.Generator, Shape, P], np.ndarray],
) -> Callable[P, Initializer]:
    """Turn a function that draws float64 values into the maker of an `Initializer`.

    The name becomes known to `from_spelling` and to model specs.

    Args:
        draw: a function of a generator, a shape and the distribution's own arguments. Their annotations say what is
            let through: float (a finite number; also where there is none), Positive (a number above 0), bool, or a
            Literal of strings. Arguments named low and high must be in this order.

    Raises:
        ValueError: if another module has an initializer of that name.

    Example:
        >>> @initializer
        ... def laplace(rng, shape, scale: Positive = 1.0):
        ...     return rng.laplace(0, scale, shape)
        >>> laplace(0.5)
        laplace(scale=0.5)
        >>> laplace(-1)
        Traceback (most recent call last):
        fastdl.errors.InvalidValueError: laplace: expected a positive number as scale, got -1.0
        >>> del INITIALIZERS["laplace"]
    """
    name = draw.__name__
    if name in INITIALIZERS and INITIALIZERS[name].__module__ != draw.__module__:
        raise InvalidValueError("initializer", "a new name", f"{name}, which is {INITIALIZERS[name].__module__}'s")
    signature = inspect.Signature(list(inspect.signature(draw).parameters.values())[2:])
    # Read on first use: the hints name numpy.random, which takes a while to import.
    kinds_of = functools.cache(lambda: get_type_hints(draw, include_extras=True))

    @functools.wraps(draw)
    def make(*args: P.args, **kwargs: P.kwargs) -> Initializer:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            raise InvalidTypeError(name, f"{name}({', '.join(signature.parameters)})", error) from None
        bound.apply_defaults()
        arguments = {
            key: checked(name, key, value, kinds_of().get(key, float)) for key, value in bound.arguments.items()
        }
        low, high = arguments.get("low", -math.inf), arguments.get("high", math.inf)
        if not low < high:
            raise InvalidValueError(name, "low < high", f"{low} and {high}")
        return Initializer(name, tuple(arguments.items()), make, draw)

    make.__signature__ = signature  # type: ignore[attr-defined]
    INITIALIZERS[name] = make
    return make


def from_spelling(name: str, *args: Any, **arguments: Any) -> Initializer:
    """The initializer of that name with these arguments.

    Raises:
        ValueError: if there is no such name, or the initializer refuses the arguments.
        TypeError: if an argument is of the wrong kind, missing or too many.

    Example:
        >>> from fastdl.nn import init
        >>> init.from_spelling("xavier_normal", gain=2.0)
        xavier_normal(gain=2.0)
        >>> init.from_spelling("xavier_norm")
        Traceback (most recent call last):
        ValueError: no initializer named 'xavier_norm'; nearest: xavier_normal
    """
    if name in INITIALIZERS:
        return INITIALIZERS[name](*args, **arguments)
    from difflib import get_close_matches

    nearest = get_close_matches(name, INITIALIZERS, n=1, cutoff=0)
    raise ValueError(f"no initializer named {shown(name)}; nearest: {nearest[0]}")


def checked(owner: str, name: str, value: Any, kind: Any) -> Any:
    """The argument in its plain form, a float, bool or str, when it is what the annotation lets through."""
    if kind is bool:
        if not isinstance(value, (bool, np.bool_)):
            raise InvalidTypeError(owner, f"True or False as {name}", shown(value))
        return bool(value)
    if get_origin(kind) is Literal:
        if not isinstance(value, str) or value not in get_args(kind):
            error = InvalidValueError if isinstance(value, str) else InvalidTypeError
            raise error(owner, f"one of {', '.join(get_args(kind))} as {name}", shown(value))
        return str(value)
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        raise InvalidTypeError(owner, f"a number as {name}", shown(value))
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise InvalidValueError(owner, f"a finite number as {name}", number)
    if kind == Positive and number <= 0:
        raise InvalidValueError(owner, f"a positive number as {name}", number)
    return number


def _sizes(owner: Initializer, shape: Any) -> Shape:
    sizes: Any = (shape,) if isinstance(shape, numbers.Integral) else shape
    if type(sizes) is tuple and all(type(size) is int and 0 <= size < 2**63 for size in sizes):
        return sizes
    whole = isinstance(sizes, (tuple, list)) and all(
        isinstance(size, numbers.Integral) and not isinstance(size, bool) for size in sizes
    )
    if not whole:
        hint = f"write {owner}.apply(...) to fill it" if hasattr(shape, "shape") else None
        raise InvalidTypeError(owner, "a shape, an int or a tuple of ints", shown(shape), hint)
    if any(size < 0 for size in sizes):
        raise InvalidValueError(owner, "a shape without negative sizes", shown(shape))
    if any(int(size) >= 2**63 for size in sizes):
        raise InvalidValueError(owner, "a shape that memory can hold", shown(shape))
    return tuple(int(size) for size in sizes)
