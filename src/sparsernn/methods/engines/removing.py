"""Engine: train with all groups, then remove at once those that do not survive, and train the rest as it is."""

import abc
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sparsernn.methods.method import Method
from sparsernn.methods.parts.removal import RemovalState, have_gone, remove_all_but
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_fraction


@dataclass(frozen=True)
class Removing(Method[RemovalState]):
    """Which groups survive; what tells them apart until then, a penalty or noise, is the method's own.

    Arguments:
        stop: fraction of training at which groups go; the rest is trained on without penalty or noise. None: when
            training has ended, from the weights that it keeps, which are those of the best epoch where the trainer
            keeps the best.
    """

    stop: float | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stop is not None:
            check_fraction(self.stop, "stop")

    @abc.abstractmethod
    def survivors(self, run: Run[RemovalState]) -> Mapping[str, Tensor]:
        """Which groups stay, by level. [groups.count]"""

    def initial_state(self) -> RemovalState:
        return RemovalState()

    def after_step(self, run: Run[RemovalState]) -> None:
        if self.stop is not None and run.step_count == max(1, round(self.stop * run.steps)):
            self.end(run)

    def finalize(self, run: Run[RemovalState]) -> None:
        if not have_gone(run):
            self.end(run)

    def settled(self, run: Run[RemovalState]) -> bool:
        return self.stop is None or have_gone(run)

    @torch.no_grad()
    def end(self, run: Run[RemovalState]) -> None:
        """Remove what does not survive; from now on there is neither penalty nor noise."""
        remove_all_but(run, self.survivors(run))
