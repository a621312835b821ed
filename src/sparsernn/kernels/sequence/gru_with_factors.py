"""GRU of torch whose gates and products are multiplied by factors of each sequence, with its gradient written out."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sparsernn.cells.gru import GRU
from sparsernn.kernels.linear import linear
from sparsernn.kernels.registry import Kernel, Problem, State, in_one_precision
from sparsernn.kernels.stepping import going_on

CELL = GRU()
SCALED = ("weight_ih", "weight_hh")


class Scan(torch.autograd.Function):
    """All steps of h' = (1 - u) n + u h, whose gates see (U z h) s + b: n = tanh(p + r ((U z h) s + b)).

    Shapes: projected p [time batch 3*hidden], gates r, u, n, with everything that the input makes in it; start
    [batch hidden]; each of the rest may be None: bias b [3*hidden], rows s [batch 3*hidden], reading z [batch hidden],
    and running, True as long as a sequence goes on, [time batch 1]. Returns the states, held after the end of a
    sequence. [time batch hidden]
    """

    @staticmethod
    def forward(
        ctx: Any,
        projected: Tensor,
        start: Tensor,
        by_state: Tensor,
        bias: Tensor | None,
        rows: Tensor | None,
        reading: Tensor | None,
        running: Tensor | None,
    ) -> Tensor:
        width, hidden = start.shape[-1], start
        products, gates, seen = (torch.empty_like(projected) for _ in "pgs")
        states = torch.empty(len(projected), *start.shape, dtype=start.dtype, device=start.device)
        for time, (product, gate, part) in enumerate(zip(products, gates, seen, strict=True)):
            product.copy_(linear(hidden if reading is None else hidden * reading, by_state))
            torch.mul(product, 1 if rows is None else rows, out=part)
            if bias is not None:
                part += bias
            torch.add(projected[time], part, out=gate)
            both, candidate = gate[:, : 2 * width].sigmoid_(), gate[:, 2 * width :]
            torch.addcmul(projected[time, :, 2 * width :], both[:, :width], part[:, 2 * width :], out=candidate).tanh_()
            state = torch.lerp(candidate, hidden, both[:, width:], out=states[time])
            if running is not None and time:
                state.copy_(torch.where(running[time], state, hidden))
            hidden = state
        ctx.biased = bias is not None
        ctx.save_for_backward(start, by_state, rows, reading, running, products, gates, seen, states)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_states: Tensor) -> tuple[Tensor | None, ...]:
        start, by_state, rows, reading, running, products, gates, seen, states = ctx.saved_tensors
        width, turned = start.shape[-1], by_state.t().contiguous()
        outer, inner = torch.empty_like(gates), torch.empty_like(gates)
        before = torch.cat([start.unsqueeze(0), states[:-1]])
        by_reading, slope = None if reading is None else torch.zeros_like(reading), torch.zeros_like(start)
        for time in range(len(gates) - 1, -1, -1):
            slope, after_end = slope + by_states[time], None
            if running is not None and time:
                after_end, slope = slope.masked_fill(running[time], 0), slope.masked_fill(~running[time], 0)
            reset, update, candidate = gates[time].split(width, -1)
            of_reset, of_update, of_candidate = outer[time].split(width, -1)
            keep = 1 - update
            torch.mul(slope * keep, 1 - candidate.square(), out=of_candidate)
            torch.mul(slope * (before[time] - candidate), update * keep, out=of_update)
            torch.mul(of_candidate * seen[time, :, 2 * width :], reset * (1 - reset), out=of_reset)
            inner[time, :, : 2 * width] = outer[time, :, : 2 * width]
            torch.mul(of_candidate, reset, out=inner[time, :, 2 * width :])
            through = linear(inner[time] if rows is None else inner[time] * rows, turned)
            slope = slope * update
            if reading is not None and by_reading is not None:
                by_reading.addcmul_(through, before[time])
                through *= reading
            slope += through if after_end is None else through + after_end
        bias = inner.sum((0, 1)) if ctx.biased else None
        by_rows = None if rows is None else (inner * products).sum(0)
        inner = (inner if rows is None else inner * rows).flatten(0, 1).t().contiguous()
        before = (before if reading is None else before * reading).flatten(0, 1).t().contiguous()
        return outer, slope, linear(inner, before), bias, by_rows, by_reading, None


@in_one_precision
def run(problem: Problem) -> tuple[Tensor, State]:
    """As the reference; under autocast in the precision of the weights."""
    weights, x, outgoing = problem.weights, problem.x, problem.outgoing
    (column, above), (reading, rows) = (problem.factors.get(local, (None, None)) for local in SCALED)
    projected = F.linear(x if column is None else x * column, weights["weight_ih"])
    projected = projected if above is None else projected * above
    projected = projected + weights["bias_ih"] if "bias_ih" in weights else projected
    running = going_on(problem.lengths, len(x))
    if outgoing is not None:
        reading = outgoing if reading is None else reading * outgoing
    states = Scan.apply(
        projected, problem.state[0], weights["weight_hh"], weights.get("bias_hh"), rows, reading, running
    )
    output = states if outgoing is None else states * outgoing
    return output if running is None else output.masked_fill(~running, 0), (states[-1],)


def refuses(problem: Problem) -> str | None:
    """What it cannot compute."""
    if problem.cell != CELL:
        return "it computes the GRU of torch"
    if problem.factors.keys() - set(SCALED):
        return "only products with the input and with the state can be multiplied"
    if problem.twice:
        return "it can be differentiated once"
    return None


kernel = Kernel("sequence", "gru_with_factors", 15, refuses, run, "Cho et al. 2014; Lobacheva et al. 2020")
