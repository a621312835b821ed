"""Training that sees the rounding of 8 bits, against the engine's own rounding."""

import pytest
import torch
from torch import nn

import sparsernn.nn
from sparsernn import accelerate
from sparsernn.deploy.eight_bits import eight_bits, rounded


def test_rounded_numbers_are_whole_multiples_and_gradients_pass():
    numbers = torch.tensor([[1.0, -0.5, 0.003], [0.0, 0.0, 0.0]], requires_grad=True)
    result = rounded(numbers)
    expected = torch.tensor([[127.0, -64.0, 0.0], [0.0, 0.0, 0.0]]) / 127
    torch.testing.assert_close(result, expected)
    result.backward(torch.arange(6.0).reshape(2, 3))
    torch.testing.assert_close(numbers.grad, torch.arange(6.0).reshape(2, 3))


@pytest.mark.parametrize(
    "make", [nn.LSTM, nn.GRU, nn.RNN, sparsernn.nn.PeepholeLSTM, sparsernn.nn.RecurrentHighwayNetwork]
)
def test_the_forward_is_that_of_the_packed_formats(make):
    torch.manual_seed(0)
    model = make(9, 24)
    x = torch.randn(6, 3, 9)
    with eight_bits(model):
        output = model(x)[0]
    with torch.no_grad():
        packed, exact = accelerate(model, format="int8_dense")(x)[0], model(x)[0]
    # A number between two whole ones goes to either, as float32 has it; one such step is 1/127 of the largest.
    assert float((output.detach() - packed).abs().mean()) < 0.1 * float((exact - packed).abs().mean())
    output.sum().backward()
    assert all(bool(parameter.grad.abs().sum() > 0) for parameter in model.parameters())


def test_a_fine_tuned_network_loses_less_when_it_is_packed():
    """Adding marked numbers: the mean squared error of the packed network after steps that see the rounding or not."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(1)

    class Adder(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.LSTM(2, 16), nn.Linear(16, 1)

        def forward(self, x):
            return self.head(self.rnn(x)[0][-1])[:, 0]

    def batch(size=64):
        numbers = torch.rand(12, size, generator=generator)
        marks = torch.zeros(12, size)
        marks[torch.randint(0, 6, (size,), generator=generator), torch.arange(size)] = 1
        marks[torch.randint(6, 12, (size,), generator=generator), torch.arange(size)] = 1
        return torch.stack([numbers, marks], -1), (numbers * marks).sum(0)

    def train(model, steps, rate):
        optimizer = torch.optim.Adam(model.parameters(), rate)
        for _ in range(steps):
            x, target = batch()
            optimizer.zero_grad()
            nn.functional.mse_loss(model(x), target).backward()
            optimizer.step()

    model = Adder()
    train(model, 700, 0.01)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    x, target = batch(2000)
    errors = {}
    for seen in (False, True):
        model.load_state_dict(state)
        if seen:
            with eight_bits(model):
                train(model, 150, 0.002)
        else:
            train(model, 150, 0.002)
        with torch.no_grad():
            errors[seen] = float(nn.functional.mse_loss(accelerate(model, format="int8_dense")(x), target))
    assert errors[True] < 0.95 * errors[False] < 0.01
