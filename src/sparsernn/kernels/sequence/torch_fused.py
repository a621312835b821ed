"""torch's own fused LSTM, GRU and RNN, for the cells that equal them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sparsernn.cells.cell import Cell
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.rnn import RNN
from sparsernn.kernels.registry import Kernel, Problem, State

CALLS: dict[Cell, str] = {
    LSTM(): "lstm",
    LSTM(projected=True): "lstm",
    GRU(): "gru",
    RNN(): "rnn_tanh",
    RNN(nonlinearity="relu"): "rnn_relu",
}
ORDER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_hr")


def run(problem: Problem) -> tuple[Tensor, State]:
    """As the reference, by `torch._VF`."""
    x, lengths, weights = problem.x, problem.lengths, problem.weights
    flat = [weights[name] for name in ORDER if name in weights]
    biased = "bias_ih" in weights
    fused_call = getattr(torch._VF, CALLS[problem.cell])

    def call(inputs: Tensor, start: State, *sizes: Tensor) -> tuple[Tensor, State]:
        hx = start if len(problem.cell.states) > 1 else start[0]
        directions = (False,) if sizes else (False, False)  # packed input has no batch axis that could be the first
        output, *finals = fused_call(inputs, *sizes, hx, flat, biased, 1, 0.0, False, *directions)
        return output, tuple(finals)

    start = tuple(part.unsqueeze(0) for part in problem.state)
    if lengths is None:
        output, finals = call(x, start)
    else:
        output, finals = (in_stretches if x.device.type == "cpu" else packed)(call, x, start, lengths)
    return output, tuple(final.squeeze(0) for final in finals)


def packed(call: Callable[..., Any], x: Tensor, start: State, lengths: Tensor) -> tuple[Tensor, State]:
    """Sequences of different lengths in one call."""
    ordered, order = lengths.cpu().sort(descending=True)
    order, back = order.to(x.device), order.argsort().to(x.device)
    sequences = pack_padded_sequence(x.index_select(1, order), ordered)
    data, finals = call(sequences.data, tuple(part.index_select(1, order) for part in start), sequences.batch_sizes)
    output, _ = pad_packed_sequence(sequences._replace(data=data), total_length=x.shape[0])
    return output.index_select(1, back), tuple(final.index_select(1, back) for final in finals)


def in_stretches(call: Callable[..., Any], x: Tensor, state: State, lengths: Tensor) -> tuple[Tensor, State]:
    """The same in one call for each stretch of time in which no sequence ends.

    On a CPU the gradient of torch's packed layers takes time that grows with the square of the number of steps.
    """
    ordered, order = lengths.cpu().sort(descending=True, stable=True)
    many = ordered.tolist()
    ending = Counter(many)
    ends = sorted(ending)
    sizes = [end - start for start, end in zip([0, *ends], [*ends, x.shape[0]], strict=False)]
    stretches = x.index_select(1, order).split(sizes)
    state = tuple(part.index_select(1, order) for part in state)
    outputs, finished = [], []
    running = len(many)
    for end, stretch in zip(ends, stretches, strict=False):
        going_on = running - ending[end]
        output, state = call(stretch[:, :running], state)
        outputs.append(pad(output, (0, 0, 0, len(many) - running)))
        finished.append(tuple(part[:, going_on:] for part in state))
        state = tuple(part[:, :going_on] for part in state)
        running = going_on
    after = x.new_zeros(x.shape[0] - ends[-1], len(many), outputs[0].shape[2])
    back = order.argsort()
    finals = tuple(torch.cat(parts[::-1], 1).index_select(1, back) for parts in zip(*finished, strict=True))
    return torch.cat([*outputs, after]).index_select(1, back), finals


def refuses(problem: Problem) -> str | None:
    """What torch's kernels cannot compute."""
    if problem.cell not in CALLS:
        return "torch has no fused kernel that computes this cell"
    if problem.is_scaled:
        return "nothing can be put between its products and its gates"
    if problem.twice:
        return "fused layers cannot be differentiated twice on every device"
    return None


kernel = Kernel("sequence", "torch_fused", 10, refuses, run, "torch.nn.LSTM, GRU, RNN", plain=True)
