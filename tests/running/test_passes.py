"""Layers run step by step compute what they compute otherwise, twice differentiable, and tell what they were given."""

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from sparsernn.kernels import registry
from sparsernn.kernels.sequence import reference
from sparsernn.running.jacobians import (
    mean_square_singular_value,
    product,
    step_jacobian,
    unroll,
)
from sparsernn.running.passes import Pass, stepwise
from sparsernn.running.runner import active
from sparsernn.tracing.recording import trace
from tests.structure.networks import MAKERS

TIME, BATCH, INPUTS, UNITS = 5, 4, 3, 6
LENGTHS = torch.tensor([5, 2, 4, 1])


def made(kind, **options):
    torch.manual_seed(0)
    return MAKERS[kind](INPUTS, UNITS, **options).double()


def inputs(*shape):
    return torch.randn(*shape, dtype=torch.double, generator=torch.Generator().manual_seed(1))


def close(left, right):
    left, right = [value if isinstance(value, tuple) else (value,) for value in (left, right)]
    assert all(torch.allclose(ours, theirs, atol=1e-12) for ours, theirs in zip(left, right, strict=True))


def weights_of(model, layer):
    return {local: model.get_parameter(name) for local, name in layer.weights.items()}


@pytest.mark.parametrize("options", [{}, {"num_layers": 2, "bidirectional": True}, {"batch_first": True}])
@pytest.mark.parametrize("kind", MAKERS)
def test_outputs_and_states_are_the_same(kind, options):
    cell = made(kind, **options)
    x = inputs(TIME, BATCH, INPUTS)
    output, states = cell(x)
    wiring = trace(cell)
    with stepwise(cell, wiring) as passes:
        assert active() is not None
        again, ends = cell(x)
        close((again,), (output,))
        close(ends, states)
        cell(x, states)
    assert active() is None and "forward" not in vars(cell)
    directions = 2 if options.get("bidirectional") else 1
    count = options.get("num_layers", 1) * directions
    assert [one.layer.label for one in passes] == [one.label for one in wiring.layers] * 2
    first = states[0] if isinstance(states, tuple) else states
    assert torch.equal(passes[-1].start[0], first[count - 1])


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if kind.startswith("torch")])
@pytest.mark.parametrize("enforce_sorted", [False, True])
def test_packed_sequences(kind, enforce_sorted):
    cell = made(kind, num_layers=2, bidirectional=True)
    lengths = LENGTHS.sort(descending=True).values if enforce_sorted else LENGTHS
    packed = pack_padded_sequence(inputs(TIME, BATCH, INPUTS), lengths, enforce_sorted=enforce_sorted)
    output, states = cell(packed)
    with stepwise(cell, trace(cell)):
        again, ends = cell(packed)
    close((pad_packed_sequence(again)[0],), (pad_packed_sequence(output)[0],))
    close(ends, states)


@pytest.mark.parametrize("kind", ["torch LSTM projected", "torch GRU", "our LSTM"])
def test_a_single_sequence_without_a_batch(kind):
    cell = made(kind)
    x = inputs(TIME, INPUTS)
    output, states = cell(x)
    with stepwise(cell, trace(cell)):
        again, ends = cell(x, None)
    close((again,), (output,))
    close(ends, states)


@pytest.mark.parametrize("kind", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_loop_over_a_torch_cell_is_one_pass(kind):
    torch.manual_seed(0)
    cell = kind(INPUTS, UNITS).double()
    x = inputs(TIME, BATCH, INPUTS)

    def loop(state=None):
        for step in x:
            state = cell(step, state)
        return state

    expected, alone = loop(), cell(x[0, 0])
    with stepwise(cell, trace(cell)) as passes:
        close(loop(), expected)
        close(cell(x[0, 0]), alone)
    assert [one.inputs.shape[:2] for one in passes] == [(TIME, BATCH), (1, 1)]
    assert torch.equal(passes[0].inputs, x)


def test_the_forward_comes_back_when_the_model_raises():
    cell = made("torch GRU")
    with pytest.raises(ZeroDivisionError), stepwise(cell, trace(cell)):
        raise ZeroDivisionError
    assert "forward" not in vars(cell) and active() is None


@pytest.mark.parametrize("kind", MAKERS)
def test_gradients_of_gradients(kind):
    cell = made(kind)
    x = inputs(2, 2, INPUTS)
    names = [name for name, _ in cell.named_parameters() if "weight" in name]
    wiring = trace(cell)

    def loss(*weights):
        with stepwise(cell, wiring):
            return torch.func.functional_call(cell, dict(zip(names, weights, strict=True)), (x,))[0].square().sum()

    weights = [cell.get_parameter(name).detach().clone().requires_grad_() for name in names]
    assert torch.autograd.gradgradcheck(loss, weights, atol=1e-4, fast_mode=True)


@pytest.mark.parametrize("lengths", [None, LENGTHS])
@pytest.mark.parametrize("kind", ["torch LSTM", "our GRU before", "our highway"])
def test_unrolling_a_pass_ends_where_the_layer_ended(kind, lengths):
    cell = made(kind)
    x = inputs(TIME, BATCH, INPUTS)
    given = x if lengths is None else pack_padded_sequence(x, lengths, enforce_sorted=False)
    with stepwise(cell, trace(cell)) as passes:
        _, ends = cell(given)
    states, running = unroll(weights_of(cell, passes[0].layer), passes[0])
    close(states[-1], tuple(end[0] for end in (ends if isinstance(ends, tuple) else (ends,))))
    assert len(states) == TIME + 1 and (running is None) == (lengths is None)
    if lengths is not None:
        assert torch.equal(running.sum(0), lengths)


@pytest.mark.parametrize("offset", [0.0, 0.1])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["our LSTM", "our GRU", "our GRU before", "our highway"])
def test_the_first_steps_may_be_taken_at_once(kind, bias, offset, monkeypatch):
    cell = made(kind, **({} if bias else {"bias": False}))
    with stepwise(cell, trace(cell)) as passes:
        cell(inputs(TIME, BATCH, INPUTS))
    (given,) = passes
    weights, found, calls = weights_of(cell, given.layer), [], []
    monkeypatch.setattr(registry, "run", lambda problem: calls.append(problem) or reference.run(problem))
    for last in (2, None):
        states, _ = unroll(weights, given, offset, last=last)
        assert len(states) == (TIME if last is None else last) + 1
        chi = product(states[-3], states[-2], "JT1", "hidden", torch.Generator()).square().sum()
        found.append([*states[-3], *torch.autograd.grad(chi, list(weights.values()), allow_unused=True)])
    # A highway network has no bias that all of its gates read: with an offset it takes every step by itself.
    assert [len(problem.x) for problem in calls] == ([] if kind == "our highway" and offset else [TIME - 2])
    for ours, expected in zip(*found, strict=True):
        assert (ours is None) == (expected is None)
        assert ours is None or torch.allclose(ours, expected)


@pytest.mark.parametrize("part", ["hidden", "state"])
@pytest.mark.parametrize("kind", MAKERS)
def test_products_with_the_step_jacobian(kind, part):
    cell = made(kind)
    with stepwise(cell, trace(cell)) as passes:
        cell(inputs(TIME, BATCH, INPUTS))
    (given,) = passes
    weights = weights_of(cell, given.layer)
    start = tuple(inputs(BATCH, state.shape[-1]).requires_grad_() for state in given.start)
    given = Pass(given.layer, given.inputs[:1], start)
    states, _ = unroll(weights, given)
    whole = torch.stack(
        [
            step_jacobian(given.layer.cell, weights, given.inputs[0, number], tuple(s[number] for s in start), part)
            for number in range(BATCH)
        ]
    )
    generator = torch.Generator().manual_seed(0)
    assert torch.allclose(product(states[0], states[1], "JT1", part, generator), whole.sum(1))
    assert torch.allclose(product(states[0], states[1], "J1", part, generator), whole.sum(2))
    draws = [product(states[0], states[1], "frobenius", part, generator).square().sum(-1) for _ in range(600)]
    expected = whole.square().sum((1, 2))
    assert torch.allclose(torch.stack(draws).mean(0), expected, rtol=0.2)


def test_the_mean_squared_singular_value_is_that_of_the_whole_matrices():
    cell = made("our RNN")
    x = inputs(3, 200, INPUTS)
    with stepwise(cell, trace(cell)) as passes:
        outputs, _ = cell(x)
    given, weights = passes[0], weights_of(cell, passes[0].layer)
    jacobians = (1 - outputs[2].square()).unsqueeze(-1) * cell.weight_hh_l0
    exact = float(torch.linalg.svdvals(jacobians.detach()).square().mean())
    assert mean_square_singular_value(weights, given, horizon=1) == pytest.approx(exact, rel=0.1)
