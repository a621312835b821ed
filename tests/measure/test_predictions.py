import pytest
import torch
from torch import nn

from sparsernn import Sparsifier
from sparsernn.errors import UserError
from sparsernn.measure.predictions import Predictions, calibration, predict_distribution
from sparsernn.methods.sparse_variational_dropout import SparseVariationalDropout


class Scored(nn.Module):
    def __init__(self):
        super().__init__()
        self.rnn, self.dropout, self.head = nn.LSTM(3, 6), nn.Dropout(0.5), nn.Linear(6, 4)

    def forward(self, x):
        return self.head(self.dropout(self.rnn(x)[0][-1]))


def test_the_mean_and_the_interval_of_samples():
    samples = torch.arange(101.0).unsqueeze(1)
    predictions = Predictions(samples[torch.randperm(101)])
    low, high = predictions.interval(0.9)
    assert predictions.mean.item() == 50 and (low.item(), high.item()) == pytest.approx((5, 95))


def test_a_network_in_training_is_asked_with_other_weights_every_time():
    torch.manual_seed(0)
    model, x = Scored(), torch.randn(5, 2, 3)
    method = SparseVariationalDropout(examples=10, log_sigma=-1.0)
    run = Sparsifier(model, method, torch.optim.SGD(model.parameters(), 0.1), steps=2, example=x)
    model.eval()
    predictions = predict_distribution(run, x, samples=5, of=lambda logits: logits.softmax(-1))
    assert predictions.samples.shape == (5, 2, 4) and not predictions.samples.requires_grad
    assert len(predictions.samples.unique(dim=0)) == 5
    assert torch.allclose(predictions.mean.sum(-1), torch.ones(2))
    assert not any(module.training for module in model.modules())


def test_without_random_weights_only_dropout_differs():
    model, x = Scored(), torch.randn(5, 2, 3)
    assert len(predict_distribution(model, x, samples=3).samples.unique(dim=0)) == 1
    assert len(predict_distribution(model, x, samples=3, dropout=True).samples.unique(dim=0)) == 3
    assert model.dropout.training


def test_calibration_by_hand():
    probabilities = torch.tensor([[0.93, 0.07], [0.93, 0.07], [0.35, 0.65], [0.75, 0.25]])
    error, bins = calibration(probabilities, torch.tensor([0, 1, 1, 0]), bins=10)
    by_hand = {(2, 0.93, 0.5), (1, 0.65, 1.0), (1, 0.75, 1.0)}
    assert {(one.count, round(one.confidence, 4), one.accuracy) for one in bins} == by_hand
    assert error == pytest.approx((2 * 0.43 + 0.35 + 0.25) / 4, abs=1e-6)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: predict_distribution(Scored(), torch.randn(5, 2, 3), samples=1), "samples is 1"),
        (lambda: calibration(torch.rand(3, 2), torch.zeros(2)), "one row of probabilities"),
        (lambda: calibration(torch.rand(3, 2) + 1, torch.zeros(3)), "add up to 1"),
        (lambda: Predictions(torch.rand(3, 2)).interval(2), "share is 2"),
    ],
)
def test_bad_input(call, said):
    with pytest.raises(UserError, match=said):
        call()
