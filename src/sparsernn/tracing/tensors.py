"""Tensors in what a forward is given and returns, in containers of every kind."""

import dataclasses
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten


def tensors_of(result: object) -> list[Tensor]:
    """Every tensor that a forward returned, also inside dataclasses, dictionaries and objects of one's own.

    What stands in two places of containers comes twice, an object's contents once.
    """
    return list(_tensors(result, set()))


def is_continuous(tensor: Tensor) -> bool:
    """Whether a tensor holds real or complex numbers, and not ids, counts or flags."""
    return tensor.is_floating_point() or tensor.is_complex()


def values_of(result: object) -> list[Tensor]:
    """A copy of every tensor that a forward returned, and after them the numbers."""
    numbers = [torch.tensor(leaf) for leaf in tree_flatten(result)[0] if isinstance(leaf, bool | int | float)]
    return [plain(tensor.detach()).clone() for tensor in tensors_of(result)] + numbers


def plain(tensor: Tensor) -> Tensor:
    """A tensor itself, or its numbers with a place for each entry where it is sparse, nested or quantised."""
    if tensor.is_nested:
        return torch.nested.to_padded_tensor(tensor, 0.0)
    if tensor.is_quantized:
        return tensor.dequantize()
    return tensor if tensor.layout == torch.strided else tensor.to_dense()


def _tensors(value: object, seen: set[int]) -> Iterator[Tensor]:
    """seen: ids of objects, and of the containers around this value."""
    if isinstance(value, Tensor):
        yield value
    elif id(value) not in seen and not isinstance(value, str | bytes | type | nn.Module):
        seen.add(id(value))
        for part in _contents(value):
            yield from _tensors(part, seen)
        if isinstance(value, Mapping | list | tuple):
            seen.remove(id(value))


def _contents(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set):
        return list(value)
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return list(vars(value).values()) if hasattr(value, "__dict__") and not callable(value) else []
