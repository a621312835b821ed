"""PReLU with a slope of its own for each unit."""

from __future__ import annotations

from torch import nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, Part
from sparsernn.structure.neighbour import Neighbour


def _describe(module: nn.PReLU) -> Description | None:
    if module.num_parameters == 1:
        return None
    part = Part("weight", Layout.parse("unit"), {"unit": ("unit",)})
    return Description({"unit": module.num_parameters}, (part,), (), ("unit",), ("unit",), place=1)


def _resize(module: nn.PReLU) -> None:
    module.num_parameters = len(module.weight)


neighbour = Neighbour((nn.PReLU,), _describe, _resize)
