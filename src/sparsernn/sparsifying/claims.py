"""Which `Sparsifier` a weight belongs to: one at a time."""

import gc
import weakref
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from torch import nn
from torch.utils.weak import WeakIdKeyDictionary

Owner = TypeVar("Owner")


class Claims(Generic[Owner]):
    """Owners of weights. Neither keeps the other alive."""

    def __init__(self) -> None:
        self._owners: WeakIdKeyDictionary = WeakIdKeyDictionary()

    def owner(self, parameters: Sequence[nn.Parameter], other_than: Owner | None = None) -> Owner | None:
        """The first that owns one of these weights, and that anybody else still has."""
        if self._first(parameters, other_than) is not None:
            gc.collect()
        return self._first(parameters, other_than)

    def _first(self, parameters: Iterable[nn.Parameter], other_than: Owner | None) -> Owner | None:
        for parameter in parameters:
            reference = self._owners.get(parameter)
            owner = None if reference is None else reference()
            if owner is not None and owner is not other_than:
                return owner
        return None

    def take(self, parameters: Iterable[nn.Parameter], owner: Owner) -> None:
        """From now on these weights belong to an owner."""
        for parameter in parameters:
            self._owners[parameter] = weakref.ref(owner)

    def release(self, owner: Owner) -> None:
        """Nothing belongs to it any longer."""
        for parameter in [one for one, reference in self._owners.items() if reference() is owner]:
            del self._owners[parameter]
