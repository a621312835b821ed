"""Linear layers."""

from torch import nn

from sparsernn.structure.description import Description, describe_product
from sparsernn.structure.neighbour import Neighbour


def _describe(module: nn.Linear) -> Description:
    sizes = {"input": module.in_features, "output": module.out_features}
    return describe_product("output <- input", sizes, module.bias is not None)


def _resize(module: nn.Linear) -> None:
    module.out_features, module.in_features = module.weight.shape


neighbour = Neighbour((nn.Linear,), _describe, _resize)
