"""LSTM whose gates and outputs are multiplied by factors of each sequence, with its gradient written out."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sparsernn.cells.lstm import LSTM
from sparsernn.kernels.linear import linear, packed
from sparsernn.kernels.registry import Kernel, Problem, State, in_one_precision
from sparsernn.kernels.stepping import going_on

CELL = LSTM()
SCALED = ("weight_ih", "weight_hh")
_by_sigmoid, _by_tanh = torch.ops.aten.sigmoid_backward.grad_input, torch.ops.aten.tanh_backward.grad_input


class Scan(torch.autograd.Function):
    """All steps of c' = f c + i g, h' = o tanh c', with gates activated from (W x + U z h) r + b.

    For all steps only gradients of what r multiplies are kept; those of weights and input are one product each over
    all of time. Nothing is divided by a factor. The starting h is not multiplied by z.

    Shapes: x [time batch input]; start, h and c, [2 batch hidden]; each of the rest may be None: bias [4*hidden],
    r [batch 4*hidden], z [batch hidden], and running, True as long as a sequence goes on, [time batch 1]. Returns all h
    [time batch hidden], held after the end of a sequence, and the last memory [batch hidden].
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        start: Tensor,
        by_input: Tensor,
        by_state: Tensor,
        bias: Tensor | None,
        rows: Tensor | None,
        reading: Tensor | None,
        running: Tensor | None,
    ) -> tuple[Tensor, Tensor]:
        (hidden, memory), recurrent = start, packed(by_state, start.shape[1])
        products = linear(x, by_input)
        if bias is not None and rows is None:
            products += bias
        gates = products if rows is None else torch.empty_like(products)
        memories, squashed, states = (torch.empty(len(x), *hidden.shape, dtype=x.dtype, device=x.device) for _ in "csh")
        for time, (product, gate) in enumerate(zip(products, gates, strict=True)):
            product += linear(hidden, recurrent)
            i, f, g, o = _activated(product, gate, rows, bias)
            after = torch.mul(f, memory, out=memories[time]).addcmul_(i, g)
            state = torch.mul(o, _tanh(after, out=squashed[time]), out=states[time])
            if running is not None and time:
                after.copy_(torch.where(running[time], after, memory))
                state.copy_(torch.where(running[time], state, states[time - 1]))
            hidden, memory = state if reading is None else state * reading, after
        ctx.biased = bias is not None
        ctx.save_for_backward(
            x, start, by_input, by_state, rows, reading, running, products, gates, memories, squashed, states
        )
        return states, memory.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_states: Tensor, by_memory: Tensor) -> tuple[Tensor | None, ...]:
        x, start, by_input, by_state, rows, reading, running, products, gates, memories, squashed, states = (
            ctx.saved_tensors
        )
        turned, inner, step = (
            packed(by_state.t(), start.shape[1]),
            torch.empty_like(products),
            torch.empty_like(products[0]),
        )
        by_rows, by_bias = (None if rows is None else torch.zeros_like(step) for _ in "rb")
        by_reading = None if reading is None else torch.zeros_like(reading)
        slope, after_end, memory_slope = torch.zeros_like(start[0]), torch.zeros_like(start[0]), by_memory.clone()
        for time in range(len(products) - 1, -1, -1):
            if reading is not None and by_reading is not None and time < len(products) - 1:
                by_reading.addcmul_(slope, states[time])
                slope.mul_(reading)
            slope, memory_after = slope.add_(by_states[time]), None
            if running is not None:
                slope += after_end
            if running is not None and time:
                going_on = running[time]
                after_end, memory_after = slope.masked_fill(going_on, 0), memory_slope.masked_fill(going_on, 0)
                slope.masked_fill_(~going_on, 0)
                memory_slope = memory_slope.masked_fill(~going_on, 0)
            step = inner[time] if rows is None else step
            before = memories[time - 1] if time else start[1]
            _through_gates(step, gates[time], squashed[time], before, slope, memory_slope)
            if rows is not None and by_rows is not None and by_bias is not None:
                by_rows.addcmul_(step, products[time])
                by_bias.add_(step)
                torch.mul(step, rows, out=inner[time])
            slope = linear(inner[time], turned)
            memory_slope = memory_slope if memory_after is None else memory_slope + memory_after
        before = torch.cat([start[:1], states[:-1] if reading is None else states[:-1] * reading])
        turned = inner.flatten(0, 1).t().contiguous()
        by_weights = (linear(turned, vectors.flatten(0, 1).t().contiguous()) for vectors in (x, before))
        by_x = linear(inner, by_input.t().contiguous()) if ctx.needs_input_grad[0] else None
        bias = None if not ctx.biased else inner.sum((0, 1)) if by_bias is None else by_bias.sum(0)
        return by_x, torch.stack([slope, memory_slope]), *by_weights, bias, by_rows, by_reading, None


def _activated(product: Tensor, gate: Tensor, rows: Tensor | None, bias: Tensor | None) -> tuple[Tensor, ...]:
    """The gates i, f, g, o of a step, in their place."""
    if rows is not None and bias is not None:
        torch.addcmul(bias, product, rows, out=gate)
    elif rows is not None:
        torch.mul(product, rows, out=gate)
    gates = gate.split(gate.shape[-1] // 4, -1)
    gates[2].mul_(2)
    gate.sigmoid_()
    gates[2].mul_(2).sub_(1)
    return gates


def _tanh(vector: Tensor, out: Tensor) -> Tensor:
    """As 2 sigmoid(2 x) - 1, which torch computes three times as fast."""
    return torch.mul(vector, 2, out=out).sigmoid_().mul_(2).sub_(1)


def _through_gates(
    step: Tensor, gate: Tensor, squashed: Tensor, before: Tensor, slope: Tensor, memory_slope: Tensor
) -> None:
    """The gradient of what is activated in one step, and that of the memory before it, in place."""
    width = squashed.shape[-1]
    i, f, g, o = gate.split(width, -1)
    of_i, of_f, of_g, of_o = step.split(width, -1)
    torch.mul(slope, o, out=of_g)
    memory_slope.add_(_by_tanh(of_g, squashed, grad_input=of_g))
    torch.mul(slope, squashed, out=of_o)
    _by_sigmoid(of_o, o, grad_input=of_o)
    torch.mul(memory_slope, g, out=of_i)
    torch.mul(memory_slope, before, out=of_f)
    both = step[:, : 2 * width]
    _by_sigmoid(both, gate[:, : 2 * width], grad_input=both)
    torch.mul(memory_slope, i, out=of_g)
    _by_tanh(of_g, g, grad_input=of_g)
    memory_slope.mul_(f)


@in_one_precision
def run(problem: Problem) -> tuple[Tensor, State]:
    """As the reference; under autocast in the precision of the weights."""
    weights, x, outgoing = problem.weights, problem.x, problem.outgoing
    (column, rows), (reading, _) = (problem.factors.get(local, (None, None)) for local in SCALED)
    bias = weights["bias_ih"] + weights["bias_hh"] if "bias_ih" in weights else None
    running = going_on(problem.lengths, len(x))
    hidden, memory = problem.state
    start = torch.stack([hidden if reading is None else hidden * reading, memory])
    if outgoing is not None:
        reading = outgoing if reading is None else reading * outgoing
    x = x if column is None else x * column
    states, memory = Scan.apply(x, start, weights["weight_ih"], weights["weight_hh"], bias, rows, reading, running)
    states = states if outgoing is None else states * outgoing
    return states if running is None else states.masked_fill(~running, 0), (states[-1], memory)


def refuses(problem: Problem) -> str | None:
    """What it cannot compute."""
    if problem.cell != CELL:
        return "it computes the LSTM of torch"
    _, rows = zip(*(problem.factors.get(local, (None, None)) for local in SCALED), strict=True)
    if problem.factors.keys() - set(SCALED) or rows[0] is not rows[1]:
        return "both products of a gate have to be multiplied by the same factors"
    if problem.twice:
        return "it can be differentiated once"
    return None


kernel = Kernel("sequence", "lstm_with_factors", 15, refuses, run, "Lobacheva et al. 2020, equation 9")
