"""Splits and batches as training sees them; those of `sparsernn.data` fit, and so does anything of the same shape."""

from collections.abc import Iterable, Iterator
from typing import Protocol, Self, TypeAlias

from torch import Tensor

# The state that a network carries from batch to batch: a tensor, a nested tuple of tensors, or nothing.
Carry: TypeAlias = "Tensor | tuple[Carry, ...] | list[Carry] | None"


class Batch(Protocol):
    """A named tuple with the inputs and targets of some examples, and their lengths where these differ."""

    @property
    def inputs(self) -> Tensor: ...

    @property
    def targets(self) -> Tensor: ...

    @property
    def lengths(self) -> Tensor | None: ...

    def __iter__(self) -> Iterator[Tensor | None]: ...

    def _replace(self, *, inputs: Tensor, targets: Tensor) -> Self: ...

    @classmethod
    def _make(cls, iterable: Iterable[Tensor | None], /) -> Self: ...


class Split(Protocol):
    """Examples that are read in batches, in order or shuffled by a seed."""

    def number_of_batches(self, size: int) -> int:
        """How many batches of at most `size` examples `batches` yields."""

    def batches(self, size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
        """Every example once; the same seed gives the same order, None the stored order."""
