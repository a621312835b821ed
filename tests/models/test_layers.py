"""Parts of models: pooling over time, dropout held over time, dropped words."""

import pytest
import torch

from sparsernn import sparsify
from sparsernn.cells.gru import GRU
from sparsernn.compaction.compact import compact
from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from sparsernn.models.classifier import Classifier
from sparsernn.models.forecaster import Forecaster
from sparsernn.models.layers import ElementDropout, LockedDropout, Noise, WordEmbedding, make_cell, pool
from sparsernn.nn import module_of


@pytest.mark.parametrize("how", ["last", "mean", "max"])
def test_pooling_leaves_padding_out(how):
    output, lengths = torch.randn(3, 5, 4), torch.tensor([5, 2, 1])
    for b, length in enumerate(lengths.tolist()):
        output[b, length:] = 0
    found = pool(output, lengths, how)
    for b, length in enumerate(lengths.tolist()):
        steps = output[b, :length]
        assert torch.allclose(found[b], {"last": steps[-1], "mean": steps.mean(0), "max": steps.amax(0)}[how])
    assert torch.allclose(pool(output, None, how), pool(output, torch.tensor([5, 5, 5]), how))


@pytest.mark.parametrize("forward", [None, 2, 3])
def test_three_pools_stand_beside_each_other(forward):
    output, lengths = torch.randn(3, 5, 4), torch.tensor([5, 2, 1])
    alone = [pool(output, lengths, how, forward) for how in ("mean", "max", "last")]
    assert torch.equal(pool(output, lengths, "mean_max_last", forward), torch.cat(alone, 1))


def test_noise_is_normal_and_only_while_training():
    torch.manual_seed(0)
    layer, x = Noise(0.3), torch.zeros(400, 50)
    noise = layer(x)
    assert abs(float(noise.std()) - 0.3) < 0.01 and abs(float(noise.mean())) < 0.01
    assert layer.eval()(x) is x and Noise(0.0)(x) is x
    with pytest.raises(UserError, match="deviation of the noise is -1"):
        Noise(-1)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
@pytest.mark.parametrize("model", ["mean_max_last", "mean", "last", "forecaster"])
def test_directions_of_different_widths_are_compacted(model, cell):
    options = {"units": 6, "bidirectional": True, "cell": cell}
    if model == "forecaster":
        network = Forecaster(inputs=3, horizon=2, **options).eval()
    else:
        network = Classifier(inputs=3, classes=2, pool=model, **options).eval()
    kept = {"": [0, 2, 3, 5], "_reverse": [1]}
    weights = network.state_dict()
    for end, units in kept.items():
        for kind in ("weight_ih", "weight_hh"):
            rows = weights[f"cell.{kind}_l0{end}"]
            rows.view(-1, 6, rows.shape[1])[:, [unit for unit in range(6) if unit not in units]] *= 1e-3
    x, lengths = torch.randn(4, 5, 3), torch.tensor([5, 3, 1, 4])
    masks = sparsify(network, Magnitude(7 / 12, granularity="neuron", scope="global"), example=(x,))
    small, _ = compact(network, masks, example=(x,))
    widths = [small.state_dict()[f"cell.weight_hh_l0{end}"].shape[1] for end in kept]
    assert widths == [4, 1] and torch.allclose(small(x, lengths), network(x, lengths), atol=1e-6)


def test_the_last_step_of_two_directions():
    cell = GRU(3, 4, bidirectional=True, batch_first=True)
    lengths = torch.tensor([5, 2])
    output, state = cell(torch.randn(2, 5, 3), lengths=lengths)
    assert torch.allclose(pool(output, lengths, "last", 4), torch.cat([state[0], state[1]], -1))


@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_dropout_drops_at_its_rate_and_scales_what_is_left(kind):
    torch.manual_seed(0)
    x = torch.full((20, 30, 50), 3.0, dtype=kind, requires_grad=True)
    layer = ElementDropout(0.3)
    y = layer(x)
    y.sum().backward()
    dropped = y == 0
    assert y.dtype == kind and abs(float(dropped.double().mean()) - 0.3) < 0.01
    assert torch.allclose(y[~dropped].double(), torch.tensor(3 / 0.7, dtype=torch.float64), rtol=1e-2)
    assert torch.equal(x.grad == 0, dropped) and torch.allclose(x.grad * 3, y, rtol=1e-2)
    assert not torch.equal(layer(x), y)
    assert torch.equal(layer.eval()(x), x)


@pytest.mark.parametrize("rate", [0.0, 1.0])
def test_dropout_of_nothing_and_of_everything(rate):
    assert torch.equal(ElementDropout(rate)(torch.ones(4, 5)), torch.full((4, 5), 1 - rate))


def test_locked_dropout_holds_one_mask_over_time():
    torch.manual_seed(0)
    layer, x = LockedDropout(0.4), torch.ones(50, 30, 20)
    dropped = layer(x)
    assert torch.equal(dropped, dropped[:1].expand_as(dropped))
    values, counts = dropped[0].unique(return_counts=True)
    assert torch.allclose(values, torch.tensor([0, 1 / 0.6]))
    assert abs(int(counts[0]) / 600 - 0.4) < 0.08
    assert layer.eval()(x) is x and LockedDropout(0.0)(x) is x


def test_dropped_words_are_dropped_wherever_they_stand():
    torch.manual_seed(0)
    layer, ids = WordEmbedding(100, 3, 0.5), torch.arange(100).repeat(2, 1)
    dropped = layer(ids)
    assert torch.equal(dropped[0], dropped[1])
    gone = (dropped[0] == 0).all(1)
    assert 30 < int(gone.sum()) < 70
    assert torch.allclose(dropped[0][~gone], 2 * layer.weight[~gone])
    assert torch.equal(layer.eval()(ids), layer.weight[ids])


def test_cells_by_name():
    made = make_cell("gru", 3, 4, 2, reset="before")
    assert type(made) is module_of(GRU) and made.cells == [GRU(reset="before")] * 2
    with pytest.raises(UserError, match="is not in cells"):
        make_cell("gruu", 3, 4)
    with pytest.raises(UserError, match="pool is 'middle'"):
        Classifier(3, 2, pool="middle")


@pytest.mark.parametrize("rate", [-0.1, 1.0])
def test_a_rate_that_leaves_no_words_is_refused(rate):
    with pytest.raises(UserError, match="rate of dropping words"):
        WordEmbedding(5, 3, rate)
