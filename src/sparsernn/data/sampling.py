"""A few examples of a large split: others in every pass of the training."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from sparsernn.data.splits import SequenceSplit, WindowSplit
from sparsernn.data.task import Batch, Split


@dataclass(frozen=True)
class Sample(Split):
    """So many examples of a split: drawn by the seed of a shuffled pass, else evenly spaced and always the same.

    Arguments:
        whole: sequences or windows, as many or more.
        count: examples in a pass.
    """

    whole: SequenceSplit | WindowSplit
    count: int

    def __len__(self) -> int:
        return self.count

    def batches(self, size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
        return self._drawn(shuffle_seed).batches(size, shuffle_seed=shuffle_seed)

    def unordered(self, size: int) -> Iterator[Batch]:
        return self._drawn(None).unordered(size)

    def _drawn(self, seed: int | None) -> Split:
        many = len(self.whole)
        if seed is None:
            examples = np.arange(self.count) * many // self.count
        else:
            examples = np.random.RandomState(seed % 2**32).permutation(many)[: self.count]
        if isinstance(self.whole, WindowSplit):
            return replace(self.whole, starts=self.whole.starts[examples])
        return replace(self.whole, rows=examples if self.whole.rows is None else self.whole.rows[examples])


def at_most(split: Split, count: int) -> Split:
    """The split, or a sample of it if it holds more examples; running text, which is read in order, stays whole."""
    if len(split) <= count or not isinstance(split, SequenceSplit | WindowSplit):
        return split
    return Sample(split, count)
