"""What a sparsity method is: hyperparameters and five moments at which it may act."""

from __future__ import annotations

import abc
from typing import TYPE_CHECKING, ClassVar

from torch import Tensor

if TYPE_CHECKING:
    from sparsernn.sparsifying.sparsifier import Sparsifier


class Method(abc.ABC):
    """A frozen dataclass of hyperparameters; it holds no state, the `Sparsifier` passed as `run` does.

    Its file name in this folder is its name everywhere.

    Attributes:
        granularities: the levels at which it can work ("weight", "gate", "neuron", "16x1", ...).
        known_as: other names of the method.
        starts_trained: whether it is best begun from trained weights (pruning, penalties), not from new ones.
    """

    granularities: ClassVar[tuple[str, ...]] = ("weight",)
    known_as: ClassVar[tuple[str, ...]] = ()
    starts_trained: ClassVar[bool] = False

    @property
    def target(self) -> float | None:
        """The fraction of groups that will be absent at the end, where the method knows it beforehand."""
        return None

    @property
    def reads_dense_gradient(self) -> bool:
        """Whether it looks at the gradient of absent weights; for a method that does not kernels may leave it out."""
        return True

    @abc.abstractmethod
    def prepare(self, run: Sparsifier) -> None:
        """Check that the method can do its work in `run.steps`; make the first masks."""

    def penalty(self, run: Sparsifier) -> Tensor | None:
        """A term to be added to the loss, or None."""
        return None

    def before_step(self, run: Sparsifier) -> bool:
        """Gradients are ready. Return False to leave this update out."""
        return True

    def after_step(self, run: Sparsifier) -> None:
        """Weights have moved; run.step_count counts this step."""
        return None

    def finalize(self, run: Sparsifier) -> None:
        """Leave plain parameters and final masks."""
        return None

    def settled(self, run: Sparsifier) -> bool:
        """Whether the masks have reached their final size."""
        return True
