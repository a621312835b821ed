"""Faults of methods: scores, norms, penalties and masks against the equations of their papers."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from sparsernn import Sparsifier
from sparsernn.methods.deep_r import DeepR
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.jacobian_spectrum import JacobianSpectrum
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.rigl import RigL
from sparsernn.methods.snip import SNIP
from sparsernn.methods.static import Static
from tests.faithful.faults import Outcome, equal, fault, first_of, near

STEPS, BATCH, INPUTS, UNITS = 4, 3, 2, 5


class Reader(nn.Module):
    """A recurrent layer and the batch that it reads."""

    def __init__(self, cell: nn.Module):
        super().__init__()
        self.cell = cell
        self.x = torch.randn(STEPS, BATCH, INPUTS, dtype=torch.double)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.cell(x)[0]

    def loss(self) -> Tensor:
        return self(self.x).sin().sum()


def gru_without_biases() -> Reader:
    torch.manual_seed(3)
    reader = Reader(nn.GRU(INPUTS, UNITS))
    nn.init.zeros_(reader.cell.bias_ih_l0)
    nn.init.zeros_(reader.cell.bias_hh_l0)
    return reader


def authors_step(x: Tensor, h: Tensor, kernel: Tensor, recurrent: Tensor) -> Tensor:
    """The scoring graph of Zhang & Stadie: every gate + 0.1, and h' = (1 - z) h + z o. Gates are r, z, o."""
    (r, z, o), (hr, hz, ho) = (a @ weight.mT for a, weight in ((x, kernel), (h, recurrent)))
    reset, update = torch.sigmoid(r + hr + 0.1), torch.sigmoid(z + hz + 0.1)
    return (1 - update) * h + update * torch.tanh(o + 0.1 + reset * ho)


def authors_weights(reader: Reader) -> list[Tensor]:
    """torch's update gate keeps the state, so the authors' one has the negative of its weights. [gate unit source]"""
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=torch.double).view(3, 1, 1)
    weights = reader.cell.weight_ih_l0, reader.cell.weight_hh_l0
    return [(signs * weight.detach().view(3, UNITS, -1)).requires_grad_() for weight in weights]


def largest_difference(scores: dict[str, Tensor], expected: list[Tensor]) -> float:
    """Of two scores of the same weights, relative to the expected one."""
    ours = [scores[f"cell.weight_{kind}_l0"].detach().view(3, UNITS, -1) for kind in ("ih", "hh")]
    return max(float(((a - b).abs() / b.abs()).max()) for a, b in zip(ours, expected, strict=True))


def scores(method, reader: Reader) -> tuple[dict[str, Tensor], torch.Generator]:
    """A method's scores of the whole network, and the generator as it was before."""
    run = Sparsifier(reader, RandomPruning(0.0), loss=reader.loss)
    run.method = method
    before = torch.Generator()
    before.set_state(run.generator.get_state())
    return method.importance(run), before


@fault
def offset_of_the_update_gate_in_the_score() -> Outcome:
    """The authors' + 0.1 opens their update gate towards the candidate, which in torch's convention is - 0.1."""
    reader = gru_without_biases()
    weights, states = authors_weights(reader), [torch.zeros(BATCH, UNITS, dtype=torch.double, requires_grad=True)]
    for x in reader.x:
        states.append(authors_step(x, states[-1], *weights))
    expected = [torch.zeros_like(weight) for weight in weights]
    for back in range(STEPS):
        (product,) = torch.autograd.grad(states[-1 - back].sum(), states[-2 - back], create_graph=True)
        slopes = torch.autograd.grad(product.square().mean(), weights, retain_graph=True, materialize_grads=True)
        for total, slope in zip(expected, slopes, strict=True):
            total += 0.9**back * slope.abs()
    ours, _ = scores(JacobianSpectrum(0.5, normaliser="none"), reader)
    apart = largest_difference(ours, expected)
    return Outcome("the slopes of chi", f"{apart:.1%} off at most", apart < 1e-6)


@fault
def offset_of_the_update_gate_in_the_normaliser() -> Outcome:
    """The same in |d (sum of h_5) / d w|, by which SNIP's score is divided too."""
    reader = gru_without_biases()
    ours, generator = scores(SNIP(0.5, normaliser="released"), reader)

    def noise(*shape: int) -> Tensor:
        return 0.1 * torch.randn(shape, generator=generator).double()

    weights, inputs = authors_weights(reader), noise(5, 100, INPUTS)
    state = 1 + noise(100, UNITS)
    for x in inputs:
        state = authors_step(x, state, *weights)
    gammas = torch.autograd.grad(state.sum(), weights)
    slopes = torch.autograd.grad(reader.loss(), [reader.cell.weight_ih_l0, reader.cell.weight_hh_l0])
    pairs = zip(slopes, weights, gammas, strict=True)
    expected = [(slope.view_as(weight) * weight / gamma).detach().abs() for slope, weight, gamma in pairs]
    apart = largest_difference(ours, expected)
    return Outcome("|w dL/dw| / gamma", f"{apart:.1%} off at most", apart < 1e-6)


@fault
def jacobian_of_a_peephole_lstm() -> Outcome:
    """The authors' Jacobian of a peephole LSTM is that of the whole state (h, c), not of h alone."""
    torch.manual_seed(3)
    layer = first_of("sparsernn.nn:PeepholeLSTM", "sparsernn.cells.peephole_lstm:PeepholeLSTM")
    reader = Reader(layer(INPUTS, UNITS))
    options = {"normaliser": "none", "horizon": 1, "offset": 0.0}
    ours, _ = scores(JacobianSpectrum(0.5, **options), reader)
    weight = reader.cell.weight_ih_l0

    def chi() -> float:
        """The mean square of J^T 1 over units and sequences, J = d (h, c) / d (h, c) of the last step."""
        before = tuple(part.detach().requires_grad_() for part in reader.cell(reader.x[:-1])[1])
        _, after = reader.cell(reader.x[-1:], before)
        products = torch.autograd.grad(sum(part.sum() for part in after), before)
        return float(torch.cat(products, -1).square().mean())

    values = []
    for moved in (1e-5, -2e-5):
        weight.data[0, 0] += moved
        values.append(chi())
    weight.data[0, 0] += 1e-5
    return near(abs(values[0] - values[1]) / 2e-5, float(ours["cell.weight_ih_l0"][0, 0]), 1e-4)


class Classifier(nn.Module):
    """A recurrent layer and a linear one that reads its last step."""

    def __init__(self, kind: type[nn.RNNBase]):
        super().__init__()
        torch.manual_seed(0)
        self.rnn, self.head = kind(3, 4, batch_first=True), nn.Linear(4, 2)
        self.x, self.y = torch.randn(8, 5, 3), torch.arange(8) % 2

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.rnn(x)[0][:, -1])

    def loss(self) -> Tensor:
        return nn.functional.cross_entropy(self(self.x), self.y)


def sparse(method, steps: int, rate: float, kind: type[nn.RNNBase] = nn.GRU) -> tuple:
    """A classifier, its optimizer and its Sparsifier."""
    model = Classifier(kind)
    optimizer = torch.optim.SGD(model.parameters(), rate)
    return model, optimizer, Sparsifier(model, method, optimizer, steps=steps, example=(model.x,))


@fault
def clipping_counts_what_exists() -> Outcome:
    """The norm by which gradients are clipped is that of the weights that exist, whatever the kernel."""
    model, optimizer, sparsifier = sparse(Static(0.8), 10, 0.1)
    whole = copy.deepcopy(model.state_dict())
    plain = Classifier(nn.GRU)
    plain.load_state_dict(whole)
    plain.loss().backward()
    squares = 0.0
    for name, parameter in plain.named_parameters():
        squares += float((parameter.grad * sparsifier.masks.kept.get(name, torch.ones(()))).square().sum())
    optimizer.zero_grad()
    model.loss().backward()
    return near(math.sqrt(squares), float(nn.utils.clip_grad_norm_(model.parameters(), 1e9)), 1e-5)


def with_biases(granularity: str) -> tuple[Classifier, Sparsifier]:
    """An LSTM under group lasso of strength 1, all its biases 1."""
    model, _, sparsifier = sparse(GroupLasso(1.0, granularity), 10, 0.1, nn.LSTM)
    nn.init.ones_(model.rnn.bias_ih_l0)
    nn.init.ones_(model.rnn.bias_hh_l0)
    return model, sparsifier


@fault
def group_lasso_of_units_leaves_biases_out() -> Outcome:
    """Wen et al.: a unit's group is its four columns, its row and what reads it; no bias."""
    model, sparsifier = with_biases("neuron")
    kernel, recurrent = model.rnn.weight_ih_l0.view(4, 4, 3), model.rnn.weight_hh_l0.view(4, 4, 4)
    total = 0.0
    for unit in range(4):
        counted_once = recurrent[:, :, unit].square().sum() - recurrent[:, unit, unit].square().sum()
        squares = kernel[:, unit].square().sum() + recurrent[:, unit].square().sum() + counted_once
        total += float((squares + model.head.weight[:, unit].square().sum()).sqrt().detach())
    return near(total, float(sparsifier.penalty().detach()), 1e-5)


@fault
def group_lasso_of_gates_leaves_biases_out() -> Outcome:
    """Lobacheva et al.: a gate's group is its incoming weights, biases excluded."""
    model, sparsifier = with_biases("gate")
    incoming = torch.cat([model.rnn.weight_ih_l0, model.rnn.weight_hh_l0], 1)
    return near(float(incoming.norm(dim=1).sum().detach()), float(sparsifier.penalty().detach()), 1e-5)


@fault
def threshold_of_group_lasso() -> Outcome:
    """Dodge et al. remove states of 601 numbers with a norm below 0.1: a root mean square of 0.1 / sqrt(601)."""
    return near(0.1 / math.sqrt(601), GroupLasso(0.1).threshold, 1e-6)


@fault
def deep_r_keeps_signs_in_its_first_step() -> Outcome:
    """Bellec et al.: after every step, the first too, no weight that exists has another sign than its own."""
    first = Classifier(nn.GRU).state_dict()
    model, optimizer, sparsifier = sparse(DeepR(0.5), 10, 30.0)
    model.loss().backward()
    optimizer.step()
    wrong = 0
    for name in ("rnn.weight_ih_l0", "rnn.weight_hh_l0"):
        wrong += int((sparsifier.masks.kept[name] & (model.get_parameter(name) * first[name] < 0)).sum())
    return Outcome("0 weights of the wrong sign", wrong, wrong == 0)


@fault
def rigl_at_the_end_of_rewiring_keeps_the_update() -> Outcome:
    """Evci et al. rewire at t < T_end; at T_end the rate is 0, and an event would only cost a step's update."""
    model, optimizer, _ = sparse(RigL(0.5, every=4, stop=0.5), 16, 0.1)
    moved = []
    for _ in range(10):
        before = model.rnn.weight_hh_l0.detach().clone()
        optimizer.zero_grad()
        model.loss().backward()
        optimizer.step()
        moved.append(float((model.rnn.weight_hh_l0.detach() - before).abs().max()))
    return Outcome("step 9 moves weights", f"by {moved[8]:.2g}", moved[8] > 0)


@fault
def rigl_truncates_its_count() -> Outcome:
    """The released code moves int(alpha nnz) weights, alpha = 0.3 / 2 (1 + cos(pi t / T_end)), T_end at 75 %."""
    model, optimizer, sparsifier = sparse(RigL(0.5, every=10), 100, 0.0)
    name = "rnn.weight_hh_l0"
    for _ in range(11):
        kept = sparsifier.masks.kept[name].clone()
        optimizer.zero_grad()
        (model.get_parameter(name) * (~kept).float()).sum().backward()  # all that is absent is worth growing
        optimizer.step()
    alpha = 0.3 / 2 * (1 + math.cos(math.pi * 10 / 75))
    return equal(int(alpha * int(kept.sum())), int((sparsifier.masks.kept[name] & ~kept).sum()))
