"""Groups against a brute-force enumeration: which weights each group owns, at every level and for every cell."""

import pytest
import torch
from torch import nn

from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.cells.qrnn import QRNN
from sparsernn.errors import UserError
from sparsernn.structure.groups import Groups, select
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.recording import trace
from tests.structure.networks import MAKERS, Reading

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections")
LEVELS = ("weight", "gate", "neuron", "input", "2x1", "4x3", "1x2")


def built(maker: str = "torch LSTM", way: str = "output", **options) -> tuple[nn.Module, Wiring]:
    torch.manual_seed(0)
    model = Reading(MAKERS[maker](4, 5, 2, **options), way)
    return model, trace(model, (torch.randint(7, (3, 2)),))


def members(groups: Groups, weights: dict) -> list[dict[str, set[int]]]:
    """For each group the flat positions that it owns in each tensor, found one group at a time by keep()."""
    found = []
    for number in range(groups.count):
        masks = Masks({name: torch.ones_like(weights[name], dtype=torch.bool) for name in groups.names})
        kept = torch.ones(groups.count, dtype=torch.bool)
        kept[number] = False
        groups.keep(masks, kept)
        found.append(
            {
                name: set((~mask).reshape(-1).nonzero().squeeze(1).tolist())
                for name, mask in masks.kept.items()
                if not mask.all()
            }
        )
    return found


def expected_neurons(model: nn.Module, layer: int, unit: int) -> dict[str, set[int]]:
    """By hand, for a two-layer one-directional torch LSTM of 5 units read by `head`."""
    found = {}
    inputs = 4 if layer == 0 else 5
    rows = [gate * 5 + unit for gate in range(4)]
    found[f"cell.weight_ih_l{layer}"] = {row * inputs + column for row in rows for column in range(inputs)}
    found[f"cell.weight_hh_l{layer}"] = {row * 5 + column for row in rows for column in range(5)} | {
        row * 5 + unit for row in range(20)
    }
    found[f"cell.bias_ih_l{layer}"] = found[f"cell.bias_hh_l{layer}"] = set(rows)
    if layer == 0:
        found["cell.weight_ih_l1"] = {row * 5 + unit for row in range(20)}
    else:
        found["head.weight"] = {row * 5 + unit for row in range(3)}
    return found


def test_a_neuron_takes_its_rows_columns_biases_and_readers():
    model, wiring = built()
    groups = Groups.of(wiring, model, "neuron")
    assert [(family.label, family.size) for family in groups.families] == [("cell.l0", 5), ("cell.l1", 5)]
    for number, owned in enumerate(members(groups, wiring.parameters(model))):
        assert owned == expected_neurons(model, *divmod(number, 5))


def test_a_gate_takes_its_incoming_row_and_no_bias():
    model, wiring = built()
    groups = Groups.of(wiring, model, "gate")
    owned = members(groups, wiring.parameters(model))
    assert [(family.label, family.size) for family in groups.families] == [("cell.l0", 20), ("cell.l1", 20)]
    for number, pieces in enumerate(owned):
        layer, row = divmod(number, 20)
        inputs = 4 if layer == 0 else 5
        assert pieces == {
            f"cell.weight_ih_l{layer}": {row * inputs + column for column in range(inputs)},
            f"cell.weight_hh_l{layer}": {row * 5 + column for column in range(5)},
        }


def test_gates_of_a_diagonal_peephole():
    model = PeepholeLSTM(4, 3)
    wiring = trace(model)
    owned = members(Groups.of(wiring, model, "gate"), wiring.parameters(model))
    with_peephole = {"input": 0, "forget": 1, "output": 2}
    for number, pieces in enumerate(owned):
        gate, unit = model.cell.gates[number // 3], number % 3
        assert pieces.get("weight_ch_l0") == ({with_peephole[gate] * 3 + unit} if gate in with_peephole else None)


def test_an_input_takes_its_columns_and_who_writes_it():
    model, wiring = built()
    owned = members(Groups.of(wiring, model, "input", "cell.*_l0"), wiring.parameters(model))
    assert owned[2] == {
        "cell.weight_ih_l0": {row * 4 + 2 for row in range(20)},
        "embedding.weight": {word * 4 + 2 for word in range(7)},
    }


def test_words_are_rows_of_the_embedding():
    model, wiring = built()
    groups = Groups.of(wiring, model, "word", "embedding.weight")
    assert members(groups, wiring.parameters(model))[3] == {"embedding.weight": set(range(12, 16))}


@pytest.mark.parametrize(("rows", "columns"), [(2, 1), (4, 3), (16, 1), (1, 2)])
@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, PeepholeLSTM])
def test_blocks_never_cross_gates_and_are_smaller_at_the_edges(cell, rows, columns):
    model = cell(3, 5)
    wiring = trace(model)
    groups = Groups.of(wiring, model, f"{rows}x{columns}")
    seen = {name: set() for name in groups.names}
    for pieces in members(groups, wiring.parameters(model)):
        ((name, places),) = pieces.items()
        width = wiring.weights[name].units_by_dimension[-1].numel() if wiring.weights[name].layout.source else 1
        cells = {(place // width, place % width) for place in places}
        assert len({row // 5 for row, _ in cells}) == 1
        tops, lefts = sorted({row % 5 for row, _ in cells}), sorted({column for _, column in cells})
        assert tops == list(range(tops[0], min(tops[0] + rows, 5))) and tops[0] % rows == 0
        assert (
            lefts == list(range(lefts[0], min(lefts[0] + (columns if width > 1 else 1), width)))
            and lefts[0] % columns == 0
        )
        assert len(cells) == len(tops) * len(lefts)
        assert not seen[name] & places
        seen[name] |= places
    assert all(len(places) == wiring.parameters(model)[name].numel() for name, places in seen.items())


def test_a_block_of_an_embedding_runs_along_its_units():
    model = nn.Embedding(3, 5)
    owned = members(Groups.of(trace(model), model, "4x1", "weight"), {"weight": model.weight})
    assert owned == [
        {"weight": {5 * word + unit for unit in units}} for word in range(3) for units in (range(4), range(4, 5))
    ]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("maker", MAKERS)
def test_norms_sizes_kept_and_scale_agree_with_brute_force(maker, level):
    model, wiring = built(maker)
    weights = {name: parameter.detach().clone() for name, parameter in wiring.parameters(model).items()}
    groups = Groups.of(wiring, model, level)
    owned = (
        members(groups, weights)
        if level != "weight"
        else [{name: {place}} for name in groups.names for place in range(weights[name].numel())]
    )
    assert len(owned) == groups.count == sum(family.size for family in groups.families)
    squares = [
        sum(float(weights[name].reshape(-1)[place]) ** 2 for name, places in pieces.items() for place in places)
        for pieces in owned
    ]
    norms = groups.norms(weights)
    assert torch.allclose(norms, torch.tensor(squares).sqrt(), atol=1e-5)
    assert groups.sizes(weights).tolist() == [sum(map(len, pieces.values())) for pieces in owned]
    for family in groups.families:
        assert torch.allclose(groups.family_norms(weights, family), norms[family.start : family.stop])

    generator = torch.Generator().manual_seed(1)
    chosen = torch.rand(groups.count, generator=generator) < 0.5
    masks = Masks.full(wiring, model, set(groups.names))
    for family in groups.families:
        groups.keep(masks, chosen[family.start : family.stop], family)
    dead = {name: set() for name in groups.names}
    for number, pieces in enumerate(owned):
        if not chosen[number]:
            for name, places in pieces.items():
                dead[name] |= places
    for name, kept in masks.kept.items():
        assert set((~kept).reshape(-1).nonzero().squeeze(1).tolist()) == dead[name]
    alive = [any(places - dead[name] for name, places in pieces.items()) for pieces in owned]
    assert groups.kept(masks).tolist() == alive
    for family in groups.families:
        assert groups.kept(masks, family).tolist() == alive[family.start : family.stop]

    factors = torch.rand(groups.count, generator=generator)
    wanted = {name: weight.clone() for name, weight in weights.items()}
    for number, pieces in enumerate(owned):
        for name, places in pieces.items():
            for place in places:
                wanted[name].view(-1)[place] *= factors[number]
    groups.scale_(weights, factors)
    assert all(torch.allclose(weights[name], wanted[name], atol=1e-6) for name in weights)


def test_norms_can_be_differentiated_and_are_flat_at_zero():
    model, wiring = built()
    weights = wiring.parameters(model)
    with torch.no_grad():
        weights["cell.weight_ih_l0"].zero_(), weights["cell.weight_hh_l0"].zero_()
    groups = Groups.of(wiring, model, "gate")
    groups.norms(weights).sum().backward()
    assert torch.equal(weights["cell.weight_ih_l0"].grad, torch.zeros(20, 4))
    row = torch.cat([weights["cell.weight_ih_l1"][3], weights["cell.weight_hh_l1"][3]])
    assert torch.allclose(weights["cell.weight_ih_l1"].grad[3], weights["cell.weight_ih_l1"][3] / row.norm())


def test_only_neurons_overlap():
    model, wiring = built()
    assert {level: Groups.of(wiring, model, level).overlapping for level in ("weight", "gate", "neuron", "16x1")} == {
        "weight": False,
        "gate": False,
        "neuron": True,
        "16x1": False,
    }


def test_families_and_fans():
    model, wiring = built()
    groups = Groups.of(wiring, model, "weight", lambda name: True)
    fans = {family.label: family.fans for family in groups.families}
    assert fans == {
        "embedding.weight": (7, 4),
        "cell.weight_ih_l0": (4, 20),
        "cell.weight_hh_l0": (5, 20),
        "cell.weight_ih_l1": (5, 20),
        "cell.weight_hh_l1": (5, 20),
        "head.weight": (5, 3),
    }
    per_gate = Groups.of(wiring, model, "weight", "cell.weight_ih_l0", per="gate")
    assert [(family.label, family.size, family.fans) for family in per_gate.families] == [
        (f"cell.weight_ih_l0[{gate}]", 20, (4, 5)) for gate in ("input", "forget", "candidate", "output")
    ]
    blocks = Groups.of(wiring, model, "2x1", "cell.weight_ih_l0", per="gate")
    assert [family.size for family in blocks.families] == 4 * [3 * 4]


def test_groups_start_only_where_asked_but_reach_everywhere():
    model, wiring = built()
    groups = Groups.of(wiring, model, "neuron", "*_l1")
    assert [family.label for family in groups.families] == ["cell.l1"]
    assert "head.weight" in groups.names and "cell.weight_ih_l0" not in groups.names
    linear = Groups.of(wiring, model, "neuron", "head.weight")
    assert [family.label for family in linear.families] == ["head"]


@pytest.mark.parametrize(
    ("where", "names"),
    [
        (None, ["cell.weight_ih_l0", "cell.weight_hh_l0", "cell.weight_ih_l1", "cell.weight_hh_l1"]),
        ("*weight_hh*", ["cell.weight_hh_l0", "cell.weight_hh_l1"]),
        (["head.*", "embedding.*"], ["embedding.weight", "head.weight"]),
        (lambda name: name.startswith("head"), ["head.weight"]),
        ((nn.LSTM, "weight_ih"), ["cell.weight_ih_l0", "cell.weight_ih_l1"]),
        ((nn.Linear, ""), ["head.weight"]),
    ],
)
def test_selections(where, names):
    model, wiring = built()
    assert select(wiring, model, where) == names


def test_selections_that_match_nothing_name_what_there_is():
    model, wiring = built()
    with pytest.raises(UserError, match="matches no weight") as caught:
        select(wiring, model, "lstm.*")
    assert "cell.weight_ih_l0" in caught.value.expected
    with pytest.raises(UserError, match="no recurrent layer"):
        select(trace(nn.Conv1d(3, 3, 1)), nn.Conv1d(3, 3, 1), None)


@pytest.mark.parametrize(
    ("level", "per", "match"),
    [
        ("pattern", "tensor", "no selected layer has"),
        ("0x4", "tensor", "a block of 0x4"),
        ("weight", "layer", "per is"),
        ("16x1", "unit", "per is"),
    ],
)
def test_levels_that_do_not_exist(level, per, match):
    model, wiring = built()
    with pytest.raises(UserError, match=match):
        Groups.of(wiring, model, level, per=per)


def test_a_level_of_which_no_weight_has_a_group_is_refused():
    """Nothing reads what a layer without a recurrent matrix puts out, where it is the last one."""
    model = QRNN(3, 4)
    with pytest.raises(UserError, match='no weight of this model has groups at the granularity "outgoing"'):
        Groups.of(Wiring.local(model), model, "outgoing")


def test_tied_weights_are_one_group_member():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding, self.rnn, self.head = nn.Embedding(7, 5), LSTM(5, 5), nn.Linear(5, 7)
            self.head.weight = self.embedding.weight

        def forward(self, ids):
            return self.head(self.rnn(self.embedding(ids))[0])

    model = Tied()
    wiring = trace(model, (torch.randint(7, (3, 2)),))
    groups = Groups.of(wiring, model, "neuron")
    assert groups.names.count("embedding.weight") == 1 and "head.weight" not in groups.names
    column = {word * 5 + 2 for word in range(7)}
    assert members(groups, wiring.parameters(model))[2]["embedding.weight"] == column
    readers = members(Groups.of(wiring, model, "outgoing"), wiring.parameters(model))[2]
    assert readers["embedding.weight"] == column and readers["rnn.weight_hh_l0"] == {row * 5 + 2 for row in range(20)}


def test_no_group_stands_above_one_before_it_in_line():
    model, wiring = built("our rational mixed")
    groups = Groups.of(wiring, model, "state")
    scores = torch.rand(groups.count, generator=torch.Generator().manual_seed(0))
    lengths = [length for layer in model.cell.cells for length in layer.lengths]
    assert sum(lengths) == groups.count
    expected = torch.cat([part.cummin(0).values for part in scores.split(lengths)])
    assert torch.equal(groups.in_line(scores), expected) and not torch.equal(scores, expected)
    kept = scores > 0.4
    expected = torch.cat([part.cummin(0).values for part in kept.int().split(lengths)]).bool()
    assert torch.equal(groups.in_line(kept), expected)
    assert Groups.of(wiring, model, "neuron").previous is None
