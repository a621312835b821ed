"""A layer of automata in one piece: all tokens are projected at once and then scanned."""

from dataclasses import replace

import torch
from torch import Tensor

from sparsernn.cells.cell import ScannedCell
from sparsernn.cells.parts.automata import Automata, ScanConstants
from sparsernn.kernels import registry, torch_math
from sparsernn.kernels.product import Products
from sparsernn.kernels.products import dense
from sparsernn.kernels.registry import Kernel, Problem, State
from sparsernn.kernels.scanning import ScanProblem
from sparsernn.kernels.stepping import going_on


def run(problem: Problem) -> tuple[Tensor, State]:
    """As the reference. Where products are of lower precision than the states (autocast), the scan has theirs."""
    cell, start, lengths = problem.cell, problem.state[-1], problem.lengths
    if not isinstance(cell, ScannedCell):
        raise TypeError(f"{type(cell).__name__} cannot be scanned")
    multiply = Products(problem, lambda matrix: dense.product)
    x = cell.project(problem.x, multiply, torch_math)
    tokens = cell.tokens(x, torch_math)
    tokens = tokens.to(torch.promote_types(tokens.dtype, start.dtype))
    automata = cell.automata_for(start.shape[-1])
    constants = _tensors(automata, cell.constants(multiply, torch_math), start)
    read, scores = registry.run(ScanProblem(automata, tokens, constants, start, lengths))
    output = cell.put_out(x, read, torch_math)
    output, last = _finish(output if problem.outgoing is None else output * problem.outgoing, lengths)
    return output, (last, scores)


def _tensors(automata: Automata, constants: ScanConstants, like: Tensor) -> ScanConstants:
    """The constants as tensors, one number a state."""
    bias = constants.bias if isinstance(constants.bias, Tensor) else like.new_zeros(automata.states)
    final = constants.final
    final = final if isinstance(final, Tensor) else like.new_full((automata.states,), final)
    if constants.last_only:
        final = torch_math.choose(tuple(not last for last in automata.last), automata.algebra.zero, final)
    return replace(constants, bias=bias, final=final, last_only=False)


def _finish(output: Tensor, lengths: Tensor | None) -> tuple[Tensor, Tensor]:
    """The output with zeros after the end of each sequence, and what it was at the end. [batch unit]"""
    running = going_on(lengths, len(output))
    if lengths is None or running is None:
        return output, output[-1]
    last = output[lengths - 1, torch.arange(len(lengths), device=output.device)]
    return output.masked_fill(~running, 0), last


def refuses(problem: Problem) -> str | None:
    """What cannot be scanned."""
    return None if isinstance(problem.cell, ScannedCell) else "the cell's gates see the state"


kernel = Kernel("sequence", "scanned", 20, refuses, run, "the cell's own equations")
