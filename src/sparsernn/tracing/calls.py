"""Call: one call of a torch function in a forward, with its tensors."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten

PLAIN = (int, float, str, torch.dtype, torch.device, type(None))


class Call:
    """One call of a torch function, and what it gave.

    Attributes:
        inputs, outputs: every tensor in arguments and result, in order.
    """

    def __init__(
        self,
        function: Callable[..., object],
        arguments: Sequence[object],
        keywords: Mapping[str, object],
        result: object,
    ):
        self.function, self.arguments, self.keywords, self.result = function, arguments, keywords, result
        self.inputs, self.outputs = tensors_in((arguments, keywords)), tensors_in(result)

    @property
    def name(self) -> str:
        """ "cat", "__getitem__": the name under which the tables of `shadows` list the function."""
        return getattr(self.function, "__name__", str(self.function))

    @property
    def source(self) -> object:
        """The first argument."""
        return self.argument(0, "input")

    def argument(self, place: int, name: str, default: object = None) -> object:
        """An argument that may be given by its place or by its name."""
        return self.arguments[place] if len(self.arguments) > place else self.keywords.get(name, default)

    def places(self, place: int, name: str, default: object = None) -> list[int] | None:
        """Dimensions of the first tensor that an argument names; None where it names none."""
        dims = self.argument(place, name, default)
        dims = dims if isinstance(dims, tuple | list) else [dims]
        whole = [dim % max(1, self.inputs[0].dim()) for dim in dims if type(dim) is int]
        return whole if len(whole) == len(dims) else None


def tensors_in(tree: Any) -> list[Tensor]:
    """Every tensor in nested containers, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    if type(tree) in (tuple, list):
        return [tensor for part in tree if not isinstance(part, PLAIN) for tensor in tensors_in(part)]
    if type(tree) is dict:
        return tensors_in(list(tree.values())) if tree else []
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]
