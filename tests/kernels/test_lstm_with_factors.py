"""The LSTM with factors against a loop written here, in float64, gradients included."""

import pytest
import torch

from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.kernels import registry
from sparsernn.kernels.registry import Problem, using

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
    state = (tensors["hidden"], tensors["memory"])[: len(cell.states)]
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
@pytest.mark.parametrize("provider", ["lstm_with_factors", "reference"])
def test_outputs_states_and_gradients_are_those_of_the_equation(provider, factors, biased, lengths):
    tensors = tensors_of(factors, biased)
    problem = problem_of(tensors, lengths)
    with using(provider):
        output, state = registry.run(problem)
    expected = written_out(tensors, lengths)
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


def test_what_a_gru_carries_on_by_itself_is_not_multiplied():
    tensors = {name: tensor for name, tensor in tensors_of(("outgoing",)).items() if name != "memory"}
    for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"):
        tensors[name] = tensors[name][: 3 * UNITS]
    problem = problem_of(tensors | {"memory": tensors["hidden"]}, cell=GRU())
    output, (last,) = registry.run(problem)
    hidden, outputs = tensors["hidden"], []
    for x in tensors["x"]:
        r, z, n = (x @ tensors["weight_ih"].T + tensors["bias_ih"]).chunk(3, -1)
        u_r, u_z, u_n = ((hidden * tensors["outgoing"]) @ tensors["weight_hh"].T + tensors["bias_hh"]).chunk(3, -1)
        update = (z + u_z).sigmoid()
        hidden = (1 - update) * (n + (r + u_r).sigmoid() * u_n).tanh() + update * hidden
        outputs.append(hidden * tensors["outgoing"])
    assert torch.allclose(output, torch.stack(outputs), atol=1e-12) and torch.allclose(last, hidden, atol=1e-12)
