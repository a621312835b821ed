"""When a network is pruned in the course of its training, and how far each time."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from sparsernn.errors import UserError
from sparsernn.methods.parts.schedules import RAMPS, check_fires, choose, steps_between
from sparsernn.structure.budget import check_fraction, check_sparsity


class Occasions(Protocol):
    """The events of a training of so many steps; the last of them reaches the target."""

    def check(self, steps: int) -> None:
        """Raises: UserError if no event falls within training."""

    def level(self, step: int, steps: int, target: float) -> float | None:
        """The sparsity to be reached in the step of this number, counted from 1; None if nothing happens then."""

    def end(self, steps: int, target: float) -> int:
        """The step of the last event."""
        ...


@dataclass(frozen=True)
class Ramp:
    """Every so many steps between two fractions of training, along a schedule.

    Arguments:
        start, stop: fractions of training between which pruning happens.
        every: steps between events (int), or a fraction of training (float).
        schedule: "cubic", "linear" or "one_shot" (everything at `start`).
    Raises: UserError for a value out of range.
    """

    start: float = 0.0
    stop: float = 0.5
    every: int | float = 0.02
    schedule: str = "cubic"

    def __post_init__(self) -> None:
        check_fraction(self.start, "start")
        check_fraction(self.stop, "stop")
        choose(RAMPS, self.schedule, "schedule")
        steps_between(self.every, 100)
        if self.start > self.stop:
            raise UserError(f"start {self.start} comes after stop {self.stop}", "start <= stop", "swap them")

    def check(self, steps: int) -> None:
        every, (first, last) = steps_between(self.every, steps), self._bounds(steps)
        check_fires(first, last, steps, "pruning")
        if self.schedule != "one_shot" and every > max(last - first, 1):
            raise UserError(
                f"pruning every {every} steps can never fire between steps {first} and {last}",
                f"an interval of at most {max(last - first, 1)} steps",
                "make every= smaller, or train longer",
            )

    def level(self, step: int, steps: int, target: float) -> float | None:
        every, (first, last), end = steps_between(self.every, steps), self._bounds(steps), self.end(steps, target)
        if step == end:
            return target
        if not first <= step < end or (step - first) % every:
            return None
        return target * RAMPS[self.schedule]((step - first) / max(last - first, 1))

    def end(self, steps: int, target: float) -> int:
        return self._bounds(steps)[self.schedule != "one_shot"]

    def _bounds(self, steps: int) -> tuple[int, int]:
        first = max(1, round(self.start * steps))
        return first, max(first, round(self.stop * steps))


@dataclass(frozen=True)
class Ladder:
    """Every so many steps, one rung after the other, until the target is reached.

    Arguments:
        rungs: rising sparsities; those above the target are not used.
        every: steps between events (int), or a fraction of training (float).
    Raises: UserError for a value out of range.
    """

    rungs: tuple[float, ...]
    every: int | float

    def __post_init__(self) -> None:
        for rung in self.rungs:
            check_sparsity(rung)
        if any(low >= high for low, high in pairwise(self.rungs)):
            raise UserError(f"the ladder is {self.rungs}", "rising sparsities", "sort them, each once")
        steps_between(self.every, 100)

    def check(self, steps: int) -> None:
        every = steps_between(self.every, steps)
        if every > steps:
            raise UserError(
                f"pruning every {every} steps can never fire in {steps} steps",
                f"an interval of at most {steps} steps",
                "make every= smaller, or train longer",
            )

    def level(self, step: int, steps: int, target: float) -> float | None:
        events, rest = divmod(step, steps_between(self.every, steps))
        levels = self.levels(target)
        return levels[events - 1] if rest == 0 and events <= len(levels) else None

    def end(self, steps: int, target: float) -> int:
        return len(self.levels(target)) * steps_between(self.every, steps)

    def levels(self, target: float) -> list[float]:
        """The sparsity after each event."""
        return [rung for rung in self.rungs if rung < target] + [target]
