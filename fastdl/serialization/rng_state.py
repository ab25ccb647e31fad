"""The state of random generators, in plain numbers: written without pickle, and looked through before it is used."""

from __future__ import annotations

from typing import Any

import numpy as np

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown

GENERATORS = ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64")
# A position beyond these would be read from memory that is not the generator's.
HIGHEST = {"has_uint32": 1, "uinteger": 2**32 - 1, "pos": 624, "buffer_pos": 4, "state": 2**128 - 1, "inc": 2**128 - 1}


def generator_state(rng: np.random.Generator) -> dict[str, Any]:
    """The state of a generator in numbers, strings, lists and dictionaries.

    Raises:
        TypeError: if its bit generator is none of NumPy's.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> state = generator_state(rng)
        >>> state["bit_generator"], rng.random() == generator_from(state).random()
        ('PCG64', True)
    """
    kind = type(rng.bit_generator)
    if kind.__name__ not in GENERATORS or getattr(np.random, kind.__name__) is not kind:
        raise InvalidTypeError(None, f"a generator of {', '.join(GENERATORS)}", kind.__name__)
    return _plain(rng.bit_generator.state)


def generator_from(state: Any) -> np.random.Generator:
    """A new generator that goes on from a state.

    Raises:
        ValueError: if it is none that a bit generator of NumPy's may have.
    """
    name = state.get("bit_generator") if isinstance(state, dict) else None
    if name not in GENERATORS:
        raise InvalidValueError(None, f"the state of a random generator of {', '.join(GENERATORS)}", shown(name))
    bits = getattr(np.random, name)(0)
    bits.state = _checked(state, bits.state, name)
    return np.random.Generator(bits)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return value.tolist()
    return value if isinstance(value, str) else int(value)


def _checked(state: Any, own: Any, name: str) -> Any:
    """The state in the kinds of another one of the same generator."""
    if isinstance(own, dict):
        if not isinstance(state, dict) or state.keys() != own.keys():
            raise InvalidValueError(None, f"{', '.join(own)} in the state of a {name}", shown(state))
        return {key: _checked(state[key], own[key], key) for key in own}
    if isinstance(own, str):
        return own
    if isinstance(own, np.ndarray):
        highest = int(np.iinfo(own.dtype).max)
        if not isinstance(state, list) or len(state) != len(own):
            raise InvalidValueError(None, f"{len(own)} integers for {name} of a random generator", shown(state))
        return np.array([_within(each, highest, name) for each in state], own.dtype)
    return _within(state, HIGHEST[name], name)


def _within(value: Any, highest: int, name: str) -> int:
    if type(value) is not int or not 0 <= value <= highest:
        raise InvalidValueError(None, f"an integer from 0 to {highest} for {name} of a random generator", shown(value))
    return value
