"""Linear layers."""

from __future__ import annotations

from torch import nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, Part, Producer
from sparsernn.structure.neighbour import Neighbour


def _describe(module: nn.Linear) -> Description:
    parts = [Part("weight", Layout.parse("output <- input"), {"output": ("output",), "input": ("input",)})]
    if module.bias is not None:
        parts.append(Part("bias", Layout.parse("output"), {"output": ("output",)}))
    return Description(
        {"input": module.in_features, "output": module.out_features},
        tuple(parts),
        (Producer("output", tuple((part.name, None) for part in parts), recurrent=False),),
        ("input",),
        ("output",),
        levels={"neuron": "output", "input": "input"},
    )


def _resize(module: nn.Linear) -> None:
    module.out_features, module.in_features = module.weight.shape


neighbour = Neighbour((nn.Linear,), _describe, _resize)
