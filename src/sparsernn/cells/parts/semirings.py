"""Semirings: what takes the place of sum and product along the paths of an automaton."""

from collections.abc import Callable
from dataclasses import dataclass
from math import inf

from sparsernn.cells.parts.arithmetic import Math, Vector


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
    plus: Callable[[Math, Vector, Vector], Vector]
    times: Callable[[Vector, Vector], Vector]
    main: Callable[[Math, Vector, Vector], Vector]
    constant: Callable[[Math, Vector], Vector]


def _product(first: Vector, second: Vector) -> Vector:
    return first * second


def _sum(first: Vector, second: Vector) -> Vector:
    return first + second


def _larger(arithmetic: Math, first: Vector, second: Vector) -> Vector:
    return arithmetic.larger(first, second)


def _sigmoid_main(arithmetic: Math, projected: Vector, logit: Vector) -> Vector:
    return arithmetic.sigmoid(projected)


def _sigmoid(arithmetic: Math, logit: Vector) -> Vector:
    return arithmetic.sigmoid(logit)


SEMIRINGS = {
    semiring.name: semiring
    for semiring in (
        Semiring(
            "plus_times",
            0.0,
            1.0,
            lambda arithmetic, first, second: first + second,
            _product,
            lambda arithmetic, projected, logit: projected * arithmetic.sigmoid(-logit),
            _sigmoid,
        ),
        Semiring("max_times", 0.0, 1.0, _larger, _product, _sigmoid_main, _sigmoid),
        Semiring("max_plus", -inf, 0.0, _larger, _sum, _sigmoid_main, _sigmoid),
        Semiring(
            "log",
            -inf,
            0.0,
            lambda arithmetic, first, second: arithmetic.log_add_exp(first, second),
            _sum,
            lambda arithmetic, projected, logit: arithmetic.log_sigmoid(projected),
            lambda arithmetic, logit: arithmetic.log_sigmoid(logit),
        ),
    )
}
