"""A call of Trainer.fit: what it was given is validated and tried on a few rows, then the fit runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl._kernels.replaced import Replaced
from fastdl.callbacks import listed
from fastdl.data import input_validation
from fastdl.data.augment import Augment, augmented
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.nn.container import takes_integers
from fastdl.nn.loss import Loss
from fastdl.nn.walk import weights_dtype
from fastdl.random import as_generator
from fastdl.training.batch_source import Feed, feed_of, targets_of
from fastdl.training.dry_run import try_rows
from fastdl.training.fit_loop import Fitting, standing
from fastdl.training.history import History, refuse_taken
from fastdl.training.resume_state import Position
from fastdl.training.sample_weights import with_weights
from fastdl.training.weighted_losses import WeightedLosses
from fastdl.validation import kind_of, positive_integer, true_or_false

if TYPE_CHECKING:
    from fastdl.training import Trainer


def fit_of(
    trainer: Trainer,
    x: Any,
    y: Any,
    epochs: Any,
    batch_size: Any,
    shuffle: Any,
    seed: Any,
    validation_data: Any,
    callbacks: Any,
    progress: Any,
    augment: Augment | None,
    drop_last: Any,
    accumulate: Any,
    resume: Any,
    sample_weight: Any,
) -> History:
    """See Trainer.fit."""
    epochs = positive_integer(epochs, "epochs", "Trainer.fit", or_zero=True)
    accumulate = positive_integer(accumulate, "accumulate", "Trainer.fit")
    callbacks = listed(callbacks, progress)
    dtype, indices = weights_dtype(trainer.model), takes_integers(trainer.model)
    if sample_weight is not None:
        y = with_weights(x, targets_of(y, trainer.criterion, "Trainer.fit", "write fit(x, y, ...)"), sample_weight)
    feed = feed_of(
        x,
        y,
        dtype,
        epochs=epochs,
        batch_size=batch_size,
        shuffle=shuffle,
        drop_last=drop_last,
        without_targets=not isinstance(trainer.criterion, (Loss, WeightedLosses)),
        indices=indices,
    )
    if augment is not None and not callable(augment):
        raise InvalidTypeError(
            "Trainer.fit", "a function of (x, generator) or None", shown(augment), argument="augment"
        )
    resume = true_or_false(resume, "resume", "Trainer.fit")
    rng = as_generator(seed, "Trainer.fit: seed")
    validation = None
    if validation_data is not None:
        if not isinstance(validation_data, (tuple, list)) or len(validation_data) != 2:
            raise InvalidTypeError("Trainer.fit", "validation_data=(x, y) or None", kind_of(validation_data))
        owner = "Trainer.fit, validation_data"
        truth = targets_of(validation_data[1], trainer.criterion, owner, "write validation_data=(x, y)")
        validation = input_validation.pair(validation_data[0], truth, dtype, owner, indices)
    with Replaced(trainer, "_weighs", sample_weight is not None):
        terms = _terms_known(trainer, feed, accumulate)
        if terms is None:
            terms = feed.try_out(trainer.model, trainer.task().criterion, trainer.metrics)
    refuse_taken(terms, trainer.metrics)
    row = feed.row()
    if augment is not None and row is not None:
        augmented(augment, row, np.random.default_rng(0), "Trainer.fit")
    if validation is not None:
        try_rows(trainer.model, trainer.criterion, trainer.metrics, *validation)
    names = ["loss", *terms, *trainer.metrics]
    if validation is not None:
        names += [f"val_{name}" for name in names]
    names += ["lr", "seconds"]
    position = trainer._position if resume else None
    if resumed := position is not None:
        trainer._refuse_broken("Trainer.fit: expected a fit to resume that ended between two epochs")
        if trainer.history.names != tuple(names):
            raise InvalidValueError(
                "Trainer.fit",
                f"to resume a fit of {', '.join(trainer.history.names)}",
                f"one of {', '.join(names)}",
                "write the same metrics and validation_data",
            )
    else:
        trainer.history, position = History(names, "none: no epoch was run"), Position(rng)
    trainer._position, trainer.rng, trainer._stopping = position, position.rng, False
    trainer.history.interrupted = False
    with Replaced(trainer, "_accumulate", accumulate), Replaced(trainer, "_weighs", sample_weight is not None):
        Fitting(trainer, feed, position, validation, augment, callbacks).run(epochs, resumed)
    return trainer.history


def _terms_known(trainer: Trainer, feed: Feed, accumulate: int) -> list[str] | None:
    """The names of the loss's terms, where a fit before has run on such samples and nothing has changed since; else None."""
    if trainer.metrics:  # which may refuse what they are given
        return None
    task = trainer.task()._replace(accumulate=accumulate)
    for engine in [*(trainer._fit_engines or {}).values()]:
        if feed.suits(engine) and standing(engine, task):
            return engine.terms
    return None
