"""Parts that models share: a cell by name, pooling over time, and dropout whose mask is held over time."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn import folders
from sparsernn.errors import UserError
from sparsernn.nn import module_of
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
CellOptions = dict[str, Any]  # arguments of a cell, which checks them itself
POOLS = ("last", "mean", "max", "mean_max_last")


def make_cell(
    name: str,
    inputs: int,
    units: int,
    layers: int = 1,
    *,
    init: str | None = None,
    init_scale: float | None = None,
    **options: object,
) -> Recurrent:
    """A cell by its file name in `sparsernn.cells`, with its own first weights or those of `initialisation`."""
    cell = module_of(folders.find("cells", name))(inputs, units, layers, **options)
    if init is not None:
        initialise_(cell, init, init_scale)
    return cell


class ElementDropout(nn.Dropout):
    """torch's dropout, with its mask drawn four times as fast on CPUs.

    Shapes: any -> the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        followed = torch.overrides.has_torch_function_unary(x)  # by what looks for units, and knows torch's dropout
        if not self.training or not 0 < self.p < 1 or x.device.type != "cpu" or followed:
            return super().forward(x)
        return x * (torch.rand(x.shape) >= self.p).to(x.dtype).div_(1 - self.p)


class Noise(nn.Module):
    """Normal noise that is added while training.

    Shapes: any -> the same.
    Raises: UserError for a negative deviation.
    """

    def __init__(self, deviation: float):
        if not deviation >= 0:
            raise UserError(f"the deviation of the noise is {deviation}", "a number of at least 0", "0 adds none")
        super().__init__()
        self.deviation = deviation

    def forward(self, x: Tensor) -> Tensor:
        return x + self.deviation * torch.randn_like(x) if self.training and self.deviation else x


class LockedDropout(nn.Module):
    """Dropout with one mask per sequence, held over time (Gal & Ghahramani 2016).

    Shapes: [time batch unit] -> the same.
    """

    def __init__(self, rate: float):
        super().__init__()
        self.rate = rate

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return x
        return x * nn.functional.dropout(torch.ones_like(x[:1]), self.rate)


class WordEmbedding(nn.Embedding):
    """An embedding that can drop whole word types while training (Gal & Ghahramani 2016; Merity et al. 2018).

    Raises: UserError for a rate outside [0, 1).
    """

    behaves_as = nn.Embedding

    def __init__(self, words: int, units: int, rate: float = 0.0, padding_idx: int | None = None):
        if not 0 <= rate < 1:
            raise UserError(f"the rate of dropping words is {rate}", "a number in [0, 1)", "0 drops none")
        super().__init__(words, units, padding_idx)
        self.rate = rate

    def forward(self, ids: Tensor) -> Tensor:
        if not self.training or not self.rate:
            return super().forward(ids)
        mask = torch.empty(self.num_embeddings, 1, device=self.weight.device).bernoulli_(1 - self.rate)
        mask = mask / (1 - self.rate)
        return nn.functional.embedding(ids, self.weight * mask, self.padding_idx)


def pool(output: Tensor, lengths: Tensor | None, how: str, forward: int | None = None) -> Tensor:
    """One vector a sequence from all of its steps, padding left out.

    Arguments:
        forward: units that read forward, where others read backward. Of these "last" takes the first step.
    Shapes: output [batch time unit] -> [batch unit], or of "mean_max_last" all three beside each other.
    """
    if how == "mean_max_last":
        return torch.cat([pool(output, lengths, one, forward) for one in how.split("_")], 1)
    steps = output.shape[1]
    ends = torch.full((output.shape[0],), steps, device=output.device) if lengths is None else lengths.to(output.device)
    if how == "last":
        place = (ends - 1).view(-1, 1, 1).expand(-1, 1, output.shape[2])
        last = output.gather(1, place).squeeze(1)
        return last if forward is None else torch.cat([last[:, :forward], output[:, 0, forward:]], 1)
    inside = torch.arange(steps, device=output.device).unsqueeze(0) < ends.unsqueeze(1)
    if how == "mean":
        return output.sum(1) / ends.unsqueeze(1)
    return output.masked_fill(~inside.unsqueeze(2), -torch.inf).amax(1)


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
