"""The solver lbfgs: SciPy's minimizer over the flat buffer of all parameters, loss and gradient of all samples.

It computes in float64, as SciPy does: in float32, rounding ends the line search before the gradient is small.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning

from fastdl import nn, optim
from fastdl.errors import InvalidValueError
from fastdl.estimators.stochastic import penalty_of, weights_of

Array = NDArray[Any]


class Whole:
    """Loss and gradient of all samples as a function of the flat parameters.

    Args:
        model: in float64 and training mode; its parameters move into one flat buffer.
        decay: alpha over the sum of weights of the samples.
    """

    def __init__(self, model: nn.Module, criterion: Any, x: Array, target: Array, decay: float) -> None:
        self._model, self._criterion, self._x, self._target = model, criterion, x, target
        self._decay, self._weights = decay, weights_of(model)
        self._buffers = optim.SGD(model.parameters())

    @property
    def parameters(self) -> Array:
        """The flat parameters; what lies between two of them is and stays zero."""
        return self._buffers._data.copy()

    @parameters.setter
    def parameters(self, flat: Array) -> None:
        self._buffers._data[:] = flat

    def __call__(self, flat: Array) -> tuple[float, Array]:
        """Return loss and gradient there."""
        self.parameters = flat
        self._buffers.zero_grad()
        loss = float(self._criterion(self._model(self._x), self._target))
        self._model.backward_parameters(self._criterion.backward())
        if self._decay:
            for weight in self._weights:
                weight._grad += self._decay * weight._data
            loss += self._decay * penalty_of(self._weights)
        return loss, self._buffers._grad.copy()


def fit_lbfgs(estimator: Any, x: Array, target: Array, criterion: Any, *, decay: float, scale: float) -> None:
    """Minimize; warn when the iterations did not suffice."""
    from scipy.optimize import minimize

    owner, model = type(estimator).__name__, estimator.model_
    if any(isinstance(each, (nn.Dropout, nn.Dropout2d)) and each.p for each in model.modules()):
        raise InvalidValueError(
            owner, "no dropout with solver='lbfgs', whose loss must not vary", hint="write solver='adam'"
        )
    if target.dtype.kind == "f":
        target = target.astype(np.float64)
    model.train().astype(np.float64)
    try:
        whole = Whole(model, criterion, x.astype(np.float64), target, decay)
        found = minimize(
            whole,
            whole.parameters,
            jac=True,
            method="L-BFGS-B",
            options={"maxfun": estimator.max_fun, "maxiter": estimator.max_iter, "gtol": estimator.tol},
        )
        whole.parameters = found.x
        penalty = decay * penalty_of(weights_of(model))
    finally:
        model.astype(np.float32)
    if not np.isfinite(found.x).all():
        raise InvalidValueError(owner, "weights that stay finite", "others", "scale X")
    estimator.n_iter_ = min(int(found.nit), estimator.max_iter)
    estimator.loss_ = (float(found.fun) - penalty) * scale + penalty
    if estimator.verbose:
        print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")
    if found.status == 1:
        warnings.warn(
            f"{owner}: lbfgs failed to converge after {estimator.n_iter_} iterations: {found.message};"
            " write a larger max_iter, or scale X",
            ConvergenceWarning,
            stacklevel=4,
        )
