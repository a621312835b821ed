"""What cells share whose state never enters a gate: the whole sequence is projected first and then scanned."""

from __future__ import annotations

import torch
from torch import Tensor

from sparsernn.kernels.registry import Problem, choose
from sparsernn.kernels.scan.automata import Automata, automata_of
from sparsernn.running import passes as stepwise


def scan(
    automata: Automata,
    projected: Tensor,
    constants: tuple[Tensor, Tensor, Tensor | None],
    start: Tensor,
    lengths: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Outputs and final scores by the first kernel that takes them; see `kernels.scan.reference.run`.

    Where the products are of lower precision than the states (autocast) the recurrence has that of the states.
    """
    projected = projected.to(torch.promote_types(projected.dtype, start.dtype))
    dtype = str(projected.dtype).removeprefix("torch.")
    kernel = choose(Problem("scan", "", lengths is not None, projected.device.type, stepwise.is_active(), dtype))
    return kernel.run(automata, projected, *constants, start, lengths)


def scan_units(projected: Tensor, start: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """c' = f c + (1 - f) a for every unit by itself: automata of one state.

    Shapes: projected [time batch 2*hidden], first a and then the logits of f; start [batch hidden].
    """
    units = start.shape[1]
    ones = start.new_ones(units)
    return scan(automata_of((1,) * units), projected, (torch.zeros_like(ones), ones, None), start, lengths)


def finish(output: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """The output with zeros after the end of each sequence, and what it was at the end. [batch unit]"""
    if lengths is None:
        return output, output[-1]
    running = torch.arange(len(output), device=output.device).unsqueeze(1) < lengths
    last = output[lengths - 1, torch.arange(len(lengths), device=output.device)]
    return output.masked_fill(~running.unsqueeze(-1), 0), last
