"""What lives of a masked network, against the network that compact cuts out of it."""

import json
from collections import Counter

import pytest
import torch
from torch import nn

from sparsernn import folders
from sparsernn.compaction.compact import compact
from sparsernn.compaction.remains import remains
from sparsernn.models.classifier import Classifier
from sparsernn.models.language_model import LanguageModel
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring

IDS = torch.tensor([[0, 1], [2, 3], [4, 0]])


def pruned(seed, cell="lstm", tied=False):
    """A small language model without many of its units, gates and words."""
    torch.manual_seed(seed)
    model = LanguageModel(9, units=6, layers=2, cell=cell, tied=tied, init=0.5, zero_bias=False)
    wiring = Wiring.local(model)
    masks = Masks.full(wiring, model, {name for name, p in model.named_parameters() if "weight" in name})
    generator = torch.Generator().manual_seed(seed)
    for layer in wiring.layers:
        for local in ("weight_ih", "weight_hh"):
            kept, gates = masks.kept[layer.weights[local]], len(layer.cell.gates)
            kept &= (torch.rand(gates, 6, generator=generator) < 0.5).flatten()[:, None]
            kept &= torch.rand(kept.shape[1], generator=generator) < 0.5
    masks.kept["embedding.weight"][[2, 5]] = False
    masks.apply_(model)
    return model.eval(), masks


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn", "peephole_lstm"])
@pytest.mark.parametrize("seed", range(3))
def test_units_and_gates_are_those_of_the_compacted_network(seed, cell, tied):
    model, masks = pruned(seed, cell, tied)
    living = remains(model, masks, IDS)
    small, left = compact(model, masks, IDS)
    constant = Counter(layer for layer, _, _ in left.constant_gates)
    for layer_map, layer in zip(living["layers"], Wiring.local(small).layers, strict=True):
        assert layer_map["label"] == layer.label and layer_map["cell"] == type(layer.cell).__name__
        assert sum(layer_map["alive"]) == layer.sizes["hidden"]
        count = 0
        for values in layer_map["constant"].values():
            count += sum(lives and value is not None for lives, value in zip(layer_map["alive"], values, strict=True))
        assert count == constant[layer.label]
    assert json.loads(json.dumps(living)) == living


def test_constants_are_the_gates_of_a_run():
    model, masks = pruned(1)
    (layer_map, _) = remains(model, masks, IDS)["layers"]
    cell = model.cells[0]
    gates = (cell.bias_ih_l0 + cell.bias_hh_l0).detach().view(4, 6)
    values = [gates[0].sigmoid(), gates[1].sigmoid(), gates[2].tanh(), gates[3].sigmoid()]
    for gate, expected in zip(layer_map["gates"], values, strict=True):
        for unit, value in enumerate(layer_map["constant"][gate]):
            assert value is None or value == pytest.approx(float(expected[unit]), rel=1e-6)
    assert any(value is not None for value in layer_map["constant"]["input"])


def test_words_are_counted_and_named_from_the_largest_on():
    model, masks = pruned(0)
    with torch.no_grad():
        model.embedding.weight[7] = 9.0
    (words,) = remains(model, masks, IDS, "a b c d e f g h".split())["words"]
    assert (words["label"], words["count"], words["alive"]) == ("embedding.weight", 9, 7)
    assert words["largest"][0]["word"] == "h" and {word["number"] for word in words["largest"]} == {0, 1, 3, 4, 6, 7, 8}
    norms = [word["norm"] for word in words["largest"]]
    assert norms == sorted(norms, reverse=True)
    assert [word.get("word") for word in words["largest"] if word["number"] == 8] == [None]


def test_a_single_layer_needs_no_vocabulary_and_is_left_as_it_is():
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert remains(model, Masks({}), torch.ones(1, 3)) == {"layers": [], "words": []}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("name", folders.names("cells"))
def test_every_cell_whose_gates_are_of_units_has_a_map(name):
    torch.manual_seed(0)
    model, x = Classifier(3, 2, units=5, cell=name, layers=2).eval(), torch.randn(2, 4, 3)
    layers, wiring = remains(model, Masks({}), x)["layers"], Wiring.local(model)
    assert len(layers) == (0 if name == "rational" else len(wiring.layers))
    for layer_map, layer in zip(layers, wiring.layers, strict=False):
        assert layer_map["gates"] == list(layer.cell.gates) and layer_map["alive"] == [True] * 5
        assert all(len(values) == 5 for values in layer_map["constant"].values())
