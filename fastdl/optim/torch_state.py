"""Optimizer states as torch writes them, made those of fastdl's optimizers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from fastdl.nn.parameter import Parameter

# How torch runs an update, which does not change what it computes.
HOW = {"foreach", "fused", "capturable", "differentiable"}
# What torch and its schedulers note in a group beside the options.
NOTES = {"param_names", "initial_lr"}
# What the updates of torch's optimizers depend on: a state with other ones than an optimizer has is that of another optimizer.
# (torch's Adam has decoupled_weight_decay since 2.6.)
OPTIONS = {
    *(
        "lr",
        "weight_decay",
        "decoupled_weight_decay",
        "maximize",
        "momentum",
        "dampening",
        "nesterov",
        "betas",
        "eps",
        "amsgrad",
    ),
    *(
        "alpha",
        "centered",
        "rho",
        "lr_decay",
        "initial_accumulator_value",
        "momentum_decay",
        "lambd",
        "t0",
        "etas",
        "step_sizes",
    ),
    *("beta2_decay", "d", "ns_coefficients", "ns_steps", "adjust_lr_fn", "max_iter", "max_eval", "tolerance_grad"),
    *("tolerance_change", "history_size", "line_search_fn"),
}
# What a group of torch's may lack: fastdl's own option, and what older torch did not write.
OPTIONAL = {"eps_inside_sqrt", "maximize", "decoupled_weight_decay"}


def is_torchs(groups: Iterable[Mapping[str, Any]], state: Mapping[Any, Any]) -> bool:
    """Whether torch wrote these groups and this state."""
    values = [value for each in (*groups, *state.values()) if isinstance(each, Mapping) for value in each.values()]
    return any((HOW | NOTES) & group.keys() for group in groups) or any(map(_is_tensor, values))


def options(group: Mapping[str, Any]) -> dict[str, Any]:
    """What a group of torch's says of the update, in numbers; without what torch, its schedulers or a user noted beside."""
    return {name: _number(value) for name, value in group.items() if name in OPTIONS or name == "params"}


def missing(group: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """The options that a group of torch's lacks of those that an optimizer has: it is that of another optimizer."""
    return [name for name in own if name not in group and name not in OPTIONAL]


def entry(given: Any, names: Iterable[str], parameter: Parameter) -> Any:
    """The entry of a parameter: it may be missing before the first step, and that of SGD counts no steps."""
    if given is not None and not isinstance(given, Mapping):
        return given
    there = {name: _array(value) for name, value in (given or {}).items() if value is not None}
    if not there:
        return {"step": 0, **{name: np.zeros(parameter.shape) for name in names}}
    return {"step": 1, **there}


def _is_tensor(value: Any) -> bool:
    return type(value).__module__.partition(".")[0] == "torch" and callable(getattr(value, "detach", None))


def _array(value: Any) -> Any:
    """A tensor as an array, from whatever device and of whatever kind; anything else as it is."""
    if not _is_tensor(value):
        return value
    tensor = value.detach().cpu()
    try:
        return tensor.numpy()
    except TypeError:  # bfloat16, which NumPy does not have
        return tensor.float().numpy()


def _number(value: Any) -> Any:
    """An option as a Python value: torch takes tensors for lr, betas and weight_decay."""
    if isinstance(value, (tuple, list)):
        return type(value)(map(_number, value))
    array = _array(value)
    return array.item() if array is not value and array.size == 1 else array
