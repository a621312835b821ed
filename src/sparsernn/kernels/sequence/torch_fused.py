"""torch's own fused LSTM, GRU and RNN, for the cells that equal them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sparsernn.kernels.registry import Kernel, Problem

ORDER = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


def run(
    projected: Tensor | None,
    state: tuple[Tensor, ...],
    lengths: Tensor | None,
    weights: Mapping[str, Tensor],
    advance: Callable[..., tuple[Tensor, ...]],
    x: Tensor,
    fused: str = "LSTM",
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """As the reference, by `torch._VF`; it projects the input itself, so `projected` is not read."""
    flat = [weights[name] for name in ORDER if name in weights]
    biased = "bias_ih" in weights
    call = getattr(torch._VF, fused.lower())
    first = tuple(part.unsqueeze(0) for part in state)
    hx = first if fused == "LSTM" else first[0]
    if lengths is None:
        output, *finals = call(x, hx, flat, biased, 1, 0.0, False, False, False)
    else:
        packed = pack_padded_sequence(x, lengths.cpu(), enforce_sorted=False)
        order = packed.sorted_indices
        hx = (
            tuple(part.index_select(1, order) for part in first) if fused == "LSTM" else first[0].index_select(1, order)
        )
        data, *finals = call(packed.data, packed.batch_sizes, hx, flat, biased, 1, 0.0, False, False)
        output, _ = pad_packed_sequence(packed._replace(data=data), total_length=x.shape[0])
        finals = [final.index_select(1, packed.unsorted_indices) for final in finals]
    return output, tuple(final.squeeze(0) for final in finals)


def refuses(problem: Problem) -> str | None:
    """What torch's kernels cannot compute."""
    if not problem.fused:
        return "torch has no fused kernel that computes this cell"
    if problem.needs_second_derivative and problem.device != "cpu":
        return "cuDNN layers cannot be differentiated twice"
    return None


kernel = Kernel("sequence", "torch_fused", 10, refuses, run, "torch.nn.LSTM, GRU, RNN")
