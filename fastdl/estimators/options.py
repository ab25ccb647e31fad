"""Options: what the estimators' arguments may be, looked at when a fit begins."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.callbacks import Callback
from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown
from fastdl.validation import one_of, positive_integer, real_number, true_or_false

STOCHASTIC = ("sgd", "adam", "rmsprop")
SOLVERS = (*STOCHASTIC, "lbfgs")
SCHEDULES = ("constant", "invscaling", "adaptive")


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
