"""Layer normalisations over the last dimension, with and without a mean."""

from collections.abc import Mapping

from torch import Tensor, nn

from sparsernn.structure.description import Description, describe_units
from sparsernn.structure.neighbour import Neighbour
from sparsernn.structure.normalisation import keep_width


def _describe(module: nn.LayerNorm | nn.RMSNorm) -> Description | None:
    if len(module.normalized_shape) != 1:
        return None
    moves_zero = isinstance(module, nn.LayerNorm)
    return describe_units(module, module.normalized_shape[0], sums=True, moves_zero=moves_zero)


def _renumber(module: nn.LayerNorm | nn.RMSNorm, kept: Mapping[str, Tensor]) -> None:
    keep_width(module, len(kept["unit"]))


neighbour = Neighbour((nn.LayerNorm, nn.RMSNorm), _describe, renumber=_renumber)
