"""Patterns: small automata in a row, and one step of all of them in any semiring."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property

import torch
from torch import Tensor

from sparsernn.kernels.scan.semirings import SEMIRINGS, Semiring


@dataclass(frozen=True)
class Automata:
    """The shape of d patterns, states of one pattern side by side; its tables are on the CPU.

    Pattern k reads its sizes[k] tokens along its main path and any number in between on self-loops:
    c'[i] = f[i] c[i] + u[i] c[i-1], with c[-1] = 1 before the first state.

    Arguments:
        sizes: number of states of each pattern, without the one before the first token.
        semiring: "plus_times", "max_times", "max_plus" or "log".
        held: for each pattern whether its last self-loop has the score one; () for none.
    """

    sizes: tuple[int, ...]
    semiring: str = "plus_times"
    held: tuple[bool, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "held", self.held or (False,) * len(self.sizes))

    @property
    def states(self) -> int:
        """All states of all patterns."""
        return sum(self.sizes)

    @property
    def algebra(self) -> Semiring:
        """Sum and product of scores."""
        return SEMIRINGS[self.semiring]

    @cached_property
    def place(self) -> Tensor:
        """Position of each state within its pattern, from 0. [state]"""
        return torch.tensor([place for size in self.sizes for place in range(size)], dtype=torch.long, device="cpu")

    @cached_property
    def owner(self) -> Tensor:
        """Number of each state's pattern. [state]"""
        sizes = torch.tensor(self.sizes, device="cpu")
        return torch.repeat_interleave(torch.arange(len(sizes), device="cpu"), sizes)

    @cached_property
    def last(self) -> Tensor:
        """Whether a state is the last one of its pattern. [state]"""
        ends = torch.tensor(self.sizes, device="cpu").cumsum(0) - 1
        return torch.zeros(self.states, dtype=torch.bool, device="cpu").index_fill(0, ends, True)

    @cached_property
    def table(self) -> Tensor:
        """State numbers by pattern and place; where there is none, the number of states. [pattern place]"""
        table = torch.full((len(self.sizes), max(self.sizes)), self.states, device="cpu")
        table[self.owner, self.place] = torch.arange(self.states, device="cpu")
        return table

    def step(self, projected: Tensor, bias: Tensor, skip: Tensor | None, scores: Tensor) -> Tensor:
        """All states' scores after one token.

        Shapes: projected [batch 2*state] (main paths, then self-loops), bias [state] of the self-loops, skip [state]
        score of the epsilon transition past the state before, scores [batch state] -> [batch state]
        """
        algebra, place = self.algebra, self.place.to(scores.device)
        main, logit = projected.chunk(2, -1)
        logit = logit + bias
        stay = algebra.constant(logit)
        if any(self.held):
            held = self.last & torch.tensor(self.held)[self.owner]
            stay = stay.masked_fill(held.to(scores.device), algebra.one)
        enter = torch.where(place == 0, algebra.one, scores.roll(1, -1))
        if skip is not None:
            far = torch.where(place == 1, algebra.one, scores.roll(2, -1)).masked_fill(place == 0, algebra.zero)
            enter = algebra.plus(enter, algebra.times(skip, far))
        return algebra.plus(algebra.times(stay, scores), algebra.times(algebra.main(main, logit), enter))

    def read(self, final: Tensor, scores: Tensor) -> Tensor:
        """What each pattern gives out: the sum over its final states, and 0 where no path has ended.

        Shapes: final [state], scores [... state] -> [... pattern]
        """
        algebra, table = self.algebra, self.table.to(scores.device)
        ended = algebra.times(final, scores)
        ended = torch.cat([ended, ended.new_full((*ended.shape[:-1], 1), algebra.zero)], -1)
        total = ended[..., table[:, 0]]
        for place in range(1, table.shape[1]):
            total = algebra.plus(total, ended[..., table[:, place]])
        return total.masked_fill(total == -torch.inf, 0)


@cache
def automata_of(sizes: tuple[int, ...], semiring: str = "plus_times", held: tuple[bool, ...] = ()) -> Automata:
    """The same object for the same shape, so that its tables are made once."""
    return Automata(sizes, semiring, held)
