"""Automata of a rational layer read with their present weights, against the formulas and against a forward."""

import pytest
import torch

from sparsernn.cells.lstm import LSTM
from sparsernn.cells.parts.semirings import SEMIRINGS
from sparsernn.cells.rational import Rational
from sparsernn.running.automata import LayerAutomata, automata_figures

LENGTHS = (2, 1, 3)


def module_of(layers=1, **options):
    torch.manual_seed(0)
    module = Rational(4, 3, layers, lengths=LENGTHS, **options).double()
    for parameter in module.parameters():
        torch.nn.init.normal_(parameter)
    return module


@pytest.mark.parametrize("last_loop", ["learned", "one"])
@pytest.mark.parametrize("semiring", SEMIRINGS)
@torch.no_grad()
def test_scores_of_tokens(semiring, last_loop):
    if last_loop == "one" and semiring != "plus_times":
        return
    module, x = module_of(2, bidirectional=True, semiring=semiring, last_loop=last_loop), torch.randn(5, 2, 6).double()
    automata = LayerAutomata(module, 3)
    main, logit = (x @ module.weight_ih_l1_reverse.T).chunk(2, -1)
    stay = torch.sigmoid(logit + module.bias_loop_l1_reverse)
    expected = main * (1 - stay) if semiring == "plus_times" else torch.sigmoid(main)
    expected, stay = (expected.log(), stay.log()) if semiring == "log" else (expected, stay)
    if last_loop == "one":
        stay[..., [1, 2, 5]] = 1
    found = automata.token_scores(x)
    assert torch.allclose(found[0], expected) and torch.allclose(found[1], stay)


@pytest.mark.parametrize("semiring", SEMIRINGS)
@pytest.mark.parametrize("final", ["all", "last", "learned"])
@torch.no_grad()
def test_final_weights_are_those_of_a_forward(final, semiring):
    module = module_of(final=final, semiring=semiring)
    automata = LayerAutomata(module)
    assert automata.table.tolist() == [[0, 1, 6], [2, 6, 6], [3, 4, 5]]
    output, (_, scores) = module(torch.randn(5, 2, 4).double())
    weights, scores = automata.final_weights(), scores[0]
    ended = scores + weights if semiring in ("max_plus", "log") else scores * weights
    padded = torch.cat([ended, torch.full((2, 1), SEMIRINGS[semiring].zero, dtype=ended.dtype)], -1)[:, automata.table]
    sums = {"plus_times": lambda: padded.sum(-1), "log": lambda: padded.logsumexp(-1)}
    expected = sums.get(semiring, lambda: padded.amax(-1))()
    assert torch.allclose(output[-1], expected)


@torch.no_grad()
def test_no_path_gets_past_a_state_without_weights():
    module = module_of(2)
    module.weight_ih_l0[[0, 4]] = 0
    assert LayerAutomata(module).live_lengths() == [0, 1, 1]
    assert LayerAutomata(module, 1).live_lengths() == [2, 1, 3]
    assert automata_figures(module) == {"transitions": 8, "patterns": 5}
    elsewhere = module_of(semiring="max_times")
    elsewhere.weight_ih_l0.zero_()
    assert LayerAutomata(elsewhere).live_lengths() == [2, 1, 3]


def test_other_cells_have_none():
    with pytest.raises(TypeError, match="LSTM has no automata"):
        LayerAutomata(LSTM(3, 4))
    assert automata_figures(LSTM(3, 4)) == {}
