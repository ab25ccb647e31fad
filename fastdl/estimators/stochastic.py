"""Stochastic solvers: sgd, adam and rmsprop through `Trainer.fit`, with scikit-learn's stopping and rates."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastdl import nn, optim
from fastdl._kernels.optim import norm
from fastdl.callbacks import Callback
from fastdl.errors import DivergenceError, InvalidValueError
from fastdl.estimators.criterion import alike
from fastdl.nn.parameter import Parameter
from fastdl.training import Trainer

Array = NDArray[Any]
# Adam's eps may differ so much, relatively, from what it is to be; it changes over an epoch as well.
ENOUGH = 0.03
# An adaptive rate at or below this ends the fit instead of being divided again.
LEAST_RATE = 1e-6


def weights_of(model: nn.Module) -> list[Parameter]:
    """The parameters that are penalized: weights of linear and convolution layers, not biases or normalizations."""
    return [parameter for parameter in model.parameters() if len(parameter.shape) > 1]


def penalty_of(weights: list[Parameter]) -> float:
    """||W||^2 / 2 over all weights."""
    norms = [norm(each._data) for each in weights]  # whose squares float32 may not hold
    return 0.5 * sum(each * each for each in norms)


def optimizer_of(estimator: Any, model: nn.Module, decay: float) -> optim.Optimizer:
    """The solver's optimizer, with `decay` on weights alone: that of sklearn's penalty."""
    penalized = weights_of(model) if decay else []
    numbers = {id(parameter) for parameter in penalized}
    others = [parameter for parameter in model.parameters() if id(parameter) not in numbers]
    groups: list[dict[str, Any]] = [{"params": others}] if others else []
    if penalized:
        groups.insert(0, {"params": penalized, "weight_decay": decay})
    lr = float(estimator.learning_rate_init)
    if estimator.solver == "sgd":
        momentum = float(estimator.momentum)
        return optim.SGD(groups, lr, momentum, nesterov=bool(estimator.nesterovs_momentum and momentum > 0))
    if estimator.solver == "adam":
        return optim.Adam(groups, lr, (float(estimator.beta_1), float(estimator.beta_2)), float(estimator.epsilon))
    return optim.RMSprop(groups, lr, float(estimator.rho), float(estimator.epsilon))


def set_rate(optimizer: optim.Optimizer, lr: float) -> None:
    """Change the rate as sklearn does, whose velocities hold the rate of the steps that they come from."""
    before = optimizer.param_groups[0]["lr"]
    velocity = optimizer._state.get("momentum_buffer") if isinstance(optimizer, optim.SGD) else None
    if velocity is not None and lr:
        velocity *= before / lr
    for group in optimizer.param_groups:
        group["lr"] = lr


def correct_epsilon(optimizer: optim.Optimizer, epsilon: float) -> None:
    """Let Adam's eps be sklearn's, which stands beside sqrt(v) before the correction of v, to a few hundredths."""
    if isinstance(optimizer, optim.Adam):
        steps = optimizer._steps[0] + 1
        for group in optimizer.param_groups:
            eps = epsilon / (1 - group["betas"][1] ** steps) ** 0.5
            if abs(group["eps"] - eps) > ENOUGH * eps:  # the optimizer's records are written anew for it
                group["eps"] = eps


class Convergence(Callback):
    """Keeps an estimator's curves, and ends the fit when neither loss nor score gets better by `tol`.

    Args:
        estimator: whose attributes are written.
        scale: what the trainer's loss is multiplied with to be sklearn's.
        decay: of the penalty in each step's loss.
        score: of the samples set aside, or None to go by the loss.
    """

    watches = True

    def __init__(
        self, estimator: Any, scale: float, decay: float, score: Callable[[], float] | None, samples: int
    ) -> None:
        self._estimator, self._scale, self._decay, self._score = estimator, scale, decay, score
        self._samples = samples
        groups = estimator._optimizer.param_groups if decay else []
        self._weights = [parameter for group in groups if group["weight_decay"] for parameter in group["params"]]
        self.converged = False

    def on_fit_begin(self, trainer: Trainer, epochs: int) -> None:
        """Begin with the first epoch's options."""
        correct_epsilon(trainer.optimizer, self._estimator.epsilon)

    def on_epoch_end(self, trainer: Trainer, record: dict[str, float]) -> None:
        """Take down the epoch's loss and score; stop, or divide an adaptive rate by five."""
        estimator = self._estimator
        loss = record["loss"] * self._scale
        if self._decay:
            loss += self._decay * penalty_of(self._weights)
        estimator.n_iter_ += 1
        estimator.t_ += self._samples
        estimator.loss_ = loss
        estimator.loss_curve_.append(loss)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {loss:.8f}")
        self._count(loss)
        correct_epsilon(trainer.optimizer, estimator.epsilon)
        if estimator.solver == "sgd" and estimator.learning_rate == "invscaling":
            set_rate(trainer.optimizer, estimator.learning_rate_init / (estimator.t_ + 1) ** estimator.power_t)
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            self._end(trainer)

    def _count(self, loss: float) -> None:
        """Count the epochs without improvement; keep the weights of the best score."""
        estimator = self._estimator
        if self._score is None:
            worse = loss > estimator.best_loss_ - estimator.tol
            estimator.best_loss_ = min(loss, estimator.best_loss_)
        else:
            score = self._score()
            estimator.validation_scores_.append(score)
            if estimator.verbose:
                print(f"Validation score: {score:.6f}")
            worse = score < estimator.best_validation_score_ + estimator.tol
            if score > estimator.best_validation_score_:
                estimator.best_validation_score_ = score
                estimator._best_state = estimator.model_.state_dict()
        estimator._no_improvement_count = estimator._no_improvement_count + 1 if worse else 0

    def _end(self, trainer: Trainer) -> None:
        estimator, optimizer = self._estimator, trainer.optimizer
        what = "Training loss" if self._score is None else "Validation score"
        message = (
            f"{what} did not improve more than tol={estimator.tol:f}"
            f" for {estimator.n_iter_no_change} consecutive epochs."
        )
        lr = optimizer.param_groups[0]["lr"]
        if estimator.solver == "sgd" and estimator.learning_rate == "adaptive" and lr > LEAST_RATE:
            set_rate(optimizer, lr / 5)
            estimator._no_improvement_count = 0
            message += f" Setting learning rate to {lr / 5:f}"
        else:
            self.converged = True
            trainer.stop()
            message += " Stopping."
        if estimator.verbose:
            print(message)


def _trainer_of(estimator: Any, criterion: Any) -> Trainer:
    """That of the fit before, which knows its programs, where it trains the same; else a new one."""
    model, optimizer = estimator.model_, estimator._optimizer
    before: Trainer | None = vars(estimator).get("_trainer")
    if before is None or before.model is not model or before.optimizer is not optimizer:
        return Trainer(model, criterion, optimizer)
    return before if alike(before.criterion, criterion) else Trainer(model, criterion, optimizer)


def fit_stochastic(
    estimator: Any,
    x: Array,
    target: Array,
    criterion: Any,
    *,
    weights: Array | None,
    batch_size: int,
    decay: float,
    scale: float,
    score: Callable[[], float] | None,
    validation: tuple[Array, Array] | None,
    rng: np.random.Generator,
    epochs: int,
) -> None:
    """Run the epochs with the estimator's optimizer; warn when they did not suffice, or Ctrl-C ended them."""
    owner, model = type(estimator).__name__, estimator.model_
    left = len(x) > batch_size and len(x) % batch_size == 1
    normalized = left and any(isinstance(each, (nn.BatchNorm1d, nn.BatchNorm2d)) for each in model.modules())
    convergence = Convergence(estimator, scale, decay, score, len(x))
    trainer = estimator._trainer = _trainer_of(estimator, criterion)
    try:
        estimator.history_ = history = trainer.fit(
            x,
            target,
            epochs=epochs,
            batch_size=batch_size,
            shuffle=bool(estimator.shuffle) and batch_size < len(x),  # the order within a batch is nothing to a sum
            seed=rng,
            validation_data=validation,
            callbacks=[convergence, *(estimator.callbacks or ())],
            progress=False,
            drop_last=normalized,
            sample_weight=weights,
        )
    except FloatingPointError as error:
        found = error.got if isinstance(error, DivergenceError) else error
        expected = f"a loss and weights that stay finite: {found}"
        raise InvalidValueError(owner, expected, hint="write a smaller learning_rate_init, or scale X and y") from error
    if history.interrupted:
        warnings.warn("Training interrupted by user.", stacklevel=5)
    elif epochs > 1 and len(history) == epochs and not convergence.converged:
        warnings.warn(
            f"{owner}: Maximum iterations ({epochs}) reached and the optimization hasn't converged yet.",
            ConvergenceWarning,
            stacklevel=5,
        )
