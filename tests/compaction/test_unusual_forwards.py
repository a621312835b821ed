"""Forwards with tensors of unusual kinds, and with what torch functions do not show."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsernn import Masks, Sparsifier, compact, load_compact, save_compact
from sparsernn.compaction.files import as_stored
from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from tests.structure.networks import difference, masked, without_neurons

UNITS, DEAD = 6, [0, 2, 5]
X = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))


class Tagged(Tensor):
    """A subclass of tensors that does nothing by itself."""


class Unusual(nn.Module):
    """A recurrent layer, a head, and a forward of a case's own."""

    def __init__(self, forward, **parts):
        super().__init__()
        self.rnn, self.head, self.way = nn.GRU(4, UNITS, batch_first=True), nn.Linear(UNITS, 3), forward
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x, *more):
        return self.way(self, x, *more)


def rotated(m, x):
    turned, state = torch.polar(m.speed.sigmoid(), m.speed), torch.zeros(len(x), 8, dtype=torch.complex64)
    for step in m.lift(x).to(torch.complex64).unbind(1):
        state = turned * state + step
    return m.head(m.rnn(F.linear(state.real, m.down).unsqueeze(1))[0])


def ragged(m, x):
    output = m.rnn(x)[0]
    return m.head(torch.nested.nested_tensor([row[: 1 + place % len(row)] for place, row in enumerate(output)]))


def labelled(m, x, labels):
    scores = m.head(m.rnn(x)[0]).log_softmax(-1).transpose(0, 1)
    lengths = [torch.full((len(x),), count) for count in (x.shape[1], labels.shape[1])]
    return F.ctc_loss(scores, labels, *lengths), scores


def neighbours(m, x, graph):
    return m.head(torch.sparse.mm(graph, m.rnn(x)[0][:, -1]))


CUT = {
    "complex states before the layer": lambda: (
        Unusual(rotated, lift=nn.Linear(4, 8), speed=nn.Parameter(torch.rand(8)), down=nn.Parameter(torch.rand(4, 8))),
        (X,),
    ),
    "a complex head": lambda: (
        Unusual(lambda m, x: m.head(m.rnn(x)[0].cfloat()), head=nn.Linear(UNITS, 2, dtype=torch.complex64)),
        (X,),
    ),
    "labels of sequences": lambda: (Unusual(labelled), (X, torch.tensor([[1, 2], [2, 1], [1, 1]]))),
}
KEPT = {
    "a sparse graph": lambda: (Unusual(neighbours), (X, torch.eye(3).to_sparse())),
    "ragged rows": lambda: (Unusual(ragged), (X,)),
    "a transform": lambda: (Unusual(lambda m, x: torch.func.vmap(m.head)(m.rnn(x)[0])), (X,)),
    "a transform around a layer": lambda: (
        Unusual(lambda m, x: m.head(torch.func.vmap(m.wide)(x)), wide=nn.Linear(4, UNITS)),
        (X,),
    ),
    "a subclass of tensors": lambda: (
        Unusual(lambda m, x: m.head(m.rnn(x)[0].as_subclass(Tagged)).as_subclass(Tensor)),
        (X,),
    ),
}


@pytest.mark.parametrize("case", [*CUT, *KEPT])
@pytest.mark.filterwarnings("ignore:0 of ", "ignore:no example ran", "ignore:The PyTorch API of nested tensors")
def test_unusual_tensors_are_followed_or_keep_their_units(case):
    torch.manual_seed(1)
    model, example = (CUT | KEPT)[case]()
    masks = without_neurons(model, {"rnn": DEAD} if case != "a transform around a layer" else {"wide": DEAD}, *example)
    small, _ = compact(model.eval(), masks, example=example)
    before, after = masked(model, masks), small
    results = [one(torch.tanh(2 * X), *example[1:]) for one in (before, after)]
    results = [result[1] if isinstance(result, tuple) else result for result in results]
    results = [result.to_padded_tensor(0.0) if result.is_nested else result for result in results]
    assert float((results[0] - results[1]).detach().abs().max()) <= 1e-6
    assert small.rnn.hidden_size == (UNITS - len(DEAD) if case in CUT else UNITS)
    stored = as_stored(small).state_dict()
    assert all(torch.equal(stored[name], value) for name, value in small.state_dict().items())


def test_labels_of_the_trials_are_those_of_classes():
    """torch reads other memory for a label that is no class, so that two runs differ."""
    model, example = CUT["labels of sequences"]()
    masks = without_neurons(model, {"rnn": DEAD}, *example)
    for _ in range(3):
        model, masks = compact(model.eval(), masks, example=example)
    assert model.rnn.hidden_size == UNITS - len(DEAD)


class Remembers(nn.Module):
    """Writes its last state into a buffer, of which another one is a view."""

    def __init__(self):
        super().__init__()
        self.cell, self.head = nn.GRUCell(4, UNITS), nn.Linear(UNITS, 3)
        self.register_buffer("state", torch.zeros(3, UNITS))
        self.register_buffer("first", self.state[0])

    def forward(self, x):
        state = self.state[: len(x)].clone()
        for step in x.unbind(1):
            state = self.cell(step, state)
        self.state[: len(x)] = state.detach()
        return self.head(state)


def test_a_buffer_that_a_forward_writes_into_is_as_before():
    torch.manual_seed(2)
    model = Remembers().eval()
    masks = without_neurons(model, {"cell": DEAD}, X)
    small, _ = compact(model, masks, example=X)
    for one in (model, small):
        assert not one.state.any() and one.first.data_ptr() == one.state.data_ptr()
    before = masked(model, masks)
    assert all(difference(before, small, X[:, :1]) <= 1e-6 for _ in range(2)) and small.cell.hidden_size == 3


def test_masks_of_a_shared_weight_under_both_of_its_names(tmp_path):
    class Shared(nn.Module):
        def __init__(self):
            super().__init__()
            self.left, self.right = (nn.GRU(4, UNITS, batch_first=True) for _ in range(2))
            self.right.weight_hh_l0, self.head = self.left.weight_hh_l0, nn.Linear(2 * UNITS, 3)

        def forward(self, x):
            return self.head(torch.cat([self.left(x)[0], self.right(x)[0]], -1))

    torch.manual_seed(3)
    model, rows = Shared().eval(), torch.tensor([unit + UNITS * gate for unit in DEAD for gate in range(3)])
    kept = {}
    for layer in ("left", "right"):
        for name, parameter in model.get_submodule(layer).named_parameters():
            kept[f"{layer}.{name}"] = torch.ones_like(parameter, dtype=torch.bool)
            kept[f"{layer}.{name}"][rows] = False
    small, masks = compact(model, Masks(kept), example=X)
    assert small.left.hidden_size == small.right.hidden_size == UNITS - len(DEAD)
    assert {name: mask.shape for name, mask in masks.kept.items()} == {
        name: dict(small.named_parameters(remove_duplicate=False))[name].shape for name in kept
    }
    save_compact(tmp_path / "small", small, masks)
    assert difference(load_compact(tmp_path / "small", Shared()).eval(), small, X) == 0
    assert difference(masked(model, Masks(kept)), small, X) <= 1e-6


def test_layers_of_a_cell_of_ones_own_say_why_they_stay():
    class Gated(nn.Module):
        def __init__(self):
            super().__init__()
            self.gate, self.value, self.register = nn.Linear(4, UNITS), nn.Linear(4, UNITS), None

        def forward(self, x):
            return torch.logcumsumexp(F.logsigmoid(self.gate(x)) + self.value(x), 1)

    model = Gated()
    masks = Sparsifier(model, Magnitude(0.5, "neuron"), where="*.weight", example=X).finalize()
    with pytest.warns(UserWarning, match="0 of 6 units of (gate can go, because log|value can go, because)"):
        small, _ = compact(model, masks, example=X)
    assert difference(masked(model, masks), small, X) == 0


def test_what_does_not_run_or_holds_nothing_is_one_sentence():
    class Careful(Unusual):
        def forward(self, x):
            if x.shape[-1] != 4:
                raise ValueError("four channels, please")
            return super().forward(x)

    model = Careful(lambda m, x: m.head(m.rnn(x)[0]))
    for wrong, sentence in ((torch.randn(3, 5, 2), "four channels, please"), (X[:0], "the example is empty")):
        with pytest.raises(UserError, match=sentence):
            Sparsifier(model, Magnitude(0.5, "neuron"), example=wrong)
        with pytest.raises(UserError, match=sentence):
            compact(model, Masks({}), example=wrong)
