"""A user's own trained nn.LSTM classifier: pruned by neuron, fine-tuned, compacted and saved in at most 15 lines."""

import copy
import inspect
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from sparsernn import Sparsifier, compact, load_compact, save_compact
from sparsernn.methods.magnitude import Magnitude

WORDS, UNITS = 20, 24


class Sentiment(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(WORDS, 12)
        self.lstm = nn.LSTM(12, UNITS, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.output = nn.Linear(UNITS, 2)

    def forward(self, ids):
        _, (hidden, _) = self.lstm(self.embedding(ids))
        return self.output(self.dropout(hidden[-1]))


def make_smaller(model, ids, labels, path):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    sparsifier = Sparsifier(model, Magnitude(0.75, granularity="neuron", every=5), optimizer, steps=60)
    for _ in range(60):
        loss = nn.functional.cross_entropy(model(ids), labels) + sparsifier.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    small, masks = compact(model, sparsifier.finalize(), example=(ids,))
    save_compact(path, small)
    return small, masks


def train(model, ids, labels):
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(ids), labels).backward()
        optimizer.step()


@pytest.fixture(scope="module")
def result(tmp_path_factory):
    torch.manual_seed(0)
    ids = torch.randint(WORDS, (120, 8))
    labels = ((ids < 5).sum(1) > 1).long()
    model, path = Sentiment(), tmp_path_factory.mktemp("model") / "small.safetensors"
    train(model, ids, labels)
    small, masks = make_smaller(model, ids, labels, path)
    return SimpleNamespace(model=model.eval(), small=small.eval(), masks=masks, path=path, ids=ids, labels=labels)


def test_fifteen_lines():
    assert len(inspect.getsource(make_smaller).splitlines()) <= 15


def test_it_is_the_same_network(result):
    expected = result.model(result.ids)
    assert (result.small(result.ids) - expected).abs().max() <= 1e-6
    assert (expected.argmax(1) == result.labels).float().mean() > 0.9


def test_it_is_smaller_and_still_the_users_class(result):
    assert type(result.small) is Sentiment and type(result.small.lstm) is nn.LSTM
    assert result.small.lstm.hidden_size == result.small.output.in_features == UNITS // 4
    assert result.small.lstm.weight_hh_l0.shape == (UNITS, UNITS // 4)
    assert result.model.lstm.hidden_size == UNITS


def test_it_reloads(result):
    torch.manual_seed(1)
    loaded = load_compact(result.path, Sentiment()).eval()
    assert torch.equal(loaded(result.ids), result.small(result.ids))
    assert result.path.stat().st_size < sum(4 * weight.numel() for weight in result.model.parameters())


def test_it_deep_copies_and_trains_on(result):
    twin = copy.deepcopy(result.small)
    assert torch.equal(twin(result.ids), result.small(result.ids))
    train(twin.train(), result.ids, result.labels)
    assert not torch.equal(twin.eval()(result.ids), result.small(result.ids))
    result.masks.apply_(twin)
