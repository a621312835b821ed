"""L0 regularisation by gates of hard concrete noise."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.engines.removing import Removing
from sparsernn.methods.parts.removal import RemovalState, check_granularity, have_gone, keep_best_, levels_of, told
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_number, check_positive


@dataclass(frozen=True)
class L0(Removing):
    """Multiply every group with a random number in [0, 1] that can be exactly 0; penalise how many are not.

    z = min(1, max(0, s (high - low) + low)), s = sigmoid((log u - log(1 - u) + log alpha) / temperature) and u uniform.
    The penalty is strength * sum_g |w_g| P(z_g > 0), P(z > 0) = sigmoid(log alpha - temperature log(-low / high)). In
    evaluation and in the end z = min(1, max(0, sigmoid(log alpha) (high - low) + low)); where that is 0 a group goes.

    Arguments:
        granularity: "weight", "gate", "neuron", a block such as "16x1", another level of the cell, or a tuple of them.
        learning_rate: of the log alphas, by Adam.
        strength: lambda, >= 0, for a loss that is a mean over the batch; the paper's is divided by the number of
            training examples.
        open: the share of z that are not 0 at first, in (0, 1).
        temperature: beta, > 0.
        low, high: of the stretched interval; low < 0, high > 1.
    Shapes: any weight.
    Raises: UserError for values out of range.
    Source: Louizos, Welling & Kingma 2018, Learning sparse neural networks through L0 regularization, equations 10-13.
    Deviations: one draw a minibatch, at every level, where the paper draws groups of inputs for each example. First
        weights are not made larger where gates begin below 1.
    """

    granularity: str | tuple[str, ...] = "weight"
    learning_rate: float = 0.01
    strength: float = 1e-4
    open: float = 0.9
    temperature: float = 2 / 3
    low: float = -0.1
    high: float = 1.1
    granularities: ClassVar[tuple[str, ...]] = ("weight", "gate", "neuron", "16x1")
    known_as: ClassVar[tuple[str, ...]] = ("hard_concrete",)
    needs_readers: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_granularity(self.granularity)
        check_positive(self.learning_rate, "learning_rate")
        check_number(self.strength, "strength")
        check_positive(self.temperature, "temperature")
        if not 0 < self.open < 1:
            raise UserError(f"open is {self.open!r}", "a number between 0 and 1", "pass open=0.9")
        if not (self.low < 0 and self.high > 1):
            raise UserError(f"the interval is {self.low} to {self.high}", "low < 0 and high > 1", "pass -0.1 and 1.1")

    @property
    def shift(self) -> float:
        """P(z > 0) = sigmoid(log alpha - shift)."""
        return self.temperature * math.log(-self.low / self.high)

    def prepare(self, run: Run[RemovalState]) -> None:
        first = math.log(self.open) - math.log(1 - self.open) + self.shift
        counts = {f"log_alpha.{level}": run.groups(level).count for level in levels_of(self.granularity)}
        starts = {name: torch.full((count,), first, device=run.device) for name, count in counts.items()}
        run.own(starts, self.learning_rate)

    def before_forward(self, run: Run[RemovalState]) -> Mapping[str, Tensor] | None:
        if have_gone(run):
            return None
        factors = {}
        for level in levels_of(self.granularity):
            log_alpha = self._log_alpha(run, level)
            uniform = torch.rand(log_alpha.shape, generator=run.generator).clamp_(1e-6, 1 - 1e-6).to(run.device)
            noise = uniform.log() - (1 - uniform).log()
            factors[level] = self._stretched(((noise + log_alpha) / self.temperature).sigmoid())
        return self._scaled(run, factors)

    def penalty(self, run: Run[RemovalState]) -> Tensor | None:
        if have_gone(run):
            return None
        total = torch.zeros((), device=run.device)
        for level in levels_of(self.granularity):
            groups = run.groups(level).measured()
            sizes = groups.sizes({name: run.weights[name].detach() for name in groups.names}).to(run.device)
            total = total + (sizes * (self._log_alpha(run, level) - self.shift).sigmoid()).sum()
        return self.strength * total

    def before_evaluation(self, run: Run[RemovalState]) -> Mapping[str, Tensor] | None:
        return None if have_gone(run) else self._scaled(run, self._means(run))

    def survivors(self, run: Run[RemovalState]) -> Mapping[str, Tensor]:
        kept = {level: means > 0 for level, means in self._means(run).items()}
        for level, stay in kept.items():
            told(run, keep_best_(stay, self._log_alpha(run, level), run.groups(level).families))
        return kept

    @torch.no_grad()
    def end(self, run: Run[RemovalState]) -> None:
        weights = {name: weight.clone() for name, weight in self._scaled(run, self._means(run)).items()}
        super().end(run)
        for name, weight in weights.items():
            run.weights[name].copy_(weight)
        run.enforce()

    def _log_alpha(self, run: Run[RemovalState], level: str) -> Tensor:
        """Of the groups as these are numbered now. [groups.count]"""
        numbers, log_alpha = run.groups(level).earlier, run.owned[f"log_alpha.{level}"]
        return log_alpha if numbers is None else log_alpha[numbers]

    def _stretched(self, share: Tensor) -> Tensor:
        return (share * (self.high - self.low) + self.low).clamp(0, 1)

    def _means(self, run: Run[RemovalState]) -> dict[str, Tensor]:
        return {level: self._stretched(self._log_alpha(run, level).sigmoid()) for level in levels_of(self.granularity)}

    def _scaled(self, run: Run[RemovalState], factors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of all levels' groups, each times the factors of its groups."""
        weights: dict[str, Tensor] = {}
        for level, factor in factors.items():
            groups = run.groups(level).measured()
            weights |= groups.scaled({name: weights.get(name, run.weights[name]) for name in groups.names}, factor)
        return weights
