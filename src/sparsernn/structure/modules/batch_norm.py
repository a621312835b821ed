"""Batch normalisations, which treat each unit by itself."""

from collections.abc import Mapping

from torch import Tensor, nn

from sparsernn.structure.description import Description, describe_units
from sparsernn.structure.neighbour import Neighbour

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def _describe(module: BatchNorm) -> Description:
    return describe_units(module, module.num_features, moves_zero=True, place=1)


def _renumber(module: BatchNorm, kept: Mapping[str, Tensor]) -> None:
    module.num_features = len(kept["unit"])
    for name in ("running_mean", "running_var"):
        running = getattr(module, name)
        if running is not None:
            setattr(module, name, running[kept["unit"].to(running.device)].clone())


neighbour = Neighbour((nn.BatchNorm1d, nn.BatchNorm2d), _describe, renumber=_renumber)
