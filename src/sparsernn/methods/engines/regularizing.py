"""Engine: penalise groups while training, remove the small ones, go on without the penalty."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.budget import check_fraction
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class Regularizing(Method):
    """Shared by methods whose penalty decides what is small enough to go. See its subclasses."""

    strength: float
    granularity: str | tuple[str, ...] = "neuron"
    stop: float | None = 0.7
    starts_trained: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if (
            isinstance(self.strength, bool)
            or not isinstance(self.strength, int | float)
            or not 0 <= self.strength < float("inf")
        ):
            raise UserError(f"strength is {self.strength!r}", "a number >= 0", "pass a small number such as 0.001")
        if self.stop is not None:
            check_fraction(self.stop, "stop")

    @property
    def levels(self) -> tuple[str, ...]:
        return (self.granularity,) if isinstance(self.granularity, str) else tuple(self.granularity)

    def prepare(self, run: Sparsifier) -> None:
        for level in self.levels:
            run.groups(level)
        if run.steps == 0:
            self._end(run)

    def after_step(self, run: Sparsifier) -> None:
        if self.stop is not None and run.step_count == max(1, round(self.stop * run.steps)):
            self._end(run)

    def finalize(self, run: Sparsifier) -> None:
        if not self.has_ended(run):
            self._end(run)

    def settled(self, run: Sparsifier) -> bool:
        return self.stop is None or self.has_ended(run)

    def has_ended(self, run: Sparsifier) -> bool:
        """Whether groups were removed, after which there is no penalty."""
        return "removed" in run.memory

    @torch.no_grad()
    def _end(self, run: Sparsifier) -> None:
        survivors = {level: self.survivors(run, run.groups(level)) for level in self.levels}
        died: dict[str, Tensor] = {}
        for level, kept in survivors.items():
            for name, where in run.remove(run.groups(level), kept).items():
                died[name] = died[name] | where if name in died else where
        run.memory["removed"] = run.step_count
        run.changed("remove", died=died)

    @abc.abstractmethod
    def survivors(self, run: Sparsifier, groups: Groups) -> Tensor:
        """Which groups are large enough to stay. [groups.count]"""
