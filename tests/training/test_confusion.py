import pytest
import torch
from torch import nn

from sparsernn.data.task import IGNORED, Batch
from sparsernn.errors import UserError
from sparsernn.experiments.scoring import confusion


class Given(nn.Module):
    """Scores that favour the class written in the inputs."""

    def forward(self, inputs, lengths=None):
        return nn.functional.one_hot(inputs, 3).float()


class Batches:
    def __init__(self, *batches):
        self.list = batches

    def batches(self, size):
        return iter(self.list)


def test_sequences_are_counted_by_true_and_predicted_class():
    first = Batch(torch.tensor([0, 1, 1]), torch.tensor([0, 1, 2]))
    second = Batch(torch.tensor([1]), torch.tensor([2]))
    found = confusion(Given(), Batches(first, second), ["a", "b", "c"])
    assert found == {"labels": ["a", "b", "c"], "matrix": [[1, 0, 0], [0, 1, 0], [0, 2, 0]]}


def test_steps_beyond_a_length_and_ignored_ones_do_not_count():
    inputs = torch.tensor([[0, 1, 2], [2, 2, 2]])
    targets = torch.tensor([[0, IGNORED, 1], [2, 0, 0]])
    found = confusion(Given(), Batches(Batch(inputs, targets, torch.tensor([3, 1]))), "abc")
    assert found["matrix"] == [[1, 0, 0], [0, 0, 1], [0, 0, 1]]


def test_modes_are_as_before_and_a_wrong_number_of_labels_is_refused():
    model = Given().train()
    batch = Batch(torch.tensor([0]), torch.tensor([0]))
    confusion(model, Batches(batch), "abc")
    assert model.training
    with pytest.raises(UserError, match="3 scores for 2 labels"):
        confusion(model, Batches(batch), "ab")
