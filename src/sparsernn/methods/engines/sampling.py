"""Engine: train a distribution of weights, one sample of it in every forward, and keep what is certain in the end."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field

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
from sparsernn.structure.budget import check_positive
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class Sampling(Method[RemovalState]):
    """Which parameters the distribution has beside the weights, how it is sampled; and which groups survive it."""

    granularity: str | tuple[str, ...] = "weight"
    learning_rate: float = 0.01
    stop: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_levels(self.levels)
        check_stop(self.stop)
        check_positive(self.learning_rate, "learning_rate")

    @property
    def levels(self) -> tuple[str, ...]:
        return levels_of(self.granularity)

    @abc.abstractmethod
    def parameters(self, run: Run[RemovalState]) -> Mapping[str, Tensor]:
        """What the method's own parameters start from, by name."""

    @abc.abstractmethod
    def sample(self, run: Run[RemovalState]) -> Mapping[str, Tensor]:
        """The weights of one forward, by name, differentiable."""

    @abc.abstractmethod
    def survivors(self, run: Run[RemovalState], groups: Groups) -> Tensor:
        """Which groups are certain enough to stay. [groups.count]"""

    def initial_state(self) -> RemovalState:
        return RemovalState()

    def prepare(self, run: Run[RemovalState]) -> None:
        for level in self.levels:
            run.groups(level)
        run.own(self.parameters(run), self.learning_rate)

    def before_forward(self, run: Run[RemovalState]) -> Mapping[str, Tensor] | None:
        return None if have_gone(run) else self.sample(run)

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
        """Remove what does not survive; from now on nothing is drawn."""
        remove_all_but(run, {level: self.survivors(run, run.groups(level)) for level in self.levels})
