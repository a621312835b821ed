"""Choosing kernels: the first that does not refuse, with every refusal a sentence."""

from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from sparsernn.cells.cell import Cell
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.recurrent_highway import RecurrentHighwayNetwork
from sparsernn.errors import UserError
from sparsernn.kernels.registry import Problem, candidates, choose, explain, kernels_of, using
from sparsernn.running.torch_layers import nominal_problems


def problem_of(module) -> Problem:
    return nominal_problems(module, 1)[0][1]


def test_the_fused_kernel_is_taken_where_torch_has_one():
    assert choose(problem_of(LSTM(3, 4))).provider == "torch_fused"
    assert choose(problem_of(RecurrentHighwayNetwork(3, 4))).provider == "reference"


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (problem_of(RecurrentHighwayNetwork(3, 4)), "torch has no fused kernel"),
        (problem_of(GRU(3, 4, device="meta")), "cannot be differentiated twice"),
        (replace(problem_of(GRU(3, 4)), factors={"weight_hh": (torch.ones(1, 4), None)}), "nothing can be put between"),
    ],
)
def test_refusals_are_sentences(problem, sentence):
    problem = replace(problem, twice="twice" in sentence)
    refusals = {kernel.provider: refusal for kernel, refusal in candidates(problem)}
    assert sentence in refusals["torch_fused"] and refusals["reference"] is None


def test_explain_names_every_kernel_and_the_one_taken():
    fused, highway = problem_of(GRU(3, 4)), problem_of(RecurrentHighwayNetwork(3, 4))
    lines = explain(fused).splitlines()
    assert "torch_fused: taken" in lines and lines[-1] == "reference: possible"
    assert len(lines) == len(kernels_of("sequence"))
    with using("reference"):
        assert explain(fused) == "reference: taken"
    lines = explain(highway).splitlines()
    assert any(line.startswith("torch_fused: torch has no") for line in lines) and lines[-1] == "reference: taken"


def test_candidates_are_asked_one_by_one():
    names = [kernel.provider for kernel in kernels_of("sequence")]
    first, _ = next(candidates(problem_of(LSTM(3, 4))))
    assert first.provider == names[0]
    assert [kernel.provider for kernel, _ in candidates(problem_of(LSTM(3, 4)))] == names


def test_using_holds_within_its_block_and_nests():
    problem = problem_of(LSTM(3, 4))
    with using("reference"):
        with using("torch_fused"):
            assert choose(problem).provider == "torch_fused"
        assert choose(problem).provider == "reference"
        with pytest.raises(ZeroDivisionError), using("torch_fused"):
            raise ZeroDivisionError
        assert choose(problem).provider == "reference"
    assert choose(problem).provider == "torch_fused"


@dataclass(frozen=True)
class Knitting:
    """A problem of an operation that has no kernel."""

    op: ClassVar[str] = "knitting"


def test_a_kernel_that_refuses_is_never_swapped_silently():
    with using("torch_fused"), pytest.raises(UserError, match="torch has no fused kernel"):
        RecurrentHighwayNetwork(3, 4)(torch.randn(2, 2, 3))
    with using("torch_fused"), pytest.raises(UserError, match="no fused kernel"):
        GRU(3, 4, reset="before")(torch.randn(2, 2, 3))
    with pytest.raises(UserError, match="there is no kernel 'nothing'"), using("nothing"):
        LSTM(3, 4)(torch.randn(2, 2, 3))
    with pytest.raises(UserError, match="no kernel takes this knitting"):
        choose(Knitting())


def test_a_users_own_cell_has_the_reference():
    @dataclass(frozen=True, kw_only=True)
    class Leaky(Cell):
        gates: ClassVar = ("candidate",)

        def step(self, x, state, multiply, math):
            return (0.5 * state[0] + math.tanh(x + multiply("weight_hh", state[0])),)

    torch.manual_seed(0)
    module, x = Leaky(3, 4), torch.randn(5, 2, 3)
    assert choose(problem_of(module)).provider == "reference"
    output, hidden = module(x)
    expected = torch.zeros(2, 4)
    for step in x:
        inner = step @ module.weight_ih_l0.T + module.bias_ih_l0 + expected @ module.weight_hh_l0.T + module.bias_hh_l0
        expected = 0.5 * expected + torch.tanh(inner)
    assert torch.allclose(output[-1], expected, atol=1e-6) and torch.equal(hidden[0], output[-1])


def test_second_derivatives_agree_with_differences():
    cell = LSTM(2, 3).double()
    x = torch.randn(3, 1, 2, dtype=torch.float64, requires_grad=True)
    with using("reference"):
        assert torch.autograd.gradgradcheck(lambda x: cell(x)[0], (x,))
