"""Engine: train a distribution of weights, one sample of it in every forward, and keep what is certain in the end."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from sparsernn.methods.engines.removing import Removing
from sparsernn.methods.parts.removal import RemovalState, levels_of, remove_all_but
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_positive
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class Sampling(Removing):
    """Which parameters the distribution has beside the weights, how it is sampled; and which groups survive it."""

    granularity: str | tuple[str, ...] = "weight"
    learning_rate: float = 0.01
    stop: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
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

    def prepare(self, run: Run[RemovalState]) -> None:
        for level in self.levels:
            run.groups(level)
        run.own(self.parameters(run), self.learning_rate)

    def before_forward(self, run: Run[RemovalState]) -> Mapping[str, Tensor] | None:
        return None if self.has_ended(run) else self.sample(run)

    def end(self, run: Run[RemovalState]) -> None:
        remove_all_but(run, {level: self.survivors(run, run.groups(level)) for level in self.levels})
