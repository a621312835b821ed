"""Engine: penalise groups while training, remove the small ones, go on without the penalty."""

import abc
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.methods.method import Method
from sparsernn.methods.parts.removal import (
    RemovalState,
    check_levels,
    check_stop,
    have_gone,
    is_time,
    levels_of,
    remove_all_but,
)
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_number
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class Regularizing(Method[RemovalState]):
    """Which penalty, how strong, until when; and which groups survive it."""

    strength: float
    granularity: str | tuple[str, ...] = "neuron"
    stop: float | None = 0.7
    reads_dense_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.strength, "strength")
        check_levels(self.levels)
        check_stop(self.stop)

    @property
    def levels(self) -> tuple[str, ...]:
        return levels_of(self.granularity)

    @abc.abstractmethod
    def survivors(self, run: Run[RemovalState], groups: Groups) -> Tensor:
        """Which groups are large enough to stay. [groups.count]"""

    def initial_state(self) -> RemovalState:
        return RemovalState()

    def prepare(self, run: Run[RemovalState]) -> None:
        for level in self.levels:
            run.groups(level)
        if run.steps == 0:
            self.end(run)

    def after_step(self, run: Run[RemovalState]) -> None:
        if is_time(self.stop, run):
            self.end(run)

    def finalize(self, run: Run[RemovalState]) -> None:
        if not have_gone(run):
            self.end(run)

    def settled(self, run: Run[RemovalState]) -> bool:
        return self.stop is None or have_gone(run)

    @torch.no_grad()
    def end(self, run: Run[RemovalState]) -> None:
        """Remove what does not survive; from now on there is no penalty."""
        remove_all_but(run, {level: self.survivors(run, run.groups(level)) for level in self.levels})
