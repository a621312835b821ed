"""The recurrence of weighted automata, step by step in plain torch: the oracle of every other kernel."""

import torch
from torch import Tensor

from sparsernn.kernels import torch_math
from sparsernn.kernels.registry import Kernel
from sparsernn.kernels.scanning import ScanProblem


def run(problem: ScanProblem) -> tuple[Tensor, Tensor]:
    """c'[i] = f[i] c[i] + u[i] c[i-1] for every token, z = sum of final[i] c[i], in the semiring of the automata.

    f is the sigmoid of the self-loop's logit; u is (1 - f) times the main path's projection in plus-times and
    its sigmoid elsewhere; in the log semiring both are logarithms.
    """
    automata, constants, lengths = problem.automata, problem.constants, problem.lengths
    scores, outputs = problem.start, []
    for time, projected in enumerate(problem.projected):
        following = automata.step(torch_math, projected, constants, scores)
        output = automata.read(torch_math, constants, following)
        if lengths is not None:
            running = (lengths > time).unsqueeze(-1)
            following, output = torch.where(running, following, scores), output.masked_fill(~running, 0)
        scores = following
        outputs.append(output)
    return torch.stack(outputs), scores


def refuses(problem: ScanProblem) -> str | None:
    """Nothing is refused."""
    return None


kernel = Kernel("scan", "reference", 90, refuses, run, "the equations of the automata")
