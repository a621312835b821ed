"""Convolutions over time."""

from __future__ import annotations

from torch import nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, Part, Producer
from sparsernn.structure.neighbour import Neighbour


def _describe(module: nn.Conv1d) -> Description | None:
    if module.groups != 1:
        return None
    axes = {"output": ("output",), "input": ("input",), "tap": ("tap",)}
    parts = [Part("weight", Layout.parse("output <- input tap"), axes)]
    if module.bias is not None:
        parts.append(Part("bias", Layout.parse("output"), {"output": ("output",)}))
    return Description(
        {"input": module.in_channels, "output": module.out_channels, "tap": module.kernel_size[0]},
        tuple(parts),
        (Producer("output", tuple((part.name, None) for part in parts), recurrent=False),),
        ("input",),
        ("output",),
        levels={"neuron": "output", "input": "input"},
        fixed=("tap",),
        place=-2,
    )


def _resize(module: nn.Conv1d) -> None:
    module.out_channels, module.in_channels, _ = module.weight.shape


neighbour = Neighbour((nn.Conv1d,), _describe, _resize)
