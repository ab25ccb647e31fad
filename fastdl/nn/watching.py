"""Watching: whether a module and its parts still hold what they held when something was made of them."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import TYPE_CHECKING, Any

from fastdl._kernels.watch import Watch
from fastdl.nn.parameter import Parameter
from fastdl.nn.walk import TRANSIENT, Contents, dictionaries

if TYPE_CHECKING:
    from fastdl.nn.module import Module

# What a forward leaves in layers and calls leave in containers, and what only a draw of parameters reads.
PASSING = TRANSIENT | {"_shapes", "_dtype", "weight_init", "bias_init"}


def is_own(module: Module) -> bool:
    """Whether a module is one of fastdl's layers as they are."""
    return not module._stateful and type(module).__module__.startswith("fastdl.") and "forward" not in vars(module)


def watch(
    module: Module,
    *others: object,
    in_place: Sequence[Parameter] | None = None,
    as_frozen: bool = False,
    passing: Set[str] = frozenset(),
    traced: bool = False,
    contents: Contents | None = None,
) -> Watch:
    """Tells whether a module, its parts and some other objects still hold what they hold now.

    Entries named in `passing` may change, and where the module is `traced`, parts that run in Python. Parameters may move to
    other arrays and, unless they are to be `as_frozen` as now, be frozen or released; where some must stay in place, all of the
    module's must. `contents` are the module's, where they have just been found.
    """
    contents = contents or module._contents()
    held: Any = [*(module._traced_modules() if traced else contents.modules), *others]
    parameters = [*contents.parameters, *(in_place or ()), *contents.buffers]
    return Watch(dictionaries(held), PASSING | passing, parameters, Parameter, in_place is not None, as_frozen)
