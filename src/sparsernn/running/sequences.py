"""Sequences of a batch: where they stand in what modules other than recurrent ones take and give."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsernn.errors import UserError


@dataclass
class Sequences:
    """The dimensions before the last one of a vector: [time batch], or [batch time] where recurrent layers have it so.

    One dimension alone is that of the batch, or all of time and batch one after another.

    Attributes:
        batch_first: whether the batch comes before time.
        batch: how many sequences the recurrent layers of this forward had; None before the first of them.
    """

    batch_first: bool
    batch: int | None = None

    def count(self, leading: torch.Size) -> int:
        """How many sequences there are in dimensions like these. Raises: UserError if there are more than two."""
        if len(leading) > 2:
            raise UserError(
                f"a tensor has {len(leading)} dimensions before the last one, {list(leading)}",
                "[time batch ..], [batch time ..] or [batch ..]",
                'pass sampled="minibatch", or leave this module out of local',
            )
        if len(leading) == 2:
            return leading[0 if self.batch_first else 1]
        whole = self.batch is not None and leading.numel() % self.batch == 0
        return self.batch if whole and self.batch is not None else leading.numel()

    def spread(self, values: Tensor, leading: torch.Size) -> Tensor:
        """Values of each sequence, held over time. Shapes: [sequence n] -> broadcast to [*leading n]."""
        if len(leading) == 2:
            return values.unsqueeze(1 if self.batch_first else 0)
        times = leading.numel() // len(values)
        return values if times == 1 else self._repeated(values, times)

    def _repeated(self, values: Tensor, times: int) -> Tensor:
        return values.repeat_interleave(times, 0) if self.batch_first else values.repeat(times, 1)
