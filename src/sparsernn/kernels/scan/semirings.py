"""Semirings: what takes the place of sum and product along the paths of an automaton."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Semiring:
    """Sum and product of scores, and how scores come from what the weights make of a token.

    Attributes:
        zero, one: the score of no path, and of an empty one.
        plus: over alternative paths; where both are equal, maxima take the second.
        times: along a path.
        main: score of a main path from its projection and the self-loop's logit.
        constant: score of a transition that is the same for all tokens, from its logit.
    """

    name: str
    zero: float
    one: float
    plus: Callable[[Tensor, Tensor], Tensor]
    times: Callable[[Tensor, Tensor], Tensor]
    main: Callable[[Tensor, Tensor], Tensor]
    constant: Callable[[Tensor], Tensor]


def _larger(first: Tensor, second: Tensor) -> Tensor:
    return torch.where(second >= first, second, first)


def _log_of_sum(first: Tensor, second: Tensor) -> Tensor:
    """log(exp(first) + exp(second)), with plain derivatives of any order where a term is -inf."""
    no_first, no_second = first == -torch.inf, second == -torch.inf
    single = no_first | no_second
    both = torch.logaddexp(first.masked_fill(single, 0), second.masked_fill(single, 0))
    return torch.where(no_second, first, torch.where(no_first, second, both))


def _sigmoid_main(projected: Tensor, logit: Tensor) -> Tensor:
    return torch.sigmoid(projected)


SEMIRINGS = {
    semiring.name: semiring
    for semiring in (
        Semiring(
            "plus_times",
            0.0,
            1.0,
            torch.add,
            torch.mul,
            lambda projected, logit: projected * torch.sigmoid(-logit),
            torch.sigmoid,
        ),
        Semiring("max_times", 0.0, 1.0, _larger, torch.mul, _sigmoid_main, torch.sigmoid),
        Semiring("max_plus", -torch.inf, 0.0, _larger, torch.add, _sigmoid_main, torch.sigmoid),
        Semiring(
            "log",
            -torch.inf,
            0.0,
            _log_of_sum,
            torch.add,
            lambda projected, logit: F.logsigmoid(projected),
            F.logsigmoid,
        ),
    )
}
