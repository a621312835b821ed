"""The recurrence of weighted automata, step by step in plain torch: the oracle of every other kernel."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsernn.kernels.registry import Kernel, Problem
from sparsernn.kernels.scan.automata import Automata


def run(
    automata: Automata,
    projected: Tensor,
    bias: Tensor,
    final: Tensor,
    skip: Tensor | None,
    start: Tensor,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """c'[i] = f[i] c[i] + u[i] c[i-1] for every token, z = sum of final[i] c[i], in the semiring of the automata.

    f is the sigmoid of the self-loop's logit; u is (1 - f) times the main path's projection in plus-times and
    its sigmoid elsewhere; in the log semiring both are logarithms.

    Arguments:
        projected: what the weights make of each token, main paths and then self-loops. [time batch 2*state]
        bias: of the self-loops. [state]
        final: weights of the final states. [state]
        skip: scores of the epsilon transitions, each past the state before; or None. [state]
        start: initial scores. [batch state]
        lengths: after its length a sequence keeps its scores and its output is zero. [batch] or None
    Returns: outputs [time batch pattern] and final scores [batch state].
    """
    scores, outputs = start, []
    for time in range(projected.shape[0]):
        following = automata.step(projected[time], bias, skip, scores)
        output = automata.read(final, following)
        if lengths is not None:
            running = (lengths > time).unsqueeze(-1)
            following, output = torch.where(running, following, scores), output.masked_fill(~running, 0)
        scores = following
        outputs.append(output)
    return torch.stack(outputs), scores


def refuses(problem: Problem) -> str | None:
    """Nothing is refused."""
    return None


kernel = Kernel("scan", "reference", 90, refuses, run, "the equations of the automata")
