"""Layer normalisation over the last dimension."""

from __future__ import annotations

from torch import nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, Part
from sparsernn.structure.neighbour import Neighbour


def _describe(module: nn.LayerNorm) -> Description | None:
    if len(module.normalized_shape) != 1:
        return None
    names = [name for name, _ in module.named_parameters(recurse=False)]
    return Description(
        {"unit": module.normalized_shape[0]},
        tuple(Part(name, Layout.parse("unit"), {"unit": ("unit",)}) for name in names),
        (),
        ("unit",),
        ("unit",),
        mixes="a LayerNorm takes the mean over all units",
    )


def _resize(module: nn.LayerNorm) -> None:
    """Its units are never cut."""


neighbour = Neighbour((nn.LayerNorm,), _describe, _resize)
