"""PyTorch's twin of a fastdl model, loss and optimizer: same layers, same weights, same batches; eager mode."""

from __future__ import annotations

import importlib
import importlib.util
import math
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from fastdl import nn, optim
from fastdl._kernels.threads import get_num_threads
from fastdl.errors import InvalidValueError
from fastdl.random import permutation
from fastdl.training.history import History, Metric


def installed() -> bool:
    """Whether PyTorch can be imported."""
    return importlib.util.find_spec("torch") is not None


class Twin:
    """Trains PyTorch's copy of a model, as `fastdl.Trainer` trains the model: a subset of its methods and arguments.

    Layers, loss and optimizer are made by their names, which are torch's, with the same arguments; of options that torch
    does not have only the default can be copied.

    Args:
        model: a Sequential of fastdl's layers, whose weights are copied.
        criterion: MSELoss, CrossEntropyLoss or another that torch has; reduction "batchmean" too.
        optimizer: of fastdl; its options are copied.
        metrics: functions of (output, target), by name.

    Raises:
        ValueError: if torch has no such layer, loss, optimizer or option.
    """

    def __init__(
        self,
        model: nn.Module,
        criterion: nn.Loss,
        optimizer: optim.Optimizer,
        metrics: Mapping[str, Metric] | None = None,
    ) -> None:
        torch: Any = importlib.import_module("torch")
        torch.set_num_threads(get_num_threads())
        self.torch = torch
        self.model = _layer(torch, model)
        self.model.load_state_dict({name: torch.from_numpy(value.copy()) for name, value in model.state_dict().items()})
        self.metrics = dict(metrics or {})
        self._sums = getattr(criterion, "reduction", "mean") == "sum"
        self._batchmean = getattr(criterion, "reduction", "mean") == "batchmean"
        reduction = {"reduction": "sum"} if self._batchmean else {}
        self.criterion = _like(getattr(torch.nn, type(criterion).__name__), criterion, reduction)
        self.optimizer = _optimizer(torch, optimizer, self.model)

    def fit(
        self,
        x: np.ndarray,
        t: np.ndarray,
        *,
        epochs: int,
        batch_size: int,
        shuffle: bool = True,
        seed: int | np.random.Generator | None = None,
        validation_data: tuple[np.ndarray, np.ndarray] | None = None,
        progress: bool | None = None,
    ) -> History:
        """Train; the history holds loss and seconds, and with validation data val_loss and metrics after each epoch.

        Raises:
            FloatingPointError: if the loss of a step is NaN or infinite; that step is not taken.
        """
        rng = np.random.default_rng(seed)
        xs, ts = self.torch.from_numpy(x), self.torch.from_numpy(t)
        names = [
            "loss",
            *(["val_loss", *(f"val_{name}" for name in self.metrics)] if validation_data else []),
            "seconds",
        ]
        self.history = history = History(names, self.torch.__version__)
        drops = any(isinstance(layer, self.torch.nn.Dropout) and layer.p > 0 for layer in self.model.modules())
        for epoch in range(epochs):
            start = time.perf_counter()
            order = permutation(len(x), rng) if shuffle else None
            if drops and epoch == 0:  # where fastdl draws its dropout's seed, so that later epochs are shuffled alike
                self.torch.manual_seed(int(rng.integers(2**64, dtype=np.uint64)))
            rows = (xs, ts) if order is None else (xs[order], ts[order])
            loss = self._epoch(*rows, batch_size)
            record = {"loss": loss if self._sums else loss / len(x)}
            if validation_data is not None:
                record |= {f"val_{name}": value for name, value in self.evaluate(*validation_data).items()}
            history.records.append(record | {"seconds": time.perf_counter() - start})
        return history

    def _epoch(self, xs: Any, ts: Any, batch_size: int) -> float:
        """The loop that one writes with PyTorch; the sum of losses over the epoch's samples."""
        total = 0.0
        for x, t in zip(xs.split(batch_size), ts.split(batch_size), strict=True):
            self.optimizer.zero_grad()
            loss = self._loss(self.model(x), t)
            value = loss.item()
            if not math.isfinite(value):
                raise FloatingPointError(f"the loss is {value}")
            loss.backward()
            self.optimizer.step()
            total += value * (1 if self._sums else len(x))
        return total

    def evaluate(self, x: np.ndarray, t: np.ndarray) -> dict[str, float]:
        """Loss and metrics, in evaluation mode."""
        output = self.predict(x)
        loss = float(self._loss(self.torch.from_numpy(output), self.torch.from_numpy(t)))
        return {"loss": loss} | {name: float(metric(output, t)) for name, metric in self.metrics.items()}

    def predict(self, x: np.ndarray) -> np.ndarray:
        """The outputs, in evaluation mode."""
        self.model.eval()
        with self.torch.inference_mode():
            output = self.model(self.torch.from_numpy(x)).numpy()
        self.model.train()
        return output

    def _loss(self, output: Any, t: Any) -> Any:
        loss = self.criterion(output, t)
        return loss / len(output) if self._batchmean else loss


def _layer(torch: Any, module: nn.Module) -> Any:
    if isinstance(module, nn.Sequential):
        return torch.nn.Sequential(*(_layer(torch, child) for child in module))
    return _like(getattr(torch.nn, type(module).__name__, None), module, {})


def _like(kind: Any, module: nn.Module, changes: dict[str, Any]) -> Any:
    """An instance of torch's class with a module's own arguments, as its spec spells them."""
    from inspect import signature

    if kind is None:
        raise InvalidValueError(None, "a layer or loss that torch has", module.spec())
    known = signature(kind).parameters
    own = {name: module._argument(name) for name in signature(type(module)).parameters if name not in ("rng", "dtype")}
    return kind(**{name: value for name, value in (own | changes).items() if name in known})


def _optimizer(torch: Any, optimizer: optim.Optimizer, model: Any) -> Any:
    from inspect import signature

    name = type(optimizer).__name__
    kind = getattr(torch.optim, name, None)
    if kind is None or len(optimizer.param_groups) != 1:
        raise InvalidValueError(None, "an optimizer that torch has, with one group", name)
    ours, theirs = signature(type(optimizer)).parameters, signature(kind).parameters
    options = {key: value for key, value in optimizer.param_groups[0].items() if key != "params"}
    for key in options.keys() - theirs.keys():
        value = options.pop(key)
        if key in ours and value != ours[key].default:  # others are what the class stands for
            raise InvalidValueError(name, f"the default of {key}, which torch does not have")
    return kind(model.parameters(), **options)
