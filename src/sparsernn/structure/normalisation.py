"""Normalisations over units that go on dividing by the width from before a cut: the units cut were zeros."""

import torch
from torch import Tensor, nn

from sparsernn.structure.derived import Derived, become


class OfAllUnits(Derived):
    """A normalisation of which some units were cut because they were always zero.

    Zeros add nothing to a sum, so mean and variance are those of before as long as sums are divided by the old width.

    Attributes:
        width: how many units there were before any cut.
    """

    width: int
    eps: float | None
    weight: nn.Parameter | None
    bias: nn.Parameter | None

    def forward(self, input: Tensor) -> Tensor:
        if issubclass(self.kind, nn.RMSNorm):
            eps = torch.finfo(input.dtype).eps if self.eps is None else self.eps
            normal = input * torch.rsqrt(input.square().sum(-1, keepdim=True) / self.width + eps)
        else:
            mean = input.sum(-1, keepdim=True) / self.width
            centred = input - mean
            squares = centred.square().sum(-1, keepdim=True) + (self.width - input.shape[-1]) * mean.square()
            normal = centred * torch.rsqrt(squares / self.width + (self.eps or 0.0))
        normal = normal if self.weight is None else normal * self.weight
        bias = getattr(self, "bias", None)
        return normal if bias is None else normal + bias

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, width={self.width}"


def keep_width(module: nn.LayerNorm | nn.RMSNorm, left: int) -> None:
    """Let a normalisation of which `left` units stay divide by the width that it had, in place."""
    if not isinstance(module, OfAllUnits):
        if left == module.normalized_shape[0]:
            return
        become(module, OfAllUnits, width=module.normalized_shape[0])
    module.normalized_shape = (left,)
