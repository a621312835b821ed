"""Engine: prune by score in the course of training. What is gone never grows back."""

import abc
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from sparsernn.methods.method import Method
from sparsernn.methods.parts.occasions import Occasions
from sparsernn.methods.parts.scopes import SCOPES, prune_to
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_sparsity
from sparsernn.structure.groups import Groups


@dataclass
class PruningState:
    """What is remembered: the step of the `last` event; None as long as it has not come."""

    last: int | None = None


@dataclass(frozen=True)
class Pruning(Method[PruningState]):
    """When, by which score, with which budgets; and what happens then. A trained model is pruned at once.

    Arguments:
        sparsity: fraction of groups absent at the end, in [0, 1).
        granularity: "weight", "gate", "neuron", a block such as "16x1", or another level of the cell.
        scope: "uniform" (each tensor or layer alike) or "global" (one ranking).
        per: at levels "weight" and blocks, whether a "tensor" or each "gate" of it has a budget.
    """

    sparsity: float
    granularity: str = "weight"
    scope: str = "uniform"
    per: str = "tensor"
    granularities = ("weight", "gate", "neuron", "16x1")
    choices = {"scope": SCOPES}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sparsity(self.sparsity)
        _ = self.when  # made once, so that its options are checked

    @property
    def target(self) -> float:
        return self.sparsity

    @property
    @abc.abstractmethod
    def when(self) -> Occasions:
        """The events. Raises: UserError for an option out of range."""

    @abc.abstractmethod
    def score(self, run: Run[PruningState], groups: Groups) -> Tensor:
        """What each group is worth, larger is better. [groups.count]"""

    def then(self, run: Run[PruningState]) -> None:
        """The last event of a training has happened."""
        return None

    def initial_state(self) -> PruningState:
        return PruningState()

    def prepare(self, run: Run[PruningState]) -> None:
        run.groups(self.granularity, self.per)
        if run.steps == 0:
            self.prune(run, self.sparsity)
            run.state.last = 0
        else:
            self.when.check(run.steps)

    def after_step(self, run: Run[PruningState]) -> None:
        level = self.when.level(run.step_count, run.steps, self.sparsity)
        if level is None or run.state.last is not None:
            return
        self.prune(run, level)
        if run.step_count == self.when.end(run.steps, self.sparsity):
            run.state.last = run.step_count
            self.then(run)

    def prune(self, run: Run[PruningState], sparsity: float) -> None:
        """One event."""
        groups = run.groups(self.granularity, self.per)
        prune_to(run, groups, self.score(run, groups), self.shares(groups, sparsity), self.scope)

    def shares(self, groups: Groups, sparsity: float) -> float | Sequence[float]:
        """What an event that brings all to a sparsity leaves out of each family; one number where all are alike."""
        return sparsity

    def finalize(self, run: Run[PruningState]) -> None:
        if run.state.last is None:
            present = run.groups(self.granularity, self.per).kept(run.masks)
            run.warn(
                f"the target sparsity {self.sparsity:.2f} was not reached: {1 - present.float().mean():.2f} after "
                f"{run.step_count} of {run.steps} steps, pruning would have ended at step "
                f"{self.when.end(run.steps, self.sparsity)}"
            )

    def settled(self, run: Run[PruningState]) -> bool:
        return run.state.last is not None
