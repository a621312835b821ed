"""What gates and candidates are put through, by name."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsernn.errors import UserError

ALPHA, BETA, GAMMA = 3.0937, 0.6653, 4.437


def spocu(x: Tensor, largest: float = math.inf) -> Tensor:
    """Scaled polynomial constant unit: alpha (h(x / gamma + beta) - h(beta)), exactly 0 at 0.

    h(u) = r(min(u, c)) for u >= 0, else 0, with r(u) = u^3 (u^5 - 2 u^4 + 2).

    Arguments:
        largest: c. With 1 the function rises from -1.58 to 1.51 and stays there. Without a limit it falls again, from
            1.51 at x = 1.49 to -9.85 at x = 4.36, and from there grows as x^8: states can overflow.
    Shapes: any.
    Source: Kiseľák et al. 2020.
    Deviations: alpha = 3.0937, beta = 0.6653, gamma = 4.437 and c = infinity are the constants that public
        implementations give for the paper; they were not derived again here, and they were found for feed-forward
        layers. c = 1 is a choice of this package, for states that must not grow.
    """
    offset = _polynomial(x.new_full((), BETA), largest)
    return ALPHA * (_polynomial(x / GAMMA + BETA, largest) - offset)


def _polynomial(u: Tensor, largest: float) -> Tensor:
    """h: its slope at 0 is 0, so cutting off below 0 keeps it smooth."""
    u = u.clamp(0, largest)
    square = u * u
    return square * u * (square * square * (u - 2) + 2)


def _hard_sigmoid(x: Tensor) -> Tensor:
    """clip(0.2 x + 0.5, 0, 1), as in Keras and Theano."""
    return (0.2 * x + 0.5).clamp(0, 1)


GATE_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {"sigmoid": torch.sigmoid, "hard_sigmoid": _hard_sigmoid}
# All are 0 at 0: a unit without inputs then stays at zero, on which compaction relies.
ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "tanh": torch.tanh,
    "relu": torch.relu,
    "selu": F.selu,
    "spocu": spocu,
    "spocu_bounded": partial(spocu, largest=1.0),
}


def check_activation(option: str, name: str, known: Mapping[str, Callable[[Tensor], Tensor]]) -> None:
    """Raises: UserError if an option's value is no known activation."""
    if name not in known:
        raise UserError(f'{option} is "{name}"', f"one of {', '.join(known)}", "choose one of them")
