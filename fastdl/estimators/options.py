"""Options: the arguments that all estimators share, their defaults and words, and what they may be."""

from __future__ import annotations

import inspect
import re
from collections.abc import Mapping
from functools import update_wrapper
from textwrap import dedent, indent
from typing import Any, TypedDict, TypeVar, get_type_hints

import numpy as np

from fastdl.callbacks import Callback
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.validation import one_of, positive_integer, real_number, true_or_false

T = TypeVar("T")
STOCHASTIC = ("sgd", "adam", "rmsprop")
SOLVERS = (*STOCHASTIC, "lbfgs")
SCHEDULES = ("constant", "invscaling", "adaptive")


class Options(TypedDict, total=False):
    """The arguments that all estimators share; `DEFAULTS` has their defaults, `WORDS` what is said of them."""

    solver: str
    alpha: float
    batch_size: int | str
    learning_rate: str
    learning_rate_init: float
    power_t: float
    max_iter: int
    shuffle: bool
    random_state: Any
    tol: float
    verbose: bool | int
    warm_start: bool
    momentum: float
    nesterovs_momentum: bool
    early_stopping: bool
    validation_fraction: float
    beta_1: float
    beta_2: float
    epsilon: float
    n_iter_no_change: int | float
    max_fun: int
    rho: float
    callbacks: list[Callback] | None


DEFAULTS: Options = {
    "solver": "adam",
    "alpha": 0.0001,
    "batch_size": "auto",
    "learning_rate": "constant",
    "learning_rate_init": 0.001,
    "power_t": 0.5,
    "max_iter": 200,
    "shuffle": True,
    "random_state": None,
    "tol": 1e-4,
    "verbose": False,
    "warm_start": False,
    "momentum": 0.9,
    "nesterovs_momentum": True,
    "early_stopping": False,
    "validation_fraction": 0.1,
    "beta_1": 0.9,
    "beta_2": 0.999,
    "epsilon": 1e-8,
    "n_iter_no_change": 10,
    "max_fun": 15000,
    "rho": 0.99,
    "callbacks": None,
}
# What stands in the docstrings of several estimators, in place of a line with the name in braces.
WORDS = {
    "options": """
        solver: "adam", "sgd", "rmsprop", or "lbfgs", which sees all samples at once and suits a few thousand of them.
        alpha: the penalty alpha / 2 ||W||^2, over the samples of a batch, on weights but not on biases.
        batch_size: samples a step; "auto" is min(200, n).
        learning_rate: of sgd: "constant", "invscaling" (learning_rate_init / (t_ + 1)^power_t) or "adaptive" (a fifth
            whenever nothing has improved).
        learning_rate_init, momentum, nesterovs_momentum, beta_1, beta_2, epsilon: of sgd and adam.
        rho: of rmsprop: the share of the mean square that stays.
        max_iter: the most epochs, of lbfgs the most iterations; max_fun: of lbfgs the most evaluations.
        shuffle: see the samples in a new order in each epoch.
        random_state: of weights, order, dropout and split; an integer repeats the fit to the bit.
        tol, n_iter_no_change: stop when the loss (or with early_stopping the score) has not improved by tol for more than
            so many epochs.
        verbose: print each epoch's loss and score.
        warm_start: let `fit` go on from the latest fit.
        early_stopping: set validation_fraction of the samples aside, stop by their score and go back to the best weights.
        callbacks: of `fastdl.callbacks`, for sgd, adam and rmsprop.
""",
    "model": """
        model: a Module, of which each fit trains a copy, from the weights that it has; or a function that makes one, given
            those of `n_features`, `n_outputs` and `rng` (a numpy Generator, drawn from random_state) that it names as
            arguments. None makes a hidden layer of 100 ReLU.
        input_shape: the shape of a sample where the model wants another than a row of X has, such as (1, 8, 8).
""",
    "classes": """
        class_weight: "balanced", or a dictionary of weights by class.
        loss: "log_loss", or a `fastdl.nn.Loss` of (scores, class indices).
""",
    "values": """
        loss: "squared_error", "absolute_error", "huber", "poisson", or a `fastdl.nn.Loss` of (outputs, targets).
""",
    "fitted": """
        model_: the trained `fastdl.nn.Module`, in evaluation mode; history_: the latest fit's `History`.
        loss_curve_, loss_, best_loss_: each epoch's loss with its penalty, the last and the least of them.
        validation_scores_, best_validation_score_: with early_stopping, each epoch's score, and the best.
        n_iter_, t_: epochs of the latest fit (or pass of partial_fit), and samples seen in all.
""",
    "weights": """
        coefs_, intercepts_: the linear layers' weights (inputs, outputs) and biases, views into the model; assignment
            copies.
        n_layers_, n_outputs_, out_activation_, n_features_in_, feature_names_in_: as scikit-learn's.
""",
}


def with_options(estimator: type[T]) -> type[T]:
    """Let the signature of a constructor that takes `**options` name them, as scikit-learn asks, and complete the docstring."""
    constructor: Any = estimator.__init__
    own = [each for each in inspect.signature(constructor).parameters.values() if each.kind is not each.VAR_KEYWORD]
    kinds = get_type_hints(Options)
    shared = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=value, annotation=kinds[name])
        for name, value in DEFAULTS.items()
    ]

    def __init__(self: Any, *arguments: Any, **options: Any) -> None:  # noqa: N807 - it becomes the class's
        constructor(self, *arguments, **options)

    # Sphinx would look for the defaults of a signature in the source that `__wrapped__` leads to.
    named: Any = update_wrapper(__init__, constructor)
    del named.__wrapped__
    named.__signature__ = inspect.Signature([*own, *shared])
    estimator.__init__ = named
    if estimator.__doc__:
        estimator.__doc__ = re.sub(r"^( *)\{(\w+)\}\n", _worded, estimator.__doc__, flags=re.MULTILINE)
    return estimator


def _worded(line: re.Match[str]) -> str:
    """The words for a line of a docstring, as far to the right."""
    return indent(dedent(WORDS[line[2]][1:]), line[1])


def set_options(estimator: Any, options: Mapping[str, Any]) -> None:
    """Set the shared options as attributes, those that are not given by default."""
    unknown = options.keys() - DEFAULTS.keys()
    if unknown:
        raise TypeError(f"{type(estimator).__name__}.__init__() got an unexpected keyword argument {min(unknown)!r}")
    vars(estimator).update(DEFAULTS | dict(options))


def check_options(estimator: Any) -> None:
    """Look at the arguments that all estimators share.

    Raises:
        TypeError: if one is of another kind.
        ValueError: if one is out of range.
    """
    owner = type(estimator).__name__
    one_of(SOLVERS, estimator.solver, "solver", owner)
    one_of(SCHEDULES, estimator.learning_rate, "learning_rate", owner)
    for name in ("alpha", "power_t", "tol"):
        real_number(getattr(estimator, name), name, owner, low=0.0)
    for name in ("momentum", "validation_fraction", "beta_1", "beta_2", "rho"):
        value = real_number(getattr(estimator, name), name, owner, 0.0, 1.0)
        if value == 1 and name in ("validation_fraction", "beta_1", "beta_2"):
            raise InvalidValueError(owner, "a number below 1", "1", argument=name)
    for name in ("learning_rate_init", "epsilon"):
        if real_number(getattr(estimator, name), name, owner, low=0.0) == 0:
            raise InvalidValueError(owner, "a number above 0", "0", argument=name)
    for name in ("shuffle", "warm_start", "nesterovs_momentum", "early_stopping"):
        true_or_false(getattr(estimator, name), name, owner)
    if not isinstance(estimator.verbose, (bool, np.bool_)):
        positive_integer(estimator.verbose, "verbose", owner, or_zero=True)
    for name in ("max_iter", "max_fun"):
        positive_integer(getattr(estimator, name), name, owner)
    if estimator.batch_size != "auto":
        positive_integer(estimator.batch_size, "batch_size", owner)
    if not (isinstance(estimator.n_iter_no_change, float) and np.isposinf(estimator.n_iter_no_change)):
        positive_integer(estimator.n_iter_no_change, "n_iter_no_change", owner)
    callbacks = () if estimator.callbacks is None else estimator.callbacks
    if not isinstance(callbacks, (list, tuple)) or not all(isinstance(each, Callback) for each in callbacks):
        raise InvalidTypeError(owner, "a list of fastdl callbacks or None", shown(callbacks), argument="callbacks")
