"""Gradients of absent weights: zero before anybody clips, whatever kernel computed them, and whole for who asks."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize, prune

from sparsernn import Sparsifier
from sparsernn.errors import UserError
from sparsernn.kernels.registry import using
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.rigl import RigL
from sparsernn.methods.snfs import SNFS
from sparsernn.methods.st_rnn import STRNN
from sparsernn.nn import GRU
from tests.methods.networks import absent_are_zero, loss_of, network, start, train


def dense_gradients(model, *seeds):
    """Of the sum of the losses on some batches, by a copy that nobody has told of any mask."""
    plain = copy.deepcopy(model).train()
    plain.zero_grad()
    sum(loss_of(plain, seed) for seed in seeds).backward()
    return {name: weight.grad for name, weight in plain.named_parameters()}


def is_whole(run, expected, factor=1.0):
    return all(
        torch.allclose(run.gradient(name), factor * expected[name], rtol=1e-4, atol=1e-8)
        and torch.equal(run.model.get_parameter(name).grad != 0, kept & (expected[name] != 0))
        for name, kept in run.masks.kept.items()
    )


@pytest.mark.parametrize("method", [RandomPruning(0.95, per="kernel"), STRNN(0.95, every=5)])
def test_the_norm_is_that_of_what_exists_with_every_kernel(method):
    norms = {}
    for provider in ("chosen", "reference"):
        torch.manual_seed(0)
        model, x = GRU(6, 64, reset="before"), torch.randn(12, 16, 6)
        sparsifier = Sparsifier(model, method, torch.optim.SGD(model.parameters(), lr=0.1), steps=20)
        if provider == "chosen":
            model(x)[0].square().mean().backward()
        else:
            with using(provider):
                model(x)[0].square().mean().backward()
        norms[provider] = nn.utils.clip_grad_norm_(model.parameters(), 1e9).item()
    plain = copy.deepcopy(model)
    plain.zero_grad()
    plain(x)[0].square().mean().backward()
    masks = sparsifier.masks.kept
    gradients = {name: weight.grad for name, weight in plain.named_parameters()}
    existing = [gradient[masks[name]] if name in masks else gradient.flatten() for name, gradient in gradients.items()]
    expected = torch.cat(existing).norm().item()
    everything = torch.cat([weight.grad.flatten() for weight in plain.parameters()]).norm().item()
    assert norms == {name: pytest.approx(expected, rel=1e-5) for name in norms}
    assert everything > 1.02 * expected


@pytest.mark.parametrize("method", [RigL(0.6, every=1, stop=1.0), SNFS(0.6, every=3)])
def test_who_reads_dense_gradients_gets_them_clipped_as_the_others_are(method):
    model, optimizer, sparsifier = start(method, steps=9)
    train(sparsifier, 1)
    optimizer.zero_grad()
    expected = dense_gradients(model, 1)
    loss_of(model, 1).backward()
    assert is_whole(sparsifier, expected)
    norm = nn.utils.clip_grad_norm_(model.parameters(), 1e-3).item()
    masks = sparsifier.masks.kept
    existing = [gradient[masks[name]] if name in masks else gradient for name, gradient in expected.items()]
    assert norm == pytest.approx(torch.cat([part.flatten() for part in existing]).norm().item(), rel=1e-5)
    assert is_whole(sparsifier, expected, 1e-3 / norm)


@pytest.mark.parametrize("to_none", [True, False])
def test_batches_add_up_until_gradients_are_thrown_away(to_none):
    model, optimizer, sparsifier = start(RigL(0.6, every=1, stop=1.0), steps=9)
    train(sparsifier, 1)
    (loss_of(model, 5) * 1e6).backward()
    optimizer.zero_grad(set_to_none=to_none)
    for seed in (1, 2, 3):
        loss_of(model, seed).backward()
    assert is_whole(sparsifier, dense_gradients(model, 1, 2, 3))
    loss = loss_of(model, 4)
    loss.backward(retain_graph=True)
    loss.backward()
    assert is_whole(sparsifier, dense_gradients(model, 1, 2, 3, 4, 4))
    optimizer.step()
    optimizer.zero_grad(set_to_none=to_none)
    loss_of(model, 6).backward()
    assert is_whole(sparsifier, dense_gradients(model, 6))


def test_a_pass_that_fails_leaves_nothing_behind():
    model, optimizer, sparsifier = start(RigL(0.6, every=1, stop=1.0), steps=9)
    train(sparsifier, 1)

    def fail(gradient):
        raise ZeroDivisionError

    hook = model.rnn.weight_hh_l0.register_hook(fail)
    with pytest.raises(ZeroDivisionError):
        loss_of(model, 1).backward()
    hook.remove()
    optimizer.zero_grad()
    loss_of(model, 2).backward()
    assert is_whole(sparsifier, dense_gradients(model, 2))


def test_a_loss_scaler_unscales_them_too():
    model, optimizer, sparsifier = start(RigL(0.6, every=1, stop=1.0), steps=9)
    train(sparsifier, 1)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    optimizer.zero_grad()
    scaler.scale(loss_of(model, 1)).backward()
    assert is_whole(sparsifier, dense_gradients(model, 1), 1024.0)
    scaler.unscale_(optimizer)
    assert is_whole(sparsifier, dense_gradients(model, 1))


def test_a_closure_that_clips_counts_what_exists():
    model, optimizer, sparsifier = start(STRNN(0.6, every=2), steps=9)
    norms = []

    def closure():
        optimizer.zero_grad()
        loss = loss_of(model, 1)
        loss.backward()
        norms.append(nn.utils.clip_grad_norm_(model.parameters(), 1e9).item())
        return loss

    expected = dense_gradients(model, 1)
    masks = sparsifier.masks.kept
    optimizer.step(closure)
    whole = torch.cat([gradient.flatten() for gradient in expected.values()]).norm().item()
    existing = [gradient[masks[name]] if name in masks else gradient for name, gradient in expected.items()]
    assert norms == [pytest.approx(torch.cat([part.flatten() for part in existing]).norm().item(), rel=1e-5)]
    assert norms[0] < 0.999 * whole


def test_gradients_that_are_asked_for_outside_a_pass_are_left_alone():
    model, optimizer, sparsifier = start(RigL(0.6, every=1, stop=1.0), steps=9)
    names = list(sparsifier.masks.kept)
    slopes = torch.autograd.grad(loss_of(model, 1), [model.get_parameter(name) for name in names])
    expected = dense_gradients(model, 1)
    assert all(torch.allclose(slope, expected[name]) for name, slope in zip(names, slopes, strict=True))
    assert sparsifier.gradient(names[0]) is None


def test_after_the_end_gradients_are_dense():
    model, optimizer, sparsifier = start(RandomPruning(0.6), steps=2)
    train(sparsifier, 2)
    sparsifier.finalize()
    optimizer.zero_grad()
    loss_of(model, 1).backward()
    expected = dense_gradients(model, 1)
    assert all(torch.allclose(weight.grad, expected[name]) for name, weight in model.named_parameters())


def test_weights_that_were_frozen_at_first_count_as_the_others_do():
    model = network()
    model.rnn.requires_grad_(False)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, Magnitude(0.5, every=1), optimizer, steps=6)
    assert not model.rnn.weight_hh_l0.requires_grad
    train(sparsifier, 4)
    model.rnn.requires_grad_(True)
    loss_of(model).backward()
    kept = sparsifier.masks.kept["rnn.weight_hh_l0"]
    assert not kept.all() and model.rnn.weight_hh_l0.grad.any()
    assert not model.rnn.weight_hh_l0.grad[~kept].any()


def exchange(model):
    model.load_state_dict({name: tensor.clone() for name, tensor in model.state_dict().items()}, assign=True)


def tie(model):
    model.rnn.weight_hh_l1 = model.rnn.weight_hh_l0


def norm(model):
    nn.utils.weight_norm(model.rnn, "weight_hh_l0")


def prune_away(model):
    prune.l1_unstructured(model.rnn, "weight_hh_l0", 0.3)


def parametrise(model):
    parametrize.register_parametrization(model.rnn, "weight_hh_l0", nn.Identity())


@pytest.mark.filterwarnings("ignore:.*weight_norm. is deprecated")
@pytest.mark.parametrize("change", [exchange, tie, norm, prune_away, parametrise])
def test_a_weight_that_is_another_one_by_now_is_told(change):
    model, optimizer, sparsifier = start(Magnitude(0.5), 6)
    train(sparsifier, 1)
    change(model)
    with pytest.raises(UserError, match="exchanged.*attach"):
        train(sparsifier, 1)
    if change is exchange:
        sparsifier.attach(torch.optim.SGD(model.parameters(), lr=0.1))
        train(sparsifier, 5)
        assert absent_are_zero(model, sparsifier.finalize())
