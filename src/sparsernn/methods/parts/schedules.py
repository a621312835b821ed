"""When masks change, and how much: fractions of training turned into steps."""

import math

from sparsernn.errors import UserError


def steps_between(every: int | float, steps: int) -> int:
    """An interval in steps: a whole number is taken as steps, a float below 1 as a fraction of training.

    Raises: UserError if it is not positive.
    """
    if every <= 0 or (isinstance(every, float) and every >= 1):
        raise UserError(
            f"every is {every!r}",
            "a whole number of steps, or a fraction of training in (0, 1)",
            "pass every=100 or every=0.05",
        )
    return every if isinstance(every, int) else max(1, round(every * steps))


def check_fires(first: int, last: int, steps: int, what: str) -> None:
    """Raises: UserError if an event can never happen within training."""
    if first > last or first > steps:
        raise UserError(
            f"{what} can never fire: the first time would be step {first}, "
            f"the last possible one is {min(last, steps)} of {steps}",
            "at least one event within the training steps",
            "train longer, or make the interval smaller",
        )


def polynomial(progress: float, exponent: float = 3.0) -> float:
    """Fraction of the final sparsity at a fraction of the ramp: 1 - (1 - p)^3 (Zhu & Gupta 2018, equation 1)."""
    return 1 - (1 - min(max(progress, 0.0), 1.0)) ** exponent


RAMPS = {
    "cubic": polynomial,
    "linear": lambda progress: polynomial(progress, 1.0),
    "one_shot": lambda progress: 1.0,
}


def cosine(step: int, steps: int, start: float, floor: float = 0.0) -> float:
    """From `start` at step 0 to `floor` at `steps` along half a cosine."""
    return floor + (start - floor) * (1 + math.cos(math.pi * min(step / max(steps, 1), 1.0))) / 2


def linear(step: int, steps: int, start: float, floor: float = 0.0) -> float:
    return start + (floor - start) * min(step / max(steps, 1), 1.0)


def constant(step: int, steps: int, start: float, floor: float = 0.0) -> float:
    return start


DECAYS = {"cosine": cosine, "linear": linear, "constant": constant}


def choose(table: dict, name: str, what: str):
    """Raises: UserError naming the known ones."""
    if name not in table:
        raise UserError(f'{what} is "{name}"', f"one of {', '.join(table)}", f"pass {what}= one of these")
    return table[name]
