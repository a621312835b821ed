"""Splits: tensors in memory, sequences of different lengths, running text, windows of a series, samples of these."""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from sparsernn.data.cuts import shuffled
from sparsernn.data.patches import Frames, Patches
from sparsernn.data.task import IGNORED, Batch, Loaded, Split, checked_size
from sparsernn.errors import UserError

POOL_OF_BATCHES, MOST_TEXTS = 50, 100_000


@dataclass(frozen=True)
class TensorSplit(Split):
    """Examples of equal length, held in memory.

    Arguments:
        inputs: [examples time features], or [examples time] token ids.
        targets: [examples] class numbers, or any tensor with one row an example.
    """

    inputs: Tensor = field(repr=False)
    targets: Tensor = field(repr=False)

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
        order = torch.from_numpy(shuffled(len(self), shuffle_seed))
        for rows in order.split(checked_size(size)):
            yield Batch(self.inputs[rows], self.targets[rows])


@dataclass(frozen=True)
class SequenceSplit(Split):
    """Sequences of different lengths, laid end to end in one array (in memory or memory-mapped) and padded per batch.

    Arguments:
        values: [steps] token ids or [steps features], all sequences one after the other.
        offsets: [examples + 1]; example i is values[offsets[i]:offsets[i + 1]].
        targets: [examples] class numbers or plain numbers, or [steps] where every step has a class.
        rows: which of the sequences belong to this split, in this order; None is all of them.
        padding: "right" (batches carry lengths) or "left" (no lengths: the network reads the padding first).
        bucketed: put sequences of like length in one batch wherever their order does not matter.
        per_step: whether every step has a target of its own.
        least: shorter sequences are padded to this length and count as that long.
        pad: the value of padded steps.
        patches: what the network reads instead of the padded steps.
    """

    values: np.ndarray = field(repr=False)
    offsets: np.ndarray = field(repr=False)
    targets: np.ndarray = field(repr=False)
    rows: np.ndarray | None = field(default=None, repr=False)
    padding: str = "right"
    bucketed: bool = False
    per_step: bool = False
    least: int = 1
    pad: float = 0
    patches: Patches | Frames | None = None

    def __len__(self) -> int:
        return len(self.offsets) - 1 if self.rows is None else len(self.rows)

    @property
    def lengths(self) -> np.ndarray:
        """Number of steps of every sequence, before padding."""
        every = np.diff(self.offsets)
        return every if self.rows is None else every[self.rows]

    def batches(self, size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
        for rows in self._rows(checked_size(size), shuffle_seed):
            yield self.batch(rows)

    def unordered(self, size: int) -> Iterator[Batch]:
        if not self.bucketed:
            return self.batches(size)
        rows, size = np.argsort(self.lengths, kind="stable"), checked_size(size)
        return map(self.batch, (rows[start : start + size] for start in range(0, len(rows), size)))

    def _rows(self, size: int, seed: int | None) -> Iterator[np.ndarray]:
        order = shuffled(len(self), seed)
        if not self.bucketed or seed is None:
            yield from (order[start : start + size] for start in range(0, len(order), size))
            return
        lengths, pool, batches = self.lengths, size * POOL_OF_BATCHES, []
        for start in range(0, len(order), pool):
            rows = order[start : start + pool]
            rows = rows[np.argsort(lengths[rows], kind="stable")]
            batches += [rows[first : first + size] for first in range(0, len(rows), size)]
        for position in shuffled(len(batches), seed):
            yield batches[position]

    def batch(self, rows: np.ndarray) -> Batch:
        """The examples with these numbers as one padded batch."""
        rows = rows if self.rows is None else self.rows[rows]
        starts, ends = self.offsets[rows], self.offsets[rows + 1]
        longest = max(int((ends - starts).max()), self.least)
        inputs = np.full((len(rows), longest, *self.values.shape[1:]), self.pad, _batch_type(self.values))
        steps = np.full((len(rows), longest), IGNORED, np.int64) if self.per_step else None
        for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
            place = slice(longest - (end - start), None) if self.padding == "left" else slice(end - start)
            inputs[row, place] = self.values[start:end]
            if steps is not None:
                steps[row, place] = self.targets[start:end]
        targets = np.asarray(self.targets[rows], _batch_type(self.targets)) if steps is None else steps
        lengths = np.maximum(ends - starts, self.least)
        if self.patches is not None:
            inputs, lengths = self.patches(inputs, lengths)
        if isinstance(self.patches, Frames):
            targets = self.patches.targets(targets)
        padded_right = None if self.padding == "left" else torch.from_numpy(lengths)
        return Batch(torch.from_numpy(inputs), torch.from_numpy(targets), padded_right)


def _batch_type(values: np.ndarray) -> type:
    return np.float32 if values.dtype.kind == "f" else np.int64


@dataclass(frozen=True)
class TextSplit(Split):
    """Running text for a language model: `size` parallel streams, read `steps` tokens at a time, always in order.

    Each stream is a stretch of len(tokens) // size tokens; what is left over at the end is not read. The last
    batch of the streams may be shorter than `steps`.

    Arguments:
        tokens: [tokens] ids, in memory or memory-mapped.
        steps: tokens read at a time; gradients do not reach further back.
        keep_last: keep the shorter last batch.
    """

    tokens: np.ndarray = field(repr=False)
    steps: int = 35
    keep_last: bool = True
    carries_state = True

    def __len__(self) -> int:
        return max(0, len(self.tokens) - 1)

    def number_of_batches(self, size: int) -> int:
        length = len(self.tokens) // checked_size(size) - 1
        return max(0, -(-length // self.steps) if self.keep_last else length // self.steps)

    def batches(self, size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
        length = len(self.tokens) // checked_size(size)
        if length < 2:
            raise UserError(
                f"A text of {len(self.tokens)} tokens was asked for in {size} streams",
                f"at least {2 * size} tokens",
                "lower the batch size or give more text",
            )
        streams = self.tokens[: size * length].reshape(size, length)
        for start in range(0, self.number_of_batches(size) * self.steps, self.steps):
            end = min(start + self.steps, length - 1)
            window = torch.from_numpy(streams[:, start : end + 1].T.astype(np.int64))  # [time+1 batch]
            yield Batch(window[:-1], window[1:])


@dataclass(frozen=True)
class TextWindowSplit(Split):
    """Running text cut into windows that are read apart from each other, in any order, each from a zero state.

    Tokens that do not fill a window are left out at the end, and when shuffling on both sides.

    Arguments:
        tokens: [tokens] ids, in memory or memory-mapped.
        steps: targets in a window.
        numbers: [windows] of the windows that are read, counted from the start of the text; None reads all. They do
            not move when shuffled.
    """

    tokens: np.ndarray = field(repr=False)
    steps: int = 100
    numbers: np.ndarray | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return (len(self.tokens) - 1) // self.steps if self.numbers is None else len(self.numbers)

    def batches(self, size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
        spare = len(self.tokens) - 1 - len(self) * self.steps if self.numbers is None else 0
        offset = 0 if shuffle_seed is None else shuffle_seed % (spare + 1)
        order = shuffled(len(self), shuffle_seed)
        starts = offset + self.steps * (order if self.numbers is None else self.numbers[order])
        for first in range(0, len(starts), checked_size(size)):
            rows = starts[None, first : first + size] + np.arange(self.steps + 1)[:, None]
            window = torch.from_numpy(self.tokens[rows].astype(np.int64))  # [time+1 batch]
            yield Batch(window[:-1], window[1:])


@dataclass(frozen=True)
class WindowSplit(Split):
    """Windows of a long series, each followed by the values to forecast.

    Arguments:
        series: [rows features], scaled.
        starts: [examples] first row of every window.
        window: rows the model reads.
        horizon: rows to forecast, right after the window.
        target: the feature that is forecast, or the first of them.
        several: how many features are forecast: `target` and those after it; in the targets one follows the other.
    """

    series: np.ndarray = field(repr=False)
    starts: np.ndarray = field(repr=False)
    window: int
    horizon: int
    target: int
    several: int = 1

    def __len__(self) -> int:
        return len(self.starts)

    def batches(self, size: int, *, shuffle_seed: int | None = None) -> Iterator[Batch]:
        order = shuffled(len(self), shuffle_seed)
        for first in range(0, len(order), checked_size(size)):
            starts = self.starts[order[first : first + size]][:, None]
            inputs = self.series[starts + np.arange(self.window)]  # [batch window features]
            ahead = starts + self.window + np.arange(self.horizon)
            features = range(self.target, self.target + self.several)
            targets = np.concatenate(
                [self.series[ahead, feature] for feature in features], 1
            )  # [batch several*horizon]
            yield Batch(torch.from_numpy(inputs.astype(np.float32)), torch.from_numpy(targets.astype(np.float32)))


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
            examples = shuffled(many, seed)[: self.count]
        if isinstance(self.whole, WindowSplit):
            return replace(self.whole, starts=self.whole.starts[examples])
        return replace(self.whole, rows=examples if self.whole.rows is None else self.whole.rows[examples])


def at_most(split: Split, count: int) -> Split:
    """The split, or a sample of it if it holds more examples; running text, which is read in order, stays whole."""
    if len(split) <= count or not isinstance(split, SequenceSplit | WindowSplit):
        return split
    return Sample(split, count)


def training_texts(loaded: Loaded) -> tuple[SequenceSplit, np.ndarray]:
    """The split of the training texts, and which of them are looked at: all, or `MOST_TEXTS` evenly spread. [text]"""
    split = loaded.train.whole if isinstance(loaded.train, Sample) else loaded.train
    if not isinstance(split, SequenceSplit):
        raise TypeError(f"{type(split).__name__} is no split of texts")
    rows = np.arange(len(split)) if split.rows is None else split.rows
    return split, rows[:: -(-len(rows) // MOST_TEXTS)]
