"""One recurrent layer over a sequence, step by step in plain torch: the oracle of every other kernel."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sparsernn.kernels.registry import Kernel, Problem


def run(
    projected: Tensor,
    state: tuple[Tensor, ...],
    lengths: Tensor | None,
    weights: Mapping[str, Tensor],
    advance: Callable[..., tuple[Tensor, ...]],
    x: Tensor,
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """h_t, c_t = advance(W, projected_t, (h_{t-1}, c_{t-1})), each weight read once.

    Arguments:
        projected: the part of the gates that the state does not enter. [time batch gates*hidden]
        state: initial states. [batch hidden]
        lengths: after its length a sequence keeps its state and its output is zero. [batch] or None
        x: the layer's input, for kernels that project it themselves. [time batch input]
    Returns: outputs [time batch hidden] and final states.
    """
    outputs = []
    for time in range(projected.shape[0]):
        following = advance(weights, projected[time], state)
        if lengths is None:
            state = following
            outputs.append(state[0])
            continue
        running = (lengths > time).unsqueeze(-1)
        state = tuple(torch.where(running, new, old) for new, old in zip(following, state, strict=True))
        outputs.append(state[0].masked_fill(~running, 0))
    return torch.stack(outputs), state


def refuses(problem: Problem) -> str | None:
    """Nothing is refused."""
    return None


kernel = Kernel("sequence", "reference", 90, refuses, run, "the cell's own equations")
