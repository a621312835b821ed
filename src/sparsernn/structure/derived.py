"""Modules of torch that go on as another class of the same name, once some of their units were cut."""

from functools import cache
from typing import Any

from torch import nn


class Derived(nn.Module):
    """A module whose class became one of this package; it still counts as one of its kind.

    Attributes:
        kind: the class that the module had.
    """

    kind: type[nn.Module]

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _blank, (type(self).__mro__[1], self.kind), vars(self)


@cache
def _derived(what: type[Derived], kind: type[nn.Module]) -> type[nn.Module]:
    members = {"__doc__": what.__doc__, "__module__": kind.__module__, "kind": kind, "behaves_as": kind}
    return type(kind.__name__, (what, kind), members)


def _blank(what: type[Derived], kind: type[nn.Module]) -> nn.Module:
    derived = _derived(what, kind)
    return derived.__new__(derived)


def become(module: nn.Module, what: type[Derived], **members: Any) -> None:
    """Let a module go on as a class derived from its own, in place, with some more members."""
    object.__setattr__(module, "__class__", _derived(what, type(module)))
    vars(module).update(members)
