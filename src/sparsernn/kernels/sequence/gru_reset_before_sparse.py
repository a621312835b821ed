"""The original GRU with few weights: only those that exist are multiplied, forward and backward (C++, `native/`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sparsernn import native
from sparsernn.kernels import compiled
from sparsernn.kernels.patterns import Pattern, pattern_of
from sparsernn.kernels.registry import Kernel, Problem, State
from sparsernn.kernels.sequence import gru_reset_before

DENSEST = 0.3
"""Share of recurrent weights up to which this is faster than dense products."""


class Scan(torch.autograd.Function):
    """All steps. The sequences of a batch lie side by side; the gradient of an absent weight is zero.

    Shapes: x [time input batch]; start [hidden batch]; input [3*hidden input]; recurrent [3*hidden hidden];
    bias [3*hidden] or None. Returns the states. [time hidden batch]
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        start: Tensor,
        input: Tensor,
        recurrent: Tensor,
        bias: Tensor | None,
        patterns: tuple[Pattern, Pattern, Pattern],
        instructions: str,
    ) -> Tensor:
        (time, _, batch), width = x.shape, len(start)
        weights = (input, recurrent[: 2 * width], recurrent[2 * width :])
        values = [pattern.values(weight.detach()) for pattern, weight in zip(patterns, weights, strict=True)]
        activations, resets = x.new_empty(time, 3 * width, batch), x.new_empty(time, width, batch)
        states = x.new_empty(time + 1, width, batch)
        states[0] = start
        matrices = [part for pair in zip(patterns, values, strict=True) for part in (pair[0].rows, pair[1].numpy())]
        given = None if bias is None else bias.detach().numpy()
        ctx.how = torch.get_num_threads(), instructions
        made = activations.numpy(), resets.numpy(), states.numpy()
        native.module.sparse_gru_forward(*matrices, given, x.detach().numpy(), *made, *ctx.how)
        ctx.patterns = patterns
        ctx.save_for_backward(x, *values, activations, resets, states)
        return states[1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, ...]:
        x, *values, activations, resets, states = ctx.saved_tensors
        patterns, width = ctx.patterns, states.shape[1]
        turned = [values[i][pattern.turned].numpy() for i, pattern in enumerate(patterns)]
        matrices = [part for i in (1, 2) for part in (patterns[i].columns, turned[i])]
        inner, wanted = torch.empty_like(activations), torch.empty_like(states[0])
        by_inner = inner.numpy()
        given = activations.numpy(), states.numpy(), outer.contiguous().numpy()
        native.module.sparse_gru_backward(*matrices, *given, by_inner, wanted.numpy(), *ctx.how)
        by_x = None
        if ctx.needs_input_grad[0]:
            by_x = torch.empty_like(x)
            patterns[0].columns.product(turned[0], by_inner, by_x.numpy(), *ctx.how)
        by_weights = []
        for pattern, first, read in zip(patterns, (0, 0, 2 * width), (x, states[:-1], resets), strict=True):
            found = x.new_zeros(len(pattern.positions))
            pattern.rows.sampled(by_inner, first, read.detach().numpy(), found.numpy(), *ctx.how)
            by_weights.append(found)
        by_input = x.new_zeros(3 * width, x.shape[1])
        by_recurrent = x.new_zeros(3 * width, width)
        by_input.view(-1)[patterns[0].positions] = by_weights[0]
        by_recurrent[: 2 * width].view(-1)[patterns[1].positions] = by_weights[1]
        by_recurrent[2 * width :].view(-1)[patterns[2].positions] = by_weights[2]
        by_bias = inner.sum((0, 2)) if ctx.needs_input_grad[4] else None
        return by_x, wanted, by_input, by_recurrent, by_bias, None, None


def run(problem: Problem, instructions: str = "") -> tuple[Tensor, State]:
    """As the reference, in the precision of the weights; absent weights get no gradient.

    Arguments:
        instructions: one of `native.module.instruction_sets()`, "" the best.
    """
    weights, width = problem.weights, problem.state[0].shape[-1]
    input, recurrent = weights["weight_ih"], weights["weight_hh"]
    bias = weights["bias_ih"] + weights["bias_hh"] if "bias_ih" in weights else None
    parts = (("weight_ih", (0, 3 * width)), ("weight_hh", (0, 2 * width)), ("weight_hh", (2 * width, 3 * width)))
    patterns = tuple(pattern_of(_mask(problem, name), rows) for name, rows in parts)
    turned = problem.x.to(recurrent.dtype).transpose(1, 2).contiguous()
    start = problem.state[0].to(recurrent.dtype).t()
    states = Scan.apply(turned, start, input, recurrent, bias, patterns, instructions)
    return states.transpose(1, 2), (states[-1].t(),)


def _mask(problem: Problem, name: str) -> Tensor:
    mask = problem.existing(name)
    return torch.ones_like(problem.weights[name], dtype=torch.bool) if mask is None else mask


def refuses(problem: Problem) -> str | None:
    """What it cannot compute, or not faster than dense products."""
    if (refusal := gru_reset_before.refuses(problem) or compiled.refuses(problem.x)) is not None:
        return refusal
    if problem.existing("weight_hh") is None:
        return "nobody says which weights exist"
    if (density := problem.density) > DENSEST:
        return f"{density:.0%} of the weights exist; above {DENSEST:.0%} dense products are faster"
    return None


kernel = Kernel("sequence", "gru_reset_before_sparse", 10, refuses, run, "native/kernels/sparse_gru.cpp")
