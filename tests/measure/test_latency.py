import pytest
import torch
from torch import nn

from sparsernn.denormals import is_flushing_denormal
from sparsernn.errors import UserError
from sparsernn.measure.latency import latency, numbers


class Slow(nn.Module):
    def __init__(self, times):
        super().__init__()
        self.times = times
        self.calls = 0

    def forward(self, x):
        self.calls += 1
        for _ in range(self.times):
            x = x @ x.transpose(0, 1) @ x
        return x


def example(batch):
    return (torch.zeros(64, 64),)


def test_the_first_model_is_the_measure():
    models = {"dense": Slow(40), "small": Slow(4)}
    timings = latency(models, example, batches=(1, 4), rounds=9)
    assert set(timings) == {1, 4}
    for batch in (1, 4):
        dense, small = timings[batch]["dense"], timings[batch]["small"]
        assert dense.speedup == 1
        assert 2 < small.speedup < 50
        assert small.low <= small.milliseconds <= small.high
        assert dense.rounds == small.rounds == 9
    found = numbers(timings, "small")
    assert found["speedup_batch_4"] == timings[4]["small"].speedup
    assert found["ms_batch_1"] == timings[1]["small"].milliseconds


def test_time_is_per_sequence():
    timings = latency({"dense": Slow(100)}, example, batches=(1, 10), rounds=9)
    assert 2 < timings[1]["dense"].milliseconds / timings[10]["dense"].milliseconds < 50


def test_everything_is_as_before():
    threads, flushing = torch.get_num_threads(), is_flushing_denormal()
    model = nn.Sequential(Slow(1), nn.Dropout(0.5))
    model[1].eval()
    latency({"dense": model}, lambda batch: torch.zeros(8, 8), batches=(1,), rounds=5)
    assert (torch.get_num_threads(), is_flushing_denormal()) == (threads, flushing)
    assert model.training and model[0].training and not model[1].training


def test_a_short_budget_still_gives_five_rounds():
    timings = latency({"dense": Slow(50)}, example, batches=(1,), rounds=1000, seconds=0.01)
    assert timings[1]["dense"].rounds >= 5


@pytest.mark.parametrize("wrong", [{"models": {}}, {"batches": ()}, {"rounds": 0}, {"batches": (0,)}])
def test_nothing_to_measure_is_refused(wrong):
    arguments = {"models": {"dense": Slow(1)}, "example": example, **wrong}
    with pytest.raises(UserError, match="at least one model"):
        latency(arguments.pop("models"), arguments.pop("example"), **arguments)
