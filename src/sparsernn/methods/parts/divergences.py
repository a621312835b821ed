"""Divergence of a normal posterior from a log-uniform prior, by known approximations, with its gradient written out."""

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

TINY = 1e-12
BOUND = 8.0
PIECE = 1 << 16


class Approximation(NamedTuple):
    """KL = log(1 + 1/alpha) / 2 - height sigmoid(start + slope log alpha) + offset, for one weight."""

    height: float
    start: float
    slope: float
    offset: float


DIVERGENCES = {
    "molchanov2017": Approximation(0.63576, 1.87320, 1.48695, 0.63576),
    "chirkova2018": Approximation(0.64, 1.95, 1.5, -0.03),
}


def log_alpha(mean: Tensor, log_sigma: Tensor) -> Tensor:
    """log(sigma^2 / mean^2), clipped to [-8, 8]."""
    return _unclipped(mean.to(log_sigma.dtype).square().add_(TINY), log_sigma).clamp_(-BOUND, BOUND)


def divergence(mean: Tensor, log_sigma: Tensor, approximation: Approximation) -> Tensor:
    """The sum over all weights; where log alpha is clipped it has no gradient. []"""
    return _Divergence.apply(mean.to(log_sigma.dtype), log_sigma, approximation)


@torch.no_grad()
def by_mean(mean: Tensor, log_sigma: Tensor, approximation: Approximation) -> Tensor:
    """The gradient of `divergence` with respect to the means."""
    return _with_gradients(mean.to(log_sigma.dtype), log_sigma, approximation)[1].to(mean.dtype)


def _unclipped(squares: Tensor, log_sigma: Tensor) -> Tensor:
    return squares.log().neg_().add_(log_sigma, alpha=2)


def _with_gradients(mean: Tensor, log_sigma: Tensor, approximation: Approximation) -> tuple[Tensor, Tensor, Tensor]:
    """The sum of the divergences, and its gradients, piece by piece as caches hold them."""
    total, gradients = mean.new_zeros(()), torch.empty(2, mean.numel(), dtype=mean.dtype, device=mean.device)
    tensors = (mean.reshape(-1), log_sigma.reshape(-1), *gradients)
    for means, sigmas, of_mean, of_sigma in zip(*(tensor.split(PIECE) for tensor in tensors), strict=True):
        squares = means.square().add_(TINY)
        part, slopes = _by_log_alpha(_unclipped(squares, sigmas), approximation)
        total += part
        torch.mul(slopes, 2, out=of_sigma)
        torch.mul(of_sigma, means, out=of_mean).div_(squares).neg_()
    return total, gradients[0].view(mean.shape), gradients[1].view(mean.shape)


def _by_log_alpha(ratio: Tensor, approximation: Approximation) -> tuple[Tensor, Tensor]:
    """The sum of the divergences, and its gradient with respect to log alpha, which is overwritten."""
    height, start, slope, offset = approximation
    clipped = ratio.abs() > BOUND
    ratio.clamp_(-BOUND, BOUND)
    step = (slope * ratio).add_(start).sigmoid_()
    share = ratio.sigmoid_()  # log(1 + 1/alpha) = -log(share)
    total = -0.5 * share.log().sum() - height * step.sum() + offset * step.numel()
    slopes = share.sub_(1).mul_(0.5).sub_(step.mul_(1 - step), alpha=height * slope)
    return total, slopes.masked_fill_(clipped, 0)


class _Divergence(torch.autograd.Function):
    """One pass over all weights for the value and both gradients."""

    @staticmethod
    def forward(ctx: Any, mean: Tensor, log_sigma: Tensor, approximation: Approximation) -> Tensor:
        total, *gradients = _with_gradients(mean, log_sigma, approximation)
        ctx.save_for_backward(*gradients)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        of_mean, of_sigma = (
            outer * gradient if needed else None
            for gradient, needed in zip(ctx.saved_tensors, ctx.needs_input_grad, strict=False)
        )
        return of_mean, of_sigma, None
