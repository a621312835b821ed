"""Calls of known modules: which units stand where in what they give."""

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from sparsernn.structure.description import Description
from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.numbers import shifted


def written_units(wiring: Wiring, path: str, before: Tensor | None, module: nn.Module, dims: int) -> Tensor:
    """The shadow of a module's output, of so many dimensions. before: that of its input, if it carries units."""
    description, units = wiring.descriptions[path], wiring.writes(path)
    if set(description.reads) & set(description.writes):
        row = units if before is None else before.movedim(description.place, -1).reshape(-1, len(units)).amin(0)
        units = torch.where(row < 0, -units, units)
        if description.moves_zero:
            units = torch.where(_weightless(module, description, len(units)), units, shifted(units))
    sides = [1] * dims
    sides[description.place] = len(units)
    return units.view(sides)


def _weightless(module: nn.Module, description: Description, count: int) -> Tensor:
    """Of which units a module with weights for each has none that is not zero. [count]"""
    zero = torch.full((count,), bool(description.parts))
    for part in description.parts:
        zero &= (module.get_parameter(part.name).detach().cpu() == 0).view(count, -1).all(1)
    return zero


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
