"""Attention that takes inputs of one width only: units that were cut are filled in as the zeros that they were."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.structure.derived import Derived, become

INPUTS = ("query", "key", "value")


class FromFewerUnits(Derived):
    """An attention of whose inputs some units were cut because they were always zero.

    Attributes:
        units: "query", "key", "value" -> numbers of the units that such an input has left; widths: how many it had.
    """

    units: dict[str, Tensor]
    widths: dict[str, int]

    def forward(self, query: Tensor, key: Tensor, value: Tensor, *arguments: Any, **keywords: Any) -> Any:
        inputs, filled = {"query": query, "key": key, "value": value}, dict[int, Tensor]()
        for name, narrow in inputs.items():
            if id(narrow) not in filled:  # the same tensor stays the same: attention to oneself is computed as one
                blank = narrow.new_zeros(*narrow.shape[:-1], self.widths[name])
                filled[id(narrow)] = blank.index_copy(-1, self.units[name].to(narrow.device), narrow)
        wide = [filled[id(narrow)] for narrow in inputs.values()]
        return self.kind.forward(self, *wide, *arguments, **keywords)

    def __prepare_scriptable__(self) -> nn.Module:
        raise UserError(
            "torch.jit.script cannot compile an attention of whose inputs units were cut",
            "a model that was scripted before, or one that is traced",
            "use torch.jit.trace or torch.export, or leave the layers that it reads out with where=",
        )


def units_of(module: nn.MultiheadAttention) -> dict[str, Tensor]:
    """The numbers of the units that each input of an attention has."""
    if isinstance(module, FromFewerUnits):
        return module.units
    widths = module.embed_dim, module.kdim or module.embed_dim, module.vdim or module.embed_dim
    return {name: torch.arange(width) for name, width in zip(INPUTS, widths, strict=True)}


def take_fewer(module: nn.MultiheadAttention, kept: Mapping[str, Tensor]) -> None:
    """Let an attention take inputs of which these units are left, in place; numbers are those before."""
    before = units_of(module)
    units = {name: numbers[kept[name].to(numbers.device)] for name, numbers in before.items()}
    if isinstance(module, FromFewerUnits):
        module.units = units
    elif any(len(units[name]) < len(numbers) for name, numbers in before.items()):
        become(module, FromFewerUnits, units=units, widths={name: len(numbers) for name, numbers in before.items()})
