"""Training states: all that a fit needs to go on, written to a safetensors file and taken over from one."""

from __future__ import annotations

import inspect
import json
import math
import numbers
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.input_file import as_path
from fastdl.messages import short, shown
from fastdl.optim import Optimizer, Schedule
from fastdl.serialization import tensor_file
from fastdl.serialization.json_arrays import DTYPES, pack, unpack
from fastdl.serialization.model_file import TRAINING, Shapes, described, model_words, read_entries, reading
from fastdl.serialization.tensor_file import TensorFile
from fastdl.training.criterion_state import CriterionState
from fastdl.training.history import History
from fastdl.training.resume_state import Position

if TYPE_CHECKING:
    from fastdl.training import Trainer

T = TypeVar("T")
PARTS = ("optimizer", "schedule", "history", "position")
# What only trainers have whose criterion, or optimizer, has values beside the model's.
BESIDE = "criterion"
LARGEST = 2**53


def refuse_unsavable(trainer: Trainer) -> None:
    """Refuse a trainer whose parts have no state that can be written.

    Raises:
        TypeError: naming the part.
    """
    if not isinstance(trainer.optimizer, Optimizer):
        raise InvalidTypeError(
            "Trainer.save",
            "an optimizer that is an optim.Optimizer",
            type(trainer.optimizer).__name__,
            "write fastdl.save(model, path) for the weights alone",
        )
    if trainer.schedule is not None and not isinstance(trainer.schedule, Schedule):
        raise InvalidTypeError(
            "Trainer.save",
            "a schedule that is an optim.Schedule",
            type(trainer.schedule).__name__,
            "write fastdl.save(model, path) for the weights alone",
        )


def save_state(trainer: Trainer, path: str | os.PathLike[str]) -> None:
    """Write what `Trainer.save` says.

    The model's entries are those of `fastdl.save`; the others begin with "training/", and the object `fastdl` in the
    metadata has an entry `training` that refers to them, in which numbers beyond JSON's are {"$float": "nan"}.
    """
    refuse_unsavable(trainer)
    schedule, position, history = trainer.schedule, trainer._position, trainer.history
    taken = trainer.optimizer.state_dict()
    state = {
        "optimizer": {
            "type": type(trainer.optimizer).__name__,
            "state": [taken["state"][number] for number in range(len(taken["state"]))],
            "groups": taken["param_groups"],
        },
        "schedule": None if schedule is None else {"type": type(schedule).__name__, **schedule.state_dict()},
        "history": {"names": history.names, "records": [list(record.values()) for record in history.records]},
        "position": None if position is None else position.state_dict(),
    }
    if beside := CriterionState(trainer).state_dict():
        state[BESIDE] = beside
    packed, arrays = pack(state, TRAINING.rstrip("/"))
    words = json.dumps(model_words(trainer.model) | {"training": packed}, allow_nan=False)
    with trainer.model._state() as weights:
        tensor_file.write(path, {**weights, **arrays}, words, "Trainer.save")


def load_state(
    trainer: Trainer, path: str | os.PathLike[str], names: tuple[str, ...] | None = None
) -> tuple[History, Position | None]:
    """Check a file, take model, optimizer and schedule over from it, and return the rest.

    The history must be one of `names`, if they are given.
    """
    refuse_unsavable(trainer)
    path = as_path(path, "Trainer.load")
    with reading(path, "Trainer.load") as (file, words, shapes):
        if "training" not in words:
            raise InvalidValueError(
                "Trainer.load",
                "a file that Trainer.save wrote",
                f"{path}, which holds a model alone",
                "write fastdl.load(path, model)",
            )
        mine = {name: entry for name, entry in shapes.items() if not name.startswith(TRAINING)}
        described(words, mine, trainer.model, path)
        _same_layers(words.get("spec"), model_words(trainer.model).get("spec"), path)
        weights = read_entries(file, mine, path, "Trainer.load")
        arrays = _arrays(file, {name: entry for name, entry in shapes.items() if name not in mine}, path)
    training = _read("training state", path, unpack, words["training"], arrays)
    if not isinstance(training, dict) or training.keys() - {BESIDE} != set(PARTS):
        raise InvalidValueError("Trainer.load", f"{', '.join(PARTS)} in {path}", shown(training))
    history = _read("history", path, _history, training["history"])
    if names is not None and history.names != names:
        if history:
            raise InvalidValueError(
                "Trainer.load",
                f"a history of {', '.join(names)} in {path}, which the fit that runs has",
                ", ".join(history.names),
            )
        history = History(names, history.engine)
    position = training["position"] and _read("position", path, Position.from_state, training["position"])
    optimizer = _read("optimizer", path, _optimizer, training["optimizer"], trainer.optimizer)
    schedule = _read("schedule", path, _schedule, training["schedule"], trainer.schedule)
    _take_over(trainer, weights, optimizer, schedule, training.get(BESIDE, {}), path)
    return history, position


def _read(part: str, path: Path, reader: Callable[..., T], *arguments: Any) -> T:
    """What a reader makes of a part; its errors name the part and the file."""
    try:
        return reader(*arguments)
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"Trainer.load: the {part} in {path} cannot be used: {error}") from None


def _take_over(trainer: Trainer, weights: Any, optimizer: Any, schedule: Any, beside: Any, path: Path) -> None:
    """Change model, criterion, schedule and optimizer, all or none."""
    parts = [(trainer.model, weights), (CriterionState(trainer), beside), (trainer.optimizer, optimizer)]
    if trainer.schedule is not None:
        parts.append((trainer.schedule, schedule))
    before = [(part, part.state_dict()) for part, _ in parts]
    try:
        for part, state in parts:
            part.load_state_dict(state)
    except BaseException as error:
        for part, state in before:
            part.load_state_dict(state)
        if not isinstance(error, Exception):  # Ctrl-C
            raise
        raise ValueError(f"Trainer.load: the state in {path} does not fit: {error}") from None


def _same_layers(found: Any, own: Any, path: Path) -> None:
    """Refuse a file whose weights fit but whose layers are others."""
    if found == own:
        return
    listed, mine = ([each] if isinstance(each, str) else each for each in (found, own))
    if not (isinstance(listed, list) and isinstance(mine, list) and len(listed) == len(mine)):
        raise InvalidValueError("Trainer.load", f"a model of {shown(own)} in {path}", shown(found))
    number = next(i for i, (one, other) in enumerate(zip(listed, mine, strict=True)) if one != other)
    raise ValueError(
        f"Trainer.load: {path} does not fit the model: layer {number} is {_word(listed[number])} where the model has"
        f" {mine[number]}"
    )


def _arrays(file: TensorFile, shapes: Shapes, path: Path) -> dict[str, NDArray[Any]]:
    """The entries of the training state; none is larger than its part of the file."""
    for name, (_, dtype) in shapes.items():
        if dtype not in DTYPES:
            raise InvalidValueError("Trainer.load", f"arrays of numbers in {path}", f"{short(name)} of {dtype}")
    return read_entries(file, shapes, path, "Trainer.load")


def _history(state: Any) -> History:
    match state:
        case {"names": list(names), "records": list(records), **rest} if not rest:
            if not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
                raise InvalidValueError(None, "names, each once", shown(names))
            history = History(names, "none: no epoch was run since the state was loaded")
            for record in records:
                if not isinstance(record, list) or len(record) != len(names) or not all(map(_is_number, record)):
                    raise InvalidValueError(None, f"{len(names)} numbers in each record", shown(record))
                history.records.append(dict(zip(names, map(float, record), strict=True)))
            return history
    raise InvalidValueError(None, "names and records", shown(state))


def _optimizer(state: Any, optimizer: Optimizer) -> dict[str, Any]:
    """The optimizer's state as its `load_state_dict` takes it."""
    own = optimizer.state_dict()
    match state:
        case {"type": str(name), "state": list(entries), "groups": list(groups), **rest} if not rest:
            _same_type(name, optimizer)
        case _:
            raise InvalidValueError(None, "type, state and groups", shown(state))
    if len(entries) != len(own["state"]) or len(groups) != len(own["param_groups"]):
        raise InvalidValueError(
            None,
            f"{len(own['param_groups'])} groups and {len(own['state'])} parameters",
            f"{len(groups)} and {len(entries)}",
        )
    dtype = optimizer._parameters[0].dtype
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or any(
            array.dtype != dtype for array in entry.values() if isinstance(array, np.ndarray)
        ):
            raise InvalidValueError(None, f"arrays of {dtype} for parameter {number}", shown(entry))
    groups = [_as(mine, group, "group") for mine, group in zip(own["param_groups"], groups, strict=True)]
    ready = {"state": dict(enumerate(entries)), "param_groups": groups}
    optimizer._checked_state(ready)
    return ready


def _schedule(state: Any, schedule: Schedule | None) -> dict[str, Any] | None:
    """The schedule's state as its `load_state_dict` takes it: what it counts, its options being those that it has."""
    if state is None or schedule is None:
        if state is not schedule:
            names = [type(schedule).__name__, state["type"] if isinstance(state, dict) and "type" in state else "none"]
            raise InvalidValueError(None, "none" if schedule is None else names[0], _word(names[1]))
        return None
    if not isinstance(state, dict):
        raise InvalidValueError(None, "a dictionary", shown(state))
    _same_type(state.get("type"), schedule)
    own = schedule.state_dict()
    found = _as(own, {name: value for name, value in state.items() if name != "type"}, "state")
    for name in inspect.signature(type(schedule)).parameters.keys() & own.keys():
        if found[name] != own[name]:
            raise InvalidValueError(None, f"{name}={shown(own[name])}, which the trainer's has", shown(found[name]))
    if any(
        isinstance(value, int) and not 0 <= value <= found["epoch"] for name, value in found.items() if _counts(name)
    ):
        raise InvalidValueError(None, f"counts of at most {found['epoch']} epochs", shown(found))
    if not all(math.isfinite(rate) and rate >= 0 for rate in found["initial"]):
        raise InvalidValueError(None, "initial rates of at least 0", shown(found["initial"]))
    return found


def _counts(name: str) -> bool:
    return name in ("epoch", "bad_epochs")


def _same_type(name: Any, part: object) -> None:
    if name != type(part).__name__:
        raise InvalidValueError(None, f"the state of the trainer's {type(part).__name__}", f"one of {_word(name)}")


def _word(value: Any) -> str:
    return short(value) if isinstance(value, str) else shown(value)


def _as(own: Any, found: Any, name: str) -> Any:
    """A value read from a file in the kind of the one that it is to replace."""
    wrong = InvalidValueError(None, f"{name} such as {shown(own)}", shown(found))
    if isinstance(own, Mapping):
        if not isinstance(found, dict) or found.keys() != own.keys():
            raise InvalidValueError(None, ", ".join(own), shown(found))
        return {key: _as(own[key], found[key], key) for key in own}
    if isinstance(own, (tuple, list)):
        if not isinstance(found, list) or len(found) != len(own):
            raise wrong
        return type(own)(_as(one, other, name) for one, other in zip(own, found, strict=True))
    if isinstance(own, (bool, np.bool_, str)):
        if type(found) is not type(own.item() if isinstance(own, np.bool_) else own):
            raise wrong
        return found
    if isinstance(own, numbers.Real):
        if not _is_number(found):
            raise wrong
        return type(own)(found) if isinstance(own, np.floating) else found
    if own is None and (found is None or isinstance(found, (bool, str)) or _is_number(found)):
        return found
    raise wrong


def _is_number(value: Any) -> bool:
    """Whether it is a number that no arithmetic of floats overflows on."""
    return isinstance(value, float) or (type(value) is int and abs(value) <= LARGEST)
