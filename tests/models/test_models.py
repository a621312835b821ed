"""The four models: shapes, padding that does not matter, training that learns, compaction that changes nothing."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sparsernn import folders
from sparsernn.errors import UserError
from sparsernn.models.classifier import Classifier
from sparsernn.models.forecaster import Forecaster
from sparsernn.models.language_model import LanguageModel
from sparsernn.models.tagger import Tagger
from tests.structure.networks import check_exact, random_masks, size_of

CELLS = folders.names("cells")
LENGTHS = torch.tensor([6, 2, 4])
IDS = torch.tensor([[1, 2, 3, 4, 5, 6], [3, 2, 0, 0, 0, 0], [4, 4, 1, 6, 0, 0]])


@pytest.mark.parametrize("pool", ["last", "mean", "max"])
@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("cell", CELLS)
def test_a_classifier_sees_each_sequence_as_if_it_were_alone(cell, both, pool):
    model = Classifier(4, 3, cell, units=5, layers=2, bidirectional=both, pool=pool, vocabulary=7).eval()
    logits = model(IDS, LENGTHS)
    assert logits.shape == (3, 3) and model.objective == "classification"
    for b, length in enumerate(LENGTHS.tolist()):
        assert torch.allclose(model(IDS[b : b + 1, :length]), logits[b : b + 1], atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_tagger_labels_every_step(cell):
    model = Tagger(4, 3, cell, units=5, bidirectional=True).eval()
    x = torch.randn(3, 6, 4)
    logits = model(x, LENGTHS)
    assert logits.shape == (3, 6, 3) and model.objective == "tagging"
    for b, length in enumerate(LENGTHS.tolist()):
        assert torch.allclose(model(x[b : b + 1, :length])[0], logits[b, :length], atol=1e-6)


def test_a_forecaster_with_a_residual_learns_the_change():
    model, x = Forecaster(4, 5, units=6, residual=2).eval(), torch.randn(3, 8, 4)
    assert model(x).shape == (3, 5) and model.objective == "forecasting"
    nn.init.zeros_(model.head.weight), nn.init.zeros_(model.head.bias)
    assert torch.equal(model(x), x[:, -1, 2:3].expand(3, 5))
    assert torch.equal(model(x, LENGTHS)[1], x[1, 1, 2].expand(5))


def test_a_forecaster_with_windows_adds_a_linear_model_of_the_changes():
    torch.manual_seed(0)
    model, x = Forecaster(4, 6, units=5, residual=1, several=2, window=7).eval(), torch.randn(3, 7, 4)
    last = x[:, -1]
    output, _ = model.cell(x - last.unsqueeze(1))
    expected = model.head(output[:, -1]).unflatten(1, (2, 3))
    for number, skip in enumerate(model.skips):
        expected[:, number] += (x[:, :, 1 + number] - last[:, 1 + number : 2 + number]) @ skip.weight.t()
        expected[:, number] += last[:, 1 + number : 2 + number]
    assert torch.allclose(model(x), expected.flatten(1), atol=1e-6)
    assert torch.allclose(model(x + 7), model(x) + 7, atol=1e-4)  # whatever the level, the same changes
    with pytest.raises(UserError, match="windows of 6 steps"):
        model(x[:, 1:])


def test_a_tagger_tells_several_labels_at_once():
    torch.manual_seed(0)
    model, x = Tagger(4, 3, units=5, at_once=2).eval(), torch.randn(2, 6, 4)
    logits, output = model(x), model.cell(x)[0]
    assert logits.shape == (2, 6, 2, 3)
    assert torch.allclose(logits[0, 4, 1], model.head(output)[0, 4, 3:], atol=1e-6)


@pytest.mark.parametrize("cell", CELLS)
def test_a_language_model_continues_where_it_stopped(cell):
    model, ids = LanguageModel(9, units=5, layers=2, cell=cell, embedding=4).eval(), torch.randint(9, (8, 3))
    whole, _ = model(ids)
    first, state = model(ids[:3])
    second, _ = model(ids[3:], state)
    assert whole.shape == (8, 3, 9) and torch.allclose(torch.cat([first, second]), whole, atol=1e-6)


def test_a_language_model_starts_as_asked():
    model = LanguageModel(9, units=5, init=0.05)
    for name, parameter in model.named_parameters():
        assert float(parameter.detach().abs().max()) <= 0.05
        assert "bias" not in name or not parameter.any()
    assert LanguageModel(9, units=5, init=0.05, zero_bias=False).cells[0].bias_ih_l0.any()
    for name, parameter in LanguageModel(9, units=5, layers=2, one_bias=True).cells.named_parameters():
        assert parameter.requires_grad != ("bias_hh" in name) and (parameter.requires_grad or not parameter.any())
    plain = LanguageModel(9, units=5)
    assert (
        float(plain.embedding.weight.detach().abs().max())
        <= 0.1
        < float(plain.cells[0].weight_hh_l0.detach().abs().max())
    )
    tied = LanguageModel(9, units=5, tied=True)
    assert tied.head.weight is tied.embedding.weight


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: LanguageModel(9, units=5, embedding=4, tied=True), "tied weights"),
        (lambda: LanguageModel(9, dropout_kind="spatial"), "dropout_kind is"),
        (lambda: LanguageModel(9, cell="gru", one_bias=True), "one_bias with the cell gru"),
        (lambda: Classifier(4, 3, pool="middle"), "pool is"),
        (lambda: Tagger(4, 3, cell="lstmm"), "is not in cells"),
    ],
)
def test_options_that_do_not_exist(make, match):
    with pytest.raises(UserError, match=match):
        make()


def test_padding_has_no_embedding():
    model = Classifier(4, 3, vocabulary=7)
    assert not model.embedding.weight[0].any()


@pytest.mark.parametrize(
    "make",
    [
        lambda cell: (Classifier(3, 2, cell, units=12), lambda y: y),
        lambda cell: (Classifier(3, 2, cell, units=12, pool="max", bidirectional=True), lambda y: y),
        lambda cell: (Tagger(3, 2, cell, units=12), lambda y: y[:, -1]),
    ],
)
@pytest.mark.parametrize("cell", CELLS)
def test_a_few_steps_learn_which_half_was_larger(make, cell):
    torch.manual_seed(0)
    model, read = make(cell)
    x = torch.randn(64, 6, 3)
    labels = (x[:, :, 0].sum(1) > 0).long()
    optimizer = torch.optim.Adam(model.parameters(), 0.03)
    losses = []
    for _ in range(40):
        loss = F.cross_entropy(read(model(x)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("cell", CELLS)
@pytest.mark.parametrize(
    "how",
    ["last", "mean", "max", "mean_max_last", "tagger", "forecaster", "window", "language model", "tied language model"],
)
def test_every_model_compacts_and_shrinks(cell, how):
    torch.manual_seed(0)
    if "language" in how:
        model = LanguageModel(
            9, units=8, layers=2, cell=cell, tied="tied" in how, dropout=0.3, dropout_kind="variational"
        )
        inputs = (torch.randint(9, (6, 3)),)
    elif how == "forecaster":
        model, inputs = Forecaster(4, 5, cell, units=8, layers=2, dropout=0.2, residual=0), (torch.randn(3, 6, 4),)
    elif how == "window":
        options = {"residual": 1, "several": 2, "window": 6}
        model, inputs = Forecaster(4, 6, cell, units=8, layers=2, **options), (torch.randn(3, 6, 4),)
    elif how == "tagger":
        model, inputs = Tagger(4, 3, cell, units=8, layers=2, dropout=0.2), (torch.randn(3, 6, 4), LENGTHS)
    else:
        model, inputs = (
            Classifier(4, 3, cell, units=8, bidirectional=True, pool=how, vocabulary=7, dropout=0.2),
            (IDS, LENGTHS),
        )
    small, left = check_exact(model, random_masks(model, "neuron", 0.4, 0, example=inputs), *inputs)
    assert size_of(small) < 0.7 * size_of(model) and left.sparsity() == 0
    check_exact(model, random_masks(model, "weight", 0.2, 0, example=inputs), *inputs)


def test_a_frozen_embedding_is_normal_and_not_trained():
    model = LanguageModel(2_000, units=50, frozen_embedding=0.1)
    assert not model.embedding.weight.requires_grad
    assert model.embedding.weight.std().item() == pytest.approx(0.1, rel=0.05)
    with pytest.raises(UserError, match="frozen embedding"):
        LanguageModel(20, units=5, tied=True, frozen_embedding=0.1)
