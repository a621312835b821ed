"""The original GRU, whose reset gate acts before the product, with its gradient written out: few operations a step."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sparsernn.cells.gru import GRU
from sparsernn.kernels.registry import Kernel, Problem, State, only_plain

CELL = GRU(reset="before")


class Scan(torch.autograd.Function):
    """All steps of h' = (1 - z) n + z h; the gradients of both weights are one product over all of time each.

    Shapes: projected [time batch 3*hidden], gates r, z, n with every bias in it; start [batch hidden];
    recurrent [3*hidden hidden], of a lower precision where products are to be taken in it. Returns the states.
    [time batch hidden]
    """

    @staticmethod
    def forward(ctx: Any, projected: Tensor, start: Tensor, recurrent: Tensor) -> Tensor:
        width, low = start.shape[-1], recurrent.dtype
        to_gates, to_candidate = recurrent[: 2 * width].t(), recurrent[2 * width :].t()
        gates = torch.empty_like(projected[:, :, : 2 * width])
        candidates, resets, states = (torch.empty_like(projected[:, :, :width]) for _ in range(3))
        hidden = start
        for p, g, n, reset, state in zip(projected, gates, candidates, resets, states, strict=True):
            torch.add(p[:, : 2 * width], hidden.to(low) @ to_gates, out=g).sigmoid_()
            torch.mul(g[:, :width], hidden, out=reset)
            torch.add(p[:, 2 * width :], reset.to(low) @ to_candidate, out=n).tanh_()
            hidden = torch.lerp(n, hidden, g[:, width:], out=state)
        ctx.save_for_backward(start, recurrent, gates, candidates, resets, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        start, recurrent, gates, candidates, resets, states = ctx.saved_tensors
        width, low = start.shape[-1], recurrent.dtype
        of_gates, of_candidate = recurrent[: 2 * width], recurrent[2 * width :]
        before = torch.cat([start.unsqueeze(0), states[:-1]])
        # What does not depend on the way back is found for all steps at once.
        reset, update = gates.split(width, -1)
        keep = 1 - update
        to_candidate = keep * (1 - candidates.square())
        to_update = (before - candidates) * update * keep
        to_reset = before * reset * (1 - reset)
        inner = torch.empty(*states.shape[:2], 3 * width, dtype=states.dtype, device=states.device)
        by_state = torch.zeros_like(start)
        for time in range(len(states) - 1, -1, -1):
            by_state = by_state + outer[time]
            step = inner[time]
            torch.mul(by_state, to_candidate[time], out=step[:, 2 * width :])
            through_reset = step[:, 2 * width :].to(low) @ of_candidate
            torch.mul(through_reset, to_reset[time], out=step[:, :width])
            torch.mul(by_state, to_update[time], out=step[:, width : 2 * width])
            by_state = by_state.mul_(update[time]).addcmul_(through_reset.to(by_state.dtype), reset[time])
            by_state += step[:, : 2 * width].to(low) @ of_gates
        flat = inner.flatten(0, 1).to(low)
        gradient = torch.cat(
            [
                flat[:, : 2 * width].t() @ before.flatten(0, 1).to(low),
                flat[:, 2 * width :].t() @ resets.flatten(0, 1).to(low),
            ]
        )
        return inner, by_state, gradient


def run(problem: Problem) -> tuple[Tensor, State]:
    """As the reference. Under autocast products are taken in its precision, all between them in that of the weights."""
    x, weights = problem.x, problem.weights
    bias = weights["bias_ih"] + weights["bias_hh"] if "bias_ih" in weights else None
    projected = F.linear(x, weights["weight_ih"], bias)
    recurrent = weights["weight_hh"]
    kind, low, device = recurrent.dtype, recurrent.dtype, x.device.type
    if torch.is_autocast_enabled(device):
        low = torch.get_autocast_dtype(device)
    with torch.autocast(device, enabled=False):
        states = Scan.apply(projected.to(kind), problem.state[0].to(kind), recurrent.to(low))
    return states, (states[-1],)


def refuses(problem: Problem) -> str | None:
    """What it cannot compute."""
    if problem.cell != CELL:
        return "it computes the GRU whose reset gate acts before the product"
    return only_plain(problem)


kernel = Kernel("sequence", "gru_reset_before", 20, refuses, run, "Cho et al. 2014")
