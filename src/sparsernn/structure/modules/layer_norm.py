"""Layer normalisations over the last dimension, with and without a mean."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, Part
from sparsernn.structure.neighbour import Neighbour
from sparsernn.structure.normalisation import keep_width


def _describe(module: nn.LayerNorm | nn.RMSNorm) -> Description | None:
    if len(module.normalized_shape) != 1:
        return None
    names = [name for name, _ in module.named_parameters(recurse=False)]
    return Description(
        {"unit": module.normalized_shape[0]},
        tuple(Part(name, Layout.parse("unit"), {"unit": ("unit",)}) for name in names),
        (),
        ("unit",),
        ("unit",),
        sums=True,
        moves_zero=isinstance(module, nn.LayerNorm),
    )


def _resize(module: nn.LayerNorm | nn.RMSNorm) -> None:
    """Its shape follows from the units that stay."""


def _renumber(module: nn.LayerNorm | nn.RMSNorm, kept: Mapping[str, Tensor]) -> None:
    keep_width(module, len(kept["unit"]))


neighbour = Neighbour((nn.LayerNorm, nn.RMSNorm), _describe, _resize, _renumber)
