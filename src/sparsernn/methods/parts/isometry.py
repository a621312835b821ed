"""Weights on a fixed mask that keep the length of what they multiply, as nearly as the mask allows."""

import torch
from torch import Tensor

STEPS = 100


@torch.enable_grad()
def approximate_isometry(weight: Tensor, kept: Tensor) -> Tensor:
    """Weights W on the mask near the smallest ||WᵀW − I||, found from `weight` by L-BFGS.

    Arguments:
        weight: [unit source] where the search starts; only what the mask keeps is looked at.
        kept: [unit source] bool. Sources without a connection have no length to keep and are left out.
    Returns: [unit source], zero outside the mask.
    Source: Lee, Ajanthan, Gould & Torr 2020, A signal propagation perspective for pruning neural networks at
    initialization, approximate isometry (there by gradient descent).
    """
    if not bool(kept.any()):
        return torch.zeros_like(weight)
    tall = weight.shape[0] >= weight.shape[1]
    mask = kept if tall else kept.T
    values = (weight if tall else weight.T).detach().float()[mask].requires_grad_(True)
    target = mask.any(0).float().diag()
    search = torch.optim.LBFGS([values], max_iter=STEPS, line_search_fn="strong_wolfe")

    def distance() -> Tensor:
        search.zero_grad()
        matrix = torch.zeros(mask.shape, device=weight.device).masked_scatter(mask, values)
        loss = (matrix.T @ matrix - target).square().sum()
        loss.backward()
        return loss

    search.step(distance)
    nearest = torch.zeros(mask.shape, device=weight.device).masked_scatter(mask, values.detach())
    return (nearest if tall else nearest.T).to(weight.dtype).contiguous()
