"""What `analyse` says of a model against what was put into it, and against differences of the loss."""

import json

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparsernn
import sparsernn.nn as cells
from sparsernn.errors import UserError
from sparsernn.own_model.factories import made_by
from sparsernn.running.gate_values import gate_values
from sparsernn.running.passes import stepwise
from sparsernn.structure.wiring import Wiring


class Classifier(nn.Module):
    def __init__(self, recurrent: nn.Module, width: int):
        super().__init__()
        self.recurrent, self.head = recurrent, nn.Linear(width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.recurrent(x)[0][:, -1])


def cross_entropy(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def batches(count: int, width: int = 4) -> list[tuple[torch.Tensor, torch.Tensor]]:
    generator = torch.Generator().manual_seed(5)
    return [
        (torch.randn(6, 7, width, generator=generator), torch.randint(0, 3, (6,), generator=generator))
        for _ in range(count)
    ]


def test_what_was_put_into_a_network_is_reported() -> None:
    torch.manual_seed(0)
    model = Classifier(nn.LSTM(4, 8, batch_first=True), 8)
    with torch.no_grad():
        for name in ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"):
            weight = getattr(model.recurrent, name)
            weight.view(4, 8, -1)[2, 3] = 0  # unit 3 has no candidate
            weight.view(4, 8, -1)[:, 6] = weight.view(4, 8, -1)[:, 1]  # unit 6 does what unit 1 does
        model.recurrent.bias_ih_l0.view(4, 8)[1, 5] = 40.0  # the forget gate of unit 5 is open
        model.recurrent.bias_ih_l0.view(4, 8)[3, 2] = -40.0  # the output gate of unit 2 is closed
    before = {name: value.clone() for name, value in model.state_dict().items()}
    (layer,) = sparsernn.analyse(model, batches(3), cross_entropy).layers
    gates = {gate.name: gate for gate in layer.gates}
    assert (layer.label, layer.cell, layer.inputs, layer.units) == ("recurrent", "LSTM", 4, 8)
    assert layer.weights == 4 * 8 * 12 and layer.kept == layer.weights - 12
    assert layer.dead == [3] and 3 in layer.constant
    assert [pair[:2] for pair in layer.duplicates] == [(1, 6)]
    assert list(gates["forget"].saturated) == [5] and gates["forget"].saturated[5] == pytest.approx(1)
    assert list(gates["output"].saturated) == [2] and gates["output"].saturated[2] == pytest.approx(0)
    assert gates["candidate"].unit_means[3] == 0
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    assert model.training and all(parameter.grad is None for parameter in model.parameters())


def test_gates_are_those_of_the_equations() -> None:
    torch.manual_seed(1)
    gru = nn.GRU(3, 5)
    x = torch.randn(4, 2, 3)
    with torch.no_grad(), stepwise(gru, Wiring.local(gru)) as passes:
        output = gru(x)[0]
    values, states = gate_values({name[:-3]: value.detach() for name, value in gru.named_parameters()}, passes[0])
    hidden = torch.cat([torch.zeros(1, 2, 5), output[:-1]])
    w_r, w_z, w_n = F.linear(x, gru.weight_ih_l0, gru.bias_ih_l0).chunk(3, -1)
    u_r, u_z, u_n = F.linear(hidden, gru.weight_hh_l0, gru.bias_hh_l0).chunk(3, -1)
    reset = torch.sigmoid(w_r + u_r)
    expected = {"reset": reset, "update": torch.sigmoid(w_z + u_z), "candidate": torch.tanh(w_n + reset * u_n)}
    for gate, wanted in expected.items():
        torch.testing.assert_close(values[gate][1], wanted.detach().reshape(8, 5), atol=1e-6, rtol=0)
    torch.testing.assert_close(states[0], output.reshape(8, 5), atol=1e-6, rtol=0)


def test_padded_steps_are_not_counted() -> None:
    torch.manual_seed(2)
    lstm = cells.LSTM(3, 4)
    lengths = torch.tensor([5, 2])
    with torch.no_grad(), stepwise(lstm, Wiring.local(lstm)) as passes:
        lstm(torch.randn(5, 2, 3), lengths=lengths)
    values, _ = gate_values({name[:-3]: value.detach() for name, value in lstm.named_parameters()}, passes[0])
    assert values["forget"][1].shape == (7, 4)


def test_sensitivity_is_the_square_of_the_first_order_change() -> None:
    torch.manual_seed(3)
    model = Classifier(nn.LSTM(4, 6, batch_first=True), 6).double()
    data = [(x.double(), y) for x, y in batches(2)]
    (layer,) = sparsernn.analyse(model, data, cross_entropy).layers
    rows = {name: getattr(model.recurrent, name) for name in ("weight_ih_l0", "weight_hh_l0")}
    gate, unit, shift = 1, 4, 1e-6
    changes = []
    for batch in data:
        losses = []
        for factor in (1 + shift, 1 - shift):
            with torch.no_grad():
                for weight in rows.values():
                    weight.view(4, 6, -1)[gate, unit] *= factor
                losses.append(float(cross_entropy(model, batch)))
                for weight in rows.values():
                    weight.view(4, 6, -1)[gate, unit] /= factor
        changes.append(((losses[0] - losses[1]) / (2 * shift)) ** 2)
    forget = next(gate for gate in layer.gates if gate.name == "forget")
    assert forget.sensitivity[unit] == pytest.approx(sum(changes) / 2, rel=1e-4)


def test_a_gate_without_influence_has_no_sensitivity() -> None:
    model = Classifier(nn.GRU(4, 6, batch_first=True), 6)
    with torch.no_grad():
        model.head.weight[:, 2] = 0
        model.recurrent.weight_hh_l0[:, 2] = 0
    (layer,) = sparsernn.analyse(model, batches(2), cross_entropy).layers
    assert layer.sensitivity[2] == 0 and min(layer.sensitivity[:2] + layer.sensitivity[3:]) > 0


@pytest.mark.parametrize(
    "batch",
    [torch.randn(2, 5, 4), (torch.randn(2, 5, 4),), {"x": torch.randn(2, 5, 4)}, ((), {"x": torch.randn(2, 5, 4)})],
    ids=["tensor", "tuple", "dict", "pair"],
)
def test_every_form_of_a_batch(batch: object) -> None:
    analysis = sparsernn.analyse(Classifier(nn.RNN(4, 5, batch_first=True), 5), [batch])
    assert [gate.name for gate in analysis.layers[0].gates] == ["candidate"]
    assert "recurrent (RNN)" in str(analysis)
    assert json.loads(json.dumps(analysis.to_json()))["batches"] == 1
    assert analysis.picture().count("<svg") == 1


@pytest.mark.parametrize(
    "module",
    [
        cells.PeepholeLSTM(4, 5),
        cells.RecurrentHighwayNetwork(4, 5),
        cells.QRNN(4, 5),
        cells.SRU(4, 5),
        cells.Rational(4, 5),
    ],
    ids=lambda module: type(module).__name__,
)
def test_every_cell(module: nn.Module) -> None:
    (layer,) = sparsernn.analyse(Classifier(module, 5), [torch.randn(6, 3, 4)]).layers
    assert layer.gates and len(layer.sensitivity) == layer.units


class Residual(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.GRU(5, 5), nn.GRU(5, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x + self.first(x)[0]
        return x + self.second(x)[0]


def test_units_that_are_added_share_their_sensitivity() -> None:
    first, second = sparsernn.analyse(Residual(), torch.randn(4, 2, 5)).layers
    assert min(first.sensitivity) > 0 and first.sensitivity == second.sensitivity


def test_what_cannot_be_analysed_is_one_sentence() -> None:
    with pytest.raises(UserError, match="no recurrent layer ran"):
        sparsernn.analyse(nn.Linear(3, 2), torch.randn(2, 3))
    with pytest.raises(UserError, match="holds no batch"):
        sparsernn.analyse(nn.LSTM(3, 2), [])
    with pytest.raises(UserError, match="cannot be called with a batch"):
        sparsernn.analyse(Classifier(nn.GRU(4, 5, batch_first=True), 5), batches(1))
    with pytest.raises(UserError, match="the loss has the shape"):
        sparsernn.analyse(nn.GRU(3, 2), torch.randn(4, 1, 3), lambda model, batch: model(batch)[0])
    with pytest.raises(UserError, match="no module nowhere"):
        made_by("nowhere:make")


class Rounded(nn.Module):
    """What it gives cannot be differentiated."""

    def __init__(self, head: nn.Module):
        super().__init__()
        self.recurrent, self.head = nn.GRU(3, 4, batch_first=True), head

    def forward(self, x):
        return torch.heaviside(self.head(self.recurrent(x)[0]), torch.tensor(0.5))


def test_what_cannot_be_differentiated_or_has_no_weights_yet_is_one_sentence():
    with pytest.raises(UserError, match="the model cannot be differentiated: derivative"):
        sparsernn.analyse(Rounded(nn.Linear(4, 2)), [torch.randn(2, 5, 3)])
    with pytest.raises(UserError, match="head.weight has no shape yet"):
        sparsernn.analyse(Rounded(nn.LazyLinear(2)), [torch.randn(2, 5, 3)])
