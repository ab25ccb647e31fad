"""Exceptions with fields: who refuses, what was expected, what came and what to write; the message follows from them."""

from __future__ import annotations

import copyreg
from typing import Any

FIELDS = ("owner", "expected", "argument", "got", "hint", "context", "note", "producer")


class FastdlError(Exception):
    """Base of the exceptions that have fields.

    The message is `context: owner: expected EXPECTED for ARGUMENT, got GOT; hint (note)`, without the fields that are None.
    Whoever knows more assigns a field: `args` and the message follow, type and traceback stay.

    Attributes:
        owner: the function or the module that raises, such as `Linear(25, 2)`.
        expected: what it takes.
        argument: the name of the argument, where `expected` does not contain it.
        got: what it was given.
        hint: what to write instead.
        context: where it happened, such as `Trainer.fit, epoch 1, batch 3`; each caller may put its own in front.
        note: a remark at the end.

    Example:
        >>> error = InvalidValueError("SGD", "a number above 0", -1, argument="lr")
        >>> str(error)
        'SGD: expected a number above 0 for lr, got -1'
        >>> error.hint = "write lr=0.01"
        >>> str(error), error.got
        ('SGD: expected a number above 0 for lr, got -1; write lr=0.01', '-1')
    """

    owner: str | None = None
    expected: str | None = None
    argument: str | None = None
    got: str | None = None
    hint: str | None = None
    context: str | None = None
    note: str | None = None

    def __init__(
        self,
        owner: object | None,
        expected: object | None,
        got: object | None = None,
        hint: object | None = None,
        *,
        argument: object | None = None,
    ) -> None:
        super().__init__()
        self.owner, self.expected, self.argument = _text(owner), _text(expected), _text(argument)
        self.got, self.hint = _text(got), _text(hint)

    def __setattr__(self, name: str, value: Any) -> None:
        super().__setattr__(name, value)
        if name in FIELDS:
            self.args = (self._message(),)

    def __reduce__(self) -> tuple[Any, ...]:
        return copyreg.__newobj__, (type(self), *self.args), dict(vars(self))  # pyright: ignore[reportAttributeAccessIssue]

    def _message(self) -> str:
        parts = [self.context, self.owner, self._refusal()]
        message = ": ".join(part for part in parts if part is not None)
        message += "" if self.hint is None else f"; {self.hint}"
        return message if self.note is None else f"{message} ({self.note})"

    def _refusal(self) -> str | None:
        """What stands between the owner and the hint."""
        if self.expected is None:
            return self.got
        wanted = f"expected {self.expected}" + ("" if self.argument is None else f" for {self.argument}")
        return wanted if self.got is None else f"{wanted}, got {self.got}"


class InvalidValueError(FastdlError, ValueError):
    """A ValueError with fields."""


class InvalidTypeError(FastdlError, TypeError):
    """A TypeError with fields."""


class InvalidStateError(FastdlError, RuntimeError):
    """A RuntimeError with fields: a call that comes before another one, or while another one runs."""


class InvalidShapeError(InvalidValueError):
    """A module refuses the shape of its input; `nn.Sequential` adds the layer that produced it.

    Attributes:
        shape: the shape of the input; `got` may be a part of it.
        producer: the layer that the input comes from, such as `layer 0, Linear(2, 30)`.

    Example:
        >>> error = InvalidShapeError("Linear(25, 2)", "input of shape (..., 25)", (1, 30))
        >>> error.producer = "layer 0, Linear(2, 30)"
        >>> str(error)
        'Linear(25, 2): expected input of shape (..., 25), got (1, 30) from layer 0, Linear(2, 30)'
    """

    shape: tuple[int, ...] = ()
    producer: str | None = None

    def __init__(
        self,
        owner: object | None,
        expected: object | None,
        got: tuple[int, ...],
        hint: object | None = None,
        *,
        shape: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__(owner, expected, got, hint)
        self.shape = got if shape is None else shape

    def _refusal(self) -> str | None:
        refusal = super()._refusal()
        return refusal if self.producer is None else f"{refusal} from {self.producer}"


class DivergenceError(FastdlError, FloatingPointError):
    """A FloatingPointError with fields: a loss or a gradient became NaN or infinite; `got` says which one, and where."""

    def __init__(self, owner: object, got: object, hint: object | None = None) -> None:
        super().__init__(owner, None, got, hint)


class GuessWarning(UserWarning):
    """A reader has guessed what no argument said.

    Attributes:
        owner: the reader.
        note: what it guessed.

    Example:
        >>> str(GuessWarning("read_csv", "the first column counts the rows; it is left out"))
        'read_csv: the first column counts the rows; it is left out'
    """

    def __init__(self, owner: str, note: str) -> None:
        super().__init__(owner, note)
        self.owner, self.note = owner, note

    def __str__(self) -> str:
        return f"{self.owner}: {self.note}"


def add_context(error: Exception, context: str) -> None:
    """Let the message of an error begin with where it happened; an error of several arguments stays as it is.

    Example:
        >>> errors = InvalidValueError("ReLU", "an array", "a list"), ValueError("wrong")
        >>> for error in errors:
        ...     add_context(error, "batch 3")
        ...     print(error)
        batch 3: ReLU: expected an array, got a list
        batch 3: wrong
    """
    if isinstance(error, FastdlError):
        error.context = context if error.context is None else f"{context}: {error.context}"
    elif len(error.args) == 1:
        error.args = (f"{context}: {error}",)


def _text(value: object | None) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)
