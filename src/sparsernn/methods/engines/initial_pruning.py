"""Engine: prune before the first step by what one batch, or the weights alone, tell; at once or in rounds."""

import abc
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.methods.parts.one_batch import follow
from sparsernn.methods.parts.rescaling import RESCALINGS, Rescaling
from sparsernn.methods.parts.scopes import SCOPES, prune_to
from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_sparsity
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class InitialPruning(Method[None]):
    """By which score, with which budgets, in how many rounds; and how the weights that are left make up for the others.

    Round k of n leaves (1 - sparsity)^(k/n) of the groups; each is scored with the masks of the one before.

    Arguments:
        sparsity: fraction of groups absent, in [0, 1).
        granularity: "weight", "gate", "neuron", a block such as "16x1".
        scope: "uniform" (each layer, tensor or gate alike) or "global" (one ranking).
        per: at levels "weight" and blocks, what has a budget: a "kernel" (all matrices of a layer), "tensor" or "gate".
        rescale: what happens to the weights that are left: see `RandomPruning`.
        rounds: how many times scores are computed, along an exponential ladder of densities.
    """

    sparsity: float
    granularity: str = "weight"
    scope: str = "uniform"
    per: str = "kernel"
    rescale: str = "none"
    rounds: int = 1
    granularities = ("weight", "gate", "neuron", "16x1")
    choices = {"scope": SCOPES, "rescale": RESCALINGS}
    reads_dense_gradient: ClassVar[bool] = False
    needs_loss: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_sparsity(self.sparsity)
        if self.rounds < 1:
            raise UserError(f"rounds is {self.rounds!r}", "a whole number of at least 1", "pass rounds=1 for one shot")

    @property
    def target(self) -> float:
        return self.sparsity

    @abc.abstractmethod
    def score(self, run: Run[None], groups: Groups) -> Tensor:
        """What each group is worth, larger is better. [groups.count]"""

    def initial_state(self) -> None:
        return None

    def prepare(self, run: Run[None]) -> None:
        rescaling = Rescaling(run, self.rescale)
        if self.needs_loss:
            follow(run)
        for number in range(1, self.rounds):
            self._prune(run, 1 - (1 - self.sparsity) ** (number / self.rounds))
        self._prune(run, self.sparsity)
        rescaling.apply_()

    def _prune(self, run: Run[None], sparsity: float) -> None:
        groups = run.groups(self.granularity, self.per)
        prune_to(run, groups, self.score(run, groups), sparsity, self.scope)
