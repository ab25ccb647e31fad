"""CriterionState: the values beside the model's that a fit may change, as training states hold them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from fastdl.data.nested import forms
from fastdl.errors import InvalidValueError
from fastdl.messages import listed
from fastdl.nn.module import Module
from fastdl.training.weighted_losses import WeightedLosses

if TYPE_CHECKING:
    from fastdl.training import Trainer


class CriterionState:
    """The parameters and buffers of a trainer's criterion, and what else the optimizer has that is none of the model's.

    Args:
        trainer: whose criterion and optimizer.
    """

    def __init__(self, trainer: Trainer) -> None:
        self._modules: dict[str, Module] = {}
        self._parts: dict[str, Any] = {}
        criterion = trainer.criterion
        if isinstance(criterion, Module):
            self._modules["criterion"] = criterion
        elif isinstance(criterion, WeightedLosses):
            self._modules = {name: loss for name, loss in criterion.losses.items() if isinstance(loss, Module)}
            weights = [(name, weight) for name, weight in criterion.weights.items() if hasattr(weight, "_of_graph")]
            self._parts = {f"the weight of {name}": weight for name, weight in weights}
        known = {id(p) for module in (trainer.model, *self._modules.values()) for p in module.parameters()}
        for number, parameter in enumerate(trainer.task().parameters()):
            if id(parameter) not in known:
                self._parts[f"parameter {number}"] = parameter

    def state_dict(self) -> dict[str, dict[str, NDArray[Any]]]:
        """Return copies of the values by name, those of each module together."""
        return {name: values for name, values in self._values() if values}

    def _values(self) -> Iterator[tuple[str, dict[str, NDArray[Any]]]]:
        for name, module in self._modules.items():
            yield name, module.state_dict()
        for name, part in self._parts.items():
            yield name, {"data": np.array(part.data)}

    def refuse_others(self, state: Any) -> None:
        """Raise a ValueError for values of other names, shapes or dtypes."""
        own = self.state_dict()
        if not isinstance(state, dict) or state.keys() != own.keys():
            got = listed(map(str, state)) if isinstance(state, dict) else type(state).__name__
            raise InvalidValueError(None, f"values of {listed(own) or 'no criterion'}", got or "none")
        for name, values in own.items():
            if forms(state[name]) != forms(values):
                raise InvalidValueError(None, f"the values of {name}", "others")

    def load_state_dict(self, state: Any) -> None:
        """Copy values in.

        Raises:
            TypeError, ValueError: if they are not of these names and shapes.
        """
        self.refuse_others(state)
        for name, values in state.items():
            if name in self._modules:
                self._modules[name].load_state_dict(values)
                continue
            self._parts[name].data = values["data"]
