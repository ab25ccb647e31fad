"""Exceptions with fields: the message follows from them, and they survive copying and pickling."""

import ast
import copy
import pickle
from pathlib import Path

import numpy as np
import pytest

import fastdl
from fastdl import nn
from fastdl.errors import (
    DivergenceError,
    FastdlError,
    InvalidShapeError,
    InvalidStateError,
    InvalidTypeError,
    InvalidValueError,
    add_context,
)

MESSAGES = {
    "expected and got": (InvalidValueError("SGD", "a number", "x"), "SGD: expected a number, got x"),
    "argument": (InvalidTypeError("SGD", "a number", None, argument="lr"), "SGD: expected a number for lr"),
    "hint": (InvalidStateError("fit", "one fit", "two", "wait"), "fit: expected one fit, got two; wait"),
    "hint alone": (InvalidValueError("fit", "one fit", hint="wait"), "fit: expected one fit; wait"),
    "no owner": (InvalidValueError(None, "two names", 3), "expected two names, got 3"),
    "shape": (InvalidShapeError("ReLU", "input", (2,), shape=(4, 2)), "ReLU: expected input, got (2,)"),
    "divergence": (DivergenceError("fit", "the loss is nan", "write lr=0"), "fit: the loss is nan; write lr=0"),
}


@pytest.mark.parametrize(("error", "message"), MESSAGES.values(), ids=MESSAGES)
def test_a_message_is_composed_of_the_fields(error, message):
    assert str(error) == message
    assert error.args == (message,)
    assert repr(error) == f"{type(error).__name__}({message!r})"


@pytest.mark.parametrize(
    ("kind", "builtin"),
    [
        (InvalidValueError, ValueError),
        (InvalidTypeError, TypeError),
        (InvalidStateError, RuntimeError),
        (InvalidShapeError, ValueError),
        (DivergenceError, FloatingPointError),
    ],
)
def test_an_error_is_caught_as_the_builtin_one(kind, builtin):
    assert issubclass(kind, builtin)
    assert issubclass(kind, FastdlError)


def test_fields_hold_texts_but_no_arrays():
    error = InvalidValueError("Linear", ("a", 1), np.float32(0.5))
    assert (error.expected, error.got, error.hint) == ("('a', 1)", "0.5", None)


def test_a_message_follows_every_field_that_changes():
    error = InvalidValueError("Linear", "numbers", "letters")
    for name, value, message in (
        ("owner", "Conv2d", "Conv2d: expected numbers, got letters"),
        ("expected", "digits", "Conv2d: expected digits, got letters"),
        ("argument", "x", "Conv2d: expected digits for x, got letters"),
        ("got", "words, got late; at noon", "Conv2d: expected digits for x, got words, got late; at noon"),
        ("hint", "wait", "Conv2d: expected digits for x, got words, got late; at noon; wait"),
        ("note", "row 1", "Conv2d: expected digits for x, got words, got late; at noon; wait (row 1)"),
        ("context", "fit", "fit: Conv2d: expected digits for x, got words, got late; at noon; wait (row 1)"),
        ("hint", None, "fit: Conv2d: expected digits for x, got words, got late; at noon (row 1)"),
    ):
        setattr(error, name, value)
        assert str(error) == message
        assert error.args == (message,)


def test_other_attributes_leave_the_message_alone():
    error = InvalidValueError("Linear", "numbers", "letters")
    error.args = ("mine",)
    error.seen = True
    assert str(error) == "mine"


@pytest.mark.parametrize("again", [copy.copy, copy.deepcopy, lambda error: pickle.loads(pickle.dumps(error))])
@pytest.mark.parametrize(("error", "message"), MESSAGES.values(), ids=MESSAGES)
def test_a_copy_has_the_fields_and_keeps_the_original_as_it_is(error, message, again):
    error = copy.copy(error)
    error.context = "epoch 1"
    error.add_note("a note of Python's")
    if isinstance(error, InvalidShapeError):
        error.producer = "layer 0, Flatten()"
        message += " from layer 0, Flatten()"
    twin = again(error)
    assert type(twin) is type(error)
    assert vars(twin) == vars(error)
    assert str(twin) == f"epoch 1: {message}"
    twin.context = "epoch 2"
    assert str(twin) == f"epoch 2: {message}"
    assert str(error) == f"epoch 1: {message}"


def test_callers_put_their_context_in_front():
    error, plain, several = (
        InvalidValueError("a", "b"),
        ValueError("got x; y"),
        UnicodeDecodeError("ascii", b"", 0, 1, "no"),
    )
    for each in (error, plain, several):
        add_context(each, "batch 3")
        add_context(each, "epoch 2")
    assert str(error) == "epoch 2: batch 3: a: expected b"
    assert plain.args == ("epoch 2: batch 3: got x; y",)
    assert several.args == ("ascii", b"", 0, 1, "no")


LAYERS = {
    "linear": (lambda: nn.Linear(25, 2), (4, 30), "input of shape (..., 25)", "(4, 30)"),
    "convolution": (lambda: nn.Conv2d(3, 8, 3), (4, 1, 8, 8), "input of shape (N, 3, H, W)", "(4, 1, 8, 8)"),
    "few pixels": (
        lambda: nn.Conv2d(1, 8, 5),
        (4, 1, 3, 8),
        "images that hold a kernel of (5, 5) with their padding",
        "(3, 8)",
    ),
    "pool": (lambda: nn.MaxPool2d(2), (4, 1, 8), "input of shape (N, C, H >= 2, W >= 2)", "(4, 1, 8)"),
    "batch norm": (lambda: nn.BatchNorm1d(3), (4, 2), "input of shape (N, 3) or (N, 3, L)", "(4, 2)"),
    "layer norm": (lambda: nn.LayerNorm((3, 5)), (4, 2), "input of shape (..., 3, 5)", "(4, 2)"),
    "dropout": (lambda: nn.Dropout2d(), (4,), "input of shape (N, C, ...)", "(4,)"),
}


@pytest.mark.parametrize(("make", "shape", "expected", "got"), LAYERS.values(), ids=LAYERS)
def test_a_layer_that_refuses_a_shape_names_itself_and_the_shape(make, shape, expected, got):
    layer = make()
    with pytest.raises(InvalidShapeError) as caught:
        layer(np.zeros(shape, np.float32))
    error = caught.value
    assert (error.owner, error.expected, error.got, error.shape) == (layer.spec(), expected, got, shape)
    assert error.producer is None


OTHERS = {
    "an argument of a layer": (lambda: nn.Linear(0, 2), InvalidValueError, "Linear", "in_features", "0"),
    "a dtype": (lambda: nn.ReLU()(np.zeros(2, np.int64)), InvalidTypeError, "ReLU()", "x", "int64"),
    "a loss": (
        lambda: nn.CrossEntropyLoss()(np.zeros((2, 3), np.float32), np.array([0, 7])),
        InvalidValueError,
        "CrossEntropyLoss()",
        None,
        "7 at index 1",
    ),
    "an order of calls": (
        lambda: nn.Tanh().backward(np.zeros(2, np.float32)),
        InvalidStateError,
        "Tanh()",
        None,
        "none since the latest backward",
    ),
}


@pytest.mark.parametrize(("call", "kind", "owner", "argument", "got"), OTHERS.values(), ids=OTHERS)
def test_an_error_names_its_owner_and_the_argument(call, kind, owner, argument, got):
    with pytest.raises(kind) as caught:
        call()
    error = caught.value
    assert (error.owner, error.argument, error.got) == (owner, argument, got)


PACKAGE = Path(fastdl.__file__).parent
READS = {"match", "fullmatch", "search", "findall", "finditer", "sub", "split"}


def is_message(node, name):
    """Whether an expression is the text of the error of this name."""
    match node:
        case ast.Call(func=ast.Name(id="str" | "repr"), args=[ast.Name(id=found)]):
            return found == name
        case ast.JoinedStr(values=values):
            return any(isinstance(each, ast.FormattedValue) and is_name(each.value, name) for each in values)
        case ast.Subscript(value=ast.Attribute(value=ast.Name(id=found), attr="args")):
            return found == name
    return False


def is_name(node, name):
    return isinstance(node, ast.Name) and node.id == name


def parsed_messages(source):
    """The lines of except clauses that look into the text of the error: by methods of strings, `in`, `==` or patterns."""
    lines = []
    for handler in ast.walk(ast.parse(source)):
        if not isinstance(handler, ast.ExceptHandler) or handler.name is None:
            continue
        for node in ast.walk(handler):
            match node:
                case ast.Call(func=ast.Attribute(value=value, attr=attribute), args=arguments):
                    shortened = attribute == "split" and not arguments  # to put it on one line
                    looks = is_message(value, handler.name) and not shortened
                    looks = looks or (attribute in READS and any(is_message(each, handler.name) for each in arguments))
                case ast.Compare(left=left, comparators=others):
                    looks = any(is_message(each, handler.name) for each in (left, *others))
                case _:
                    looks = False
            if looks:
                lines.append(node.lineno)
    return lines


def test_no_except_clause_parses_a_message(each):
    for path in each(path=sorted(PACKAGE.rglob("*.py"))):
        assert parsed_messages(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "line",
    [
        "head, got, tail = str(error).rpartition('got ')",
        "raise ValueError(str(error).removeprefix('fit: ').split(';')[0])",
        "found = re.sub('header=True', '--header yes', str(error))",
        "if 'NaN' in str(error): pass",
        "if error.args[0] == 'gone': pass",
        "if error.args[0].startswith('gone'): pass",
        "words = f'{error}'.partition(': ')",
    ],
)
def test_a_clause_that_parses_a_message_is_found(line):
    assert parsed_messages(f"try:\n    pass\nexcept ValueError as error:\n    {line}\n")


@pytest.mark.parametrize("line", ["raise ValueError(f'fit: {error}')", "text = ' '.join(str(error).split())[:80]"])
def test_a_clause_that_quotes_a_message_is_none(line):
    assert not parsed_messages(f"try:\n    pass\nexcept ValueError as error:\n    {line}\n")
