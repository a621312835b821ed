"""Hard concrete gates against equations 10 to 13 of Louizos et al. 2018, written out."""

import math

import pytest
import torch

from sparsernn import Sparsifier, compact
from sparsernn.errors import UserError
from sparsernn.methods.l0 import L0
from tests.methods.networks import UNITS, batch, loss_of, network, train

BETA, LOW, HIGH = 2 / 3, -0.1, 1.1


def started(**options):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    return model, Sparsifier(model, L0(**options), optimizer, steps=20, example=(batch()[0],))


def gate_rows(model):
    """Everything that comes in to a gate of the first layer."""
    return torch.cat([model.rnn.weight_ih_l0, model.rnn.weight_hh_l0], 1)


def test_the_penalty_counts_weights_by_the_probability_of_their_gate():
    _, sparsifier = started(granularity="gate", strength=0.01, open=0.7)
    log_alpha = torch.linspace(-4, 4, 8 * UNITS)
    with torch.no_grad():
        sparsifier.owned["log_alpha.gate"].copy_(log_alpha)
    sizes = torch.tensor([4 + UNITS] * 4 * UNITS + [2 * UNITS] * 4 * UNITS)
    expected = 0.01 * (sizes / (1 + (-(log_alpha - BETA * math.log(0.1 / 1.1))).exp())).sum()
    assert sparsifier.penalty().item() == pytest.approx(expected.item(), rel=1e-5)


def test_gates_are_drawn_from_the_hard_concrete_distribution():
    """P(z > 0) and P(z = 1) over many draws, and all weights of a gate share one draw."""
    model, sparsifier = started(granularity="gate", open=0.6)
    alpha = torch.linspace(-3, 2, 8 * UNITS)
    with torch.no_grad():
        sparsifier.owned["log_alpha.gate"].copy_(alpha)
        for name, weight in model.rnn.named_parameters():
            if "weight" in name:
                weight.fill_(1.0)
    draws = []
    for _ in range(800):
        drawn = sparsifier.method.before_forward(sparsifier)
        rows = torch.cat([drawn["rnn.weight_ih_l0"], drawn["rnn.weight_hh_l0"]], 1)
        assert torch.equal(rows, rows[:, :1].expand_as(rows))
        draws.append(rows[:, 0].detach())
    z, first = torch.stack(draws), alpha[: 4 * UNITS]
    above = 1 / (1 + (-(first - BETA * math.log(-LOW / HIGH))).exp())
    whole = 1 / (1 + (-(first - BETA * math.log((1 - LOW) / (HIGH - 1)))).exp())
    assert ((z > 0).float().mean(0) - above).abs().max() < 0.07
    assert ((z == 1).float().mean(0) - whole).abs().max() < 0.07


def test_evaluation_and_the_end_use_the_mean_gate_and_what_is_shut_is_gone():
    model, sparsifier = started(granularity="gate")
    train(sparsifier, 1)
    with torch.no_grad():
        sparsifier.owned["log_alpha.gate"][:UNITS] = -5.0
        sparsifier.owned["log_alpha.gate"][UNITS : 2 * UNITS] = 0.3
    rows, share = gate_rows(model).detach().clone(), 1 / (1 + math.exp(-0.3))
    sparsifier.step()
    model.eval()
    before = model(batch()[0])
    masks = sparsifier.finalize()
    assert torch.allclose(gate_rows(model)[UNITS : 2 * UNITS], rows[UNITS : 2 * UNITS] * (share * 1.2 - 0.1), atol=1e-6)
    assert not bool(gate_rows(model)[:UNITS].any()) and not bool(masks.kept["rnn.weight_hh_l0"][:UNITS].any())
    assert torch.allclose(model(batch()[0]), before, atol=1e-6)
    small, _ = compact(model, masks, example=(batch()[0],))
    assert torch.allclose(small(batch()[0]), before, atol=1e-6)
    assert ("rnn.l0", "input", 0) in masks.constant_gates


def test_a_strong_penalty_shuts_gates_while_the_loss_falls():
    torch.manual_seed(0)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    sparsifier = Sparsifier(model, L0("gate", 0.1, 3e-3), optimizer, steps=150, example=(batch()[0],))
    first = loss_of(model).item()
    train(sparsifier, 150)
    with pytest.warns(UserWarning, match="nothing of rnn.* was to stay; the best was kept of each"):
        assert 0.1 < sparsifier.finalize().sparsity() < 1
    assert loss_of(model).item() < first


@pytest.mark.parametrize(
    "options",
    [
        {"strength": -1},
        {"open": 1.0},
        {"temperature": 0},
        {"low": 0.1},
        {"high": 1.0},
        {"learning_rate": 0},
        {"high": math.inf},
        {"granularity": ()},
    ],
)
def test_bad_options_are_refused(options):
    with pytest.raises(UserError):
        L0(**options)
