"""Every sequence kernel against the reference: values and gradients, odd sizes, ends of each sequence."""

import pytest
import torch

from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.rnn import RNN
from sparsernn.kernels.registry import Problem, kernels_of
from sparsernn.kernels.sequence import reference, torch_fused

CELLS = {
    "LSTM": LSTM,
    "GRU": GRU,
    "RNN_TANH": RNN,
    "RNN_RELU": lambda *sizes, **options: RNN(*sizes, nonlinearity="relu", **options),
}
CELLS["GRU_RESET_BEFORE"] = lambda *sizes, **options: GRU(*sizes, reset="before", **options)
OTHERS = [kernel for kernel in kernels_of("sequence") if kernel.provider != "reference"]


def run(kernel, cell, x, state, lengths):
    """Results and gradients of one layer under one kernel."""
    weights = {local: cell.get_parameter(name) for local, name in cell.names[0].items()}
    leaves = [x, *state, *weights.values()]
    for leaf in leaves:
        leaf.grad = None
    given = (cell.project(weights, x), state, lengths, weights, cell.advance, x)
    output, finals = kernel.run(*given) if kernel.provider == "reference" else kernel.run(*given, fused=cell.fused)
    generator = torch.Generator().manual_seed(0)
    results = [output, *finals]
    sum((part * torch.randn(part.shape, generator=generator, dtype=part.dtype)).sum() for part in results).backward()
    return results, [leaf.grad.clone() for leaf in leaves]


PAIRS = [
    pytest.param(kernel, fused, with_lengths, id=f"{kernel.provider}-{fused}-{with_lengths}")
    for kernel in OTHERS
    for fused in CELLS
    for with_lengths in (False, True)
    if kernel.refuses(Problem("sequence", fused, with_lengths, density=0.1)) is None
]


@pytest.mark.parametrize("size", [1, 63, 100])
@pytest.mark.parametrize(("kernel", "fused", "with_lengths"), PAIRS)
def test_values_and_gradients_equal_the_references(kernel, fused, with_lengths, size):
    torch.manual_seed(0)
    cell = CELLS[fused](size, size, bias=size != 63)
    lengths = torch.tensor([4, 9, 1]) if with_lengths else None
    x = torch.randn(9, 3, size, requires_grad=True)
    state = tuple(torch.randn(3, size, requires_grad=True) for _ in cell.states)
    results, gradients = run(kernel, cell, x, state, lengths)
    expected, wanted = run(reference.kernel, cell, x, state, lengths)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=2e-6) for a, b in zip(results, expected, strict=True))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(gradients, wanted, strict=True))


def test_each_kernel_takes_something():
    assert {parameter.values[0].provider for parameter in PAIRS} == {kernel.provider for kernel in OTHERS}
    assert {parameter.values[1] for parameter in PAIRS} == set(CELLS)


@pytest.mark.parametrize("kernel", [torch_fused.kernel, reference.kernel], ids=lambda kernel: kernel.provider)
def test_what_stands_behind_the_end_of_a_sequence_does_not_matter(kernel):
    cell, lengths = GRU(3, 4), torch.tensor([2, 5])
    x, start = torch.randn(5, 2, 3), (torch.randn(2, 4),)
    weights = {local: cell.get_parameter(name) for local, name in cell.names[0].items()}
    found = []
    for filling in (0.0, 1e6):
        filled = x.clone()
        filled[2:, 0] = filling
        given = (cell.project(weights, filled), start, lengths, weights, cell.advance, filled)
        output, finals = kernel.run(*given) if kernel.provider == "reference" else kernel.run(*given, fused=cell.fused)
        assert not output[2:, 0].any()
        found.append((output, *finals))
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_the_gradient_of_a_packed_call_is_that_of_its_stretches():
    torch.manual_seed(0)
    cell, lengths = LSTM(3, 4), torch.tensor([3, 7, 1, 7, 5])
    weights = [cell.get_parameter(name) for name in cell.names[0].values()]
    x = torch.randn(9, 5, 3, requires_grad=True)
    state = tuple(torch.randn(1, 5, 4, requires_grad=True) for _ in range(2))

    def call(inputs, start, *sizes):
        batch_first = () if sizes else (False,)
        output, *finals = torch._VF.lstm(inputs, *sizes, start, weights, True, 1, 0.0, False, False, *batch_first)
        return output, tuple(finals)

    found = []
    for way in (torch_fused.packed, torch_fused.in_stretches):
        output, finals = way(call, x, state, lengths)
        total = output.square().sum() + sum((place * final).sum() for place, final in enumerate(finals, 1))
        found.append([output, *finals, *torch.autograd.grad(total, [x, *state, *weights])])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in zip(*found, strict=True))
