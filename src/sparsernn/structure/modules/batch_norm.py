"""Batch normalisations, which treat each unit by itself."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, Part
from sparsernn.structure.neighbour import Neighbour

BatchNorm = nn.BatchNorm1d | nn.BatchNorm2d


def _describe(module: BatchNorm) -> Description:
    names = [name for name, _ in module.named_parameters(recurse=False)]
    return Description(
        {"unit": module.num_features},
        tuple(Part(name, Layout.parse("unit"), {"unit": ("unit",)}) for name in names),
        (),
        ("unit",),
        ("unit",),
        moves_zero=True,
        place=1,
    )


def _resize(module: BatchNorm) -> None:
    """Its size follows from the units that stay."""


def _renumber(module: BatchNorm, kept: Mapping[str, Tensor]) -> None:
    module.num_features = len(kept["unit"])
    for name in ("running_mean", "running_var"):
        running = getattr(module, name)
        if running is not None:
            setattr(module, name, running[kept["unit"].to(running.device)].clone())


neighbour = Neighbour((nn.BatchNorm1d, nn.BatchNorm2d), _describe, _resize, _renumber)
