"""Whatever stands around an optimizer: each true step counts once, and absent weights are zero after it."""

import copy
import pickle
import types

import pytest
import torch
from torch import nn

from sparsernn import Sparsifier
from sparsernn.errors import UserError
from sparsernn.methods.deep_r import DeepR
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.rigl import RigL
from sparsernn.methods.snfs import SNFS
from sparsernn.methods.st_rnn import STRNN
from sparsernn.methods.static import Static
from tests.methods.networks import absent_are_zero, loss_of, network, same_weights

STEPS = 12
METHODS = [
    Static(0.6),
    Magnitude(0.7, every=1),
    Magnitude(0.5, "neuron", every=2),
    RigL(0.6, every=2),
    STRNN(0.6, every=2),
    DeepR(0.5, strength=0.1),
]


def adam(parameters) -> torch.optim.Optimizer:
    return torch.optim.Adam(list(parameters), lr=0.02)


class Copied:
    """A class whose copies have all that it has."""

    def __getstate__(self):
        return dict(vars(self))

    def __setstate__(self, state):
        vars(self).update(state)


class KeepsItself:
    """A wrapper of the user's own that keeps the optimizer under some name and shows its groups, or not."""

    def __init__(self, inner, name: str, groups: bool = True):
        vars(self)[name] = {"main": inner} if name.endswith("dict") else [inner] if name.endswith("s") else inner
        self.name = name
        if groups:
            self.param_groups, self.state = inner.param_groups, inner.state

    @property
    def inner(self):
        value = vars(self)[self.name]
        return value["main"] if isinstance(value, dict) else value[0] if isinstance(value, list) else value

    def zero_grad(self):
        self.inner.zero_grad()

    def step(self, closure=None):
        return self.inner.step(closure)


class WithSlots:
    """A wrapper to which no attribute can be added."""

    __slots__ = ("inside",)

    def __init__(self, inner):
        self.inside = inner

    @property
    def param_groups(self):
        return self.inside.param_groups

    def zero_grad(self):
        self.inside.zero_grad()

    def step(self):
        self.inside.step()


class WithoutInit(Copied, torch.optim.Optimizer):
    """A subclass that never calls its parent's __init__, as several libraries have."""

    def __init__(self, inner):
        self.original_optimizer = inner

    param_groups = property(lambda self: self.original_optimizer.param_groups)
    state = property(lambda self: self.original_optimizer.state)
    defaults = property(lambda self: self.original_optimizer.defaults)

    def zero_grad(self, set_to_none=True):
        self.original_optimizer.zero_grad(set_to_none)

    def step(self, closure=None):
        return self.original_optimizer.step(closure)


class SlowWeights(Copied, torch.optim.Optimizer):
    """A lookahead: every third step writes weights after the inner step."""

    def __init__(self, inner):
        self.inner, self.count = inner, 0
        super().__init__([parameter for group in inner.param_groups for parameter in group["params"]], {"lr": 0.0})
        for group in self.param_groups:
            for parameter in group["params"]:
                self.state[parameter]["slow"] = torch.randn_like(parameter)

    @torch.no_grad()
    def step(self, closure=None):
        loss = self.inner.step(closure)
        self.count += 1
        for parameter, memory in self.state.items() if self.count % 3 == 0 else ():
            memory["slow"].lerp_(parameter, 0.5)
            parameter.copy_(memory["slow"])
        return loss


class Opaque:
    """One that shows groups and hides what it does."""

    def __init__(self, inner):
        self.param_groups = inner.param_groups
        self.run, self.clear = lambda: inner.step(), inner.zero_grad

    def zero_grad(self):
        self.clear()

    def step(self):
        self.run()


class HandWritten:
    """An optimizer that is nobody's subclass."""

    def __init__(self, parameters):
        self.param_groups = [{"params": list(parameters), "lr": 0.05}]

    def zero_grad(self):
        for parameter in self.param_groups[0]["params"]:
            parameter.grad = None

    @torch.no_grad()
    def step(self):
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is not None:
                parameter.data.add_(parameter.grad + 0.01, alpha=-0.05)


class Together:
    """Two optimizers of different parts behind one step."""

    def __init__(self, model):
        self.optimizers = [adam(model.rnn.parameters()), torch.optim.SGD(model.head.parameters(), lr=0.1)]
        self.param_groups = [group for one in self.optimizers for group in one.param_groups]

    def zero_grad(self):
        for one in self.optimizers:
            one.zero_grad()

    def step(self):
        for one in self.optimizers:
            one.step()


class StepsTwice(KeepsItself):
    """One step of it is two of the inner optimizer."""

    def step(self, closure=None):
        self.inner.step()
        return self.inner.step(closure)


class CallsParent(torch.optim.SGD):
    """A subclass whose step calls its parent's, which torch then hooks twice."""

    def step(self, closure=None):
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.grad.add_(1e-3)
        return super().step(closure)


def calls_parent(model):
    torch.optim.SGD(nn.Linear(2, 2).parameters(), lr=0.1)  # from now on the parent's step has hooks too
    return CallsParent(model.parameters(), lr=0.05, momentum=0.9)


def simple_namespace(model):
    inner = adam(model.parameters())
    return types.SimpleNamespace(step=inner.step, zero_grad=inner.zero_grad, wrapped=inner)


def with_a_schedule(model):
    wrapper = WithoutInit(adam(model.parameters()))
    torch.optim.lr_scheduler.StepLR(wrapper, 5)
    return wrapper


NAMES = ["optimizer", "base_optimizer", "_optimizer", "optimizers", "original_optimizer", "inner", "some_dict"]
WRAPPERS = {name: (lambda model, name=name: KeepsItself(adam(model.parameters()), name)) for name in NAMES} | {
    "without groups": lambda model: KeepsItself(adam(model.parameters()), "optimizer", groups=False),
    "twice wrapped": lambda model: KeepsItself(KeepsItself(adam(model.parameters()), "a"), "b"),
    "slots": lambda model: WithSlots(adam(model.parameters())),
    "no init": lambda model: WithoutInit(adam(model.parameters())),
    "no init, scheduled": with_a_schedule,
    "lookahead": lambda model: SlowWeights(adam(model.parameters())),
    "lookahead within": lambda model: WithoutInit(SlowWeights(adam(model.parameters()))),
    "opaque": lambda model: Opaque(adam(model.parameters())),
    "hand-written": lambda model: HandWritten(model.parameters()),
    "composite": Together,
    "two a step": lambda model: StepsTwice(adam(model.parameters()), "optimizer"),
    "parent's step": calls_parent,
    "namespace": simple_namespace,
    "fused": lambda model: torch.optim.Adam(model.parameters(), lr=0.02, fused=True),
    "foreach": lambda model: torch.optim.Adam(model.parameters(), lr=0.02, foreach=True),
}


def steps_with(model, optimizer, sparsifier, steps=STEPS, first=0):
    for number in range(first, first + steps):
        optimizer.zero_grad()
        (loss_of(model, number) + sparsifier.penalty()).backward()
        optimizer.step()
        assert absent_are_zero(model, sparsifier.masks)
        assert sparsifier.step_count == number + 1


@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_each_true_step_counts_once(wrapper, method):
    model = network()
    optimizer = WRAPPERS[wrapper](model)
    sparsifier = Sparsifier(model, method, optimizer, steps=STEPS)
    before = [weight.clone() for weight in model.parameters()]
    steps_with(model, optimizer, sparsifier)
    assert sparsifier.finalize().sparsity() >= method.sparsity - 0.05
    assert not any(torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


@pytest.mark.parametrize("wrapper", ["optimizer", "no init", "twice wrapped", "slots", "parent's step"])
def test_a_wrapper_that_changes_nothing_changes_nothing(wrapper):
    models = [network(), network()]
    bare = calls_parent(models[0]) if wrapper == "parent's step" else adam(models[0].parameters())
    for model, optimizer in zip(models, (bare, WRAPPERS[wrapper](models[1])), strict=True):
        steps_with(model, optimizer, Sparsifier(model, RigL(0.6, every=2), optimizer, steps=STEPS, seed=4))
    assert same_weights(*models)


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_finalize_leaves_nothing_in_an_optimizer(wrapper):
    model = network()
    optimizer = WRAPPERS[wrapper](model)
    before = dict(getattr(optimizer, "__dict__", {}))
    Sparsifier(model, Static(0.5), optimizer, steps=STEPS).finalize()
    assert dict(getattr(optimizer, "__dict__", {})).keys() == before.keys()
    optimizer.zero_grad()
    loss_of(model).backward()
    optimizer.step()


class Sharpness(torch.optim.Optimizer):
    """Sharpness-aware minimisation: a step uphill, a second gradient, and the inner step from where it began."""

    def __init__(self, parameters, base):
        super().__init__(parameters, {"rho": 0.05})
        self.base_optimizer = base(self.param_groups, lr=0.05)
        self.param_groups = self.base_optimizer.param_groups

    def weights(self):
        return [weight for group in self.param_groups for weight in group["params"] if weight.grad is not None]

    @torch.no_grad()
    def first_step(self):
        for weight in self.weights():
            self.state[weight]["start"] = weight.clone()
            weight.add_(weight.grad, alpha=0.05)
        self.zero_grad()

    @torch.no_grad()
    def second_step(self):
        for weight in self.weights():
            weight.copy_(self.state[weight]["start"])
        self.base_optimizer.step()
        self.zero_grad()

    def step(self, closure=None):
        self.first_step()
        with torch.enable_grad():
            closure()
        self.second_step()


@pytest.mark.parametrize("by_closure", [False, True])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_two_phases_are_one_step(method, by_closure):
    model = network()
    optimizer = Sharpness(model.parameters(), torch.optim.SGD)
    sparsifier = Sparsifier(model, method, optimizer, steps=STEPS)
    for number in range(STEPS):
        loss_of(model, number).backward()
        if by_closure:
            optimizer.step(lambda number=number: loss_of(model, number).backward())
            optimizer.zero_grad()
        else:
            optimizer.first_step()
            assert absent_are_zero(model, sparsifier.masks)
            loss_of(model, number).backward()
            optimizer.second_step()
        assert sparsifier.step_count == number + 1
        assert absent_are_zero(model, sparsifier.masks)
    sparsifier.finalize()


@pytest.mark.parametrize("history", [2, 4])
def test_a_closure_is_called_through_wrappers(history):
    models = [network(), network()]
    for model, wrap in zip(models, (lambda one: one, WithoutInit), strict=True):
        optimizer = wrap(torch.optim.LBFGS(model.parameters(), lr=0.1, max_iter=history))
        sparsifier = Sparsifier(model, Magnitude(0.6, every=1), optimizer, steps=4)
        for number in range(4):

            def evaluate(model=model, optimizer=optimizer, number=number):
                optimizer.zero_grad()
                loss = loss_of(model, number)
                loss.backward()
                return loss

            optimizer.step(evaluate)
            assert absent_are_zero(model, sparsifier.masks)
        assert sparsifier.step_count == 4
    assert same_weights(*models)


def steps_in_backward(model):
    """An optimizer for every parameter, which steps as soon as the gradient is there."""
    optimizers = {weight: adam([weight]) for weight in model.parameters()}

    def hook(weight):
        optimizers[weight].step()
        optimizers[weight].zero_grad()

    for weight in optimizers:
        weight.register_post_accumulate_grad_hook(hook)
    return list(optimizers.values())


def parts(model):
    return [adam(model.rnn.parameters()), adam(model.head.parameters())]


@pytest.mark.parametrize("kind", [list, tuple, lambda both: dict(zip("ab", both, strict=True))])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)
def test_several_optimizers_make_one_step_together(method, kind):
    model, other = network(), network()
    optimizers = parts(model)
    sparsifier = Sparsifier(model, method, kind(optimizers), steps=STEPS)
    single = adam(other.parameters())
    expected = Sparsifier(other, method, single, steps=STEPS)
    steps_with(other, single, expected)
    for number in range(STEPS):
        for one in optimizers:
            one.zero_grad()
        loss_of(model, number).backward()
        for one in optimizers:
            one.step()
            assert absent_are_zero(model, sparsifier.masks)
        assert sparsifier.step_count == number + 1
    sparsifier.finalize()
    assert same_weights(model, other)


def test_an_optimizer_that_comes_again_begins_the_next_step():
    model = network()
    often, seldom = parts(model)
    sparsifier = Sparsifier(model, Magnitude(0.5, every=1), [often, seldom], steps=20)
    for number in range(10):
        loss_of(model, number).backward()
        often.step()
        if number % 5 == 4:
            seldom.step()
        assert absent_are_zero(model, sparsifier.masks)
    assert sparsifier.state_dict()["values"]["step_count"] == 10


@pytest.mark.parametrize("method", [Static(0.6), Magnitude(0.7, every=1), STRNN(0.6, every=2)])
def test_an_optimizer_for_every_parameter_steps_within_the_backward_pass(method):
    model = network()
    sparsifier = Sparsifier(model, method, steps_in_backward(model), steps=STEPS)
    for number in range(STEPS):
        loss_of(model, number).backward()
        assert sparsifier.step_count == number + 1
        assert absent_are_zero(model, sparsifier.masks)
    assert sparsifier.finalize().sparsity() == pytest.approx(method.sparsity, abs=0.01)


@pytest.mark.parametrize("method", [RigL(0.6, every=2), SNFS(0.6, every=2)])
def test_methods_that_compare_gradients_need_a_step_after_the_backward_pass(method):
    model = network()
    sparsifier = Sparsifier(model, method, steps_in_backward(model), steps=STEPS)
    with pytest.raises(UserError, match="within the backward pass"):
        loss_of(model).backward()
    assert sparsifier.step_count == 0


def test_scaled_gradients_and_skipped_steps_through_a_wrapper():
    model = network()
    optimizer = WithoutInit(adam(model.parameters()))
    sparsifier = Sparsifier(model, RigL(0.5, every=2), optimizer, steps=STEPS)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for number in range(6):
        optimizer.zero_grad()
        loss = loss_of(model, number)
        scaler.scale(loss * torch.inf if number == 3 else loss).backward()
        scaler.step(optimizer)
        scaler.update()
        assert sparsifier.step_count == number + 1 - (number >= 3)
        assert absent_are_zero(model, sparsifier.masks)


def test_a_step_that_raises_does_not_hide_those_after_it():
    model = network()
    optimizer = KeepsItself(adam(model.parameters()), "optimizer")
    sparsifier = Sparsifier(model, Magnitude(0.5, every=1), optimizer, steps=STEPS)

    def fail():
        raise MemoryError

    for _ in range(2):
        with pytest.raises(MemoryError):
            optimizer.step(fail)
    steps_with(model, optimizer, sparsifier, 4)


def test_steps_that_reach_no_optimizer_do_not_count():
    class Accumulates(KeepsItself):
        calls = 0

        def step(self, closure=None):
            self.calls += 1
            return self.inner.step(closure) if self.calls % 3 == 0 else None

    model = network()
    optimizer = Accumulates(adam(model.parameters()), "optimizer")
    sparsifier = Sparsifier(model, RigL(0.5, every=1), optimizer, steps=4)
    for number in range(12):
        loss_of(model, number).backward()
        optimizer.step()
        assert sparsifier.step_count == (number + 1) // 3
    sparsifier.finalize()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda three: pickle.loads(pickle.dumps(three))])
@pytest.mark.parametrize("wrapper", ["optimizer", "no init", "lookahead", "hand-written", "composite", "two a step"])
def test_copies_of_all_three_go_on_by_themselves(wrapper, copied):
    model = network()
    optimizer = WRAPPERS[wrapper](model)
    sparsifier = Sparsifier(model, RigL(0.6, every=2), optimizer, steps=STEPS)
    steps_with(model, optimizer, sparsifier, 4)
    before = copy.deepcopy(model.state_dict())
    twin, other, twins = copied((model, optimizer, sparsifier))
    steps_with(twin, other, twins, STEPS - 4, first=4)
    assert sparsifier.step_count == 4
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    steps_with(model, optimizer, sparsifier, STEPS - 4, first=4)
    assert same_weights(model, twin)


@pytest.mark.parametrize("wrapper", ["optimizer", "no init", "namespace"])
def test_a_copied_optimizer_alone_drives_nothing(wrapper):
    model = network()
    optimizer = WRAPPERS[wrapper](model)
    sparsifier = Sparsifier(model, Static(0.5), optimizer, steps=STEPS)
    copy.deepcopy(optimizer).step()
    assert sparsifier.step_count == 0


def test_another_optimizer_takes_over():
    model = network()
    first, second = adam(model.parameters()), torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
    sparsifier = Sparsifier(model, Magnitude(0.8, every=1, stop=0.8), first, steps=STEPS)
    steps_with(model, first, sparsifier, 6)
    sparsifier.attach(second)
    first.zero_grad()
    first.step()
    assert sparsifier.step_count == 6
    steps_with(model, second, sparsifier, 6, first=6)
    assert sparsifier.optimizer is second
    assert sparsifier.finalize().sparsity() == pytest.approx(0.8, abs=0.01)
    with pytest.raises(UserError, match="has been finalized"):
        sparsifier.attach(first)


def test_what_is_attached_has_to_hold_the_weights():
    model = network()
    optimizer = adam(model.parameters())
    sparsifier = Sparsifier(model, Magnitude(0.8, every=1), optimizer, steps=STEPS)
    with pytest.raises(UserError, match="does not hold"):
        sparsifier.attach(adam(network().parameters()))
    steps_with(model, optimizer, sparsifier, 2)
    with pytest.raises(UserError, match="without an optimizer"):
        Sparsifier(network(), Magnitude(0.5)).attach(optimizer)


def test_a_detached_run_lets_go_and_can_be_taken_up_again():
    model = network()
    optimizer = adam(model.parameters())
    sparsifier = Sparsifier(model, Magnitude(0.8, every=1), optimizer, steps=STEPS)
    steps_with(model, optimizer, sparsifier, 3)
    sparsifier.detach()
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    masks = sparsifier.masks.state_dict()
    loss_of(model).backward()
    optimizer.step()
    assert sparsifier.step_count == 3 and not absent_are_zero(model, sparsifier.masks)
    assert all(torch.equal(kept, sparsifier.masks.kept[name]) for name, kept in masks.items())
    sparsifier.masks.apply_(model)
    sparsifier.attach(adam(model.parameters()))
    steps_with(model, sparsifier.optimizer, sparsifier, 3, first=3)


def test_frozen_parts_have_to_be_left_out_by_name():
    model = network()
    for name, weight in model.rnn.named_parameters():
        weight.requires_grad_("l1" in name)
    optimizer = adam(weight for weight in model.parameters() if weight.requires_grad)
    with pytest.raises(UserError, match="does not hold rnn.weight_hh_l0 and 1 more") as error:
        Sparsifier(model, Static(0.5), optimizer, steps=STEPS)
    assert "where=['rnn.weight_hh_l1', 'rnn.weight_ih_l1']" in str(error.value)
    before = model.rnn.weight_hh_l0.clone()
    sparsifier = Sparsifier(model, Magnitude(0.5, "neuron", every=1), optimizer, steps=STEPS, where="rnn.weight_*_l1")
    steps_with(model, optimizer, sparsifier)
    assert torch.equal(before, model.rnn.weight_hh_l0)


@pytest.mark.parametrize("something", [7, "sgd", [], nn.Linear(2, 2), torch.optim.Adam, [None]])
def test_something_that_is_no_optimizer(something):
    with pytest.raises(UserError, match="the optimizer is a"):
        Sparsifier(network(), Static(0.5), something, steps=5)


def test_a_schedule_is_no_optimizer():
    model = network()
    with pytest.raises(UserError, match="the optimizer is a StepLR"):
        Sparsifier(model, Static(0.5), torch.optim.lr_scheduler.StepLR(adam(model.parameters()), 5), steps=5)


def test_births_empty_the_memory_of_wrappers_too():
    model = network()
    optimizer = SlowWeights(adam(model.parameters()))
    sparsifier = Sparsifier(model, STRNN(0.5, every=1, birth="zero", stop=1.0), optimizer, steps=STEPS)
    steps_with(model, optimizer, sparsifier, 2)
    before = {name: kept.clone() for name, kept in sparsifier.masks.kept.items()}
    steps_with(model, optimizer, sparsifier, 1, first=2)
    for name, kept in sparsifier.masks.kept.items():
        born = kept & ~before[name]
        assert bool(born.any())
        slow = optimizer.state[model.get_parameter(name)]["slow"]
        assert bool((slow[born] == 0).all())
