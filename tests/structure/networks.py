"""Small models as users write them, for the tests of structure: every way in which a recurrent layer is read."""

import copy

import torch
from torch import Tensor, nn

from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.cells.qrnn import QRNN
from sparsernn.cells.rational import Rational
from sparsernn.cells.recurrent_highway import RecurrentHighwayNetwork
from sparsernn.cells.rnn import RNN
from sparsernn.cells.sru import SRU
from sparsernn.compaction.compact import compact
from sparsernn.structure.groups import Groups
from sparsernn.structure.masks import Masks
from sparsernn.tracing.recording import trace

MAKERS = {
    "torch LSTM": nn.LSTM,
    "torch LSTM projected": lambda *sizes, **options: nn.LSTM(*sizes, proj_size=4, **options),
    "torch GRU": nn.GRU,
    "torch RNN tanh": nn.RNN,
    "torch RNN relu": lambda *sizes, **options: nn.RNN(*sizes, nonlinearity="relu", **options),
    "our LSTM": LSTM,
    "our LSTM hard": lambda *sizes, **options: LSTM(*sizes, gate_activation="hard_sigmoid", **options),
    "our GRU": GRU,
    "our GRU before": lambda *sizes, **options: GRU(*sizes, reset="before", **options),
    "our RNN": RNN,
    "our peephole diagonal": PeepholeLSTM,
    "our peephole full": lambda *sizes, **options: PeepholeLSTM(*sizes, peephole="full", **options),
    "our rational": lambda *sizes, **options: Rational(*sizes, lengths=3, **options),
    "our rational mixed": lambda inputs, patterns, *layers, **options: Rational(
        inputs, patterns, *layers, lengths=[1, 4, 2, 1, 3, 2, 1][:patterns], last_loop="one", **options
    ),
    "our rational rich": lambda *sizes, **options: Rational(
        *sizes, lengths=3, final="learned", epsilon=True, output_gate=True, **options
    ),
    "our rational last": lambda *sizes, **options: Rational(*sizes, lengths=2, final="last", **options),
    "our SRU": SRU,
    "our QRNN": QRNN,
    "our highway": lambda *sizes, **options: RecurrentHighwayNetwork(*sizes, depth=2, **options),
}


class Reading(nn.Module):
    """An embedding, recurrent layers, and a linear layer that reads them in one of many ways."""

    WAYS = (
        "output",
        "last step",
        "final state",
        "all final states",
        "first layer's state",
        "memory",
        "mean",
        "max",
        "attention",
        "returned states",
    )

    def __init__(self, cell: nn.Module, way: str, words: int = 7, learned_start: bool = False):
        super().__init__()
        self.embedding = nn.Embedding(words, cell.input_size)
        self.cell, self.way = cell, way
        self.directions = 2 if cell.bidirectional else 1
        self.places = cell.num_layers * self.directions
        probe = cell(torch.zeros(2, 2, cell.input_size))
        states = probe[1] if isinstance(probe[1], tuple) else (probe[1],)
        wide, final, memory = probe[0].shape[-1], states[0].shape[-1], states[-1].shape[-1]
        widths = {
            "final state": final * self.directions,
            "all final states": final * self.places,
            "first layer's state": final,
            "memory": memory,
        }
        self.head = nn.Linear(widths.get(way, wide), 3)
        self.score = nn.Linear(wide, 1) if way == "attention" else None
        self.starts = nn.ParameterList(
            [nn.Parameter(torch.randn(self.places, 1, state.shape[-1])) for state in states] if learned_start else []
        )

    def forward(self, ids: Tensor, state=None):
        batch = ids.shape[1]
        if len(self.starts):
            given = tuple(start.expand(-1, batch, -1).contiguous() for start in self.starts)
            state = given if len(given) > 1 else given[0]
        output, state = self.cell(self.embedding(ids), state)
        states = state if isinstance(state, tuple) else (state,)
        read = {
            "output": lambda: output,
            "last step": lambda: output[-1],
            "final state": lambda: torch.cat(list(states[0][-self.directions :]), -1),
            "all final states": lambda: states[0].transpose(0, 1).reshape(batch, -1),
            "first layer's state": lambda: states[0][0],
            "memory": lambda: states[-1][-1],
            "mean": lambda: output.mean(0),
            "max": lambda: output.max(dim=0).values,
            "attention": lambda: self._attended(output),
            "returned states": lambda: output,
        }[self.way]()
        logits = self.head(torch.tanh(read))
        return (logits, state) if self.way == "returned states" else logits

    def _attended(self, output: Tensor) -> Tensor:
        weights = torch.softmax(self.score(output), 0)
        return torch.bmm(weights.permute(1, 2, 0), output.transpose(0, 1)).squeeze(1)


def random_masks(model: nn.Module, level: str, kept: float, seed: int, where=None, example=None) -> Masks:
    """Masks that keep each group of a level with the given probability."""
    generator = torch.Generator().manual_seed(seed)
    wiring = trace(model, example)
    groups = Groups.of(wiring, model, level, where)
    masks = Masks.full(wiring, model, set(groups.names))
    groups.keep(masks, torch.rand(groups.count, generator=generator) < kept)
    return masks


def masked(model: nn.Module, masks: Masks) -> nn.Module:
    """A copy with zeros in place of absent weights."""
    clone = copy.deepcopy(model)
    masks.apply_(clone)
    return clone


def flat(result) -> list[Tensor]:
    """Every tensor in nested tuples."""
    return [result] if isinstance(result, Tensor) else [tensor for part in result for tensor in flat(part)]


@torch.no_grad()
def difference(left: nn.Module, right: nn.Module, *inputs) -> float:
    """The largest difference of any two numbers that the models return."""
    pairs = list(zip(flat(left(*inputs)), flat(right(*inputs)), strict=True))
    assert all(a.shape == b.shape for a, b in pairs)
    return max(float((a - b).abs().max()) for a, b in pairs)


def check_exact(model: nn.Module, masks: Masks, *inputs, **options) -> tuple[nn.Module, Masks]:
    """Compact, and assert what compaction promises: the same results, the model untouched, masks that fit."""
    before = {name: value.clone() for name, value in model.state_dict().items()}
    small, left = compact(model, masks, example=inputs, **options)
    reference = masked(model, masks)
    modes = (small.training, reference.training)
    assert modes == (model.training, model.training)
    assert difference(reference.eval(), copy.deepcopy(small).eval(), *inputs) <= 1e-6
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    shapes = {name: parameter.shape for name, parameter in small.named_parameters()}
    assert all(kept.shape == shapes[name] for name, kept in left.kept.items())
    again = {name: value.clone() for name, value in small.state_dict().items()}
    left.apply_(small)
    assert all(torch.equal(value, again[name]) for name, value in small.state_dict().items())
    return small, left


def size_of(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def without_neurons(model: nn.Module, dead: dict[str, list[int]], *example) -> Masks:
    """Masks in which hidden units are gone, by the label of their layer."""
    wiring = trace(model, example)
    groups = Groups.of(wiring, model, "neuron")
    masks, kept = Masks.full(wiring, model, set(groups.names)), torch.ones(groups.count, dtype=torch.bool)
    for family in groups.families:
        kept[[family.start + unit for unit in dead.get(family.label, [])]] = False
    groups.keep(masks, kept)
    return masks


def full_masks(model: nn.Module, *example) -> Masks:
    wiring = trace(model, example or None)
    return Masks.full(wiring, model, {name for name, weight in wiring.weights.items()})
