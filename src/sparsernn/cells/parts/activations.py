"""What gates and candidates are put through, by name."""

import math
from collections.abc import Callable

from sparsernn.cells.parts.arithmetic import Math, Vector

ALPHA, BETA, GAMMA = 3.0937, 0.6653, 4.437

Activation = Callable[[Math, Vector], Vector]


def spocu(arithmetic: Math, x: Vector, largest: float = math.inf) -> Vector:
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
    offset = _polynomial(arithmetic, arithmetic.constant(BETA, x), largest)
    return ALPHA * (_polynomial(arithmetic, x / GAMMA + BETA, largest) - offset)


def _polynomial(arithmetic: Math, u: Vector, largest: float) -> Vector:
    """h: its slope at 0 is 0, so cutting off below 0 keeps it smooth."""
    u = arithmetic.clamp(u, 0.0, largest)
    square = u * u
    return square * u * (square * square * (u - 2) + 2)


def _watched(function: Activation) -> Activation:
    return lambda arithmetic, x: arithmetic.watch(x, function(arithmetic, x))


GATE_ACTIVATIONS: dict[str, Activation] = {
    "sigmoid": lambda arithmetic, x: arithmetic.sigmoid(x),
    "hard_sigmoid": _watched(lambda arithmetic, x: arithmetic.clamp(0.2 * x + 0.5, 0.0, 1.0)),
}
# All are 0 at 0: a unit without inputs then stays at zero, on which compaction relies.
ACTIVATIONS: dict[str, Activation] = {
    "tanh": lambda arithmetic, x: arithmetic.tanh(x),
    "hard_tanh": _watched(lambda arithmetic, x: arithmetic.clamp(x, -1.0, 1.0)),
    "relu": lambda arithmetic, x: arithmetic.relu(x),
    "selu": lambda arithmetic, x: arithmetic.selu(x),
    "spocu": _watched(spocu),
    "spocu_bounded": _watched(lambda arithmetic, x: spocu(arithmetic, x, 1.0)),
}
CHOICES = {"gate_activation": GATE_ACTIVATIONS, "activation": ACTIVATIONS}
"""Options of cells that name such functions."""
