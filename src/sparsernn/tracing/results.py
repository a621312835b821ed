"""What a forward returned, and every tensor in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_flatten

from sparsernn.structure.description import Description


def tensors_of(result: object) -> list[Tensor]:
    """Every tensor that a forward returned, also inside dataclasses, dictionaries and objects of one's own."""
    tensors: list[Tensor] = []
    waiting, seen = [result], set()
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, Tensor):
            tensors.append(value)
        elif id(value) not in seen and not isinstance(value, str | bytes | type | nn.Module):
            seen.add(id(value))
            waiting[:0] = _contents(value)
    return tensors


def values_of(result: object) -> list[Tensor]:
    """A copy of every tensor that a forward returned, and after them the numbers."""
    numbers = [torch.tensor(leaf) for leaf in tree_flatten(result)[0] if isinstance(leaf, bool | int | float)]
    return [tensor.detach().clone() for tensor in tensors_of(result)] + numbers


def _contents(value: object) -> list[object]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set):
        return list(value)
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return list(vars(value).values()) if hasattr(value, "__dict__") and not callable(value) else []


def split_result(result: object, description: Description) -> tuple[Tensor, tuple[Tensor, ...], bool]:
    """A module's output (the data of a packed one), its states in order, and whether they are those of one step."""
    if isinstance(result, Tensor):
        return result, (), False
    if not isinstance(result, tuple):
        raise TypeError(f"a known module returned {type(result).__name__}")
    if _is_step(result, description):
        return result[0], result, True
    output, states = result
    output = output.data if isinstance(output, PackedSequence) else output
    return output, states if isinstance(states, tuple) else (states,), False


def _is_step(result: tuple[Tensor, ...], description: Description) -> bool:
    """Whether a module handed back (h, c) of one step, as torch.nn.LSTMCell does."""
    return (
        len(description.states) == len(result) > 1
        and len(description.states[0]) == 1
        and all(isinstance(state, Tensor) for state in result)
        and result[0].shape == result[1].shape
        and result[0].dim() <= 2
    )
