"""Random models as people write them, masks for them, an example, and calls that the example does not show."""

import math
import random
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sparsernn import nn as ours
from sparsernn.structure.groups import Groups
from sparsernn.structure.masks import Masks
from sparsernn.tracing.recording import trace

WORDS, FEATURES, CLASSES = 9, 4, 5
CELLS = {
    "LSTM": (nn.LSTM, nn.LSTMCell),
    "GRU": (nn.GRU, nn.GRUCell),
    "RNN": (nn.RNN, nn.RNNCell),
    "our LSTM": (ours.LSTM, nn.LSTMCell),
    "our GRU": (ours.GRU, nn.GRUCell),
}
FRONTS = ("features", "embedding", "linear", "children one by one", "sequential", "list", "alias", "closure of self")
STATES = ("none", "optional", "required", "made inside", "learned", "kept", "kept zeros", "buffer")
READS = (
    "output",
    "last",
    "mean",
    "max",
    "final state",
    "attention",
    "scaled attention",
    "width as a number",
    "width in a product",
    "chosen step",
    "halves",
    "fixed halves",
    "rolled",
    "returned",
    "residual",
    "second layer",
    "group norm",
    "grouped convolution",
)
HEADS = ("plain", "named", "chosen class", "chosen by a number", "branch by a flag", "auxiliary", "by sign", "numbered")
STEPS = (6, 6, 1, 2)


@dataclass
class Plan:
    """What a model is made of."""

    cell: str
    front: str
    state: str
    read: str
    head: str
    hidden: int
    layers: int
    directions: int
    bias: bool
    stepped: bool
    lengths: bool
    keeps: bool

    @classmethod
    def draw(cls, rng: random.Random) -> "Plan":
        stepped = rng.random() < 0.15
        return cls(
            rng.choice([*CELLS, "LSTM", "GRU"]),
            rng.choice(FRONTS),
            rng.choice(STATES),
            rng.choice(READS),
            rng.choice(HEADS),
            rng.randint(5, 8),
            1 if stepped else rng.choice([1, 1, 2]),
            1 if stepped else rng.choice([1, 1, 2]),
            rng.random() < 0.5,
            stepped,
            not stepped and rng.random() < 0.2,
            rng.random() < 0.3,
        )


class Drawn(nn.Module):
    """A model after a plan; its inputs are [batch time features], or ids."""

    def __init__(self, plan: Plan):
        super().__init__()
        self.plan = plan
        width = FEATURES
        if plan.front == "embedding":
            self.embedding, width = nn.Embedding(WORDS, 6), 6
        elif plan.front in ("linear", "list", "alias", "closure of self"):
            self.project, width = nn.Linear(FEATURES, 6), 6
            self.references = [self.project]
            object.__setattr__(self, "other_name", self.project)
        elif plan.front in ("children one by one", "sequential"):
            self.body = nn.Sequential(nn.Linear(FEATURES, 7), nn.ReLU(), nn.Linear(7, 6))
            width = 6
        stack, cell = CELLS[plan.cell]
        options = {"bias": plan.bias}
        if not plan.stepped:
            options |= {"batch_first": True, "bidirectional": plan.directions == 2, "num_layers": plan.layers}
        self.rnn = (cell if plan.stepped else stack)(width, plan.hidden, **options)
        self.has_memory = plan.cell.endswith("LSTM")
        wide = plan.hidden * plan.directions
        self.second = nn.GRU(wide, wide, batch_first=True) if plan.read in ("second layer", "residual") else None
        groups = max(count for count in range(1, wide // 2 + 1) if wide % count == 0)
        self.norm = nn.GroupNorm(groups, wide) if plan.read == "group norm" else None
        if plan.read == "grouped convolution":
            self.norm = nn.Conv1d(wide, wide, 3, padding=1, groups=groups, bias=plan.bias)
        self.score = nn.Linear(wide, 1) if plan.read == "attention" else None
        self.heads = nn.ModuleDict(
            {name: nn.Linear(wide, CLASSES) for name in ("a", "b")[: 1 + (plan.head == "named")]}
        )
        self.numbered = nn.ModuleList(nn.Linear(wide, CLASSES) for _ in range(2 if plan.head == "numbered" else 0))
        self.auxiliary = nn.Linear(wide, 2) if plan.head == "auxiliary" else None
        self.start = nn.Parameter(torch.randn(wide * plan.layers)) if plan.state == "learned" else None
        self.hidden, self.attention = None, None
        if plan.state == "kept zeros":
            self.hidden = self.zeros(3)
        if plan.state == "buffer":
            self.register_buffer("first", torch.zeros(self.shape(1)))

    def shape(self, batch: int) -> tuple[int, ...]:
        rows = () if self.plan.stepped else (self.plan.layers * self.plan.directions,)
        return (*rows, batch, self.plan.hidden)

    def zeros(self, batch: int):
        zeros = torch.zeros(self.shape(batch), dtype=torch.float64)
        return (zeros, zeros.clone()) if self.has_memory else zeros

    def begin(self, batch: int, state):
        kind = self.plan.state
        if kind in ("optional", "required"):
            return state
        if kind in ("kept", "kept zeros"):
            kept = self.hidden[0] if isinstance(self.hidden, tuple) else self.hidden
            return self.hidden if kept is not None and kept.shape[-2] == batch else None
        one = None
        if kind == "learned":
            rows = self.start.view(-1, 1, self.plan.hidden).expand(-1, batch, -1).contiguous()
            one = rows[0] if self.plan.stepped else rows
        elif kind == "buffer":
            one = self.first.expand(self.shape(batch)).contiguous()
        elif kind == "made inside":
            one = torch.zeros(self.shape(batch), dtype=torch.float64)
        return (one, one.clone()) if self.has_memory and one is not None else one

    def embed(self, x: Tensor) -> Tensor:
        front = self.plan.front
        if front == "embedding":
            return self.embedding(x)
        if front == "linear":
            return torch.tanh(self.project(x))
        if front == "list":
            return torch.relu(self.references[0](x))
        if front == "alias":
            return self.other_name(x)
        if front == "closure of self":
            return (lambda value: self.project(value))(x)
        if front == "children one by one":
            return self.body[2](torch.relu(self.body[0](x) + 1))
        return self.body(x) if front == "sequential" else x

    def run(self, x: Tensor, state, lengths):
        if self.plan.stepped:
            outputs = []
            for step in x.unbind(1):
                state = self.rnn(step, state)
                outputs.append(state[0] if self.has_memory else state)
            return torch.stack(outputs, 1), state
        if lengths is None:
            return self.rnn(x, state)
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        output, state = self.rnn(packed, state)
        return pad_packed_sequence(output, batch_first=True)[0], state

    def read(self, output: Tensor, state, step) -> Tensor:
        way, width = self.plan.read, output.size(-1)
        if way == "last":
            return output[:, -1]
        if way == "mean":
            return output.mean(1)
        if way == "max":
            return output.max(1).values
        if way == "final state":
            final = state[0] if self.has_memory else state
            return final if self.plan.stepped else torch.cat(list(final[-self.plan.directions :]), -1)
        if way in ("attention", "scaled attention"):
            score = self.score(output) if self.score else output.sum(-1, keepdim=True) / math.sqrt(width)
            self.attention = torch.softmax(score, 1)
            return (self.attention * output).sum(1)
        if way == "width as a number":
            return torch.softmax(output[..., :1].detach() * 0 + output.mean(1, True).mean(-1, True) / width, 1) * output
        if way == "width in a product":
            return output * output.shape[-1]
        if way == "chosen step":
            return output[torch.arange(len(output)), step]
        if way == "halves":
            half = width // 2
            return torch.cat([output[..., :half].flip(1), output[..., half:]], -1)
        if way == "fixed halves":
            half = self.plan.hidden * self.plan.directions // 2
            return torch.cat([output[..., :half] * 2, output[..., half:]], -1)
        if way == "rolled":
            return output * output.roll(1, -1)
        if way == "residual":
            return output + self.second(output)[0]
        if self.norm is not None:
            return self.norm(output.transpose(1, 2)).transpose(1, 2)
        return self.second(output)[0] if way == "second layer" else output

    def forward(self, x, state=None, lengths=None, step=None, action=None, task="a", flag=False):
        plan = self.plan
        output, last = self.run(self.embed(x), self.begin(len(x), state), lengths)
        if plan.state in ("kept", "kept zeros"):
            self.hidden = tuple(part.detach() for part in last) if self.has_memory else last.detach()
        if plan.keeps:
            self.last_output = output
        read = self.read(output, last, step)
        values = self.heads[task](read)
        if plan.head == "chosen class":
            values = values.gather(-1, action.view(-1, *[1] * (values.dim() - 1)).expand(*values.shape[:-1], 1))
        elif plan.head == "chosen by a number":
            values = values[..., action]
        elif plan.head == "branch by a flag" and flag:
            values = values + read.sum(-1, keepdim=True)
        elif plan.head == "by sign" and float(x.double().sum()) > 0:
            values = values + read.pow(2).sum(-1, keepdim=True)
        elif plan.head == "numbered":
            values = self.numbered[action](read)
        if self.auxiliary is not None and self.training:
            return values, self.auxiliary(read)
        return (values, last) if plan.read == "returned" else values


@dataclass
class Case:
    """A model in float64 with masks, the call that compaction sees, and calls that it does not."""

    plan: Plan
    model: Drawn
    masks: Masks
    example: object
    held_back: list[dict] = field(default_factory=list)


def draw_case(seed: int) -> Case:
    """The same seed gives the same case."""
    rng = random.Random(seed)
    torch.manual_seed(seed)
    plan = Plan.draw(rng)
    model = Drawn(plan).double().eval()
    _quieten(model, rng)
    first = _inputs(model, rng, rng.choice(STEPS), batch=3, real_state=rng.random() < 0.2, first=True)
    calls = [
        _inputs(model, rng, steps, batch, True, False) for steps, batch in ((6, 3), (5, 4), (1, 1), (9, 2), (6, 3))
    ]
    masks = _masks(model, rng, first)
    masks.apply_(model)
    return Case(plan, model, masks, None if rng.random() < 0.1 else first, calls)


def _quieten(model: nn.Module, rng: random.Random) -> None:
    for name, parameter in model.named_parameters():
        if "bias" in name and rng.random() < 0.5:
            nn.init.zeros_(parameter)


def _inputs(model: Drawn, rng: random.Random, steps: int, batch: int, real_state: bool, first: bool) -> dict:
    """Keywords of one call: an example has zeros for a state, class 0, head "a"; held-back calls have anything."""
    plan = model.plan
    if plan.state == "kept zeros":
        batch = 3
    ids = torch.randint(WORDS, (batch, steps))
    call = {"x": ids if plan.front == "embedding" else torch.randn(batch, steps, FEATURES, dtype=torch.float64)}
    if plan.state == "required" or (plan.state == "optional" and real_state):
        parts = tuple(torch.randn(model.shape(batch), dtype=torch.float64) * real_state for _ in range(2))
        call["state"] = parts if model.has_memory else parts[0]
    if plan.lengths:
        call["lengths"] = torch.randint(1, steps + 1, (batch,))
        call["lengths"][0] = steps
    if plan.read == "chosen step":
        call["step"] = torch.randint(steps, (batch,)) * (not first)
    if plan.head == "chosen class":
        call["action"] = torch.randint(CLASSES, (batch,)) * (not first)
    if plan.head == "chosen by a number":
        call["action"] = 0 if first else rng.randrange(CLASSES)
    if plan.head == "numbered":
        call["action"] = 0 if first else rng.randrange(2)
    if plan.head == "named" and not first:
        call["task"] = rng.choice(["a", "b"])
    if plan.head == "branch by a flag" and not first:
        call["flag"] = rng.random() < 0.5
    return call


def _masks(model: Drawn, rng: random.Random, first: dict) -> Masks:
    """Units, gates or weights that are left out at random, of recurrent layers or of every layer, or rows of them."""
    wiring = trace(model, first)
    level = rng.choice(["neuron", "neuron", "gate", "weight", "rows"])
    if level != "rows":
        groups = Groups.of(
            wiring, model, level, rng.choice([None, None, lambda name: True]) if level != "neuron" else None
        )
        masks = Masks.full(wiring, model, set(groups.names))
        groups.keep(masks, torch.rand(groups.count) < rng.choice([0.0, 0.2, 0.5]))
        return masks
    masks = Masks.full(wiring, model, set(wiring.weights))
    for name, kept in masks.kept.items():
        layout = wiring.weights[name].layout
        view = layout.view(kept)
        for place in range(view.dim()):
            if layout.stored[place] != "gate" and rng.random() < 0.4:
                view.movedim(place, 0)[torch.rand(view.shape[place]) < 0.4] = False
    return masks
