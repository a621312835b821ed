"""The recurrence of weighted automata, forward and backward in one compiled pass each (C++, `native/`)."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sparsernn import native
from sparsernn.cells.parts.automata import ScanConstants, automata_of
from sparsernn.kernels import compiled
from sparsernn.kernels.registry import Kernel
from sparsernn.kernels.scan import reference
from sparsernn.kernels.scanning import ScanProblem


def run(problem: ScanProblem, instructions: str = "") -> tuple[Tensor, Tensor]:
    """As the reference. Memory is linear in time; each sequence is computed by one thread, so results do not
    depend on how many there are. `instructions` names one of `native.module.instruction_sets()`, "" the best.
    """
    automata, constants = problem.automata, problem.constants
    inputs = (problem.projected, constants.bias, constants.final, constants.skip, problem.start)
    train = torch.is_grad_enabled() and any(part is not None and part.requires_grad for part in inputs)
    about = (automata.sizes, automata.semiring, automata.fixed, train, instructions)
    lengths = None if problem.lengths is None else problem.lengths.to(torch.int64).contiguous()
    output, _, end = scan(*(part if part is None else part.contiguous() for part in inputs), lengths, *about)
    return output, end


@torch.library.custom_op("sparsernn::scan", mutates_args=(), device_types="cpu")
def scan(
    projected: Tensor,
    bias: Tensor,
    final: Tensor,
    skip: Tensor | None,
    start: Tensor,
    lengths: Tensor | None,
    sizes: Sequence[int],
    semiring: str,
    fixed: Sequence[bool],
    train: bool,
    instructions: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """(output, scores after each step if `train`, final scores); see `reference.run`."""
    inputs = [projected, bias, final, skip, start, lengths]
    output, trace, end = _made(projected, start, sizes, train)
    native.loaded().scan_forward(
        semiring,
        list(sizes),
        [int(holds) for holds in fixed],
        *map(_array, inputs),
        _array(output),
        _array(trace) if train else None,
        _array(end),
        torch.get_num_threads(),
        instructions,
    )
    return output, trace, end


@scan.register_fake
def _(projected, bias, final, skip, start, lengths, sizes, semiring, fixed, train, instructions):
    return _made(projected, start, sizes, train)


@torch.library.custom_op("sparsernn::scan_backward", mutates_args=(), device_types="cpu")
def scan_backward(
    by_output: Tensor | None,
    by_end: Tensor | None,
    projected: Tensor,
    bias: Tensor,
    final: Tensor,
    skip: Tensor | None,
    start: Tensor,
    lengths: Tensor | None,
    output: Tensor,
    trace: Tensor,
    sizes: Sequence[int],
    semiring: str,
    fixed: Sequence[bool],
    instructions: str,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Gradients of projected, bias, final, skip (empty where it is not given) and start."""
    made = [torch.empty_like(projected), *(torch.empty_like(start) for _ in range(4))]
    native.loaded().scan_backward(
        semiring,
        list(sizes),
        [int(holds) for holds in fixed],
        *map(_array, (projected, bias, final, skip, start, lengths, output, trace, by_output, by_end)),
        *map(_array, (*made[:3], made[3] if skip is not None else None, made[4])),
        torch.get_num_threads(),
        instructions,
    )
    by_skip = made[3].sum(0) if skip is not None else made[3].new_empty(0)
    return made[0], made[1].sum(0), made[2].sum(0), by_skip, made[4]


@scan_backward.register_fake
def _(by_output, by_end, projected, bias, final, skip, start, *rest):
    shape = start.new_empty(0) if skip is None else torch.empty_like(skip)
    return torch.empty_like(projected), torch.empty_like(bias), torch.empty_like(final), shape, torch.empty_like(start)


def _save(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, ...]) -> None:
    *tensors, sizes, semiring, fixed, _, instructions = inputs
    ctx.about = sizes, semiring, fixed, instructions
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(*tensors, output[0], output[1])


def _backward(ctx: Any, by_output: Tensor | None, _: None, by_end: Tensor | None) -> tuple[Tensor | None, ...]:
    *tensors, output, trace = ctx.saved_tensors
    nothing = (None,) * 6
    if by_output is None and by_end is None:
        return (*(None,) * 5, *nothing)
    if torch.is_grad_enabled():
        return (*_differentiable(ctx.about, tensors, by_output, by_end), *nothing)
    by_output, by_end = (part if part is None else part.contiguous() for part in (by_output, by_end))
    gradients = scan_backward(by_output, by_end, *tensors, output, trace, *ctx.about)
    return (*(g if part is not None else None for g, part in zip(gradients, tensors[:5], strict=True)), *nothing)


def _differentiable(
    about: tuple[Any, ...], tensors: list[Any], by_output: Tensor | None, by_end: Tensor | None
) -> list[Tensor | None]:
    """Gradients that can be differentiated again: by way of the reference."""
    sizes, semiring, fixed, _ = about
    *inputs, lengths = tensors
    projected, bias, final, skip, start = inputs
    automata = automata_of(tuple(sizes), semiring, tuple(fixed))
    results = reference.run(ScanProblem(automata, projected, ScanConstants(bias, final, skip), start, lengths))
    asked = [part for part in inputs if part is not None and part.requires_grad]
    pairs = [(result, by) for result, by in zip(results, (by_output, by_end), strict=True) if by is not None]
    ends, gradients = zip(*pairs, strict=True)
    slopes = iter(torch.autograd.grad(ends, asked, gradients, create_graph=True, allow_unused=True))
    return [next(slopes) if part is not None and part.requires_grad else None for part in inputs]


scan.register_autograd(_backward, setup_context=_save)


def _made(projected: Tensor, start: Tensor, sizes: Sequence[int], train: bool) -> tuple[Tensor, Tensor, Tensor]:
    time, batch = projected.shape[:2]
    output = projected.new_empty(time, batch, len(sizes))
    return output, projected.new_empty(time if train else 0, batch, sum(sizes)), torch.empty_like(start)


def _array(tensor: Tensor | None) -> Any:
    return None if tensor is None else tensor.detach().numpy()


def refuses(problem: ScanProblem) -> str | None:
    """What the extension cannot take."""
    return compiled.refuses(problem.projected)


kernel = Kernel("scan", "cpu_native", 10, refuses, run, "native/kernels/scan.cpp")
