"""Cross entropy in blocks against torch's."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from sparsernn.training import cross_entropy as module
from sparsernn.training.cross_entropy import cross_entropy


def problem(dtype=torch.float32, rows=37, classes=1_200):
    chance = torch.Generator().manual_seed(0)
    logits = (8 * torch.randn(rows, classes, generator=chance)).to(dtype).requires_grad_()
    targets = torch.randint(0, classes, (rows,), generator=chance)
    targets[::5] = -100
    return logits, targets


@pytest.mark.parametrize("block", [1, 4 * 1_200 * 5, 1 << 30])
@pytest.mark.parametrize(("dtype", "near"), [(torch.float32, 1e-6), (torch.bfloat16, 1e-2)])
def test_loss_and_gradient_are_torchs(monkeypatch, dtype, near, block):
    monkeypatch.setattr(module, "ROWS_BYTES", block)
    logits, targets = problem(dtype)
    loss = cross_entropy(logits, targets, -100)
    (found,) = torch.autograd.grad(3 * loss, logits)
    exact = logits.detach().double().requires_grad_()
    wanted = functional.cross_entropy(exact, targets, ignore_index=-100)
    (expected,) = torch.autograd.grad(3 * wanted, exact)
    assert loss.dtype == torch.float32 and found.dtype == dtype
    assert loss.item() == pytest.approx(wanted.item(), rel=1e-6)
    assert (found.double() - expected).abs().max() <= near * expected.abs().max()


def test_second_derivatives_are_torchs():
    logits, targets = problem(rows=3, classes=1_000)

    def curvature(loss, at):
        (first,) = torch.autograd.grad(loss, at, create_graph=True)
        return torch.autograd.grad((first * first).sum() / 2, at)[0]

    found = curvature(cross_entropy(logits, targets, -100) * 0.5, logits)
    exact = logits.detach().double().requires_grad_()
    wanted = functional.cross_entropy(exact, targets, ignore_index=-100) * 0.5
    torch.testing.assert_close(found.double(), curvature(wanted, exact), atol=1e-6, rtol=1e-4)


def test_nothing_scored_and_huge_logits():
    logits, targets = problem()
    loss = cross_entropy(logits, torch.full_like(targets, -100), -100)
    (found,) = torch.autograd.grad(loss, logits)
    assert loss.item() == 0 and not found.any()
    assert cross_entropy(torch.full((2, 1_000), 3e38), torch.tensor([0, 1]), -100).isfinite()
    assert not cross_entropy(torch.full((2, 1_000), torch.nan), torch.tensor([0, 1]), -100).isfinite()
