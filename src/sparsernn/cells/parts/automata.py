"""Patterns: small automata in a row, and one step of all of them in any semiring."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

from sparsernn.cells.parts.arithmetic import Math, Vector
from sparsernn.cells.parts.semirings import SEMIRINGS, Semiring


@dataclass(frozen=True)
class Automata:
    """The shape of d patterns, states of one pattern side by side.

    Pattern k reads its sizes[k] tokens along its main path and any number in between on self-loops:
    c'[i] = f[i] c[i] + u[i] c[i-1], with c[-1] = 1 before the first state.

    Arguments:
        sizes: number of states of each pattern, without the one before the first token.
        semiring: "plus_times", "max_times", "max_plus" or "log".
        fixed: for each pattern whether its last self-loop has the score one; () for none.
    """

    sizes: tuple[int, ...]
    semiring: str = "plus_times"
    fixed: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "fixed", self.fixed or (False,) * len(self.sizes))

    @property
    def states(self) -> int:
        """All states of all patterns."""
        return sum(self.sizes)

    @property
    def algebra(self) -> Semiring:
        """Sum and product of scores."""
        return SEMIRINGS[self.semiring]

    @cached_property
    def place(self) -> tuple[int, ...]:
        """Position of each state within its pattern, from 0. [state]"""
        return tuple(place for size in self.sizes for place in range(size))

    @cached_property
    def owner(self) -> tuple[int, ...]:
        """Number of each state's pattern. [state]"""
        return tuple(pattern for pattern, size in enumerate(self.sizes) for _ in range(size))

    @cached_property
    def last(self) -> tuple[bool, ...]:
        """Whether a state is the last one of its pattern. [state]"""
        return tuple(place == self.sizes[pattern] - 1 for place, pattern in zip(self.place, self.owner, strict=True))

    @cached_property
    def fixed_loops(self) -> tuple[bool, ...]:
        """Whether the self-loop of a state has the score one. [state]"""
        return tuple(last and self.fixed[pattern] for last, pattern in zip(self.last, self.owner, strict=True))

    @cached_property
    def table(self) -> tuple[tuple[int, ...], ...]:
        """State numbers by place and pattern; -1 where there is none. [place pattern]"""
        starts = [sum(self.sizes[:pattern]) for pattern in range(len(self.sizes))]
        return tuple(
            tuple(start + place if place < size else -1 for start, size in zip(starts, self.sizes, strict=True))
            for place in range(max(self.sizes))
        )

    def before(self, distance: int) -> tuple[int, ...]:
        """The state so many places before each one, -1 where that lies before the first state. [state]"""
        return tuple(state - distance if place >= distance else -1 for state, place in enumerate(self.place))

    def step(self, arithmetic: Math, projected: Vector, constants: ScanConstants, scores: Vector) -> Vector:
        """All states' scores after one token.

        Shapes: projected [batch 2*state] (main paths, then self-loops), scores [batch state] -> [batch state]
        """
        algebra, skip = self.algebra, constants.skip
        main, logit = arithmetic.split(projected, 2)
        logit = logit + constants.bias
        stay = algebra.constant(arithmetic, logit)
        if any(self.fixed):
            stay = arithmetic.choose(self.fixed_loops, algebra.one, stay)
        enter = arithmetic.take(scores, self.before(1), algebra.one)
        if skip is not None:
            far = arithmetic.take(scores, self.before(2), algebra.one)
            far = arithmetic.choose(tuple(place == 0 for place in self.place), algebra.zero, far)
            enter = algebra.plus(arithmetic, enter, algebra.times(skip, far))
        entered = algebra.times(algebra.main(arithmetic, main, logit), enter)
        return algebra.plus(arithmetic, algebra.times(stay, scores), entered)

    def read(self, arithmetic: Math, constants: ScanConstants, scores: Vector) -> Vector:
        """What each pattern gives out: the sum over its final states, and 0 where no path has ended.

        Shapes: scores [... state] -> [... pattern]
        """
        algebra = self.algebra
        ended = algebra.times(constants.final, scores)
        if constants.last_only:
            ended = arithmetic.choose(tuple(not last for last in self.last), algebra.zero, ended)
        total = arithmetic.take(ended, self.table[0], algebra.zero)
        for places in self.table[1:]:
            total = algebra.plus(arithmetic, total, arithmetic.take(ended, places, algebra.zero))
        return arithmetic.finite(total)


@dataclass(frozen=True)
class ScanConstants:
    """What does not depend on the token, in the semiring of the automata.

    Attributes:
        bias: of the self-loops. [state]
        final: with what weight each state ends a match. [state], or one number for all
        skip: scores of the epsilon transitions, each past the state before; or None. [state]
        last_only: whether only the last state of a pattern ends a match.
    """

    bias: Vector
    final: Vector
    skip: Vector | None = None
    last_only: bool = False


@cache
def automata_of(sizes: tuple[int, ...], semiring: str = "plus_times", fixed: tuple[bool, ...] = ()) -> Automata:
    """The same object for the same shape, so that its tables are made once."""
    return Automata(sizes, semiring, fixed)
