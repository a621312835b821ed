"""Normalisations over units that go on dividing by the width from before a cut: the units cut were zeros."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn


class OfAllUnits(nn.Module):
    """A normalisation of which some units were cut because they were always zero.

    Zeros add nothing to a sum, so mean and variance are those of before as long as sums are divided by the old width.

    Attributes:
        width: how many units there were before any cut.
        kind: the class that the module had.
    """

    width: int
    kind: type[nn.Module]
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

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _blank, (self.kind,), vars(self)


@cache
def _of_all_units(kind: type[nn.Module]) -> type[nn.Module]:
    """A class derived from a normalisation's own."""
    members = {"__doc__": OfAllUnits.__doc__, "__module__": kind.__module__, "kind": kind, "behaves_as": kind}
    return type(kind.__name__, (OfAllUnits, kind), members)


def _blank(kind: type[nn.Module]) -> nn.Module:
    derived = _of_all_units(kind)
    return derived.__new__(derived)


def keep_width(module: nn.LayerNorm | nn.RMSNorm, left: int) -> None:
    """Let a normalisation of which `left` units stay divide by the width that it had, in place."""
    if not isinstance(module, OfAllUnits):
        if left == module.normalized_shape[0]:
            return
        width = module.normalized_shape[0]
        object.__setattr__(module, "__class__", _of_all_units(type(module)))
        vars(module)["width"] = width
    module.normalized_shape = (left,)
