"""PReLU with a slope of its own for each unit."""

from torch import nn

from sparsernn.structure.description import Description, describe_units
from sparsernn.structure.neighbour import Neighbour


def _describe(module: nn.PReLU) -> Description | None:
    return None if module.num_parameters == 1 else describe_units(["weight"], module.num_parameters, place=1)


def _resize(module: nn.PReLU) -> None:
    module.num_parameters = len(module.weight)


neighbour = Neighbour((nn.PReLU,), _describe, _resize)
