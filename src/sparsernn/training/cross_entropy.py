"""Cross entropy over many classes in one pass, a few rows at a time."""

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional

ROWS_BYTES = 1 << 20  # of a block of rows in float32: what stays in a core's cache
MANY = 1_000  # classes from which the blocks pay


class _Context(Protocol):
    """What autograd keeps from the forward to the backward pass."""

    needs_input_grad: tuple[bool, ...]
    saved_tensors: tuple[Tensor, Tensor, Tensor]
    ignored: int

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...


class _Blockwise(torch.autograd.Function):
    """Mean cross entropy; the gradient is computed with it, while a block of logits is in the cache."""

    @staticmethod
    def forward(ctx: _Context, logits: Tensor, targets: Tensor, ignored: int) -> Tensor:
        rows, classes = logits.shape
        gradient = torch.empty_like(logits) if ctx.needs_input_grad[0] else None
        scored = targets != ignored
        count = scored.sum().clamp(min=1)
        places = targets.masked_fill(~scored, 0).unsqueeze(1)
        total = torch.zeros((), dtype=torch.float32, device=logits.device)
        block = max(1, ROWS_BYTES // (4 * classes))
        space = torch.empty(min(block, rows), classes, dtype=torch.float32, device=logits.device)
        for start in range(0, rows, block):
            part = slice(start, min(start + block, rows))
            values = space[: part.stop - start]
            values.copy_(logits[part])
            values.sub_(values.amax(1, keepdim=True))
            at_target = values.gather(1, places[part])
            sums = values.exp_().sum(1, keepdim=True)
            total += (sums.log() - at_target).masked_fill_(~scored[part].unsqueeze(1), 0.0).sum()
            if gradient is not None:
                share = scored[part].unsqueeze(1) / count
                values.mul_(share / sums).scatter_add_(1, places[part], -share)
                gradient[part].copy_(values)
        ctx.ignored = ignored
        ctx.save_for_backward(logits, targets, gradient)
        return total / count

    @staticmethod
    def backward(ctx: _Context, by_loss: Tensor) -> tuple[Tensor | None, None, None]:
        logits, targets, gradient = ctx.saved_tensors
        if not torch.is_grad_enabled():
            return gradient if by_loss == 1 else gradient * by_loss.to(gradient.dtype), None, None
        scored = (targets != ctx.ignored).unsqueeze(1)
        ones = functional.one_hot(targets.masked_fill(~scored.squeeze(1), 0), logits.shape[1])
        difference = (logits.float().softmax(1) - ones) * scored / scored.sum().clamp(min=1)
        return (difference * by_loss).to(logits.dtype), None, None


def cross_entropy(logits: Tensor, targets: Tensor, ignored: int) -> Tensor:
    """Mean cross entropy over the targets that are not `ignored`, in float32; 0 where all are.

    Many classes on the CPU are taken a block of rows at a time, which saves the passes over memory of separate
    softmax, loss and gradient; the rest is torch's own.

    Shapes: logits [target class], targets [target] -> [].
    """
    if logits.device.type != "cpu" or logits.shape[1] < MANY or logits.dtype == torch.float64:
        count = (targets != ignored).sum().clamp(min=1)
        return functional.cross_entropy(logits, targets, reduction="sum", ignore_index=ignored) / count
    return _Blockwise.apply(logits, targets, ignored)
