"""Carriers: the tensors of a forward that carry units, each with its shadow."""

import torch
from torch import Tensor, nn
from torch._C._functorch import get_unwrapped, is_functorch_wrapped_tensor

from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.numbers import distinct


class Carriers:
    """Tensors and their shadows; each is kept alive, so that its id stays its own.

    Arguments:
        wiring: where reasons why units are external are written.
    """

    def __init__(self, wiring: Wiring):
        self.wiring = wiring
        self._by_id: dict[int, tuple[Tensor, Tensor, int]] = {}
        self._kinds: set[type[Tensor]] = set()

    def of(self, tensor: object) -> Tensor | None:
        """Unit numbers of a tensor, of its shape; None where it carries no unit, or was written in an unknown way."""
        carrier, shadow, version = self._by_id.get(id(tensor), (None, None, 0))
        if carrier is None or shadow is None or version == _version(carrier):
            return shadow
        self.wiring.mark(distinct(shadow)[0], "the tensor that it stands in is written over, or a view of it")
        del self._by_id[id(tensor)]
        return None

    def follow(self, tensor: Tensor, shadow: Tensor) -> None:
        """From now on the tensor carries these units."""
        if tensor.is_nested:
            self.wiring.mark(distinct(shadow)[0], "a nested tensor holds it")
            return
        self._by_id[id(tensor)] = (tensor, shadow.expand(tensor.shape), _version(tensor))
        self._kinds.add(type(tensor))

    def forget(self, tensor: Tensor) -> None:
        """The tensor carries no units."""
        self._by_id.pop(id(tensor), None)

    def written(self, tensor: Tensor) -> None:
        """The function that is explained has written into a tensor, once."""
        carrier, shadow, version = self._by_id.get(id(tensor), (None, None, 0))
        if carrier is not None and shadow is not None and _version(carrier) == version + 1:
            self.follow(carrier, shadow)

    def behind(self, tensor: Tensor) -> list[Tensor]:
        """Carriers whose numbers a tensor holds that no torch function made of them.

        Transforms such as vmap wrap tensors, and `as_subclass` gives a view of another kind.
        """
        if (inner := unwrapped(tensor)) is not tensor:
            return [inner]
        if self._kinds <= {type(tensor)} or isinstance(tensor, nn.Parameter) or self.of(tensor) is not None:
            return []
        others = [one for one, _, _ in self._by_id.values() if type(one) is not type(tensor) and unwrapped(one) is one]
        return [one for one in others if _storage(one) == _storage(tensor)]


def unwrapped(tensor: Tensor) -> Tensor:
    """The tensor that a transform of torch.func has wrapped, or the tensor itself."""
    while is_functorch_wrapped_tensor(tensor):
        tensor = get_unwrapped(tensor)
    return tensor


def _storage(tensor: Tensor) -> int | None:
    """Where the numbers of a tensor lie, if it has them in one piece."""
    return tensor.untyped_storage().data_ptr() if tensor.layout == torch.strided and not tensor.is_nested else None


def _version(tensor: Tensor) -> int:
    """How often a tensor, or a view of it, was written into."""
    return 0 if tensor.is_inference() else tensor._version
