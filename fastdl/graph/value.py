"""Value: an array that a trace knows by shape and dtype only, with NumPy's operators, functions and methods."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from functools import lru_cache
from threading import local
from typing import Any
from weakref import ReferenceType, ref

import numpy as np

from fastdl._kernels.grad_mode import Mode
from fastdl.errors import InvalidTypeError
from fastdl.graph.size import Shape, Size, total

# Where fastdl is, how Cython names its files wherever they are, and a part of NumPy's.
KERNELS = "fastdl/_kernels/"
PACKAGE, NUMPY = os.path.dirname(os.path.dirname(os.path.abspath(__file__))), f"{os.sep}numpy{os.sep}"
# NumPy's functions by what they become of Values; functions/ fills them, and adds ndarray's methods to the class.
UFUNCS: dict[Any, Callable[..., Any]] = {}
REDUCTIONS: dict[Any, Callable[..., Any]] = {}
FUNCTIONS: dict[Any, Callable[..., Any]] = {}
# Those ufuncs of scipy.special that can be traced, by name, for it may not be there.
SPECIALS: dict[str, Callable[..., Any]] = {}
# What is written in the place of a function that cannot be traced.
INSTEAD: dict[Any, str] = {}
# ndarray's methods that a value has, defined in functions/methods.py: those of functions of the same names, and some more.
OF_FUNCTIONS = (
    *(
        "sum",
        "prod",
        "max",
        "min",
        "any",
        "all",
        "mean",
        "var",
        "std",
        "argmax",
        "argmin",
        "cumsum",
        "ravel",
        "squeeze",
    ),
    *("swapaxes", "take", "repeat", "argsort", "dot", "round"),
)
OTHERWISE = "see 'What tracing can and cannot do' in the docs"
METHODS = (*OF_FUNCTIONS, "astype", "reshape", "transpose", "flatten", "clip")


class _Current(local):
    """What this thread traces: the graph, for what has no value to tell it."""

    graph: Any = None


current = _Current()
mode = Mode()


def trace_into(graph: Any) -> Any:
    """Let this thread trace into a graph, or into none; returns the one before."""
    before, current.graph = current.graph, graph
    mode.traces = graph is not None
    return before


def apart(function: Callable[..., Any], *inputs: Any, **named: Any) -> Any:
    """What a function returns for arrays; a trace that it is called amid has nothing to do with it."""
    if not mode.traces:
        return function(*inputs, **named)
    graph = trace_into(None)
    try:
        return function(*inputs, **named)
    finally:
        trace_into(graph)


def traced_into(member: Any, at_once: bool = True) -> Any:
    """The graph that code of a module, a parameter or a buffer is traced into, or None.

    It is that of a trace of a model with this member. Signal handlers and finalizers amid a trace are no part of it, and unless
    it may be computed `at_once`, nor is code that is run node by node.
    """
    graph = current.graph
    if graph is None or id(member) not in graph.members or (graph.at_once and not at_once) or _interrupts():
        return None
    return graph


def warn_of_constant(module: Any) -> None:
    """Warn where traced code calls a model of others on arrays: a trace takes what it returns as a constant."""
    graph = current.graph
    if (
        graph is None
        or graph.at_once
        or id(module) in graph.members
        or _interrupts()
        or next(module._entries(), None) is None
    ):
        return
    name = type(module).__name__
    warnings.warn(
        f"{where()}: traced code calls {name} on arrays, and it is no part of the traced model: what it returns is a constant;"
        " give it traced values, or make it an attribute of the model",
        stacklevel=4,
    )


def _interrupts() -> bool:
    """Whether a signal handler or a finalizer runs."""
    signal: Any = sys.modules.get("signal")  # through which handlers are set
    handlers = [] if signal is None else [signal.getsignal(number) for number in signal.valid_signals()]
    codes = {getattr(getattr(each, "__func__", each), "__code__", None) for each in handlers if callable(each)}
    codes |= {getattr(vars(type(each)).get("__call__"), "__code__", None) for each in handlers}
    frame: Any = sys._getframe(1)
    while frame is not None:
        if frame.f_code in codes or frame.f_code.co_name == "__del__":
            return True
        frame = frame.f_back
    return False


class NotTraceableError(InvalidTypeError):
    """What a trace cannot follow, with the user's line."""


class UnknownAttributeError(NotTraceableError, AttributeError):
    """An attribute that arrays have and values do not."""


class Memory:
    """What a value and its views share, as an array and its views share elements.

    Attributes:
        given: what it is where traced code has not made it, such as "an argument"; else nothing.
        changed: the line of an in-place operator after which its values are others; nothing where there was none.
        arrays: references to NumPy arrays that stand for it, each with the line that has asked for it.
    """

    __slots__ = ("arrays", "changed", "given")

    def __init__(self, given: str = "") -> None:
        self.given, self.changed = given, ""
        self.arrays: list[tuple[ReferenceType[Any], str]] = []

    def array_in_use(self) -> str:
        """The line that has asked for an array that is still there; nothing where there is none."""
        return next((line for array, line in self.arrays if array() is not None), "")


class Value:
    """The result of a node in a graph.

    It has an array's operators, `shape`, `dtype`, `ndim`, `size`, `T` and methods, and NumPy's functions take it. What needs its
    elements (`if`, `float`, `np.asarray`) is refused, unless the graph is computed as it is traced.
    """

    __slots__ = ("__weakref__", "_memory", "_number", "deliberate", "dtype", "graph", "shape")
    __hash__ = object.__hash__

    def __init__(self, graph: Any, number: int, shape: Shape, dtype: np.dtype[Any], deliberate: frozenset[int]) -> None:
        self.graph, self._number, self.shape, self.dtype = graph, number, shape, dtype
        self._memory: Memory | None = None
        # Axes of size 1 that None, expand_dims or keepdims made: these broadcast, whatever they meet.
        self.deliberate = deliberate

    @property
    def number(self) -> int:
        """The node's number; an error where an in-place operator has changed the array."""
        memory = self._memory
        if memory is not None and memory.changed:
            expected, got = "a value that is as it was", f"one whose array {memory.changed} changes in place"
            raise NotTraceableError(where(), expected, got, "write y = x + 1 there instead of x += 1")
        return self._number

    def memory(self) -> Memory:
        """What it shares with its views."""
        if self._memory is None:
            self._memory = Memory()
        return self._memory

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return len(self.shape)

    @property
    def size(self) -> int | Size:
        """The number of elements."""
        return total(self.shape)

    @property
    def T(self) -> Any:
        """The axes in reverse order."""
        return np.transpose(self)  # pyright: ignore[reportCallIssue, reportArgumentType]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or not hasattr(np.ndarray, name):
            raise AttributeError(f"'Value' object has no attribute {name!r}")
        expected, got = "NumPy functions that can be traced", f"the attribute {name} of a traced value"
        raise UnknownAttributeError(where(), expected, got, OTHERWISE)

    def __reduce__(self) -> Any:
        raise TypeError("Value: expected to stay in its trace, got a copy or a pickle; store no values")

    def __copy__(self) -> Value:
        return self

    def __repr__(self) -> str:
        array = self.graph.array_of(self)
        if array is not None:
            return f"Value({np.array2string(array, separator=', ', threshold=20)}, dtype={self.dtype})"
        return f"Value(shape=({', '.join(map(str, self.shape))}), dtype={self.dtype})"

    def _array(self, what: str, circumstances: str, hint: str) -> Any:
        """The elements, or the error where there are none yet."""
        array = self.graph.array_of(self)
        if array is None:
            raise refused(what, circumstances, hint)
        return array

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(f"{where()}: expected a value with axes for len, got one of shape ()")
        return self.shape[0].__index__()

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        if method == "reduce" and ufunc in REDUCTIONS:
            return REDUCTIONS[ufunc](*inputs, **options)
        home = _home_of(ufunc)
        name = f"{home}{ufunc.__name__}" + ("" if method == "__call__" else f".{method}")
        known = UFUNCS.get(ufunc) if method == "__call__" else None
        if known is None and method == "__call__" and home == SCIPY:
            known = SPECIALS.get(ufunc.__name__)
        if known is None:
            raise refused(name, "which traced code cannot use", INSTEAD.get(ufunc, OTHERWISE))
        for option, value in options.items():
            if option in ("out", "where") and value is not None and value is not True:
                hint = "write np.where(condition, ..., ...)" if option == "where" else "write y = f(x)"
                raise refused(name, f"with {option}=", hint)
        return known(*inputs)

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        known = FUNCTIONS.get(function)
        if known is None:
            module = function.__module__.removeprefix("numpy").lstrip(".")
            name = f"np.{module}.{function.__name__}" if module else f"np.{function.__name__}"
            raise refused(name, "which traced code cannot use", INSTEAD.get(function, OTHERWISE))
        return known(*args, **kwargs)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Any:
        hint = "use NumPy's functions on the value itself, and nn.Buffer(table) for an array that it is an index of"
        array = np.array(self._array("an array", "made of a traced value", hint), dtype)
        if not copy and self.shape and array.dtype == self.dtype:
            # NumPy gives the array itself, or a view: neither may be changed without the other.
            array.flags.writeable = False
            self.memory().arrays.append((ref(array), where()))
        return array

    def __bool__(self) -> bool:
        hint = "write np.where, or set traced = False on the module"
        return bool(self._array("if, and, or or not", "on a traced value", hint))

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)

    def item(self, *place: Any) -> Any:
        """The element at a place, or that of a value that has one, as a Python number."""
        return self._array("a number", "of a traced value", "keep it an array").item(*place)

    def tolist(self) -> Any:
        """The elements as Python numbers, in lists."""
        return self._array("a list", "of a traced value", "keep it an array").tolist()

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __complex__(self) -> complex:
        return complex(self.item())

    def __index__(self) -> int:
        return self._array("a number", "of a traced value", "keep it an array").__index__()

    def __iter__(self) -> Any:
        if self.shape and isinstance(self.shape[0], int):
            return iter([self[i] for i in range(self.shape[0])])  # pyright: ignore[reportIndexIssue]
        raise refused("a loop", "over an axis whose size is not fixed", "use NumPy's functions on the whole array")

    def __setitem__(self, index: Any, value: Any) -> None:
        raise refused("x[...] = ...", "on a traced value", "write np.where or np.concatenate")

    def __contains__(self, element: Any) -> bool:
        raise refused("in", "on a traced value", "write np.any(x == element)")

    def copy(self, order: Any = "C") -> Value:
        """The same elements, which in-place operators on the value leave as they are, and the other way round."""
        self.number  # noqa: B018 - which may be refused
        return self.twin()

    def twin(self) -> Value:
        """The value of the same node as another array."""
        return Value(self.graph, self._number, self.shape, self.dtype, self.deliberate)


def refused(what: str, circumstances: str, hint: str = OTHERWISE) -> TypeError:
    """The error for what a trace cannot follow, with the user's line."""
    return NotTraceableError(where(), "NumPy functions that can be traced", f"{what}, {circumstances}", hint)


SCIPY = "scipy.special."


def _home_of(ufunc: Any) -> str:
    """The module of a ufunc, as it is mostly spelled."""
    if getattr(np, ufunc.__name__, None) is ufunc:
        return "np."
    special: Any = sys.modules.get("scipy.special")
    return SCIPY if getattr(special, ufunc.__name__, None) is ufunc else ""


def where(within: int = 1) -> str:
    """The latest line outside of fastdl and NumPy: file:line; the latest so many calls are known to be within."""
    frame: Any = sys._getframe(within)
    while frame is not None:
        file = frame.f_code.co_filename
        if file not in _INSIDE and (name := _users_file(file)):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return "traced code"


def where_in_trace() -> str | None:
    """The latest such line within traced code; None where fastdl's own modules call one another there."""
    frame: Any = sys._getframe(1)
    while frame is not None and frame.f_globals.get("__name__") not in ("fastdl.graph.trace", "fastdl.nn.eager"):
        if name := _users_file(frame.f_code.co_filename):
            return f"{name}:{frame.f_lineno}"
        frame = frame.f_back
    return None


def last_line(error: BaseException) -> str:
    """The latest such line in an error's traceback."""
    found, step = "traced code", error.__traceback__
    while step is not None:
        name = _users_file(step.tb_frame.f_code.co_filename)
        found, step = f"{name}:{step.tb_lineno}" if name else found, step.tb_next
    return found


# Files of fastdl and NumPy that a look for the user's line has met.
_INSIDE = set[str]()


@lru_cache(maxsize=10_000)
def _users_file(file: str) -> str:
    """The name of a file outside of fastdl and NumPy; nothing of one inside."""
    inside = file.startswith((PACKAGE, KERNELS, "<")) or NUMPY in file
    if inside and not file.startswith("<"):
        _INSIDE.add(file)
    return "" if inside else file.rpartition(os.sep)[2]
