"""Models written as strings: a list of them, a dictionary, a TOML file, and back."""

from __future__ import annotations

import ast
import inspect
import math
import os
import tomllib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError, add_context
from fastdl.input_file import read_whole
from fastdl.messages import listed, short, shown
from fastdl.nn import walk
from fastdl.nn.initializer import INITIALIZERS, Initializer
from fastdl.nn.module import LAYERS, Module

T = TypeVar("T")
LONGEST_ENTRY = 100_000
LONGEST_LIST = 10_000
LONGEST_MODEL = 1_000_000
LONGEST_FILE = 10_000_000
# An argument of the innermost layer may be a tuple of numbers with signs.
DEEPEST = walk.DEEPEST + 3
# How often a text is parsed before an error is believed that may be another parser's.
TRIES = 20
# Entries that come again and again are short.
SHORT = 200
VALUES = {"inf": math.inf, "nan": math.nan, "float32": np.float32, "float64": np.float64}


def from_spec(spec: str | os.PathLike[str] | Sequence[Any] | Mapping[str, Any]) -> Module:
    """The model that strings describe.

    A list is a `Sequential`, a list inside it a nested one. Each string is a public layer of `fastdl.nn`, called as in
    Python, or its bare name where it needs no arguments. Arguments are numbers, strings, True, False, None, tuples and
    lists of those, initializers, other layers, and the names inf, nan, float32, float64. Strings are parsed and
    walked, never evaluated.

    Args:
        spec: a list of strings; one string, for a single layer; a dictionary with either as its entry "model"; or a
            TOML file with such a key, as a path or a string that ends in .toml.

    Raises:
        TypeError: if the spec or an entry is of another kind.
        OSError: if the file cannot be read.
        ValueError: if the file is no regular one, an entry (counted from 1) cannot be read or built, or something is too
            much: an entry of over 100,000 characters, a list of over 10,000 entries, a million of them in all, a file of
            over 10 MB, over 100 levels of nesting.

    Example:
        >>> from fastdl.nn import from_spec
        >>> model = from_spec(["Linear(2, 25, weight_init=xavier_normal(gain=1.4))", "ReLU", ["Linear(25, 2)", "Tanh"]])
        >>> [type(layer).__name__ for layer in model.children()]
        ['Linear', 'ReLU', 'Sequential']
        >>> from_spec(["ReLU", "Liner(2, 25)"])
        Traceback (most recent call last):
        ValueError: entry 2, 'Liner(2, 25)': no layer named 'Liner'; nearest: Linear

    Source: paper 002, whose models are strings in a dictionary.
    """
    if isinstance(spec, os.PathLike) or (isinstance(spec, str) and spec.endswith(".toml")):
        spec = _read(Path(spec))
    if isinstance(spec, Mapping):
        if "model" not in spec:
            raise InvalidValueError("spec", "an entry 'model'", listed(spec) or "none")
        spec = spec["model"]
    first: dict[str, tuple[int, ...]] = {}
    if _count(spec, (), first) > LONGEST_MODEL:
        raise InvalidValueError("spec", f"at most {LONGEST_MODEL} entries in all", "more")
    for text, place in first.items():
        _at(place, text, _called)
    return _model(spec, ())


def to_spec(model: Module) -> list[str] | str:
    """The strings that `from_spec` builds the same structure from: weights and random generators are not in them.

    A `Sequential` gives a list with a string for each layer, any other layer gives its own string.

    Raises:
        TypeError: if `fastdl.nn` does not have a module, or no string spells an argument.
        ValueError: if a parameter stands in several places: built from strings, each place would have its own.

    Example:
        >>> from fastdl import nn
        >>> nn.to_spec(nn.Sequential(nn.Linear(2, 25), nn.Sequential(nn.ReLU(), nn.Linear(25, 2))))
        ['Linear(2, 25)', 'Sequential(ReLU(), Linear(25, 2))']

    Source: paper 002.
    """
    known = LAYERS
    for module in model.modules():
        if known.get(type(module).__name__) is not type(module):
            raise InvalidTypeError("to_spec", "layers of fastdl.nn", f"a {type(module).__qualname__}")
    parts = [id(part) for _, part in model._entries()]
    if len(set(parts)) < len(parts):
        raise InvalidValueError("to_spec", "every parameter in one place", "a model that shares some")
    if type(model) is known["Sequential"]:
        return [_spelled(layer) for _, layer in model.named_children()]
    return _spelled(model)


def _spelled(layer: Module) -> str:
    text = layer.spec()
    try:
        names = {node.id for node in ast.walk(_tree(text)) if isinstance(node, ast.Name)}
    except SyntaxError:
        names = {""}
    if not names <= {*LAYERS, *INITIALIZERS, *VALUES}:
        raise InvalidTypeError("to_spec", "arguments that can be written as a string", short(text))
    return text


def _tree(text: str) -> ast.Expression:
    """The syntax tree of an expression.

    Some versions of CPython count its depth where a parser in another thread or a signal handler counts, too, and raise
    SystemError then, which says nothing of the text: it is parsed again.
    """
    for _ in range(TRIES):
        try:
            return ast.parse(text, mode="eval")
        except SystemError:
            continue
    return ast.parse(text, mode="eval")


def _read(path: Path) -> dict[str, Any]:
    content = read_whole(path, "from_spec", LONGEST_FILE)
    try:
        return tomllib.loads(content.decode())
    except (ValueError, RecursionError) as error:
        raise InvalidValueError(path, "a TOML file", f"an error on reading it: {error}") from error


def _count(spec: object, place: tuple[int, ...], first: dict[str, tuple[int, ...]]) -> int:
    """How many strings there are, each of which is put down with its `first` place; what is none and no list is refused."""
    if isinstance(spec, str):
        if spec not in first:
            first[spec] = place
        return 1
    opening = _opening(place)
    if not isinstance(spec, (list, tuple)):
        raise InvalidTypeError(opening, "a string or a list of strings", shown(spec))
    if len(spec) > LONGEST_LIST:
        raise InvalidValueError(opening, f"at most {LONGEST_LIST} entries", len(spec))
    if len(place) >= walk.DEEPEST:
        raise InvalidValueError(opening, f"at most {walk.DEEPEST} levels of nesting", "more")
    total = 0
    for number, entry in enumerate(spec, 1):
        total += 1 if isinstance(entry, str) and entry in first else _count(entry, (*place, number), first)
        if total > LONGEST_MODEL:
            break
    return total


def _model(spec: Any, place: tuple[int, ...]) -> Module:
    if isinstance(spec, str):
        return _at(place, spec, lambda text: _value(_called(text), len(place) + 1))
    return LAYERS["Sequential"](*[_model(entry, (*place, number)) for number, entry in enumerate(spec, 1)])


def _at(place: tuple[int, ...], text: str, read: Callable[[str], T]) -> T:
    """What is made of an entry; an error names it."""
    try:
        return read(text)
    except ValueError as error:
        add_context(error, f"{_opening(place)}, {short(text)!r}")
        raise


def _opening(place: tuple[int, ...]) -> str:
    return f"entry {'.'.join(map(str, place))}" if place else "spec"


def _called(text: str) -> ast.expr:
    """The call of a layer, or its name, that an entry is."""
    if len(text) > LONGEST_ENTRY:
        raise InvalidValueError(None, f"at most {LONGEST_ENTRY} characters", len(text))
    return _parsed(text) if len(text) <= SHORT else _parsed.__wrapped__(text)


@lru_cache(maxsize=1000)
def _parsed(text: str) -> ast.expr:
    try:
        node = _tree(text.strip()).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        raise InvalidValueError(None, "a layer written as in Python, like Linear(2, 25)") from None
    name = node.func if isinstance(node, ast.Call) else node
    if not isinstance(name, ast.Name):
        raise InvalidValueError(None, "a layer's name, with its arguments in parentheses, like Linear(2, 25)")
    if name.id not in LAYERS:
        raise ValueError(_unknown("layer", name.id, LAYERS))
    return node


def declared_elements(text: str) -> int:
    """How many elements the parameters and buffers of the layers in an entry have; no layer is made.

    Layers behind one that `from_spec` refuses do not count.

    Example:
        >>> declared_elements("Sequential(Linear(2, 25), ReLU, LayerNorm(25, bias=False))")
        100
    """
    total = 0

    def declared(name: str, arguments: list[Any], keywords: dict[str, Any]) -> None:
        nonlocal total
        if name in LAYERS:
            bound = inspect.signature(LAYERS[name]).bind(*arguments, **keywords)
            bound.apply_defaults()
            shapes = LAYERS[name]._state_shapes(**bound.arguments).values()
            if all(type(n) is int and n > 0 for shape in shapes for n in shape):
                total += sum(map(math.prod, shapes))

    with suppress(TypeError, ValueError, ArithmeticError, RecursionError, MemoryError):  # from_spec says what is wrong
        _value(_called(text), 0, declared)
    return total


def _value(node: ast.expr, depth: int, call: Callable[[str, list[Any], dict[str, Any]], Any] | None = None) -> Any:
    """What an expression stands for; names are looked up in VALUES and by `call`, in `fastdl.nn` and `init`, nowhere else."""
    call = call or _call
    if depth > DEEPEST:
        raise InvalidValueError(None, f"at most {walk.DEEPEST} levels of nesting", "more")
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None as value):
            return value
        case ast.UnaryOp(op=ast.USub() | ast.UAdd() as sign, operand=operand):
            number = _value(operand, depth + 1, call)
            if isinstance(number, bool) or not isinstance(number, (int, float)):
                raise InvalidValueError(None, "a number after the sign", _source(operand))
            return -number if isinstance(sign, ast.USub) else number
        case ast.List(elts=elements):
            return [_value(element, depth + 1, call) for element in elements]
        case ast.Tuple(elts=elements):
            return tuple(_value(element, depth + 1, call) for element in elements)
        case ast.Name(id=name) if name in VALUES:
            return VALUES[name]
        case ast.Name(id=name):
            return call(name, [], {})
        case ast.Call(func=ast.Name(id=name)):
            arguments = [_value(argument, depth + 1, call) for argument in node.args]
            keywords = {}
            for keyword in node.keywords:
                if keyword.arg is None or keyword.arg in keywords:
                    raise InvalidValueError(None, f"each keyword of {name} once", _source(node))
                keywords[keyword.arg] = _value(keyword.value, depth + 1, call)
            return call(name, arguments, keywords)
    raise InvalidValueError(None, "a value, an initializer or a layer as an argument", _source(node))


def _call(name: str, arguments: list[Any], keywords: dict[str, Any]) -> Module | Initializer:
    maker: Callable[..., Any] | None = LAYERS.get(name) or INITIALIZERS.get(name)
    if maker is None:
        raise ValueError(_unknown("layer or initializer", name, {**INITIALIZERS, **LAYERS}))
    try:
        return maker(*arguments, **keywords)
    except (TypeError, ValueError, ArithmeticError, MemoryError) as error:
        signature = inspect.signature(maker)
        try:
            signature.bind(*arguments, **keywords)
        except TypeError as wrong:
            raise InvalidValueError(None, f"{name}({_outline(signature)}): {wrong}") from None
        if isinstance(error, ValueError):
            raise
        raise ValueError(str(error)) from error


def _outline(signature: inspect.Signature) -> str:
    """The parameters of a call, optional ones as `name=...`."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    return ", ".join(
        f"{stars[p.kind]}{name}" if p.kind in stars else name if p.default is p.empty else f"{name}=..."
        for name, p in signature.parameters.items()
    )


def _unknown(kind: str, name: str, known: Mapping[str, object]) -> str:
    lower = {word.lower(): word for word in known}
    from difflib import get_close_matches

    nearest = get_close_matches(name[:60].lower(), lower, n=1, cutoff=0.5)
    return f"no {kind} named {short(name)!r}" + (f"; nearest: {lower[nearest[0]]}" if nearest else "")


def _source(node: ast.expr) -> str:
    try:
        return short(ast.unparse(node))
    except RecursionError:
        return f"a deeply nested {type(node).__name__}"
