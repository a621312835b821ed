"""Choosing kernels: the first that does not refuse, with every refusal a sentence."""

import pytest
import torch

from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.recurrent_highway import RecurrentHighwayNetwork
from sparsernn.errors import UserError
from sparsernn.kernels.registry import Problem, candidates, choose, explain, kernels_of, using


def test_the_fused_kernel_is_taken_where_torch_has_one():
    assert choose(Problem("sequence", "LSTM")).provider == "torch_fused"
    assert choose(Problem("sequence", "")).provider == "reference"


@pytest.mark.parametrize(
    ("problem", "sentence"),
    [
        (Problem("sequence", ""), "torch has no fused kernel"),
        (Problem("sequence", "GRU", device="cuda", needs_second_derivative=True), "cannot be differentiated twice"),
    ],
)
def test_refusals_are_sentences(problem, sentence):
    refusals = {kernel.provider: refusal for kernel, refusal in candidates(problem)}
    assert sentence in refusals["torch_fused"] and refusals["reference"] is None


def test_explain_names_every_kernel_and_the_one_taken():
    lines = explain(Problem("sequence", "GRU")).splitlines()
    assert "torch_fused: taken" in lines and lines[-1] == "reference: possible"
    assert len(lines) == len(kernels_of("sequence"))
    with using("reference"):
        assert "reference: taken" in explain(Problem("sequence", "GRU"))
    lines = explain(Problem("sequence", "")).splitlines()
    assert any(line.startswith("torch_fused: torch has no") for line in lines) and lines[-1] == "reference: taken"


def test_using_holds_within_its_block_and_nests():
    problem = Problem("sequence", "LSTM")
    with using("reference"):
        with using("torch_fused"):
            assert choose(problem).provider == "torch_fused"
        assert choose(problem).provider == "reference"
        with pytest.raises(ZeroDivisionError), using("torch_fused"):
            raise ZeroDivisionError
        assert choose(problem).provider == "reference"
    assert choose(problem).provider == "torch_fused"


def test_a_kernel_that_refuses_is_never_swapped_silently():
    with using("torch_fused"), pytest.raises(UserError, match="torch has no fused kernel"):
        RecurrentHighwayNetwork(3, 4)(torch.randn(2, 2, 3))
    with using("torch_fused"), pytest.raises(UserError, match="no fused kernel"):
        GRU(3, 4, reset="before")(torch.randn(2, 2, 3))
    with using("nothing"), pytest.raises(UserError, match="none by that name"):
        LSTM(3, 4)(torch.randn(2, 2, 3))
    with pytest.raises(UserError, match="no kernel takes this knitting"):
        choose(Problem("knitting"))


def test_second_derivatives_agree_with_differences():
    cell = LSTM(2, 3).double()
    x = torch.randn(3, 1, 2, dtype=torch.float64, requires_grad=True)
    with using("reference"):
        assert torch.autograd.gradgradcheck(lambda x: cell(x)[0], (x,))
