"""First weights of recurrent layers, by name."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.running.modules import Recurrent
from sparsernn.structure.layer import layout_of
from sparsernn.typed import choose

Draw = Callable[[Tensor, int, float], Tensor]
DRAWS: dict[str, Draw] = {
    "glorot": lambda weight, rows, scale: nn.init.normal_(weight, 0.0, scale / math.sqrt(rows)),
    "he": lambda weight, rows, scale: nn.init.normal_(weight, 0.0, 2 * scale / math.sqrt(rows)),
    "normal": lambda weight, rows, scale: nn.init.normal_(weight, 0.0, scale),
    "uniform": lambda weight, rows, scale: nn.init.uniform_(weight, -scale, scale),
}


@torch.no_grad()
def initialise_(cell: Recurrent, kind: str, scale: float | None = None) -> None:
    """Draw every matrix of a cell anew; biases start at 0, save those that the cell's options set.

    "normal" is N(0, scale^2), "uniform" U(-scale, scale). With `rows` for what a unit reads in all (inputs, its layer's
    hidden units and, with full peepholes, memories), "glorot" is N(0, scale^2 / rows) and "he" N(0, 4 scale^2 / rows),
    with scale 1 unless given.

    Raises: UserError for an unknown kind, or a scale that is missing or not above 0.
    Source: the code of Zhang & Stadie 2020; their "He" is sqrt(2) times as wide as He et al. 2015.
    """
    choose("init", kind, DRAWS)
    if scale is None and kind in ("glorot", "he"):
        scale = 1.0
    if scale is None or not scale > 0:
        raise UserError(f"init_scale is {scale!r} with {kind}", "a number above 0", "pass init_scale=0.1, for example")
    for one, sizes, names in zip(cell.cells, cell.sizes, cell.names, strict=True):
        layouts = {local: layout_of(one, local) for local in names}
        sources = {axis for layout in layouts.values() for axis in layout.source}
        rows = sum(sizes[axis] for axis in sources)
        for local, name in names.items():
            parameter = cell.get_parameter(name)
            if layouts[local].incoming:
                DRAWS[kind](parameter, rows, scale)
            else:
                parameter.zero_()
    cell.set_biases()
