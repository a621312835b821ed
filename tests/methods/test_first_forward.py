"""Who reads which unit, found out by following the first forward: as good as an example, and without a trace."""

import copy
import gc
import pickle

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from sparsernn import Sparsifier, compact
from sparsernn.cells.gru import GRU
from sparsernn.errors import UserError
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.random_pruning import RandomPruning
from tests.methods.networks import (
    CLASSES,
    INPUTS,
    UNITS,
    Network,
    absent_are_zero,
    batch,
    interrupted,
    loss_of,
    network,
    same_masks,
    start,
    train,
)


class Keywords(Network):
    def forward(self, *, tokens, scale=1.0):
        return super().forward(tokens * scale)


class Checkpointed(Network):
    """Recomputes its recurrent layers in the backward pass."""

    reentrant = False

    def forward(self, x):
        states = checkpoint(lambda value: self.rnn(value)[1][0], x, use_reentrant=self.reentrant)
        return self.head(states[-1])


class Reentrant(Checkpointed):
    reentrant = True


class Backwards(nn.Module):
    """Its head was made first and reads the hidden units in another order."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(UNITS, CLASSES)
        self.rnn = nn.GRU(INPUTS, UNITS, batch_first=True)

    def forward(self, x):
        return self.head(self.rnn(x)[0][:, -1].flip(-1))


class Residual(nn.Module):
    """Two layers whose outputs are added up share their units."""

    def __init__(self):
        super().__init__()
        self.first = nn.GRU(INPUTS, UNITS, batch_first=True)
        self.second = nn.GRU(UNITS, UNITS, batch_first=True)
        self.head = nn.Linear(UNITS, CLASSES)

    def forward(self, x):
        first = self.first(x)[0]
        return self.head((first + self.second(first)[0])[:, -1])


def masks_of(model, method, example, calls=1):
    """The masks that a method makes before training, after `calls` forwards."""
    torch.manual_seed(0)
    sparsifier = Sparsifier(model, method, torch.optim.SGD(model.parameters(), lr=0.1), steps=4, example=example)
    for _ in range(calls):
        model(batch()[0])
    return sparsifier


@pytest.mark.parametrize("granularity", ["weight", "gate", "neuron", "16x1", "input"])
@pytest.mark.parametrize("kind", [Network, Backwards])
def test_as_good_as_an_example(kind, granularity):
    torch.manual_seed(0)
    model = kind()
    told = masks_of(copy.deepcopy(model), RandomPruning(0.5, granularity), (batch()[0],))
    found = masks_of(copy.deepcopy(model), RandomPruning(0.5, granularity), None)
    assert same_masks(told.masks.kept, found.masks.kept)
    assert absent_are_zero(found.model, found.masks)
    assert not found.model._forward_hooks and not found.model._forward_pre_hooks


def test_readers_lose_their_columns():
    sparsifier = masks_of(Backwards(), RandomPruning(0.5, "neuron"), None)
    dead = ~sparsifier.masks.kept["rnn.bias_ih_l0"][:UNITS]
    assert int(dead.sum()) == UNITS // 2
    assert torch.equal(sparsifier.masks.kept["head.weight"], ~dead.flip(0).expand(CLASSES, -1))


def test_layers_that_share_units_are_told_to_pass_an_example():
    torch.manual_seed(0)
    model = Residual()
    with pytest.raises(UserError, match="example="):
        masks_of(model, RandomPruning(0.5, "neuron"), None)
    sparsifier = masks_of(Residual(), RandomPruning(0.5, "neuron"), (batch()[0],))
    assert torch.equal(sparsifier.masks.kept["first.bias_ih_l0"], sparsifier.masks.kept["second.bias_ih_l0"])


def test_layers_that_share_units_are_pruned_together_later():
    torch.manual_seed(0)
    model = Residual()
    sparsifier = Sparsifier(
        model, Magnitude(0.5, "neuron", every=1), torch.optim.SGD(model.parameters(), lr=0.1), steps=6
    )
    train(sparsifier, 6)
    masks = sparsifier.finalize()
    assert torch.equal(masks.kept["first.bias_ih_l0"], masks.kept["second.bias_ih_l0"])
    small, _ = compact(model, masks, example=(batch()[0],))
    assert small.first.hidden_size == small.second.hidden_size == UNITS // 2


def test_a_resumed_run_follows_its_first_forward_too():
    torch.manual_seed(0)
    model = Residual()
    sparsifier = Sparsifier(
        model, Magnitude(0.5, "neuron", every=1), torch.optim.SGD(model.parameters(), lr=0.1), steps=6
    )
    train(sparsifier, 6)
    other = Residual()
    other.load_state_dict(model.state_dict())
    second = Sparsifier(other, sparsifier.method, torch.optim.SGD(other.parameters(), lr=0.1), steps=6)
    second.load_state_dict(sparsifier.state_dict())
    other(batch()[0])
    assert same_masks(sparsifier.masks.kept, second.masks.kept)


def test_several_levels_survive_the_first_forward_of_a_resumed_run():
    model, optimizer, sparsifier = start(GroupLasso(0.01, ("gate", "neuron"), sparsity=0.4, stop=0.5), steps=4)
    train(sparsifier, 3)
    fresh = network()
    fresh.load_state_dict(model.state_dict())
    second = Sparsifier(fresh, sparsifier.method, torch.optim.SGD(fresh.parameters(), lr=0.1), steps=4)
    second.load_state_dict(sparsifier.state_dict())
    fresh(batch()[0])
    assert same_masks(sparsifier.masks.kept, second.masks.kept)


def test_no_random_numbers_are_used():
    model = Network()
    dropout = nn.Dropout(0.5)
    model.register_forward_pre_hook(lambda module, arguments: (dropout(arguments[0]),))
    plain = copy.deepcopy(model)
    Sparsifier(model, Magnitude(0.5, "neuron", every=1), torch.optim.SGD(model.parameters(), lr=0.1), steps=4)
    results = []
    for which in (model, plain):
        torch.manual_seed(3)
        results.append((which(batch()[0]), torch.rand(1)))
    assert torch.equal(results[0][0], results[1][0]) and torch.equal(results[0][1], results[1][1])


@pytest.mark.parametrize("mode", [torch.no_grad, torch.inference_mode])
def test_evaluation_before_training(mode):
    model, optimizer, sparsifier = start(RandomPruning(0.5, "neuron"), steps=4)
    told = start(RandomPruning(0.5, "neuron"), steps=4, example=(batch()[0],))
    with mode():
        model.eval()(batch()[0])
    model.train()
    train(sparsifier, 4)
    train(told[2], 4)
    assert same_masks(sparsifier.masks.kept, told[2].masks.kept)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(model.parameters(), told[0].parameters(), strict=True))


def test_penalty_after_evaluation_in_inference_mode():
    model, optimizer, sparsifier = start(GroupLasso(0.01), steps=4)
    with torch.inference_mode():
        model(batch()[0])
    train(sparsifier, 4)
    assert "head.weight" in sparsifier.finalize().kept


def test_a_forward_that_raises_once():
    model, optimizer, sparsifier = start(RandomPruning(0.5, "neuron"), steps=4)
    with pytest.raises(RuntimeError):
        model(torch.zeros(2, 5, INPUTS + 1))
    with pytest.raises(TypeError):
        model()
    assert not sparsifier.wiring.recorded
    assert not torch.overrides._get_current_function_mode_stack()
    train(sparsifier, 1)
    assert sparsifier.wiring.recorded and "head.weight" in sparsifier.masks.kept
    assert all(not module._forward_hooks for module in model.modules())


class Collecting(Network):
    """In the middle of its forward whatever nobody has any more is thrown away."""

    def forward(self, x):
        gc.collect()
        return super().forward(x)


def test_a_sparsifier_that_nobody_has_any_more_ends_the_forward_that_it_has_begun():
    gc.collect()
    gc.disable()
    try:
        model = Collecting()
        optimizer = torch.optim.SGD(model.parameters(), 0.1)
        Sparsifier(model, RandomPruning(0.5, "neuron"), optimizer, steps=4)
        del optimizer
        model(batch()[0])
        assert not torch.overrides._get_current_function_mode_stack()
    finally:
        gc.enable()
    gc.collect()
    model(batch()[0])
    assert not model._forward_hooks and not model._forward_pre_hooks and not model._state_dict_pre_hooks


def test_ctrl_c_in_the_first_forward():
    model, optimizer, sparsifier = start(RandomPruning(0.5, "neuron"), steps=4)
    with interrupted(model.head), pytest.raises(KeyboardInterrupt):
        model(batch()[0])
    train(sparsifier, 1)
    assert not torch.overrides._get_current_function_mode_stack()
    assert sparsifier.wiring.recorded and "head.weight" in sparsifier.masks.kept


def test_keyword_arguments():
    torch.manual_seed(0)
    model = Keywords()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, RandomPruning(0.5, "neuron"), optimizer, steps=2)
    model(tokens=batch()[0], scale=0.5).sum().backward()
    optimizer.step()
    assert sparsifier.wiring.recorded and "head.weight" in sparsifier.masks.kept


@pytest.mark.parametrize("kind", [Checkpointed, Reentrant])
def test_activation_checkpointing(kind):
    torch.manual_seed(0)
    plain, model = Network(), kind()
    model.load_state_dict(plain.state_dict())
    runs = [
        Sparsifier(which, RandomPruning(0.5, "neuron"), torch.optim.SGD(which.parameters(), lr=0.1), steps=3)
        for which in (plain, model)
    ]
    for number in range(3):
        for which in runs:
            inputs, labels = batch(number)
            which.optimizer.zero_grad()
            nn.functional.cross_entropy(which.model(inputs.requires_grad_()), labels).backward()
            which.optimizer.step()
    assert same_masks(runs[0].masks.kept, runs[1].masks.kept)
    assert all(
        torch.allclose(ours, theirs, atol=1e-6)
        for ours, theirs in zip(plain.parameters(), model.parameters(), strict=True)
    )


def test_the_model_can_be_pickled_before_its_first_forward():
    model, optimizer, sparsifier = start(Magnitude(0.5), steps=60)
    twin = pickle.loads(pickle.dumps(model))
    assert torch.equal(twin(batch()[0]), model(batch()[0]))


@pytest.mark.filterwarnings(
    "ignore:The .grad attribute of a Tensor that is not a leaf"
)  # torch's compiler, of any hook
def test_a_compiled_model_trains():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    compiled = torch.compile(model, backend="eager")
    sparsifier = Sparsifier(compiled, Magnitude(0.5, "neuron", every=1), optimizer, steps=4)
    for number in range(4):
        optimizer.zero_grad()
        loss_of(compiled, number).backward()
        optimizer.step()
        assert absent_are_zero(model, sparsifier.masks)
    small, _ = compact(compiled, sparsifier.finalize(), example=(batch()[0],))
    assert small.rnn.hidden_size == UNITS // 2
    assert not model._forward_hooks and not model._forward_pre_hooks


def test_finalize_before_any_forward_takes_the_hooks_off():
    model, optimizer, sparsifier = start(RandomPruning(0.5, "neuron"), steps=4)
    assert model._forward_hooks
    sparsifier.finalize()
    assert not model._forward_hooks and not model._forward_pre_hooks
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks


@pytest.mark.parametrize("layer", [nn.GRU(3, 4), nn.LSTM(3, 4), GRU(3, 4)], ids=lambda layer: str(layer)[:9])
def test_the_model_may_be_a_recurrent_layer_itself(layer):
    run = Sparsifier(layer, RandomPruning(0.5, granularity="neuron"), torch.optim.SGD(layer.parameters(), 0.1), steps=1)
    layer(torch.randn(5, 2, 3))
    assert run.wiring.recorded
