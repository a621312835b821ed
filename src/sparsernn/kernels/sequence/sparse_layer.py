"""Layers with few weights: only those that exist are multiplied, forward and backward (C++, `native/`)."""

from bisect import bisect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from sparsernn import native
from sparsernn.cells.cell import Cell
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.rnn import RNN
from sparsernn.kernels import compiled
from sparsernn.kernels.patterns import Pattern, all_finite, pattern_of
from sparsernn.kernels.registry import Kernel, Problem, State, only_plain
from sparsernn.kernels.sequence import reference

VECTOR_BYTES = 64
BATCHES = (4, 16, 48)
"""Numbers of sequences side by side from which on a row's products fill more of the processor's vectors."""


@dataclass(frozen=True)
class Compiled:
    """One cell as the extension has it.

    Attributes:
        name: in `native/kernels/cells/`.
        gates: number of its gates.
        inner: number of gates, the last ones, whose product reads what another gate lets through.
        keeps: whether a number a unit and step is kept for the way back beside the gates.
        has_memory: whether a second state is carried.
        products_differ: whether the last gate's product with the state is multiplied by another gate.
        densest: shares of recurrent weights up to which this is faster than dense products, for batches below the
            numbers of `BATCHES` and above them.
        smallest: units from which on it is.
    """

    name: str
    gates: int
    inner: int = 0
    keeps: bool = True
    has_memory: bool = False
    products_differ: bool = False
    densest: tuple[float, float, float, float] = (0.03, 0.1, 0.2, 0.3)
    smallest: int = 1


CELLS: dict[Cell, Compiled] = {
    GRU(reset="before"): Compiled("gru_reset_before", 3, inner=1),
    GRU(): Compiled("gru_reset_after", 3, products_differ=True),
    # Torch's dense LSTM is several times as fast as its dense GRU.
    LSTM(): Compiled("lstm", 4, has_memory=True, densest=(0.0, 0.0, 0.05, 0.15), smallest=200),
    RNN(): Compiled("rnn_tanh", 1, keeps=False),
    RNN(nonlinearity="relu"): Compiled("rnn_relu", 1, keeps=False),
}


@dataclass(frozen=True)
class Setting:
    """What is the same forward and backward.

    Attributes:
        cell: the extension's form of the cell.
        patterns: of the input's matrix, and of one or two parts of the recurrent matrix.
        threads, instructions: as the extension takes them.
    """

    cell: Compiled
    patterns: tuple[Pattern, ...]
    threads: int
    instructions: str


class Scan(torch.autograd.Function):
    """All steps. The sequences of a batch lie side by side; the gradient of an absent weight is zero.

    Shapes: x [time input batch]; start and memory [hidden batch], memory None for a cell without; input and recurrent
    as the cell stores them; bias [gates*hidden] and inner bias [hidden], or None. Returns the states
    [time hidden batch], and the last memory [hidden batch] or None.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        start: Tensor,
        memory: Tensor | None,
        input: Tensor,
        recurrent: Tensor,
        bias: Tensor | None,
        inner_bias: Tensor | None,
        setting: Setting,
    ) -> tuple[Tensor, Tensor | None]:
        cell, (time, _, batch), width = setting.cell, x.shape, len(start)
        weights = (input, *parts_of(recurrent, cell, width))
        values = [pattern.values(weight.detach()) for pattern, weight in zip(setting.patterns, weights, strict=True)]
        activations = x.new_empty(time, cell.gates * width, batch)
        kept = x.new_empty(time, width, batch) if cell.keeps else None
        states = x.new_empty(time + 1, width, batch)
        memories = x.new_empty(time + 1, width, batch) if memory is not None else None
        states[0] = start
        if memories is not None and memory is not None:
            memories[0] = memory
        matrices = [
            part for pair in zip(setting.patterns, values, strict=True) for part in (pair[0].rows, _array(pair[1]))
        ]
        matrices += [None, None] * (3 - len(setting.patterns))
        arrays = map(_array, (bias, inner_bias, x, activations, kept, states, memories))
        native.loaded().sparse_layer_forward(cell.name, *matrices, *arrays, setting.threads, setting.instructions)
        ctx.setting = setting
        ctx.save_for_backward(x, activations, kept, states, memories, *values)
        return states[1:], None if memories is None else memories[-1]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, by_states: Tensor | None, by_memory: Tensor | None) -> tuple[Tensor | None, ...]:
        x, activations, kept, states, memories, *values = ctx.saved_tensors
        setting = ctx.setting
        cell, patterns, width = setting.cell, setting.patterns, states.shape[1]
        turned = [value[pattern.turned] for pattern, value in zip(patterns, values, strict=True)]
        matrices = [part for at in range(1, len(patterns)) for part in (patterns[at].columns, _array(turned[at]))]
        matrices += [None, None] * (3 - len(patterns))
        by_gates, by_start = torch.empty_like(activations), torch.empty_like(states[0])
        by_products = torch.empty_like(activations) if cell.products_differ else None
        by_states = torch.zeros_like(states[1:]) if by_states is None else by_states.contiguous()
        if memories is not None:
            by_memory = (
                torch.zeros_like(memories[0])
                if by_memory is None
                else by_memory.clone(memory_format=torch.contiguous_format)
            )
        arrays = (activations, kept, states, memories, by_states, by_gates, by_products, by_start, by_memory)
        how = setting.threads, setting.instructions
        native.loaded().sparse_layer_backward(cell.name, *matrices, *map(_array, arrays), *how)
        products = by_gates if by_products is None else by_products
        by_x = None
        if ctx.needs_input_grad[0]:
            by_x = torch.empty_like(x)
            patterns[0].columns.product(_array(turned[0]), _array(by_gates), _array(by_x), *how)
        first = (cell.gates - cell.inner) * width
        reads = [(by_gates, 0, x), (products, 0, states[:-1]), (products, first, kept)]
        by_input = x.new_zeros(cell.gates * width, x.shape[1])
        by_recurrent = x.new_zeros(cell.gates * width, width)
        targets = [by_input, *parts_of(by_recurrent, cell, width)]
        for pattern, (left, row, right), target in zip(patterns, reads, targets, strict=False):
            slopes = x.new_zeros(len(pattern.positions))
            pattern.rows.sampled(_array(left), row, _array(right), _array(slopes), *how)
            target.view(-1)[pattern.positions] = slopes
        by_bias = by_gates.sum((0, 2)) if ctx.needs_input_grad[5] else None
        by_inner_bias = products[:, 2 * width :].sum((0, 2)) if ctx.needs_input_grad[6] else None
        return by_x, by_start, by_memory, by_input, by_recurrent, by_bias, by_inner_bias, None


def parts_of(recurrent: Tensor, cell: Compiled, width: int) -> list[Tensor]:
    """The rows that read the state, and those that read what another gate lets through, where there are any."""
    rows = [(cell.gates - cell.inner) * width, cell.inner * width]
    return list(recurrent.split([count for count in rows if count]))


def _array(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().numpy()


def run(problem: Problem, instructions: str = "") -> tuple[Tensor, State]:
    """As the reference, in the precision of the weights; absent weights get no gradient. Where anything is not finite,
    the reference computes it: there zeros have a say.

    Arguments:
        instructions: one of `native.module.instruction_sets()`, "" the best.
    """
    cell, weights = CELLS[problem.cell], problem.weights
    width, kind = problem.state[0].shape[-1], weights["weight_hh"].dtype
    patterns = [pattern_of(_mask(problem, "weight_ih"), (0, cell.gates * width))]
    first = 0
    for part in parts_of(weights["weight_hh"], cell, width):
        patterns.append(pattern_of(_mask(problem, "weight_hh"), (first, first + len(part))))
        first += len(part)
    setting = Setting(cell, tuple(patterns), torch.get_num_threads(), instructions)
    bias, inner_bias = _biases(problem, cell, width)
    batch = problem.x.shape[1]
    spare = _spare(batch, kind)
    x = _widened(problem.x.to(kind).transpose(1, 2), spare).contiguous()
    start, *memory = (_widened(state.to(kind).t(), spare) for state in problem.state)
    states, last = Scan.apply(
        x, start, memory[0] if memory else None, weights["weight_ih"], weights["weight_hh"], bias, inner_bias, setting
    )
    if not all_finite(x, start, states):
        return reference.run(problem)
    if spare:
        states, last = states[..., :batch], None if last is None else last[..., :batch]
    ends = (states[-1].t(),) if last is None else (states[-1].t(), last.t())
    return states.transpose(1, 2), ends


def _widened(sequences: Tensor, spare: int) -> Tensor:
    return F.pad(sequences, (0, spare)) if spare else sequences


def _spare(batch: int, kind: torch.dtype) -> int:
    """Sequences of zeros by which a batch that would fill more than half of its last vector is made to fill it."""
    lanes = VECTOR_BYTES // kind.itemsize
    left = batch % lanes
    return lanes - left if batch > lanes and left or 2 * left > lanes else 0


def _biases(problem: Problem, cell: Compiled, width: int) -> tuple[Tensor | None, Tensor | None]:
    """What is added to what the input makes, and to a product that another gate multiplies."""
    if "bias_ih" not in problem.weights:
        return None, None
    by_input, by_state = problem.weights["bias_ih"], problem.weights["bias_hh"]
    if not cell.products_differ:
        return by_input + by_state, None
    outer, inner = by_state.split([(cell.gates - 1) * width, width])
    return by_input + torch.cat([outer, torch.zeros_like(inner)]), inner.contiguous()


def _mask(problem: Problem, name: str) -> Tensor:
    mask = problem.existing(name)
    return torch.ones_like(problem.weights[name], dtype=torch.bool) if mask is None else mask


def refuses(problem: Problem) -> str | None:
    """What it cannot compute, or not faster than dense products."""
    if problem.cell not in CELLS:
        return "it computes LSTMs, GRUs and plain recurrent layers with the usual functions"
    if (refusal := only_plain(problem) or compiled.refuses(problem.x)) is not None:
        return refusal
    if problem.remembered("weight_hh") is None:
        return "nobody says which weights exist"
    return _too_slow(CELLS[problem.cell], problem.density, problem.x.shape[1], problem.state[0].shape[-1])


def _too_slow(cell: Compiled, density: float, batch: int, units: int) -> str | None:
    """Why dense products are faster, or None."""
    densest = cell.densest[bisect(BATCHES, batch)]
    if units < cell.smallest:
        return f"with {units} units, fewer than {cell.smallest}, dense products are faster"
    if density > densest:
        return f"{density:.0%} of the weights exist; above {densest:.0%} dense products of {batch} sequences are faster"
    return None


kernel = Kernel("sequence", "sparse_layer", 5, refuses, run, "native/kernels/sparse_layer.cpp")
