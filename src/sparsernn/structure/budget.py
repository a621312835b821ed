"""How many weights (or groups) each tensor keeps, and which: counts are exact, ties are broken by position."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from sparsernn.errors import UserError


def check_sparsity(sparsity: float, name: str = "sparsity") -> None:
    """Raises: UserError unless 0 <= sparsity < 1."""
    if isinstance(sparsity, bool) or not isinstance(sparsity, int | float) or not 0 <= sparsity < 1:
        raise UserError(
            f"{name} is {sparsity!r}", "a number in [0, 1), the fraction of zeros", "pass 0.9 for 90 % zeros"
        )


def check_fraction(value: float, name: str) -> None:
    """Raises: UserError unless 0 <= value <= 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        raise UserError(f"{name} is {value!r}", "a number in [0, 1]", f"pass {name} as a fraction")


def uniform(sizes: Sequence[int], sparsity: float) -> list[int]:
    """Every tensor keeps the same fraction, rounded, and never loses its last weight."""
    return [max(1, round((1 - sparsity) * size)) if size else 0 for size in sizes]


def erdos_renyi(fans: Sequence[tuple[int, int]], sparsity: float) -> list[int]:
    """Denser where a tensor is small: density_l = eps (n_in + n_out) / (n_in n_out) with one global eps.

    A tensor that would exceed density 1 is dense and eps is solved again over the others; the total is exact.

    Arguments:
        fans: (fan-in, fan-out) of each tensor.
    Source: Mocanu et al. 2018, equation 3; Evci et al. 2020 for the saturation rule.
    """
    sizes = [n_in * n_out for n_in, n_out in fans]
    total = round((1 - sparsity) * sum(sizes))
    dense: set[int] = set()
    while True:
        free = [index for index in range(len(sizes)) if index not in dense]
        left = total - sum(sizes[index] for index in dense)
        scale = sum(sum(fans[index]) for index in free)
        if not free or scale == 0:
            return list(sizes)
        eps = max(left, 0) / scale
        over = [index for index in free if eps * sum(fans[index]) > sizes[index]]
        if not over:
            break
        dense.update(over)
    wanted = [float(sizes[index]) if index in dense else eps * sum(fans[index]) for index in range(len(sizes))]
    return settle(wanted, sizes, total)


def from_epsilon(fans: Sequence[tuple[int, int]], eps: float) -> list[int]:
    """Erdős–Rényi with a given eps: each tensor keeps eps (n_in + n_out) weights, at most all of them."""
    return [min(n_in * n_out, round(eps * (n_in + n_out))) for n_in, n_out in fans]


def settle(wanted: Sequence[float], sizes: Sequence[int], total: int) -> list[int]:
    """Whole counts nearest to `wanted` that add up to `total`, none above its size: largest remainders first."""
    counts = [min(int(value), size) for value, size in zip(wanted, sizes, strict=True)]
    by_remainder = sorted(range(len(counts)), key=lambda index: (counts[index] - wanted[index], index))
    left = total - sum(counts)
    while left > 0:
        open_ = [index for index in by_remainder if counts[index] < sizes[index]]
        if not open_:
            break
        for index in open_[:left]:
            counts[index] += 1
        left = total - sum(counts)
    return counts


def top(scores: Tensor, keep: int) -> Tensor:
    """Exactly the `keep` largest scores as a bool mask; among equal ones the first. Shapes: scores [n] -> [n].

    Raises: UserError if a score is NaN.
    """
    if keep <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if keep >= scores.numel():
        return torch.ones_like(scores, dtype=torch.bool)
    if bool(scores.isnan().any()):
        raise UserError(
            "a pruning score is NaN", "finite scores", "look for a NaN in the weights, the gradients or the loss"
        )
    threshold = torch.topk(scores, keep, sorted=False).values.min()
    mask = scores > threshold
    ties = (scores == threshold).nonzero().squeeze(1)[: keep - int(mask.sum())]
    mask[ties] = True
    return mask


def pick(candidates: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Exactly `count` of the True positions, uniformly without replacement. Shapes: [n] bool -> [n] bool."""
    places = candidates.nonzero().squeeze(1)
    order = torch.randperm(len(places), generator=generator)[:count].to(places.device)
    chosen = torch.zeros_like(candidates)
    chosen[places[order]] = True
    return chosen
