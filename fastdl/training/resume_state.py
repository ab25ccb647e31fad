"""Position: where a fit stands between two epochs, so that it can go on from there."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from fastdl.errors import InvalidValueError
from fastdl.messages import shown
from fastdl.random import Stream
from fastdl.serialization.rng_state import generator_from, generator_state

if TYPE_CHECKING:
    from fastdl.callbacks import Callback


class Position:
    """A fit's random numbers and its callbacks' states.

    Args:
        rng: what the order of samples, augmentation and dropout draw from.

    Attributes:
        stream: what dropout draws from.
        broken: why the fit cannot go on from here as if it had never stopped; "" where it can.

    Example:
        >>> position = Position(np.random.default_rng(0))
        >>> seed, call = position.stream.take(5)
        >>> again = Position.from_state(position.state_dict())
        >>> again.stream.next() == (seed, 5), again.rng.random() == position.rng.random()
        (True, True)
    """

    def __init__(self, rng: np.random.Generator) -> None:
        self.rng = rng
        self.stream = Stream(rng)
        self.broken = ""
        self._callbacks: Sequence[Callback] = ()
        self._states: list[tuple[str, dict[str, Any]]] = []

    def attend(self, callbacks: Sequence[Callback]) -> None:
        """Ask these for their states from now on."""
        self._callbacks = callbacks

    def leave(self) -> None:
        """Keep the callbacks' states as they are now, as the fit ends."""
        if not self.broken:
            self._states = self._current()
        self._callbacks = ()

    def states_for(self, callbacks: Sequence[Callback]) -> list[dict[str, Any] | None]:
        """The states of callbacks of the same classes, in the order of each class; None for one that had none."""
        left = list(self._states)
        found: list[dict[str, Any] | None] = []
        for callback in callbacks:
            name = type(callback).__name__
            places = [place for place, (owner, _) in enumerate(left) if owner == name]
            found.append(left.pop(places[0])[1] if places else None)
        return found

    def _current(self) -> list[tuple[str, dict[str, Any]]]:
        if not self._callbacks:
            return self._states
        return [(type(callback).__name__, callback.state_dict()) for callback in self._callbacks]

    def state_dict(self) -> dict[str, Any]:
        """Return it in plain values and arrays.

        Raises:
            TypeError: if the generator is none of NumPy's.
        """
        return {
            "rng": generator_state(self.rng),
            "stream": self.stream.state_dict(),
            "callbacks": [{"type": name, "state": state} for name, state in self._current()],
        }

    @classmethod
    def from_state(cls, state: Any) -> Position:
        """The position that state_dict described.

        Raises:
            ValueError: if it describes none.
        """
        if not isinstance(state, dict) or state.keys() != {"rng", "stream", "callbacks"}:
            raise InvalidValueError(None, "rng, stream and callbacks", shown(state))
        position = cls(generator_from(state["rng"]))
        position.stream.load_state_dict(state["stream"])
        if not isinstance(state["callbacks"], list):
            raise InvalidValueError(None, "a list of callbacks", shown(state["callbacks"]))
        for each in state["callbacks"]:
            match each:
                case {"type": str(name), "state": dict(found), **rest} if not rest:
                    position._states.append((name, found))
                case _:
                    raise InvalidValueError(None, "type and state of each callback", shown(each))
        return position

    def __getstate__(self) -> dict[str, Any]:
        """Return the callbacks' states in the place of the callbacks, which belong to this process and this fit."""
        return {**vars(self), "_callbacks": (), "_states": self._current()}
