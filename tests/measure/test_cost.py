from functools import partial

import pytest
import torch
from torch import nn

from sparsernn import compact, folders, sparsify
from sparsernn.errors import UserError
from sparsernn.measure import cost
from sparsernn.measure.cost import Cost, Matrix
from sparsernn.methods.magnitude import Magnitude
from tests.measure.published_costs import (
    PTB_MINIBATCHES,
    ptb_minibatch_flops,
    ptb_training_flops,
    recurrent_highway,
    stacked_lstm,
    text_classifier,
)

LSTM = stacked_lstm(units=1500, layers=2, vocabulary=10_000)
RHN = recurrent_highway(units=830, depth=10, vocabulary=10_000)


def test_the_published_forward_flops():
    assert ptb_minibatch_flops(LSTM) == pytest.approx(7.14e10, rel=1e-3)
    assert ptb_minibatch_flops(RHN) == pytest.approx(3.284e10, rel=1e-3)


def test_the_published_training_flops():
    assert ptb_training_flops(RHN, epochs=500) == pytest.approx(6.54e16, rel=1e-3)
    assert ptb_training_flops(RHN, epochs=500, embedding=True) == ptb_training_flops(RHN, epochs=500)
    assert ptb_training_flops(LSTM, epochs=100) == pytest.approx(2.84e16, rel=2e-3)
    assert ptb_training_flops(LSTM, epochs=100, embedding=True) == pytest.approx(3.12e16, rel=2e-3)


@pytest.mark.parametrize(("network", "density"), [(LSTM, 0.33), (LSTM, 0.20), (RHN, 0.472)])
def test_uniform_density_is_the_ratio_of_flops(network, density):
    sparse = cost.with_sparsity(network, 1 - density)
    assert sparse.flops() / network.flops() == pytest.approx(density, abs=1e-6)
    assert sparse.training_flops() / network.training_flops() == pytest.approx(density, abs=1e-6)


@pytest.mark.parametrize(
    ("network", "density", "ratio"), [(LSTM, 0.33, 0.3344), (LSTM, 0.20, 0.2027), (RHN, 0.472, 0.472)]
)
def test_erdos_renyi_gives_more_to_the_recurrent_matrices(network, density, ratio):
    sparse = cost.erdos_renyi(network, 1 - density)
    assert sparse.kept == pytest.approx(density * network.weights, abs=len(network.matrices))
    assert sparse.flops() / network.flops() == pytest.approx(ratio, abs=5e-5)


def test_erdos_renyi_densities_by_matrix():
    kept = {m.name: m.existing / m.weights for m in cost.erdos_renyi(LSTM, 0.67).matrices}
    assert kept["embedding.weight"] == pytest.approx(0.3151, abs=1e-4)
    assert kept["rnn.weight_hh_l1"] == pytest.approx(0.3425, abs=1e-4)


def test_erdos_renyi_fills_small_matrices_first():
    network = Cost((Matrix("small", 4, 4), Matrix("large", 400, 400)))
    sparse = cost.erdos_renyi(network, 0.8)
    assert sparse.matrices[0].existing == 16
    assert sparse.kept == pytest.approx(0.2 * network.weights, abs=1)


def test_training_with_gradients_of_absent_weights():
    assert cost.rigl_step(0.333, 1.0, 1328) / 3 == pytest.approx(0.3332, abs=5e-5)
    assert cost.rigl_step(0.202, 1.0, 1328) / 3 == pytest.approx(0.2022, abs=5e-5)
    assert cost.snfs_step(0.421, 1.0) / 3 == pytest.approx(0.614, abs=5e-4)
    assert cost.snfs_step(0.2935, 1.0) / 3 == pytest.approx(0.529, abs=5e-4)
    with pytest.raises(UserError, match="every is 0"):
        cost.rigl_step(0.1, 1.0, 0)


@pytest.mark.parametrize(("density", "ratio"), [(0.33, 0.3344), (0.20, 0.2027)])
def test_training_multipliers_of_erdos_renyi_networks(density, ratio):
    sparse = cost.erdos_renyi(LSTM, 1 - density)
    assert cost.training_multiplier(sparse) == pytest.approx(ratio, abs=5e-5)
    assert cost.training_multiplier(sparse, cost.snfs_step) == pytest.approx((2 * ratio + 1) / 3, abs=5e-5)
    rigl = cost.training_multiplier(sparse, partial(cost.rigl_step, every=PTB_MINIBATCHES))
    assert rigl == pytest.approx(ratio + (1 - ratio) / (3 * 1329), abs=5e-5)
    assert cost.training_multiplier(LSTM) == cost.training_multiplier(LSTM, cost.snfs_step) == pytest.approx(1)


@pytest.mark.parametrize(
    ("eps", "kept", "sparsity"),
    [(10, 243_520, 0.95686), (2, 48_704, 0.99137), (20, 487_040, 0.9137), (110, None, 0.5254)],
)
def test_the_published_sparsity_of_the_text_classifier(eps, kept, sparsity):
    sparse = cost.from_epsilon(text_classifier(), eps)
    assert sparse.kept == (kept or 110 * (20_256 + 8 * 512))
    assert 1 - sparse.kept / sparse.weights == pytest.approx(sparsity, abs=5e-5)


def test_other_readings_of_the_text_classifier_do_not_give_the_published_sparsity():
    fused = cost.from_epsilon(text_classifier(), 10, per="tensor")
    assert 1 - fused.kept / fused.weights == pytest.approx(0.9596, abs=5e-5)
    with pytest.raises(UserError, match="per is 'layer'"):
        cost.from_epsilon(text_classifier(), 10, per="layer")


def test_a_small_output_layer_stays_dense_and_runs_once_a_text():
    network = text_classifier(classes=2)
    sparse = cost.from_epsilon(network, 10)
    assert sparse.matrices[-1].existing == sparse.matrices[-1].weights == 512
    assert network.macs() == 524_288 + 5.12
    assert sparse.macs() == 8 * 5120 + 5.12


def test_the_average_follows_the_steps_a_density_held():
    assert cost.average_over_steps([(0, 1.0), (25, 0.5), (50, 0.1)], 100) == pytest.approx(0.25 + 0.125 + 0.05)
    assert cost.average_over_steps([(10, 0.3)], 100) == pytest.approx(0.3)
    assert cost.average_over_steps([(0, 1.0), (200, 0.5)], 100) == pytest.approx(1.0)
    for bad in ([], [(5, 1.0), (1, 1.0)]):
        with pytest.raises(UserError):
            cost.average_over_steps(bad, 10)


def test_training_over_a_run_uses_the_actual_sparsity():
    whole = cost.training_over_run(RHN, [(0, 0.0), (50, 0.8)], 100)
    assert whole == pytest.approx(0.6 * RHN.training_flops())
    named = {m.name: 0.8 for m in RHN.matrices}
    assert cost.training_over_run(RHN, [(0, 0.0), (50, named)], 100) == pytest.approx(whole)
    snfs = cost.training_over_run(RHN, [(0, 1 - 0.421)], 10, cost.snfs_step)
    assert snfs / RHN.training_flops() == pytest.approx(0.614, abs=5e-4)


class Tagger(nn.Module):
    def __init__(self, tied=False):
        super().__init__()
        self.embedding = nn.Embedding(50, 8)
        self.rnn = nn.LSTM(8, 8, num_layers=2, batch_first=True)
        self.head = nn.Linear(8, 50)
        if tied:
            self.head.weight = self.embedding.weight

    def forward(self, ids):
        return self.head(self.rnn(self.embedding(ids))[0][:, -1])


def test_counting_a_model():
    counted = cost.count(Tagger())
    assert counted.weights == 50 * 8 + 4 * 32 * 8 + 50 * 8
    assert counted.biases == 4 * 32 + 50
    assert counted.macs() == 4 * 32 * 8 + 50 * 8
    assert counted.macs(embedding=True) == counted.macs() + 50 * 8
    assert counted.training_flops() == 3 * counted.flops() == 6 * counted.macs()
    assert counted.dense_bytes == 4 * (counted.weights + counted.biases)
    assert list(counted.by_layer()) == ["embedding", "rnn l0", "rnn l1", "head"]
    assert sum(layer.dense_bytes for layer in counted.by_layer().values()) == counted.dense_bytes
    assert counted.by_layer()["rnn l1"].weights == 2 * 32 * 8


def test_a_tied_weight_is_stored_once_and_multiplies_once():
    counted = cost.count(Tagger(tied=True))
    assert counted.weights == 50 * 8 + 4 * 32 * 8
    assert counted.macs() == counted.macs(embedding=True) == 4 * 32 * 8 + 50 * 8


def test_a_head_that_reads_one_state_of_ten_counts_a_tenth():
    counted = cost.count(Tagger(), example=(torch.zeros(3, 10, dtype=torch.long),))
    assert counted.macs() == pytest.approx(4 * 32 * 8 + 50 * 8 / 10)


@pytest.mark.filterwarnings("ignore:LSTM with projections:UserWarning")
def test_both_directions_and_projections_count():
    model = nn.LSTM(6, 8, bidirectional=True, proj_size=4)
    counted = cost.count(model, example=(torch.zeros(5, 2, 6),))
    assert counted.macs() == 2 * (32 * 6 + 32 * 4 + 4 * 8) == counted.weights


@pytest.mark.parametrize("name", folders.names("cells"))
def test_every_cell_multiplies_each_matrix_once_a_step(name):
    cell = folders.find("cells", name)(5, 7, num_layers=2)
    counted = cost.count(cell, example=(torch.zeros(4, 3, 5),))
    matrices = [parameter.numel() for parameter in cell.parameters() if parameter.dim() > 1]
    assert counted.macs() == counted.weights == sum(matrices)
    assert counted.weights + counted.biases == sum(parameter.numel() for parameter in cell.parameters())
    assert list(counted.by_layer()) == ["l0", "l1"]


def test_a_compacted_network_costs_what_is_left():
    model = Tagger()
    masks = sparsify(model, Magnitude(sparsity=0.5, granularity="neuron"), example=(torch.zeros(2, 4).long(),))
    small, small_masks = compact(model, masks, example=(torch.zeros(2, 4).long(),))
    left, masked = cost.count(small, small_masks), cost.count(model, masks)
    assert left.weights < masked.weights
    assert left.kept <= masked.kept


def test_masks_reduce_weights_and_macs():
    model = Tagger()
    kept = torch.zeros(32, 8, dtype=torch.bool)
    kept[0] = True
    counted = cost.count(model, {"rnn.weight_hh_l0": kept})
    assert counted.kept == counted.weights - 31 * 8
    assert counted.macs() == counted.dense_macs() - 31 * 8
    assert counted.dense_bytes == cost.count(model).dense_bytes
    assert counted.numbers()["weights_kept"] == counted.kept


def test_a_mask_of_another_shape_and_a_model_without_weights_are_refused():
    with pytest.raises(UserError, match=r"rnn.weight_hh_l0 has shape \(2, 2\)"):
        cost.count(Tagger(), {"rnn.weight_hh_l0": torch.ones(2, 2, dtype=torch.bool)})
    with pytest.raises(UserError, match="no parameter"):
        cost.count(nn.ReLU())
