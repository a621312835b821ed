"""Engine: penalise groups while training, remove the small ones, go on without the penalty."""

import abc
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparsernn.methods.engines.removing import Removing
from sparsernn.methods.parts.removal import RemovalState, levels_of, remove_all_but
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_number
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class Regularizing(Removing):
    """Which penalty, how strong, until when; and which groups survive it."""

    strength: float
    granularity: str | tuple[str, ...] = "neuron"
    stop: float | None = 0.7
    reads_dense_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self.strength, "strength")

    @property
    def levels(self) -> tuple[str, ...]:
        return levels_of(self.granularity)

    @abc.abstractmethod
    def survivors(self, run: Run[RemovalState], groups: Groups) -> Tensor:
        """Which groups are large enough to stay. [groups.count]"""

    def prepare(self, run: Run[RemovalState]) -> None:
        for level in self.levels:
            run.groups(level)
        if run.steps == 0:
            self.finalize(run)

    def end(self, run: Run[RemovalState]) -> None:
        """Remove what does not survive; from now on there is no penalty."""
        remove_all_but(run, {level: self.survivors(run, run.groups(level)) for level in self.levels})
