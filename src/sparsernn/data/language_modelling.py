"""What all language-model tasks share: running text to ids, the part of the training text that is used, splits."""

import abc
from array import array
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import ClassVar

import numpy as np

from sparsernn.data.files import find_file, lines
from sparsernn.data.splits import TextSplit, TextWindowSplit
from sparsernn.data.task import PARTS, Folder, Loaded, Split, Task
from sparsernn.data.text import SPECIALS, UNKNOWN
from sparsernn.errors import UserError

END = "<eos>"


@dataclass(frozen=True)
class LanguageModelling(Task):
    """Running text whose next token is predicted.

    The vocabulary is that of the whole training text, most frequent first, also where only a fraction is trained on.

    Arguments:
        steps: tokens read at a time; gradients do not reach further back.
        fraction: the first part of the training text that is used, in (0, 1].
        vocabulary: keep this many words, the others become <unk>; 0 keeps all.
        windows: read windows of `steps` tokens apart from each other, shuffled, instead of one text in order.
        keep_last: keep the last batch of the streams where it is shorter than `steps`.
        test_on_train: score, in place of the test text, this share of the training windows, drawn at random with
            `seed`; they are trained on too. 0 scores the test text.
        seed: see `test_on_train`.
    """

    end_of_sentence: ClassVar[bool] = True

    steps: int = 35
    fraction: float = 1.0
    vocabulary: int = 0
    windows: bool = False
    keep_last: bool = True
    test_on_train: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.fraction <= 1:
            raise UserError(f"fraction is {self.fraction}", "a part of the text in (0, 1]", "give 1 for all of it")
        if self.steps < 1:
            raise UserError(f"steps is {self.steps}", "at least 1 token", "give 35, the usual number")
        if self.vocabulary < 0 or self.vocabulary == 1:
            raise UserError(f"vocabulary is {self.vocabulary}", "0 (all words) or at least 2", "give another number")
        if not 0 <= self.test_on_train <= 1 or (self.test_on_train and not self.windows):
            raise UserError(
                f"test_on_train is {self.test_on_train}, windows {self.windows}",
                "a share of the training windows in [0, 1]",
                "set windows=True, or test_on_train=0",
            )

    @abc.abstractmethod
    def tokens(self, part: str, folder: Folder) -> Iterator[str]:
        """Stream the tokens of "train", "valid" or "test"; called several times."""

    def words(self, part: str, folder: Folder) -> Iterator[str]:
        """The words of the lines of a part's files: the tokens of most tasks."""
        for name in self.names(part):
            yield from words_of_lines(lines(find_file(self, name, folder)), self.end_of_sentence)

    def names(self, part: str) -> list[str]:
        """The files of a part: its one among `files`, which are in the order of the parts."""
        return [list(self.files)[PARTS.index(part)]]

    def metric(self) -> str:
        """How a loss in nats is reported."""
        return "perplexity"

    def note(self) -> str:
        """What a reader of a figure must know about the data."""
        notes = [f"first {self.fraction:.0%} of the training text"] if self.fraction < 1 else []
        return ", ".join(notes + [f"scored on {self.test_on_train:.0%} of it"] * bool(self.test_on_train))

    def load(self, folder: Folder = None) -> Loaded:
        """Count the words of the training text, then write all three parts as ids."""
        counts = Counter(self.tokens("train", folder))
        used = max(1, round(counts.total() * self.fraction))
        words = self._words(counts)
        places = {word: number for number, word in enumerate(words)}
        train = self._ids(islice(self.tokens("train", folder), used), places)
        valid = self._ids(self.tokens("valid", folder), places)
        test = self._drawn(train) if self.test_on_train else self._split(self._ids(self.tokens("test", folder), places))
        splits = (self._split(train), self._split(valid), test)
        loaded = Loaded.of_text(splits, words, metric=self.metric(), note=self.note())
        return replace(loaded, scored="train") if self.test_on_train else loaded

    def _words(self, counts: Counter[str]) -> list[str]:
        words = [word for word, _ in counts.most_common(self.vocabulary or None)]
        if self.vocabulary and len(counts) > self.vocabulary and SPECIALS[UNKNOWN] not in words:
            words[-1] = SPECIALS[UNKNOWN]
        return words

    def _ids(self, tokens: Iterable[str], places: dict[str, int]) -> np.ndarray:
        unknown = places.get(SPECIALS[UNKNOWN])
        ids = array("i")
        for token in tokens:
            place = places.get(token, unknown)
            if place is None:
                raise UserError(
                    f"The token {token!r} of the text does not occur in the training text",
                    f"only known tokens, as there is no {SPECIALS[UNKNOWN]}",
                    "check that the files belong together",
                )
            ids.append(place)
        return np.frombuffer(ids, np.int32)

    def _drawn(self, train: np.ndarray) -> Split:
        count = len(TextWindowSplit(train, self.steps))
        windows = np.random.default_rng(self.seed).permutation(count)
        return TextWindowSplit(train, self.steps, np.sort(windows[: max(1, round(self.test_on_train * count))]))

    def _split(self, ids: np.ndarray) -> Split:
        return TextWindowSplit(ids, self.steps) if self.windows else TextSplit(ids, self.steps, self.keep_last)


def words_of_lines(lines: Iterable[str], end: bool) -> Iterator[str]:
    """Words between blanks, each line closed by <eos> where `end` is true."""
    for line in lines:
        yield from line.split()
        if end:
            yield END
