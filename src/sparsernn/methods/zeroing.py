"""Exact zeros at absent weights, written at every step and therefore fast."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsernn.structure.masks import Masks

INTEGERS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


class Zeroing:
    """Sets numbers to zero where a mask says that the weight is absent, NaN and infinity included.

    On a CPU a number is cleared by the AND of its bits with 0, several times as fast as a masked fill; the bit
    patterns are kept until the mask changes.
    """

    def __init__(self, masks: Masks):
        self.masks = masks
        self._patterns: dict[str, tuple[Tensor, int, Tensor]] = {}

    @torch.no_grad()
    def zero_(self, name: str, tensor: Tensor) -> None:
        """Clear, in place, what has no weight in a tensor of that weight's shape: the weight itself, its gradient."""
        kept = self.masks.kept[name]
        integer = INTEGERS.get(tensor.element_size())
        if (
            tensor.device.type == "cpu"
            and tensor.is_floating_point()
            and integer is not None
            and not kept.is_inference()
        ):
            tensor.view(integer).bitwise_and_(self._pattern(name, kept, integer))
        else:
            tensor.masked_fill_(~kept.to(tensor.device), 0)

    def _pattern(self, name: str, kept: Tensor, integer: torch.dtype) -> Tensor:
        """All bits set where the weight exists, none where it does not."""
        source, version, pattern = self._patterns.get(name, (None, -1, kept))
        if source is not kept or version != kept._version or pattern.dtype != integer:
            pattern = kept.cpu().to(integer).neg_()
            self._patterns[name] = kept, kept._version, pattern
        return pattern
