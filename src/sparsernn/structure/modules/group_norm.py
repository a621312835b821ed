"""Normalisations over groups of channels, of which whole groups can go."""

from collections.abc import Mapping

from torch import Tensor, nn

from sparsernn.structure.description import Description, describe_units
from sparsernn.structure.neighbour import Neighbour, whole_groups


def _describe(module: nn.GroupNorm) -> Description:
    size = module.num_channels // module.num_groups
    return describe_units(module, module.num_channels, sums=True, moves_zero=True, place=1, whole={"unit": size})


def _renumber(module: nn.GroupNorm, kept: Mapping[str, Tensor]) -> None:
    module.num_groups = whole_groups(kept["unit"], module.num_channels // module.num_groups)
    module.num_channels = len(kept["unit"])


neighbour = Neighbour((nn.GroupNorm,), _describe, renumber=_renumber)
