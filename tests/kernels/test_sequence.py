"""Every sequence kernel against the reference: values and gradients, odd sizes, ends of each sequence, masks."""

from dataclasses import replace

import pytest
import torch

from sparsernn import folders, native
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.cells.qrnn import QRNN
from sparsernn.cells.rational import Rational
from sparsernn.cells.rnn import RNN
from sparsernn.kernels.products import rows
from sparsernn.kernels.registry import Problem, kernels_of
from sparsernn.kernels.sequence import reference, torch_fused

CELLS = {name: cell() for name, cell in folders.entries("cells").items()} | {
    "rnn relu": RNN(nonlinearity="relu"),
    "lstm projected": LSTM(projected=True),
    "lstm hard": LSTM(gate_activation="hard_sigmoid"),
    "gru before": GRU(reset="before"),
    "peephole full": PeepholeLSTM(peephole="full"),
    "rational rich": Rational(lengths=3, final="learned", epsilon=True, output_gate=True, semiring="max_times"),
    "qrnn f": QRNN(pooling="f"),
}
OTHERS = [kernel for kernel in kernels_of("sequence") if kernel.provider != "reference"]
LENGTHS = torch.tensor([4, 9, 1])


@pytest.fixture(autouse=True)
def small_matrices_may_be_sparse(monkeypatch):
    monkeypatch.setattr(rows, "SMALLEST", 0)


def problem_of(name, size, kept=None, bias=True, dtype=torch.float32, lengths=None, batch=3):
    """A layer with random weights and inputs that need gradients; with `kept`, masks of that density."""
    torch.manual_seed(0)
    projected = "projection" in CELLS[name].state_axes
    sizes = CELLS[name].sizes(size, size + projected) | {"projection": size}
    cell = CELLS[name].sized(sizes)
    weights, masks = {}, None if kept is None else {}
    for local in cell.axes if bias else [local for local in cell.axes if "bias" not in local]:
        weights[local] = torch.randn(cell.shape(local, sizes), dtype=dtype) / size**0.5
        if kept is not None and "<-" in cell.axes[local]:
            masks[local] = torch.rand(weights[local].shape) < kept
            weights[local] *= masks[local]
        weights[local].requires_grad_()
    x = torch.randn(9, batch, size, dtype=dtype, requires_grad=True)
    state = tuple(torch.randn(batch, sizes[axis], dtype=dtype, requires_grad=True) for axis in cell.state_axes)
    return Problem(cell, weights, x, state, lengths, masks)


def taken(kernel, name, with_lengths):
    """The density at which a kernel takes a cell, None for one without masks; False where it takes neither."""
    lengths = LENGTHS if with_lengths else None
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "SMALLEST", 0)
        takes = [kept for kept in (None, 0.02) if kernel.refuses(problem_of(name, 40, kept, lengths=lengths)) is None]
    return takes[0] if takes else False


def run(kernel, problem):
    """Results, and gradients of the weights that exist."""
    leaves = {"x": problem.x, **{str(place): part for place, part in enumerate(problem.state)}, **problem.weights}
    for leaf in leaves.values():
        leaf.grad = None
    output, finals = kernel.run(problem)
    generator = torch.Generator().manual_seed(0)
    results = [output, *finals]
    sum((part * torch.randn(part.shape, generator=generator, dtype=part.dtype)).sum() for part in results).backward()
    masks = problem.masks or {}
    gradients = {name: 0 * leaf.detach() if leaf.grad is None else leaf.grad for name, leaf in leaves.items()}
    return results, [gradient * masks.get(name, True) for name, gradient in gradients.items()]


PAIRS = [
    pytest.param(kernel, name, kept, with_lengths, id=f"{kernel.provider}-{name}-{with_lengths}")
    for kernel in OTHERS
    for name in CELLS
    for with_lengths in (False, True)
    if (kept := taken(kernel, name, with_lengths)) is not False
]


@pytest.mark.parametrize("size", [1, 63, 100])
@pytest.mark.parametrize(("kernel", "name", "kept", "with_lengths"), PAIRS)
@pytest.mark.filterwarnings("ignore:LSTM with projections")
def test_values_and_gradients_equal_the_references(kernel, name, kept, with_lengths, size):
    problem = problem_of(name, size, kept, bias=size != 63, lengths=LENGTHS if with_lengths else None)
    results, gradients = run(kernel, problem)
    expected, wanted = run(reference.kernel, problem)
    assert all(torch.allclose(a, b, rtol=1e-4, atol=2e-6) for a, b in zip(results, expected, strict=True))
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-4) for a, b in zip(gradients, wanted, strict=True))


@pytest.mark.skipif(native.module is None, reason="the extension is not built here")
def test_each_kernel_takes_something_and_each_cell_is_taken():
    assert {parameter.values[0].provider for parameter in PAIRS} == {kernel.provider for kernel in OTHERS}
    assert {parameter.values[1] for parameter in PAIRS} == set(CELLS)


@pytest.mark.parametrize("name", CELLS)
@pytest.mark.parametrize("kernel", kernels_of("sequence"), ids=lambda kernel: kernel.provider)
def test_what_stands_behind_the_end_of_a_sequence_does_not_matter(kernel, name):
    problem = problem_of(name, 40, 0.02, lengths=torch.tensor([2, 9]), batch=2)
    if kernel.refuses(problem) is not None:
        return
    found = []
    with torch.no_grad():
        for filling in (0.0, 1e6):
            x = problem.x.clone()
            x[2:, 0] = filling
            output, finals = kernel.run(replace(problem, x=x))
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
