"""Engine: all groups are there until a time, then those go that do not survive, and the rest is trained on."""

import abc

import torch

from sparsernn.methods.method import Method
from sparsernn.methods.parts.removal import RemovalState
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_fraction


class Removing(Method[RemovalState]):
    """What goes, and when: at the fraction `stop` of training, or, where that is None, when training has ended."""

    stop: float | None

    def __post_init__(self) -> None:
        if self.stop is not None:
            check_fraction(self.stop, "stop")

    @abc.abstractmethod
    def end(self, run: Run[RemovalState]) -> None:
        """Remove what does not survive."""

    def initial_state(self) -> RemovalState:
        return RemovalState()

    @torch.no_grad()
    def after_step(self, run: Run[RemovalState]) -> None:
        if self.stop is not None and run.step_count == max(1, round(self.stop * run.steps)):
            self.end(run)

    @torch.no_grad()
    def finalize(self, run: Run[RemovalState]) -> None:
        if not self.has_ended(run):
            self.end(run)

    def settled(self, run: Run[RemovalState]) -> bool:
        return self.stop is None or self.has_ended(run)

    def has_ended(self, run: Run[RemovalState]) -> bool:
        """Whether groups were removed, after which the rest is trained as it is."""
        return run.state.removed is not None
