"""Engine: rewire. Sparse from the first step; some weights are dropped and as many grown, the count never changes."""

from __future__ import annotations

import abc
import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.methods.schedules import DECAYS, check_fires, choose, steps_between
from sparsernn.methods.sparsifier import Sparsifier
from sparsernn.structure import budget
from sparsernn.structure.groups import Family, Groups

DISTRIBUTIONS = ("uniform", "erdos_renyi")


def counts_to_keep(families: Sequence[Family], sparsity: float, distribution: str) -> list[int]:
    """How many groups every family keeps."""
    if distribution == "uniform":
        return budget.uniform([family.size for family in families], sparsity)
    if any(family.fans[0] * family.fans[1] != family.size for family in families):
        raise UserError(
            "an Erdős–Rényi budget at a granularity other than single weights",
            'granularity="weight"',
            'use distribution="uniform" for blocks',
        )
    return budget.erdos_renyi([family.fans for family in families], sparsity)


@dataclass(frozen=True)
class Sparse(Method):
    """Shared by methods that start with a random sparse network. See its subclasses."""

    sparsity: float
    _: KW_ONLY
    granularity: str = "weight"
    distribution: str = "uniform"
    per: str = "tensor"

    def __post_init__(self) -> None:
        budget.check_sparsity(self.sparsity)
        if self.distribution not in DISTRIBUTIONS:
            raise UserError(
                f'distribution is "{self.distribution}"',
                f"one of {', '.join(DISTRIBUTIONS)}",
                "choose how weights are shared out",
            )

    @property
    def target(self) -> float:
        return self.sparsity

    def scatter(self, run: Sparsifier) -> None:
        """Make the first masks: random ones."""
        groups = run.groups(self.granularity, self.per)
        for family, count in zip(
            groups.families, counts_to_keep(groups.families, self.sparsity, self.distribution), strict=True
        ):
            kept = budget.pick(torch.ones(family.size, dtype=torch.bool), count, run.generator)
            groups.keep(run.masks, kept.to(next(iter(run.weights.values())).device), family)
        run.changed("start")


@dataclass(frozen=True)
class Rewiring(Sparse):
    """Shared by methods that drop and grow weights every so often. See its subclasses."""

    every: int | float = 0.05
    _: KW_ONLY
    rate: float = 0.3
    decay: str = "cosine"
    floor: float = 0.0
    stop: float = 0.75
    regrow_dropped: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("rate", "floor", "stop"):
            budget.check_fraction(getattr(self, name), name)
        choose(DECAYS, self.decay, "decay")
        steps_between(self.every, 100)

    def prepare(self, run: Sparsifier) -> None:
        every = steps_between(self.every, run.steps)
        check_fires(every, round(self.stop * run.steps), run.steps, "rewiring")
        self.scatter(run)

    @abc.abstractmethod
    def grow_score(self, run: Sparsifier, groups: Groups, family: Family) -> Tensor:
        """What each absent group would be worth, larger is better. [family.size]"""

    def drop_score(self, run: Sparsifier, groups: Groups, family: Family) -> Tensor:
        """What each present group is worth: its magnitude. [family.size]"""
        return groups.family_norms(
            {name: p.detach() for name, p in run.weights.items() if name in groups.names}, family
        )

    def rate_at(self, run: Sparsifier, step: int) -> float:
        """The fraction of present weights to drop at a step."""
        return DECAYS[self.decay](step, max(1, round(self.stop * run.steps)), self.rate, self.floor)

    def is_due(self, run: Sparsifier, step: int) -> bool:
        return step > 0 and step % steps_between(self.every, run.steps) == 0 and step <= round(self.stop * run.steps)

    @torch.no_grad()
    def rewire(self, run: Sparsifier, step: int) -> None:
        """The event of a step: in every family drop the weakest, grow as many elsewhere."""
        groups, born, died = run.groups(self.granularity, self.per), {}, {}
        before = {name: run.masks.kept[name].clone() for name in groups.names}
        for family in groups.families:
            kept = groups.kept(run.masks, family)
            groups.keep(run.masks, self._exchange(run, groups, family, kept, self.rate_at(run, step)), family)
        for name, was in before.items():
            now = run.masks.kept[name]
            born[name], died[name] = now & ~was, was & ~now
        run.changed("rewire", born, died, step)

    def _exchange(self, run: Sparsifier, groups: Groups, family: Family, kept: Tensor, rate: float) -> Tensor:
        present = int(kept.sum())
        drop = min(math.ceil(rate * present), present if self.regrow_dropped else family.size - present)
        if drop == 0 or present == family.size:
            return kept
        lowest = torch.full((family.size,), -torch.inf, device=kept.device)
        stay = (
            budget.top(torch.where(kept, self.drop_score(run, groups, family).float(), lowest), present - drop) & kept
        )
        candidates = ~stay if self.regrow_dropped else ~kept
        score = torch.where(candidates, self.grow_score(run, groups, family).float(), lowest)
        return stay | (budget.top(score, drop) & candidates)


def gradient_norms(run: Sparsifier, groups: Groups, family: Family) -> Tensor:
    """Magnitude of the dense gradient of each group. [family.size]"""
    gradients: dict[str, Any] = {}
    for name in groups.names:
        parameter = run.model.get_parameter(name)
        gradients[name] = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
    return groups.family_norms(gradients, family)
