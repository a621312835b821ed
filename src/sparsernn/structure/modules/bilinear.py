"""Bilinear layers, which multiply every unit of one input by every unit of another."""

from torch import nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, Part, Producer
from sparsernn.structure.neighbour import Neighbour

INPUTS = ("input1", "input2")


def _describe(module: nn.Bilinear) -> Description:
    sizes = {"output": module.out_features, "input1": module.in1_features, "input2": module.in2_features}
    parts = [Part("weight", Layout.parse("output input1 input2"), {axis: (axis,) for axis in sizes})]
    if module.bias is not None:
        parts.append(Part("bias", Layout.parse("output"), {"output": ("output",)}))
    producer = Producer("output", tuple((part.name, None) for part in parts), recurrent=False)
    return Description(sizes, tuple(parts), (producer,), INPUTS, ("output",), sums=True, separate=True)


def _resize(module: nn.Bilinear) -> None:
    module.out_features, module.in1_features, module.in2_features = module.weight.shape


neighbour = Neighbour((nn.Bilinear,), _describe, _resize)
