"""Which of many: the best scored, or any, at random. Counts are exact, ties are broken by position, memory is small."""

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.structure.zeroing import zero_absent_

SMALL = 1 << 16
MOST_DRAWN = 1 << 20
LARGEST_KEY = (1 << 31) - 1


def top(scores: Tensor, keep: int) -> Tensor:
    """Exactly the `keep` largest scores as a bool mask; among equal ones the first. Shapes: scores [n] -> [n].

    Raises: UserError if a score is NaN.
    """
    if keep <= 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    if keep >= scores.numel():
        return torch.ones_like(scores, dtype=torch.bool)
    if scores.is_floating_point() and count(scores.isnan()):
        raise UserError("a score is NaN", "finite scores", "look for a NaN in the weights, the gradients or the loss")
    threshold = _threshold(scores, keep)
    mask = scores > threshold
    return mask.logical_or_(_first_(scores == threshold, keep - count(mask)))


def pick(candidates: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Exactly `number` of the True positions, uniformly without replacement. Shapes: [n] bool -> [n] bool."""
    available, size = count(candidates), candidates.numel()
    if number >= available:
        return candidates.clone()
    if 4 * available >= size:
        if 2 * number > available:
            return candidates & ~_pick_few(candidates, available - number, generator)
        return _pick_few(candidates, number, generator)
    keys = torch.randint(1, LARGEST_KEY, (size,), generator=generator, dtype=torch.int32).to(candidates.device)
    zero_absent_(keys, candidates)
    return top(keys, number)


def count(flags: Tensor) -> int:
    """How many are True; much faster than a sum."""
    return int(torch.count_nonzero(flags))


def _pick_few(candidates: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Draw places, so many at a time, until there are enough different ones."""
    drawn = torch.zeros_like(candidates)
    while missing := number - count(drawn):
        places = torch.randint(candidates.numel(), (min(missing, MOST_DRAWN),), generator=generator)
        places = places.to(candidates.device)
        drawn[places[candidates[places]]] = True
    return drawn


def _threshold(scores: Tensor, keep: int) -> Tensor:
    """The `keep`-th largest score. Of many, only those near a quantile of a sample are ranked."""
    if scores.numel() <= SMALL or scores.is_cuda:
        return _ranked(scores, keep)
    sample = scores[:: scores.numel() // SMALL | 1].sort(descending=True).values
    place, spread = keep * len(sample) // scores.numel(), 4 * round(len(sample) ** 0.5)
    high, low = sample[max(place - spread, 0)], sample[min(place + spread, len(sample) - 1)]
    for bound in (high, low):
        if count(scores > bound) < keep <= count(scores >= bound):
            return bound
    above = count(scores >= high)
    near = scores[(scores < high) & (scores > low)] if above < keep else scores[:0]
    return _ranked(near, keep - above) if 0 < keep - above <= len(near) else _ranked(scores, keep)


def _ranked(scores: Tensor, keep: int) -> Tensor:
    return torch.kthvalue(scores, scores.numel() - keep + 1).values


def _first_(flags: Tensor, number: int) -> Tensor:
    """Clear, in place, all but the first `number` True flags."""
    for part in flags.split(1 << 20):
        here = count(part)
        if here > number:
            part[part.nonzero().squeeze(1)[number:]] = False
        number = max(number - here, 0)
    return flags
