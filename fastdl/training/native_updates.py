"""The optimizer's steps in a native program."""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from fastdl._kernels.descriptor import OPTIMIZERS
from fastdl._kernels.program.update import Updates
from fastdl.instance import as_defined
from fastdl.optim.optimizer import Optimizer, Run

Array = NDArray[Any]
# What of an optimizer a native program replaces.
STEPPING = {"update", "step", "forget_gradients"}


class NativeUpdates:
    """The steps of an optimizer's runs, each in one, but for weights that an operation's backward may step over alone.

    Args:
        optimizer: whose steps they are.
        weights: arrays of such weights, and the numbers of these operations.
    """

    def __init__(self, optimizer: Any, weights: list[tuple[Array, int]]) -> None:
        self._optimizer, self._weights = optimizer, weights
        self._runs: list[Run] | None = None
        self._options: list[bytes] = []
        self._updates = Updates([])
        self._used: list[list[bool]] = []
        self._numbers: list[int] = []

    def current(self) -> Updates:
        """The updates, with the optimizer's options; while the runs stay, only what has changed is set anew."""
        optimizer = self._optimizer
        runs, pack = optimizer._current_runs(), OPTIMIZERS[optimizer.native].options
        options = [pack(run.group) for run in runs]
        states = [optimizer._states(run.state, run.group) for run in runs]
        used = [[state is not None for state in each] for each in states]
        if runs is not self._runs or used != self._used:
            self._updates = self._new_updates(runs, states, options)
            self._runs, self._used = runs, used
        elif options != self._options:
            for number, run in enumerate(self._numbers):
                self._updates.set_options(number, options[run])
        self._options = options
        return self._updates

    def _new_updates(self, runs: list[Run], states: list[tuple[Array | None, ...]], options: list[bytes]) -> Updates:
        updates: list[tuple[Any, ...]] = []
        self._numbers = []
        for number, (data, grad, _, _, members) in enumerate(runs):
            for part, operation in self._parts(data):
                of_part = [None if state is None else state[part] for state in states[number]]
                descriptor = OPTIMIZERS[self._optimizer.native]
                updates.append((descriptor, data[part], grad[part], of_part, options[number], operation, members))
                self._numbers.append(number)
        return Updates(updates)

    def _parts(self, data: Array) -> list[tuple[slice, int]]:
        """A run cut into the weights of single operations, with these's numbers, and what lies between them (-1)."""
        parts, done = [], 0
        places = {(w.ctypes.data - data.ctypes.data) // data.itemsize: (w.size, n) for w, n in self._weights}
        for start, (size, number) in sorted(places.items()):
            if 0 <= start < data.size:
                parts += [(slice(done, start), -1), (slice(start, start + size), number)]
                done = start + size
        return [(part, number) for part, number in [*parts, (slice(done, data.size), -1)] if part.start < part.stop]


def is_native(optimizer: Any) -> bool:
    """Whether a native program can take this optimizer's steps."""
    return isinstance(optimizer, Optimizer) and bool(optimizer.native) and as_defined(optimizer, "_states", STEPPING)
