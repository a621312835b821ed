"""Engine: prune before the first step by what one batch, or the weights alone, tell; at once or in rounds."""

from __future__ import annotations

import abc
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.engines.pruning import OneShotPruning
from sparsernn.methods.parts.normalisers import check_normaliser, normalised
from sparsernn.methods.parts.one_batch import Passes, follow, passes_of
from sparsernn.methods.parts.scores import mean_over
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.groups import Groups


@dataclass(frozen=True)
class InitialPruning(OneShotPruning):
    """Shared by methods that score every weight before training. See its subclasses."""

    per: str = "kernel"
    rounds: int = 1
    granularities: ClassVar[tuple[str, ...]] = ("weight", "gate", "neuron", "16x1")
    needs_loss: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if isinstance(self.rounds, bool) or not isinstance(self.rounds, int) or self.rounds < 1:
            raise UserError(f"rounds is {self.rounds!r}", "a whole number of at least 1", "pass rounds=1 for one shot")

    @abc.abstractmethod
    def importance(self, run: Sparsifier) -> dict[str, Tensor]:
        """The score of every weight of the selected tensors, larger is better, by name."""

    def score(self, run: Sparsifier, groups: Groups) -> Tensor:
        return mean_over(run, groups, self.importance(run))

    def remove(self, run: Sparsifier) -> None:
        """Round k of n leaves (1 - sparsity)^(k/n) of the groups; each is scored with the masks of the one before."""
        if self.needs_loss:
            follow(run)
        for number in range(1, self.rounds):
            self.prune(run, 1 - (1 - self.sparsity) ** (number / self.rounds))
        self.prune(run, self.sparsity)


@dataclass(frozen=True)
class NormalisedPruning(InitialPruning):
    """Shared by those whose scores may be divided by how much a weight moves the layer's outputs on noise."""

    normaliser: str = "none"
    floor: float | None = None
    reads_passes: ClassVar[bool] = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_normaliser(self.divisor, self.floor)

    @property
    def divisor(self) -> str:
        """The normaliser in use."""
        return self.normaliser

    @abc.abstractmethod
    def raw(self, run: Sparsifier, passes: Passes) -> dict[str, Tensor]:
        """Scores before normalisation, by name. passes: of every recurrent layer, if `reads_passes`."""

    def importance(self, run: Sparsifier) -> dict[str, Tensor]:
        passes = passes_of(run) if self.reads_passes or self.divisor != "none" else {}
        return normalised(run, self.raw(run, passes), passes, self.divisor, self.floor)
