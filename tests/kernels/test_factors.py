"""LSTM and GRU with factors against loops written here, in float64, gradients included."""

import pytest
import torch

from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.kernels import registry
from sparsernn.kernels.registry import Problem, using
from sparsernn.kernels.sequence import gru_with_factors, lstm_with_factors, reference

TIME, BATCH, INPUTS, UNITS = 7, 4, 3, 5
CELL = LSTM()


def written_out(tensors, lengths):
    """gate = act(((z^x x) W + h U) z^gate + b), c' = f c + i g, h' = o tanh(c') z^h, one step after another."""
    hidden, memory = tensors["hidden"], tensors["memory"]
    bias = tensors["bias_ih"] + tensors["bias_hh"] if "bias_ih" in tensors else 0
    outputs = []
    for time, x in enumerate(tensors["x"]):
        read = hidden * tensors.get("reading", 1)
        products = (x * tensors.get("inputs", 1)) @ tensors["weight_ih"].T + read @ tensors["weight_hh"].T
        i, f, g, o = (products * tensors.get("gates", 1) + bias).chunk(4, -1)
        after = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        output = o.sigmoid() * after.tanh() * tensors.get("outgoing", 1)
        running = torch.ones(BATCH, 1, dtype=torch.bool) if lengths is None else (lengths > time).unsqueeze(1)
        hidden, memory = torch.where(running, output, hidden), torch.where(running, after, memory)
        outputs.append(torch.where(running, output, 0))
    return torch.stack(outputs), hidden, memory


def gru_written_out(tensors, lengths):
    """h' = (1 - u) n + u h; what is carried is not multiplied, what is read and what is put out are."""
    hidden, outputs = tensors["hidden"], []
    zero = torch.zeros((), dtype=torch.float64)
    for time, x in enumerate(tensors["x"]):
        gates = tensors.get("gates", 1)
        read = hidden * tensors.get("reading", 1) * tensors.get("outgoing", 1)
        above = (x * tensors.get("inputs", 1)) @ tensors["weight_ih"].T * gates + tensors.get("bias_ih", zero)
        below = read @ tensors["weight_hh"].T * gates + tensors.get("bias_hh", zero)
        (r, u, n), (u_r, u_u, u_n) = above.chunk(3, -1), below.chunk(3, -1)
        update = (u + u_u).sigmoid()
        after = (1 - update) * (n + (r + u_r).sigmoid() * u_n).tanh() + update * hidden
        running = torch.ones(BATCH, 1, dtype=torch.bool) if lengths is None else (lengths > time).unsqueeze(1)
        hidden = torch.where(running, after, hidden)
        outputs.append(torch.where(running, hidden * tensors.get("outgoing", 1), 0))
    return torch.stack(outputs), hidden


def for_a_gru(tensors):
    """The same with three gates and one state."""
    rows = {"weight_ih": 0, "weight_hh": 0, "bias_ih": 0, "bias_hh": 0, "gates": 1}
    return {
        name: tensor.detach().narrow(rows[name], 0, 3 * UNITS).clone().requires_grad_() if name in rows else tensor
        for name, tensor in tensors.items()
        if name != "memory"
    }


def tensors_of(factors, biased=True, seed=0):
    generator = torch.Generator().manual_seed(seed)
    shapes = {"x": (TIME, BATCH, INPUTS), "hidden": (BATCH, UNITS), "memory": (BATCH, UNITS)}
    shapes |= {"weight_ih": (4 * UNITS, INPUTS), "weight_hh": (4 * UNITS, UNITS)}
    shapes |= {"bias_ih": (4 * UNITS,), "bias_hh": (4 * UNITS,)} if biased else {}
    sizes = {"inputs": (BATCH, INPUTS), "gates": (BATCH, 4 * UNITS), "outgoing": (BATCH, UNITS)}
    sizes["reading"] = BATCH, UNITS
    shapes |= {name: sizes[name] for name in factors}
    return {
        name: torch.randn(shape, generator=generator, dtype=torch.float64).requires_grad_()
        for name, shape in shapes.items()
    }


def problem_of(tensors, lengths=None, cell=CELL):
    weights = {name: tensor for name, tensor in tensors.items() if name.startswith(("weight", "bias"))}
    gates = tensors.get("gates")
    factors = {"weight_ih": (tensors.get("inputs"), gates), "weight_hh": (tensors.get("reading"), gates)}
    factors = {local: pair for local, pair in factors.items() if pair != (None, None)}
    state = tuple(tensors[name] for name in cell.states)
    return Problem(cell, weights, tensors["x"], state, lengths, None, factors, tensors.get("outgoing"))


def gradients(outputs, tensors):
    weighting = torch.Generator().manual_seed(1)
    loss = sum((out * torch.randn(out.shape, generator=weighting, dtype=torch.float64)).sum() for out in outputs)
    return torch.autograd.grad(loss, list(tensors.values()))


@pytest.mark.parametrize("lengths", [None, torch.tensor([7, 2, 5, 1])], ids=["together", "lengths"])
@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize(
    "factors",
    [
        ("inputs", "gates", "outgoing", "reading"),
        ("inputs", "gates", "outgoing"),
        ("reading",),
        ("outgoing",),
        ("gates",),
    ],
    ids="-".join,
)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("provider", ["with_factors", "reference"])
def test_outputs_states_and_gradients_are_those_of_the_equation(provider, cell, factors, biased, lengths):
    tensors = tensors_of(factors, biased)
    if cell == "gru":
        tensors = for_a_gru(tensors)
    problem = problem_of(tensors, lengths, GRU() if cell == "gru" else CELL)
    with using(f"{cell}_{provider}" if provider == "with_factors" else provider):
        output, state = registry.run(problem)
    expected = (gru_written_out if cell == "gru" else written_out)(tensors, lengths)
    for ours, theirs in zip((output, *state), expected, strict=True):
        assert (ours - theirs).abs().max() <= 1e-12
    for ours, theirs in zip(gradients((output, *state), tensors), gradients(expected, tensors), strict=True):
        assert (ours - theirs).abs().max() <= 1e-12


def test_a_factor_of_zero_gives_no_nan():
    tensors = tensors_of(("gates", "outgoing"))
    with torch.no_grad():
        tensors["gates"].zero_()
        tensors["outgoing"].zero_()
    output, state = registry.run(problem_of(tensors))
    assert all(bool(gradient.isfinite().all()) for gradient in gradients((output, *state), tensors))


def test_it_is_taken_with_factors_and_torchs_own_without():
    assert registry.choose(problem_of(tensors_of(("outgoing",)))).provider == "lstm_with_factors"
    assert registry.choose(problem_of(tensors_of(()))).provider == "torch_fused"
    assert registry.choose(problem_of(for_a_gru(tensors_of(("gates",))), cell=GRU())).provider == "gru_with_factors"


@pytest.mark.parametrize("kernel", [lstm_with_factors, gru_with_factors])
def test_under_autocast_they_compute_in_the_precision_of_the_weights(kernel):
    cell, size = kernel.CELL, len(kernel.CELL.gates) * 5
    torch.manual_seed(0)
    weights = {"weight_ih": torch.randn(size, 4), "weight_hh": torch.randn(size, 5), "bias_ih": torch.randn(size)}
    weights |= {"bias_hh": torch.randn(size)}
    state = tuple(torch.zeros(3, 5) for _ in cell.states)
    problem = Problem(cell, weights, torch.randn(6, 3, 4), state, factors={"weight_hh": (torch.rand(3, 5), None)})
    expected, _ = reference.run(problem)
    with torch.autocast("cpu", torch.bfloat16):
        assert kernel.refuses(problem) is None
        output, _ = kernel.run(problem)
    assert output.dtype == torch.float32 and torch.allclose(output, expected, atol=1e-5)
