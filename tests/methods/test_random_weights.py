"""A method with other weights in every forward and parameters of its own: followed, resumed, copied, on two ranks."""

import copy
import pickle
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import Tensor, nn

from sparsernn import Sparsifier, compact
from sparsernn.errors import UserError
from sparsernn.methods.engines.removing import Removing
from sparsernn.methods.parts.removal import have_gone
from sparsernn.methods.parts.scores import best, mean_over
from sparsernn.methods.random_pruning import RandomPruning
from tests.contracts import contract
from tests.methods.networks import Network, batch, interrupted, loss_of, network, same_masks, same_weights, start, train
from tests.methods.two_processes import both, check_equal, side_by_side, trained, write

CELLS = contract.cells()
GRANULARITIES = ("weight", "neuron")


@dataclass(frozen=True)
class SignalToNoise(Removing):
    """Each weight has noise of a size that is learnt; what is small beside its noise goes in the end."""

    granularity: str = "weight"
    learning_rate: float = 0.01
    sparsity: float = 0.5
    granularities: ClassVar[tuple[str, ...]] = GRANULARITIES

    @property
    def target(self):
        return self.sparsity

    def prepare(self, run):
        run.groups(self.granularity)
        sigmas = {f"log_sigma.{name}": torch.full_like(run.weights[name], -3.0) for name in run.selected}
        run.own(sigmas, self.learning_rate)

    def before_forward(self, run):
        return None if have_gone(run) else {name: self.noisy(run, name) for name in run.selected}

    def noisy(self, run, name):
        noise = torch.randn(run.weights[name].shape, generator=run.generator)
        return run.weights[name] + run.owned[f"log_sigma.{name}"].exp() * noise.to(run.device)

    def penalty(self, run):
        return -1e-3 * sum(log_sigma.mean() for log_sigma in run.owned.values())

    def survivors(self, run):
        groups = run.groups(self.granularity)
        ratios = {name: run.weights[name].abs() / run.owned[f"log_sigma.{name}"].exp() for name in run.selected}
        kept = best(groups, mean_over(run, groups, ratios), round((1 - self.sparsity) * groups.count))
        return {self.granularity: kept}


class Watched(Network):
    """Notes the weights that it computes with."""

    def __init__(self):
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x):
        self.seen.append(self.rnn.weight_hh_l0)
        return super().forward(x)


class Tied(nn.Module):
    """Words go in and out by the same weights."""

    def __init__(self):
        super().__init__()
        self.embedding, self.rnn, self.head = nn.Embedding(7, 8), nn.GRU(8, 8), nn.Linear(8, 7)
        self.head.weight = self.embedding.weight

    def forward(self, ids):
        self.same = self.head.weight is self.embedding.weight
        return self.head(self.rnn(self.embedding(ids))[0])


class Peeking(Network):
    """Looks at a recurrent weight itself."""

    def forward(self, x):
        return super().forward(x) + self.rnn.weight_hh_l0.mean()


def started(model, steps=6, **options):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    return optimizer, Sparsifier(model, SignalToNoise(**options), optimizer, steps=steps)


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("cell", CELLS)
def test_it_does_what_every_method_does(cell, granularity):
    method = contract.for_a_short_run(SignalToNoise, granularity)
    trained = contract.trains(CELLS[cell], method)
    contract.meets_its_target(trained, granularity)
    contract.leaves_plain_parameters(trained, CELLS[cell])
    contract.compacts_exactly(trained)
    contract.resumes_bit_for_bit(CELLS[cell], method)


@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_its_units_are_as_well_known_as_those_of_any_other(granularity):
    _, _, sparsifier = start(SignalToNoise(granularity), steps=4)
    _, _, other = start(RandomPruning(0.5, granularity), steps=4)
    train(sparsifier, 1)
    train(other, 1)
    assert sparsifier.wiring.external == other.wiring.external
    hidden = sparsifier.wiring.weights["rnn.weight_hh_l0"].units("hidden")
    assert not set(hidden.tolist()) & set(sparsifier.wiring.external)


def test_units_that_the_model_reads_by_itself_are_external_all_the_same():
    torch.manual_seed(0)
    model = Peeking()
    optimizer, sparsifier = started(model)
    train(sparsifier, 1)
    assert any("rnn.weight_hh_l0" in reason for reason in sparsifier.wiring.external.values())


def test_neurons_are_cut():
    model, _, sparsifier = start(SignalToNoise("neuron"), steps=6)
    train(sparsifier, 6)
    small, _ = compact(model, sparsifier.finalize(), example=(batch()[0],))
    assert small.rnn.hidden_size == model.rnn.hidden_size // 2
    assert torch.allclose(small(batch()[0]), model(batch()[0]), atol=1e-6)


def test_weights_are_drawn_anew_for_every_forward_of_training_and_for_no_other():
    model = Watched()
    _, sparsifier = started(model)
    weight = model.rnn.weight_hh_l0
    model(batch()[0])
    model(batch()[0])
    with torch.no_grad():
        model(batch()[0])
    model.eval()(batch()[0])
    first, second, *plain = model.seen
    assert not torch.equal(first, second) and not torch.equal(first, weight)
    assert all(seen is weight for seen in plain)
    assert model.rnn.weight_hh_l0 is weight and isinstance(weight, nn.Parameter)
    assert all(there is one for there, one in zip(model.rnn._flat_weights, model.rnn.parameters(), strict=True))


def test_parameters_are_back_after_a_forward_that_raises():
    model = Watched()
    _, sparsifier = started(model)
    names = dict(model.named_parameters())
    for _ in range(2):
        with pytest.raises(RuntimeError):
            model(torch.zeros(2, 5, 99))
        assert dict(model.named_parameters()).keys() == names.keys()
        assert all(parameter is names[name] for name, parameter in model.named_parameters())
    assert isinstance(model.seen[-1], Tensor) and not isinstance(model.seen[-1], nn.Parameter)
    train(sparsifier, 2)


AFTERWARDS = {
    "saving the model": lambda model, sparsifier: model.state_dict(),
    "saving the sparsifier": lambda model, sparsifier: sparsifier.state_dict(),
    "training": lambda model, sparsifier: train(sparsifier, 1),
    "a step": lambda model, sparsifier: sparsifier.optimizer.step(),
    "evaluation": lambda model, sparsifier: model.eval()(batch()[0]),
    "copying": lambda model, sparsifier: copy.deepcopy(model),
    "pickling": lambda model, sparsifier: pickle.loads(pickle.dumps(model)),
    "the end": lambda model, sparsifier: sparsifier.finalize(),
    "leaving": lambda model, sparsifier: sparsifier.detach(),
}


@pytest.mark.parametrize("what", AFTERWARDS)
def test_after_ctrl_c_in_a_forward_parameters_are_back(what):
    model = Watched()
    optimizer, sparsifier = started(model)
    parameters = dict(model.named_parameters())
    train(sparsifier, 1)
    with interrupted(model.head), pytest.raises(KeyboardInterrupt):
        model(batch()[0])
    model.seen.clear()
    result = AFTERWARDS[what](model, sparsifier)
    if isinstance(result, Watched):
        assert all(torch.equal(*both) for both in zip(result.parameters(), parameters.values(), strict=True))
    assert all(parameter is parameters[name] for name, parameter in model.named_parameters())
    model.train()(batch()[0])
    assert (model.seen[-1] is parameters["rnn.weight_hh_l0"]) == (what in ("the end", "leaving"))


def test_a_forward_within_a_forward_has_the_same_weights():
    model = Watched()
    _, sparsifier = started(model)
    model.head.register_forward_hook(lambda *_: None if len(model.seen) > 1 else (model(batch()[0]), None)[1])
    model(batch()[0])
    assert len(model.seen) == 2 and model.seen[0] is model.seen[1]


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch's compiler, of any hook
def test_a_compiled_model_is_refused_where_torch_compiles_its_hooks():
    plain, compiled = network(), network()
    for model in (plain, compiled):
        optimizer, _ = started(model)
        loss_of(torch.compile(model, backend="eager") if model is compiled else model).backward()
        try:
            optimizer.step()
        except UserError as error:
            assert "a compiled model" in str(error) and model is compiled
            return
    # What torch has once left alone, in another test, it does not compile again: then all is as without it.
    assert all(torch.equal(*pair) for pair in zip(plain.parameters(), compiled.parameters(), strict=True))


def test_tied_weights_stay_tied():
    torch.manual_seed(0)
    model = Tied()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, SignalToNoise(), optimizer, steps=3, where="*weight*")
    for _ in range(2):
        optimizer.zero_grad()
        model(torch.tensor([[1, 2], [3, 4]])).square().mean().backward()
        assert model.same and model.head.weight is model.embedding.weight
        assert model.embedding.weight.grad.abs().sum() > 0
        optimizer.step()
    assert sparsifier.step_count == 2


def test_owned_parameters_learn_and_are_nobody_elses():
    model, optimizer, sparsifier = start(SignalToNoise(learning_rate=0.02), steps=6)
    before = {name: parameter.detach().clone() for name, parameter in sparsifier.owned.items()}
    names = set(network().state_dict())
    train(sparsifier, 1)
    for name, parameter in sparsifier.owned.items():
        assert parameter.grad is None
        moved = parameter.detach() - before[name]
        assert moved.abs().max().item() == pytest.approx(0.02, rel=1e-3)
    assert set(model.state_dict()) == names
    owned = {id(parameter) for parameter in sparsifier.owned.values()}
    assert not owned & {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}


def test_a_step_that_a_loss_scaler_skips_leaves_owned_parameters_alone():
    model, optimizer, sparsifier = start(SignalToNoise(), steps=6)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    before = copy.deepcopy(dict(sparsifier.owned))
    scaler.scale(loss_of(model) * torch.inf).backward()
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad()
    train(sparsifier, 1)
    assert all(torch.equal(parameter, before[name]) for name, parameter in sparsifier.owned.items())
    train(sparsifier, 1)
    assert not any(torch.equal(parameter, before[name]) for name, parameter in sparsifier.owned.items())


def test_a_copy_draws_from_its_own_state():
    model, optimizer, sparsifier = start(SignalToNoise(), steps=6)
    alone, _, untouched = start(SignalToNoise(), steps=6)
    train(sparsifier, 2)
    train(untouched, 2)
    twin, _, twins = copy.deepcopy((model, optimizer, sparsifier))
    assert twins.model is twin and twins.generator is not sparsifier.generator
    train(twins, 4, first=2)
    train(sparsifier, 4, first=2)
    train(untouched, 4, first=2)
    assert same_weights(model, alone) and same_weights(model, twin)
    for name, parameter in sparsifier.owned.items():
        assert torch.equal(parameter, untouched.owned[name]) and torch.equal(parameter, twins.owned[name])
        assert parameter is not twins.owned[name]
    assert same_masks(twins.finalize().kept, sparsifier.finalize().kept)


def test_a_copy_of_the_model_is_saved_before_it_has_run():
    model = network()
    started(model)
    assert copy.deepcopy(model).state_dict().keys() == model.state_dict().keys()


def test_a_copy_of_the_model_alone_is_plain():
    model = Watched()
    _, sparsifier = started(model)
    train(sparsifier, 2)
    state = sparsifier.generator.get_state()
    model.seen.clear()
    twin = copy.deepcopy(model)
    twin.train()(batch()[0])
    assert twin.seen[0] is twin.rnn.weight_hh_l0 and torch.equal(sparsifier.generator.get_state(), state)


def test_a_state_of_other_parameters():
    _, _, sparsifier = start(SignalToNoise(), steps=4)
    _, _, other = start(SignalToNoise(), steps=4, where="rnn.weight_hh*")
    state = sparsifier.state_dict()
    state["tensors"] = {
        name: tensor
        for name, tensor in state["tensors"].items()
        if not name.startswith("kept.") or name.removeprefix("kept.") in other.masks.kept
    }
    with pytest.raises(UserError, match="parameters of a method named"):
        other.load_state_dict(state)


def test_a_weight_of_another_shape():
    @dataclass(frozen=True)
    class Wrong(SignalToNoise):
        def noisy(self, run, name):
            return run.weights[name][:1]

    model, _, sparsifier = start(Wrong(), steps=4)
    with pytest.raises(UserError, match=r"the method draws rnn.weight_\w+ of shape"):
        model(batch()[0])


def work(rank: int, folder: Path) -> None:
    write(trained(SignalToNoise("neuron"), rank), folder, rank)


def test_two_processes_hold_the_same(tmp_path: Path):
    side_by_side(work, tmp_path)
    first, second = both(tmp_path)
    check_equal(first, second)
    assert any(name.startswith("log_sigma.") and len(tensor.unique()) > 1 for name, tensor in first.items())
