"""Loop over the steps of one layer: the cell's own step, with whatever products it is handed."""

from collections.abc import Callable

import torch
from torch import Tensor

from sparsernn.cells.parts.arithmetic import Multiply
from sparsernn.kernels import torch_math
from sparsernn.kernels.product import carries_output
from sparsernn.kernels.registry import Problem, State


def going_on(lengths: Tensor | None, steps: int) -> Tensor | None:
    """Whether a sequence is still going on at each step; None where all end together. [time batch 1]"""
    return (
        None if lengths is None else (torch.arange(steps, device=lengths.device).unsqueeze(1) < lengths).unsqueeze(-1)
    )


def step_through(
    problem: Problem, multiply: Multiply, watch: Callable[[State], State] | None = None
) -> tuple[Tensor, State]:
    """Outputs [time batch unit] and final states; a sequence that has ended keeps its state, and its output is zero.

    Arguments:
        watch: is shown the states after each step, and returns those to go on with.
    """
    cell, state, lengths, outputs = problem.cell, problem.state, problem.lengths, []
    outgoing, carries = problem.outgoing, carries_output(problem.cell)
    for time, projected in enumerate(cell.project(problem.x, multiply, torch_math)):
        following = cell.step(projected, state, multiply, torch_math)
        if outgoing is not None and not carries:
            following = following[0] * outgoing, *following[1:]
        following = following if watch is None else watch(following)
        if lengths is None:
            state = following
            outputs.append(state[0])
            continue
        running = (lengths > time).unsqueeze(-1)
        state = tuple(torch.where(running, new, old) for new, old in zip(following, state, strict=True))
        outputs.append(state[0].masked_fill(~running, 0))
    output = torch.stack(outputs)
    return output * outgoing if outgoing is not None and carries else output, state
