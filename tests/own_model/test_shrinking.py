"""`shrink`: smaller by what was asked, never below the floor, and the same after it was stopped."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import sparsernn
from sparsernn.errors import UserError
from sparsernn.methods.static import Static
from sparsernn.own_model.fine_tuning import fine_tune
from sparsernn.own_model.shrinking import Budget, How, Start

WORDS = 30


class Reader(nn.Module):
    """Counts word 1 against word 2; words from 12 on never occur."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.recurrent, self.head = (
            nn.Embedding(WORDS, 6),
            nn.GRU(6, 16, batch_first=True),
            nn.Linear(16, 2),
        )

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        return self.head(self.recurrent(self.embedding(ids))[1][-1])


def examples(count: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.randint(0, 12, (count, 9), generator=torch.Generator().manual_seed(seed))
    return ids, ((ids == 1).sum(1) > (ids == 2).sum(1)).long()


IDS, LABELS = examples(400, 0)
DATA = [(IDS[start : start + 40], LABELS[start : start + 40]) for start in range(0, 400, 40)]
HELD_BACK = examples(300, 1)


def loss(model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def accuracy(model: nn.Module) -> float:
    with torch.no_grad():
        return float((model(HELD_BACK[0]).argmax(1) == HELD_BACK[1]).float().mean())


@pytest.fixture(scope="module")
def trained() -> Reader:
    torch.manual_seed(0)
    model = Reader()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for batch in DATA * 12:
        optimizer.zero_grad()
        loss(model, batch).backward()
        optimizer.step()
    return model


def numbers(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def test_down_to_a_budget(trained: Reader) -> None:
    before = numbers(trained)
    shrunk = sparsernn.shrink(trained, DATA, loss, accuracy, budget=0.4, floor=0.0)
    whole = sum(value.numel() for value in before.values())
    assert shrunk.best is not None and shrunk.best.weights <= 0.4 * whole
    assert sum(p.numel() for p in shrunk.model.parameters()) == shrunk.best.weights
    assert (
        shrunk.model.recurrent.hidden_size < 16 and shrunk.model.recurrent.hidden_size == shrunk.model.head.in_features
    )
    assert accuracy(shrunk.model) == shrunk.best.quality
    assert [point.weights for point in shrunk.points] == sorted((p.weights for p in shrunk.points), reverse=True)
    assert all(torch.equal(before[name], value) for name, value in trained.state_dict().items())


def test_the_bytes_are_those_of_the_file(trained: Reader, tmp_path: Path) -> None:
    shrunk = sparsernn.shrink(trained, DATA, loss, accuracy, Budget(bytes=2500), floor=0.0)
    sparsernn.save_compact(tmp_path / "small.safetensors", shrunk.model, shrunk.masks)
    assert shrunk.best is not None
    assert (tmp_path / "small.safetensors").stat().st_size == shrunk.best.bytes <= 2500


def test_the_file_of_the_usual_call_gives_back_the_network_that_was_measured(trained: Reader, tmp_path: Path) -> None:
    floor = accuracy(trained) - 0.05
    shrunk = sparsernn.shrink(trained, DATA, loss, accuracy, floor=floor, how=How(rounds=3))
    exact = sparsernn.shrink(trained, DATA, loss, accuracy, floor=floor, how=How(rounds=3, dtypes=()))
    assert shrunk.best is not None and exact.best is not None and exact.best.dtype is None
    assert shrunk.best.dtype in ("int8", "int6", "int4") and shrunk.best.bytes < exact.best.bytes - shrunk.best.weights
    sparsernn.save_compact(tmp_path / "small", shrunk.model, shrunk.masks)
    assert (tmp_path / "small").stat().st_size == shrunk.best.bytes
    loaded = sparsernn.load_compact(tmp_path / "small", Reader()).eval()
    assert accuracy(loaded) == shrunk.best.quality >= floor
    assert torch.equal(loaded(HELD_BACK[0]), shrunk.model(HELD_BACK[0]))


def test_numbers_are_rounded_only_where_bytes_are_asked_for_and_the_quality_stays(trained: Reader) -> None:
    for budget in (Budget(weights=1000), 0.8):
        shrunk = sparsernn.shrink(trained, DATA, loss, accuracy, budget, floor=0.0)
        assert [point.dtype for point in shrunk.points] == [None] * len(shrunk.points)

    def picky(model: nn.Module) -> float:
        """Whether the rows of a matrix hold no whole multiples of a 7th, 31st or 127th of their largest number."""
        rows = model.recurrent.weight_hh_l0
        multiples = rows / rows.abs().amax(1, keepdim=True) * torch.tensor([7, 31, 127]).view(3, 1, 1)
        return float(((multiples - multiples.round()).abs().flatten(1).amax(1) > 0.1).all())

    shrunk = sparsernn.shrink(trained, DATA, loss, picky, Budget(bytes=4500), floor=1.0, how=How(steps=2))
    assert shrunk.best is not None and shrunk.best.dtype == "float16"


def test_what_no_batch_tells_apart_goes_by_and_by(trained: Reader) -> None:
    how = How(levels=("word",), share=0.1, steps=1, rounds=2)
    shrunk = sparsernn.shrink(trained, DATA, loss, accuracy, floor=0.0, how=how)
    embedded = [point.weights - (shrunk.points[0].weights - WORDS * 6) for point in shrunk.points]
    gone = [before - after for before, after in itertools.pairwise(embedded)]
    assert all(6 <= weights <= 0.1 * shrunk.points[0].weights + 6 for weights in gone)


@pytest.mark.parametrize(("steps", "rate", "left"), [(100, 1e-3, 0.951), (3000, 1e-3, 0.7), (10, 1e-5, 1.0)])
def test_weight_decay_takes_off_as_much_as_it_may_in_a_round(steps: int, rate: float, left: float) -> None:
    model = nn.Linear(3, 4)
    before = numbers(model)

    def start(optimizer: torch.optim.Optimizer, count: int) -> sparsernn.Sparsifier:
        assert count == steps
        return sparsernn.Sparsifier(model, Static(0.0), optimizer, steps=count, where="weight")

    fine_tune(model, [torch.ones(2, 3)] * 10, lambda model, x: 0 * model(x).sum(), start, steps, rate, 1.0)
    torch.testing.assert_close(model.weight.detach(), before["weight"] * left, rtol=1e-3, atol=0)
    assert torch.equal(model.bias.detach(), before["bias"])


def test_the_mode_of_the_model_stays(trained: Reader) -> None:
    assert trained.training
    sparsernn.shrink(trained, DATA, loss, accuracy, 0.8, floor=0.0, how=How(steps=1))
    assert all(module.training for module in trained.modules())


def test_never_below_the_floor(trained: Reader) -> None:
    floor = accuracy(trained) - 0.05
    shrunk = sparsernn.shrink(trained, DATA, loss, accuracy, floor=floor, how=How(rounds=8))
    assert shrunk.best is not None and accuracy(shrunk.model) >= floor
    assert all(point.accepted == (point.quality >= floor) for point in shrunk.points)
    assert shrunk.best.weights == min(point.weights for point in shrunk.points if point.accepted)


def test_a_floor_that_nothing_reaches_gives_the_model_back(trained: Reader) -> None:
    with pytest.warns(UserWarning, match="none of 3 rounds was good enough"):
        shrunk = sparsernn.shrink(trained, DATA, loss, accuracy, floor=1.1, how=How(rounds=3))
    assert shrunk.best is None and shrunk.model is trained and len(shrunk.points) == 4


def test_on_until_what_has_to_be_fast_is_fast_enough(trained: Reader) -> None:
    """A call takes as many steps of a loop as the recurrent layer has units; the dense layer has 16."""
    timed = []

    def of(model: nn.Module) -> Any:
        timed.append(model.recurrent.hidden_size)
        return lambda: sum(range(3000 * model.recurrent.hidden_size))

    how = How(steps=1, timed=of)
    shrunk = sparsernn.shrink(trained, DATA, loss, accuracy, {"faster": 3.0}, floor=0.0, how=how)
    assert shrunk.best is shrunk.points[-1] and shrunk.best.faster >= 3 > shrunk.points[-2].faster
    assert 2 <= shrunk.model.recurrent.hidden_size <= 6 and {16, shrunk.model.recurrent.hidden_size} <= set(timed)
    assert all(point.dtype is None for point in shrunk.points)


def test_a_round_that_fell_below_the_floor_is_followed_by_smaller_and_longer_ones(trained: Reader) -> None:
    """The third and the fourth call of the quality say no; the first two are of the model itself and of a round."""
    steps, calls = [], []

    def counted(model: nn.Module, batch: Any) -> torch.Tensor:
        steps.append(model.training)
        return loss(model, batch)

    def picky(model: nn.Module) -> float:
        calls.append(steps.count(True))
        return 0.0 if len(calls) in (3, 4) else 1.0

    how = How(share=0.2, steps=2, batches=1, rounds=6)
    with pytest.warns(UserWarning, match="the budget is not met: the smallest network that is good enough has"):
        shrunk = sparsernn.shrink(trained, DATA, counted, picky, Budget(weights=1), floor=0.5, how=how)
    assert [point.accepted for point in shrunk.points] == [True, True, False, False, True, True, True]
    assert [after - before for before, after in itertools.pairwise(calls)] == [2, 2, 4, 6, 2, 2]
    sizes = [point.weights for point in shrunk.points]
    good = [sizes[0], sizes[1], sizes[1], sizes[1], sizes[1], sizes[4], sizes[5]]
    gone = [1 - size / before for size, before in zip(sizes[1:], good[1:], strict=True)]
    assert gone[1] >= gone[2] >= gone[3] <= gone[4] <= gone[5] and gone[1] > gone[3] < gone[5]


def test_it_ends_where_no_group_is_left_that_can_go() -> None:
    """Every layer keeps a group; a budget of one weight is never met."""
    torch.manual_seed(0)
    model = nn.RNN(2, 2, batch_first=True)
    batches = [torch.randn(2, 3, 2)]

    def size(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        return model(batch)[0].square().mean()

    how = How(levels=("gate",), share=0.9, steps=1, rounds=20)
    with pytest.warns(UserWarning, match="the budget is not met"):
        shrunk = sparsernn.shrink(model, batches, size, lambda model: 0.0, Budget(weights=1), floor=-1.0, how=how)
    assert shrunk.best is not None and 1 < len(shrunk.points) < 20


def test_words_that_never_occur_go_first(trained: Reader) -> None:
    going = (WORDS - 12) * 6
    whole = sum(parameter.numel() for parameter in trained.parameters())
    how = How(levels=("word",), steps=1, learning_rate=1e-9)
    shrunk = sparsernn.shrink(trained, DATA, loss, accuracy, Budget(weights=whole - going), floor=0.0, how=how)
    assert shrunk.model.embedding.weight.shape == (12, 6)
    torch.testing.assert_close(shrunk.model(HELD_BACK[0]), trained(HELD_BACK[0]), atol=1e-5, rtol=0)


@pytest.mark.parametrize("levels", [("gate",), ("weight",), ("8x4",), ("neuron", "word")], ids="+".join)
def test_levels(trained: Reader, levels: tuple[str, ...]) -> None:
    shrunk = sparsernn.shrink(trained, DATA, loss, accuracy, 0.6, floor=0.0, how=How(levels=levels, steps=3))
    whole = sum(parameter.numel() for parameter in trained.parameters())
    assert shrunk.best is not None and 0.3 * whole < shrunk.best.weights <= 0.6 * whole
    for name, kept in shrunk.masks.kept.items():
        assert not shrunk.model.get_parameter(name)[~kept].any()


def test_a_loop_of_ones_own(trained: Reader) -> None:
    calls = []

    def train(model: nn.Module, start: Start) -> None:
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        sparsifier = start(optimizer, len(DATA))
        for batch in DATA:
            optimizer.zero_grad()
            (loss(model, batch) + sparsifier.penalty()).backward()
            optimizer.step()
        calls.append(sparsifier.step_count)

    sparsernn.shrink(trained, DATA, loss, accuracy, 0.5, floor=0.0, how=How(train=train))
    assert calls and set(calls) == {len(DATA)}


class Stopped(KeyboardInterrupt):
    pass


def test_goes_on_where_it_was_stopped(trained: Reader, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"budget": 0.3, "floor": 0.0}
    whole = sparsernn.shrink(trained, DATA, loss, accuracy, **arguments)
    calls = []

    def stopping(model: nn.Module) -> float:
        calls.append(model)
        if len(calls) == 3:
            raise Stopped
        return accuracy(model)

    with pytest.raises(Stopped):
        sparsernn.shrink(trained, DATA, loss, stopping, **arguments, folder=tmp_path)
    resumed = sparsernn.shrink(trained, DATA, loss, accuracy, **arguments, folder=tmp_path)
    assert [point.weights for point in resumed.points] == [point.weights for point in whole.points]
    for name, value in whole.model.state_dict().items():
        assert torch.equal(value, resumed.model.state_dict()[name])
    again = sparsernn.shrink(trained, DATA, loss, accuracy, **arguments, folder=tmp_path)
    assert len(again.points) == len(whole.points)
    other = Reader()
    with pytest.raises(UserError, match="holds another shrinking: model"):
        sparsernn.shrink(other, DATA, loss, accuracy, **arguments, folder=tmp_path)


class Emptied:
    """Data that is there once."""

    def __init__(self) -> None:
        self.batches = iter(DATA)

    def __iter__(self) -> Iterator[object]:
        return self.batches


def once() -> Iterator[object]:
    yield DATA[0]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"data": once()}, "data can be read once"),
        ({"quality": 0.9}, "quality is 0.9"),
        ({"budget": 1.5}, "the budget is 1.5"),
        ({"budget": {"size": 3}}, "the budget names"),
        ({"how": How(levels=("columns",))}, "granularity"),
        ({"loss": lambda model, batch: next(model.parameters()).sum()}, "does not call the model"),
        ({"data": "words"}, "data is str"),
        ({"data": Emptied()}, "data held no batch when it was read again"),
        ({"quality": lambda model: 1 / 0}, "quality raised ZeroDivisionError.*test_shrinking.py"),
        ({"quality": lambda model: None}, "quality returned None"),
        ({"quality": lambda model: float("nan")}, "the quality of the model as it is is nan"),
        ({"loss": lambda model, batch: {"loss": loss(model, batch)}}, "the loss is a dict"),
        ({"loss": lambda model, batch: loss(model, batch) * float("nan")}, "the loss is nan"),
        ({"loss": None}, "loss is None"),
        ({"budget": "small"}, "the budget is 'small'"),
        ({"budget": {"bytes": 0}}, "the budget has bytes=0"),
        ({"floor": float("nan")}, "floor is nan"),
        ({"how": {"steps": 3}}, "how is a dict"),
    ],
)
def test_wrong_arguments_are_one_sentence(trained: Reader, changes: dict[str, Any], sentence: str) -> None:
    arguments: dict[str, Any] = {"data": DATA, "loss": loss, "quality": accuracy, **changes}
    with pytest.raises(UserError, match=sentence):
        sparsernn.shrink(trained, **arguments)
    for wrong, about in (
        ({"share": 2}, "share is 2"),
        ({"steps": 0}, "steps is 0"),
        ({"rounds": 0}, "rounds is 0"),
        ({"batches": 2.5}, "batches is 2.5"),
        ({"weight_decay": -1.0}, "weight_decay is -1.0"),
        ({"train": "mine"}, "train is 'mine'"),
        ({"learning_rate": 0.0}, "learning"),
    ):
        with pytest.raises(UserError, match=about):
            How(**wrong)


@pytest.mark.parametrize(
    ("model", "sentence"),
    [
        (lambda batch: batch, "the model is a function"),
        (Reader().requires_grad_(False), "every weight of the model is frozen"),
        (Reader().to("meta"), "is on the device"),
        (nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), "the model has no recurrent layer"),
        (torch.jit.script, "the model is scripted"),
    ],
)
@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated:DeprecationWarning")
def test_models_that_cannot_be_shrunk_are_one_sentence(model: Any, sentence: str) -> None:
    model = torch.jit.script(nn.Sequential(nn.Linear(4, 2))) if model is torch.jit.script else model
    with pytest.raises(UserError, match=sentence):
        sparsernn.shrink(model, [torch.randn(3, 4)], lambda model, batch: model(batch).sum(), lambda model: 0.0)


class Stream(nn.Module):
    """Keeps its state for the next call, and returns a gradient of its own output."""

    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.head, self.state = nn.GRU(3, 6, batch_first=True), nn.Linear(6, 1), None
        self.mix = nn.Parameter(torch.randn(6, 6))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output, state = self.rnn(x, self.state)
        self.state = state.detach()
        return self.head(output @ self.mix)


def test_losses_with_gradients_inside_and_models_that_keep_a_state() -> None:
    """Nothing of all the runs stays behind in the model, which can be trained on."""

    def steep(model: nn.Module, batch: torch.Tensor) -> torch.Tensor:
        x = batch.clone().requires_grad_()
        (slope,) = torch.autograd.grad(model(x).sum(), x, create_graph=True)
        return slope.square().mean()

    torch.manual_seed(0)
    model, batches, how = Stream(), [torch.randn(2, 4, 3)], How(steps=2, rounds=1, dtypes=())
    with pytest.warns(UserWarning, match="the budget is not met"):
        shrunk = sparsernn.shrink(model, batches, steep, lambda model: 0.0, 0.1, floor=-1.0, how=how)
    assert shrunk.best is not None and shrunk.model.rnn.hidden_size < 6
    assert model.state is None and all(parameter.grad is None for parameter in model.parameters())
    model(batches[0]).sum().backward()
    assert sparsernn.analyse(model, batches, steep).layers[0].units == 6
