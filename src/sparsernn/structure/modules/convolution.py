"""Convolutions over time."""

from torch import nn

from sparsernn.structure.description import Description, describe_product
from sparsernn.structure.neighbour import Neighbour


def _describe(module: nn.Conv1d) -> Description | None:
    if module.groups != 1:
        return None
    sizes = {"input": module.in_channels, "output": module.out_channels, "tap": module.kernel_size[0]}
    return describe_product("output <- input tap", sizes, module.bias is not None, fixed=("tap",), place=-2)


def _resize(module: nn.Conv1d) -> None:
    module.out_channels, module.in_channels, _ = module.weight.shape


neighbour = Neighbour((nn.Conv1d,), _describe, _resize)
