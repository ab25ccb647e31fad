"""Groups of an optimizer's parameters: options may be set at any time, the groups and their parameters stay."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NoReturn
from weakref import ref

from fastdl.errors import InvalidTypeError, InvalidValueError
from fastdl.messages import shown

if TYPE_CHECKING:
    from fastdl.optim.optimizer import Optimizer

HINT = "write optimizer.param_groups[0]['lr'] = 0.1 for an option, or make another optimizer"


class Fixed(list[Any]):
    """A list that stays as it is: an optimizer's groups, or the parameters of one, whose places in its buffers are settled."""

    def _refuse(self, *_: Any, **__: Any) -> NoReturn:
        raise InvalidTypeError("Optimizer", "its groups and their parameters to stay", "a change of their list", HINT)

    __setitem__ = __delitem__ = __iadd__ = __imul__ = _refuse  # pyright: ignore[reportAssignmentType]
    append = extend = insert = remove = pop = clear = sort = reverse = _refuse  # pyright: ignore[reportAssignmentType]

    def __reduce__(self) -> tuple[Any, ...]:
        return list, (list(self),)


class Group(dict[str, Any]):
    """A group's options, each of which is checked when it is set, and its parameters.

    Args:
        optimizer: whose group it is, which checks options.
        options: all of them, and "params".
    """

    def __init__(self, optimizer: Optimizer, options: Mapping[str, Any]) -> None:
        super().__init__(options, params=Fixed(options["params"]))
        self._optimizer = ref(optimizer)  # a cycle would keep the buffers until garbage is collected

    def __setitem__(self, name: str, value: Any) -> None:
        self.update({name: value})

    def update(self, *changes: Any, **named: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Set some options, all or none."""
        changed, optimizer = dict(*changes, **named), self._optimizer()
        name = "Optimizer" if optimizer is None else type(optimizer).__name__
        options = [each for each in self if each != "params"]
        for each in changed:
            if each not in self:
                raise InvalidValueError(name, f"options {', '.join(options)}", shown(each))
        if "params" in changed and changed["params"] is not self["params"]:
            raise InvalidTypeError(name, "the parameters of a group to stay", "others", HINT)
        if optimizer is not None:
            optimizer.check_group({**self, **changed})
        super().update(changed)

    def setdefault(self, name: str, value: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The option, which is there; another name is refused."""
        if name not in self:
            self.update({name: value})
        return self[name]

    def __ior__(self, changes: Any) -> Group:  # pyright: ignore[reportIncompatibleMethodOverride]
        self.update(changes)
        return self

    def _refuse(self, *_: Any) -> NoReturn:
        raise InvalidTypeError("Optimizer", "every option of a group to stay there", "one taken out", HINT)

    __delitem__ = pop = popitem = clear = _refuse  # pyright: ignore[reportAssignmentType]

    def __reduce__(self) -> tuple[Any, ...]:
        return dict, ({**self, "params": list(self["params"])},)
