"""Feeds: what `Trainer.fit` is fed with, arrays that it deals into batches or an iterable of batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager, nullcontext
from itertools import chain, islice
from types import FunctionType
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastdl.data import input_validation
from fastdl.data.memmap import Mapped
from fastdl.data.nested import NO_TARGETS, Nested, is_nested
from fastdl.errors import InvalidTypeError, InvalidValueError, add_context
from fastdl.messages import shown
from fastdl.nn.loss import Loss
from fastdl.nn.module import Module
from fastdl.random import order_seeds, permutation
from fastdl.training import dry_run
from fastdl.training.history import Metric
from fastdl.training.weighted_losses import WeightedLosses
from fastdl.validation import positive_integer, refuse_special, true_or_false

if TYPE_CHECKING:
    from fastdl.training.native_engine import NativeEngine

Array = NDArray[Any]
Pair: TypeAlias = tuple[Any, Any]
# What `fit` takes as batches: pairs (x, y), or a function of no arguments that returns them.
Source: TypeAlias = Iterable[tuple[ArrayLike, ArrayLike]] | Callable[[], Iterable[tuple[ArrayLike, ArrayLike]]]
AGAIN = "write a function that makes them anew for each epoch, as in fit(lambda: batches(...), epochs=...)"


class Ahead(NamedTuple):
    """Epochs to come: arrays, how many rows each takes, the seeds of their orders (None: as they lie), how many they are."""

    x: Array
    y: Array
    rows: int
    seeds: Array | None
    epochs: int
    batch_size: int


class Feed(Protocol):
    """Gives each epoch its batches; nothing is read beyond what it checks before the first."""

    def try_out(self, model: Module, criterion: Any, metrics: Mapping[str, Metric]) -> list[str]:
        """Find out before the first step whether data, model and criterion fit together; the names of the loss's terms."""
        ...

    def suits(self, engine: NativeEngine) -> bool:
        """Whether an engine runs on all of it, whatever its values are, so that nothing is left to find out."""
        ...

    def row(self) -> Array | None:
        """An array of its own with one sample; None where none was looked at."""
        ...

    def begin(self, epoch: int, rng: np.random.Generator) -> None:
        """Begin an epoch; epochs are counted from 1."""
        ...

    def whole(self) -> tuple[Array, Array, Array | None, int] | None:
        """x, y, the order of the rows and the size of batches, where an engine may run through the epoch in one call."""
        ...

    def ahead(self, epochs: int, rng: np.random.Generator) -> Ahead | None:
        """So many coming epochs, where an engine may run through them all in one call."""
        ...

    def batches(self, own: bool) -> Iterator[Pair]:
        """The epoch's batches; `own` asks for arrays that nobody else holds."""
        ...

    def telling(self, step: int) -> AbstractContextManager[None]:
        """Let errors in the block name the batch of this step, where its rows have not been looked through before."""
        ...


def lies_in_file(rows: Any) -> bool:
    """Whether rows, or one of several arrays of them, are read from a file batch by batch."""
    if isinstance(rows, Nested):
        return any(isinstance(array, Mapped) for _, array in rows.arrays())
    return isinstance(rows, Mapped)


def targets_of(y: Any, criterion: Any, owner: str, hint: str) -> Any:
    """The targets as validation takes them: none where there are none and the criterion is a function of outputs alone.

    Raises:
        TypeError: if a loss of outputs and targets is given none.
    """
    if y is not None:
        return y
    if isinstance(criterion, (Loss, WeightedLosses)):
        raise InvalidTypeError(owner, "y beside x", "x alone", hint)
    return NO_TARGETS


class Samples:
    """Arrays of samples, in memory or in files, dealt into batches."""

    def __init__(
        self,
        x: ArrayLike,
        y: ArrayLike,
        dtype: np.dtype[Any],
        batch_size: int | None,
        shuffle: bool,
        drop_last: bool,
        indices: bool,
    ) -> None:
        self._batch_size = positive_integer(batch_size, "batch_size", "Trainer.fit")
        self._shuffle, self._drop_last = shuffle, drop_last
        self._x, self._y = input_validation.pair(x, y, dtype, "Trainer.fit", indices)
        self._order: Array | None = None
        if drop_last and len(self._x) < self._batch_size:
            raise InvalidValueError(
                "Trainer.fit", f"at least batch_size={batch_size} samples with drop_last=True", len(self._x)
            )

    def try_out(self, model: Module, criterion: Any, metrics: Mapping[str, Metric]) -> list[str]:
        """See Feed."""
        terms = dry_run.try_rows(model, criterion, metrics, self._x, self._y)
        n, batch_size = len(self._x), self._batch_size
        if (n % batch_size or batch_size) > 1 or (self._drop_last and batch_size > 1):
            return terms
        try:
            dry_run.try_row_alone(model, self._x)
            return terms
        except ValueError as error:
            hint = f"another batch_size than {batch_size}" + ("" if batch_size == 1 else ", or drop_last=True")
            add_context(error, f"Trainer.fit: of {n} samples one is left for the last batch; write {hint}")
            raise

    def suits(self, engine: NativeEngine) -> bool:
        """See Feed."""
        n, size = len(self._x), min(self._batch_size, len(self._x))
        return engine.takes(self._x, self._y, size if self._drop_last else n % size or size)

    def row(self) -> Array | None:
        """See Feed."""
        return self._x[:1].copy()

    def begin(self, epoch: int, rng: np.random.Generator) -> None:
        """See Feed."""
        self._order = permutation(len(self._x), rng) if self._shuffle else None
        self._rows = len(self._x) - (len(self._x) % self._batch_size if self._drop_last else 0)

    def whole(self) -> tuple[Array, Array, Array | None, int] | None:
        """See Feed."""
        x, y, rows = self._x, self._y, self._rows
        if lies_in_file(x) or lies_in_file(y):
            return None
        if self._order is None:
            return x[:rows], y[:rows], None, self._batch_size
        return x, y, self._order[:rows], self._batch_size

    def ahead(self, epochs: int, rng: np.random.Generator) -> Ahead | None:
        """See Feed."""
        if isinstance(self._x, Mapped) or isinstance(self._y, Mapped):
            return None
        seeds = order_seeds(epochs, rng) if self._shuffle else None
        return Ahead(self._x, self._y, self._rows, seeds, epochs, self._batch_size)

    def batches(self, own: bool) -> Iterator[Pair]:
        """See Feed."""
        for first in range(0, self._rows, self._batch_size):
            part = slice(first, min(first + self._batch_size, self._rows))
            if self._order is not None:
                yield self._x[self._order[part]], self._y[self._order[part]]
            elif own:
                yield self._x[part].copy(), self._y[part].copy()
            else:
                yield self._x[part], self._y[part]

    def telling(self, step: int) -> AbstractContextManager[None]:
        """See Feed."""
        return nullcontext()


class Batches:
    """An iterable of batches, or a function that returns one, asked anew in each epoch."""

    def __init__(self, source: Source, dtype: np.dtype[Any], epochs: int, indices: bool, without_targets: bool) -> None:
        self._indices, self._without_targets = indices, without_targets
        self._source, self._dtype, self._epochs, self._epoch = source, dtype, epochs, 1
        self._coming: Iterator[Any] | None = None
        self._samples: tuple[Any, ...] | None = None
        self._row: Array | None = None

    def try_out(self, model: Module, criterion: Any, metrics: Mapping[str, Metric]) -> list[str]:
        """Draw the first batch, with which the first epoch will begin, and try it; the names of the loss's terms."""
        coming = self._batches()
        if coming is self._source:
            if self._epochs == 0:
                return []  # the batch would be lost
            # An __iter__ in Python may well begin again.
            if self._epochs > 1 and not isinstance(type(coming).__iter__, FunctionType):
                raise InvalidValueError(
                    "Trainer.fit",
                    f"batches for {self._epochs} epochs",
                    f"a {type(coming).__name__}, which gives them once",
                    AGAIN,
                )
        first = list(islice(coming, 1))
        if not first:
            raise InvalidValueError("Trainer.fit", "at least one batch", "none")
        self._coming = chain(first, coming)
        x, y = self._ready(first[0], 1, False)
        self._row = x[:1].copy()
        with self.telling(1):
            terms = dry_run.try_rows(model, criterion, metrics, x, y)
            if len(x) == 1:
                dry_run.try_row_alone(model, x)
        return terms

    def suits(self, engine: NativeEngine) -> bool:
        """See Feed. Batches may differ."""
        return False

    def row(self) -> Array | None:
        """See Feed."""
        return self._row

    def begin(self, epoch: int, rng: np.random.Generator) -> None:
        """See Feed."""
        self._epoch = epoch
        if self._coming is None:
            self._coming = self._batches()

    def whole(self) -> None:
        """See Feed."""

    def ahead(self, epochs: int, rng: np.random.Generator) -> None:
        """See Feed."""

    def batches(self, own: bool) -> Iterator[Pair]:
        """See Feed."""
        coming, self._coming, step = self._coming, None, 0
        assert coming is not None
        for step, batch in enumerate(coming, 1):
            yield self._ready(batch, step, own)
        if step == 0:
            raise InvalidValueError(f"Trainer.fit, epoch {self._epoch}", "at least one batch", "none", AGAIN)

    @contextmanager
    def telling(self, step: int) -> Iterator[None]:
        """See Feed."""
        try:
            yield
        except (TypeError, ValueError) as error:
            add_context(error, self._place(step))
            raise

    def _place(self, step: int) -> str:
        return f"Trainer.fit, epoch {self._epoch}, batch {step}"

    def _batches(self) -> Iterator[Any]:
        source: Any = self._source
        if not hasattr(type(source), "__iter__") and callable(source):
            source = source()
        if not hasattr(type(source), "__iter__") and not hasattr(type(source), "__getitem__"):
            raise InvalidTypeError(
                "Trainer.fit", "arrays x and y, or an iterable of batches (x, y)", type(source).__name__
            )
        return iter(source)

    def _ready(self, batch: Any, step: int, own: bool) -> Pair:
        place = self._place(step)
        if self._without_targets and (isinstance(batch, dict) or hasattr(batch, "__array__")):
            batch = batch, None
        if not isinstance(batch, (tuple, list)) or len(batch) != 2:
            count = f" of {len(batch)}" if isinstance(batch, (tuple, list)) else ""
            raise InvalidTypeError(place, "a pair (x, y)", f"{type(batch).__name__}{count}")
        truth = NO_TARGETS if batch[1] is None and self._without_targets else batch[1]
        pair = input_validation.pair(batch[0], truth, self._dtype, place, self._indices)
        x, y = map(input_validation.in_memory, pair)
        if isinstance(x, Nested) or isinstance(y, Nested):
            return (x.copy(), y.copy()) if own else (x, y)
        found = x.shape[1:], y.shape[1:], y.dtype
        wanted = self._samples = self._samples or found
        for name, one, other in zip("xy", wanted, found, strict=False):
            if one != other:
                raise InvalidValueError(place, f"samples of shape {one} in {name}, as in batch 1", other)
        if wanted != found:
            raise InvalidTypeError(place, f"y of {wanted[2]}, as in batch 1", y.dtype)
        return (x.copy(), y.copy()) if own else (x, y)


def feed_of(
    x: ArrayLike | Source,
    y: ArrayLike | None,
    dtype: np.dtype[Any],
    *,
    epochs: int,
    batch_size: int | None,
    shuffle: bool | None,
    drop_last: bool,
    without_targets: bool = False,
    indices: bool = False,
) -> Feed:
    """What `fit` is fed with, as its arguments say; `without_targets` allows x alone; `indices`: see `inputs`.

    Raises:
        TypeError: if an argument is of another kind, or does not go with an iterable of batches.
        ValueError: as `input_validation.pair`.

    Example:
        >>> pairs = [([[1.0, 2.0]], [0]), ([[3.0, 4.0], [5.0, 6.0]], [1, 0])]
        >>> options = {"epochs": 1, "batch_size": None, "shuffle": None, "drop_last": False}
        >>> feed = feed_of(pairs, None, np.dtype(np.float32), **options)
        >>> feed.begin(1, np.random.default_rng(0))
        >>> [len(x) for x, y in feed.batches(own=False)]
        [1, 2]
    """
    shuffle = None if shuffle is None else true_or_false(shuffle, "shuffle", "Trainer.fit")
    drop_last = true_or_false(drop_last, "drop_last", "Trainer.fit")
    refuse_special(x, "x", "Trainer.fit")
    array = hasattr(x, "__array__") or hasattr(x, "__array_interface__") or is_nested(x)
    if y is None and array and without_targets:
        y = NO_TARGETS  # pyright: ignore[reportAssignmentType]
    if y is None and array:
        raise InvalidTypeError(
            "Trainer.fit", "y beside x", f"{type(x).__name__} alone", "write fit(x, y, ...) or fit(batches, ...)"
        )
    sequence = isinstance(x, (Sequence, Set, Mapping))
    if y is not None and (array or sequence or not (callable(x) or hasattr(type(x), "__iter__"))):
        shuffle = shuffle is not False
        return Samples(x, y, dtype, batch_size, shuffle, drop_last, indices)  # pyright: ignore[reportArgumentType]
    unwanted = {
        "y": None if y is None else type(y).__name__,
        "batch_size": batch_size,
        "shuffle": shuffle or None,
        "drop_last": drop_last or None,
    }
    for name, value in unwanted.items():
        if value is not None:
            raise InvalidTypeError(
                "Trainer.fit",
                f"no {name} beside an iterable of batches (x, y)",
                value if name == "y" else shown(value),
                "batches are taken as they come",
            )
    return Batches(x, dtype, epochs, indices, without_targets)  # pyright: ignore[reportArgumentType]
