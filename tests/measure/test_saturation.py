"""Saturation of memories against units that are computed by hand."""

import json
import math

import pytest
import torch
from torch import nn

from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.errors import UserError
from sparsernn.measure.saturation import memory_saturation, steps_to_settle
from sparsernn.structure.masks import Masks

STEPS = 40


def network(make, forget=1.5):
    """Unit 0 without any weight, with constant gates that are computed by hand; unit 1 whole."""
    torch.manual_seed(0)
    cell = make(2, 2).double()
    kept = {name: torch.ones_like(p, dtype=torch.bool) for name, p in cell.named_parameters() if p.dim() > 1}
    for name in kept:
        kept[name][::2] = False
    masks = Masks(kept)
    masks.apply_(cell)
    with torch.no_grad():
        for name, bias in cell.named_parameters():
            if "bias" in name:
                bias[::2] = 0.0
        cell.bias_ih_l0[:6:2] = torch.tensor([1.0, forget, 2.0])
    return cell, masks


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


@pytest.mark.parametrize("make", [LSTM, nn.LSTM, lambda *sizes: PeepholeLSTM(*sizes, peephole="full")])
def test_a_unit_by_hand(make):
    cell, masks = network(make)
    x = torch.randn(STEPS, 3, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    (layer,) = memory_saturation(cell, lambda cell: cell(x), masks).values()
    forget, written = sigmoid(1.5), sigmoid(1.0) * math.tanh(2.0)
    memory, memories = 0.0, []
    for _ in range(STEPS):
        memory = forget * memory + written
        memories.append(memory)
    assert layer["saturated"][0] == pytest.approx(sum(math.tanh(c) > 0.95 for c in memories) / STEPS)
    end = written / (1 - forget)
    first = next(step for step, c in enumerate(memories, start=1) if abs(c - end) <= 0.01 * end)
    assert layer["settled"] == {"0": first} and first > 5
    assert json.loads(json.dumps(layer)) == layer


def test_steps_of_padding_do_not_count():
    cell, masks = network(nn.LSTM)
    x = torch.randn(5, 2, 2, dtype=torch.float64)
    packed = nn.utils.rnn.pack_padded_sequence(x, torch.tensor([5, 2]))
    (layer,) = memory_saturation(cell, lambda cell: cell(packed), masks, threshold=0.7).values()
    forget, written = sigmoid(1.5), sigmoid(1.0) * math.tanh(2.0)
    above = [math.tanh(written * sum(forget**k for k in range(step))) > 0.7 for step in range(1, 6)]
    assert layer["saturated"][0] == pytest.approx((sum(above) + sum(above[:2])) / 7)


@pytest.mark.parametrize(("forget", "steps"), [(0.0, 1), (0.001, 1), (0.5, 7), (0.9, 44), (1.0, None)])
def test_steps_until_a_memory_has_settled(forget, steps):
    assert steps_to_settle(forget) == steps


def test_a_network_without_a_memory_is_refused():
    with pytest.raises(UserError, match="no layer with a memory"):
        memory_saturation(GRU(2, 2), lambda cell: cell(torch.ones(3, 1, 2)), Masks({}))
