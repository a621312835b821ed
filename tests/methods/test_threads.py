"""Several threads call one model that is made sparse: each gets what it would get alone, and nothing is left behind."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import nn

from sparsernn import Sparsifier, analyse, compact
from sparsernn.errors import UserError
from sparsernn.methods.l0 import L0
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.sparse_variational_dropout import SparseVariationalDropout
from sparsernn.sparsifying import forward_hooks
from sparsernn.structure.modes import eagerly
from tests.methods.networks import absent_are_zero, batch, loss_of, network, start, steps_of, train

METHODS = {
    "magnitude": lambda: Magnitude(0.5, "neuron"),
    "l0": L0,
    "variational": lambda: SparseVariationalDropout(examples=100),
}


class Stop(BaseException):
    """What ends a thread in the middle of a forward, as time limits do."""


def hooks_on(model: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in model.modules())


def has_its_parameters(model: nn.Module) -> bool:
    parameters = [one for module in model.modules() for one in module._parameters.values()]
    return all(isinstance(one, nn.Parameter | None) for one in parameters)


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
@pytest.mark.parametrize("trained", [0, 2])
def test_a_pool_of_threads_evaluates(method, trained):
    model, _, sparsifier = start(method(), 6)
    train(sparsifier, trained)
    model.eval()

    def evaluated(number):
        with torch.no_grad():
            return model(batch()[0])

    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(evaluated, range(40)))
    assert all(torch.equal(result, evaluated(0)) for result in results)
    assert torch._C._len_torch_function_stack() == 0
    model.train()
    train(sparsifier, 6 - trained, trained)
    masks = sparsifier.finalize()
    assert absent_are_zero(model, masks) and has_its_parameters(model) and not hooks_on(model)
    compact(model, masks, (batch()[0],))


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_a_thread_that_ends_within_a_forward_leaves_nothing(method):
    model, _, sparsifier = start(method(), 6)

    def stop(*_):
        raise Stop

    def forward():
        with pytest.raises(Stop):
            model(batch()[0])

    handle = model.head.register_forward_pre_hook(stop)
    thread = threading.Thread(target=forward)
    thread.start()
    thread.join()
    handle.remove()
    train(sparsifier, 6)
    masks = sparsifier.finalize()
    assert sparsifier.wiring.recorded
    assert absent_are_zero(model, masks) and has_its_parameters(model) and not hooks_on(model)


def test_what_was_interrupted_in_a_thread_that_goes_on_is_told():
    model, _, sparsifier = start(METHODS["variational"](), 6)

    def stop(*_):
        raise Stop

    handle = model.head.register_forward_pre_hook(stop)
    with pytest.raises(Stop):
        model(batch()[0])
    handle.remove()
    with ThreadPoolExecutor(1) as pool:
        assert "interrupted in another thread" in str(pool.submit(model, batch()[0]).exception())
        model(batch()[0])
        assert pool.submit(model, batch()[0]).exception() is None
    assert has_its_parameters(model)


def test_a_forward_that_waits_for_one_in_another_thread_is_told(monkeypatch):
    monkeypatch.setattr(forward_hooks, "LONGEST", 0.2)
    model, _, _ = start(METHODS["variational"](), 6)
    errors = []

    def again(*_):
        with ThreadPoolExecutor(1) as pool:
            errors.append(pool.submit(model, batch()[0]).exception())

    handle = model.head.register_forward_pre_hook(again)
    model(batch()[0])
    handle.remove()
    assert errors and all("has run in another thread" in str(error) for error in errors)
    model(batch()[0])
    assert has_its_parameters(model)


@pytest.mark.parametrize("what", ["finalize", "step", "state_dict"])
def test_what_needs_the_parameters_waits_for_a_forward(what):
    model, optimizer, sparsifier = start(METHODS["variational"](), 6)
    train(sparsifier, 2)
    loss_of(model).backward()
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    within, may_end = threading.Event(), threading.Event()

    def wait(*_):
        within.set()
        may_end.wait(10)

    handle = model.head.register_forward_pre_hook(wait)
    thread = threading.Thread(target=model, args=(batch()[0],))
    thread.start()
    within.wait(10)
    timer = threading.Timer(0.3, may_end.set)
    timer.start()
    if what == "finalize":
        assert absent_are_zero(model, sparsifier.finalize())
    elif what == "step":
        optimizer.step()
        assert sparsifier.step_count == 3
    else:
        saved = model.state_dict()
        assert all(torch.equal(saved[name], weight) for name, weight in weights.items())
    thread.join()
    handle.remove()
    assert has_its_parameters(model)


def replica_of(model: nn.Module) -> nn.Module:
    """What data parallel makes of a model for another device: shallow copies of all modules, with their own weights."""
    copies = {module: module._replicate_for_data_parallel() for module in model.modules()}
    for module, copy in copies.items():
        for name, child in module._modules.items():
            setattr(copy, name, copies[child])
        for name, parameter in module._parameters.items():
            setattr(copy, name, 2 * parameter)
        if isinstance(copy, nn.RNNBase):
            copy._flat_weights = [getattr(copy, name) for name in copy._flat_weights_names]
    return copies[model]


def test_a_replica_computes_with_its_own_weights():
    model, x = network(), batch()[0]
    expected = replica_of(model)(x)
    sparsifier = Sparsifier(model, Magnitude(0.5), torch.optim.SGD(model.parameters(), lr=0.1), steps=4, example=x)
    assert torch.equal(replica_of(model)(x), expected)
    assert torch.equal(model(x), network()(x))
    sparsifier.detach()


def test_replicas_for_which_no_weights_can_be_drawn_are_told():
    model, optimizer, sparsifier = start(METHODS["variational"](), 6)
    replica_of(model)(batch()[0]).sum().backward()
    with pytest.raises(UserError, match="DataParallel is trained by a method that draws weights"):
        optimizer.step()
    model, optimizer, sparsifier = start(METHODS["magnitude"](), 6)
    replica_of(model)(batch()[0]).sum().backward()
    optimizer.step()
    assert sparsifier.step_count == 1 and hooks_on(model)


def test_a_forward_with_other_tensors_in_the_place_of_parameters_is_not_the_first():
    model, _, sparsifier = start(METHODS["magnitude"](), 6)
    others = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    torch.func.grad(lambda values: torch.func.functional_call(model, values, (batch()[0],)).sum())(others)
    assert not sparsifier.wiring.recorded
    train(sparsifier, 1)
    assert sparsifier.wiring.recorded
    model, _, sparsifier = start(METHODS["variational"](), 6)
    with pytest.raises(UserError, match="tensors in the place of parameters"):
        torch.func.functional_call(model, others, (batch()[0],))


def test_threads_leave_the_stance_of_the_compiler_as_it_was():
    torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1))
    before = torch._dynamo.eval_frame._stance
    first, second = threading.Event(), threading.Event()

    def longer():
        with eagerly():
            first.set()
            second.wait(10)

    thread = threading.Thread(target=longer)
    with eagerly():
        thread.start()
        first.wait(10)
    assert torch._dynamo.eval_frame._stance.stance == "force_eager"
    second.set()
    thread.join()
    assert torch._dynamo.eval_frame._stance == before


def test_a_copy_made_in_training_is_like_any_other_model():
    """Its recurrent layers are run step by step, and by factors, where something asks for that."""
    import copy

    model, _, sparsifier = start(Magnitude(0.5), 4)
    next(steps_of(sparsifier, 1))
    copied = copy.deepcopy(model)
    assert {layer.label for layer in analyse(copied, [batch()[0]]).layers} == {"rnn.l0", "rnn.l1"}
    results = []
    for one in (network(), copy.deepcopy(model)):
        one.load_state_dict(network().state_dict())
        optimizer = torch.optim.SGD(one.parameters(), lr=0.1)
        train(Sparsifier(one, METHODS["variational"](), optimizer, steps=4, example=(batch()[0],)), 3)
        results.append([parameter.detach() for parameter in one.parameters()])
    assert all(torch.equal(*pair) for pair in zip(*results, strict=True))
