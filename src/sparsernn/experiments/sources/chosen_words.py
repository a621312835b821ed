"""A row whose network has vectors of few words: the most frequent ones, or those that tell the classes apart."""

from dataclasses import dataclass, replace

import numpy as np
import torch

from sparsernn.data.splits import training_texts
from sparsernn.data.task import Loaded
from sparsernn.errors import UserError
from sparsernn.experiments import network
from sparsernn.experiments.rows import Prepared, Row, Runs, Source
from sparsernn.methods.static import Static


@dataclass(frozen=True)
class ChosenWords(Source):
    """Keep the vectors of so many words; all others' are zero from the start.

    Arguments:
        count: words in all. frequent: those of them that are chosen because most texts have them; the rest are the ones
            with the largest log count ratio between classes (of texts with numbers, the mean furthest from the mean of
            all) times the root of the number of texts.
    """

    decides = "words"

    count: int
    frequent: int

    def __post_init__(self) -> None:
        if not 0 <= self.frequent <= self.count or self.count < 1:
            raise UserError(
                f"{self.frequent} frequent ones of {self.count} words", "at least 1 word", "give a larger count"
            )

    def check(self, row: Row) -> None:
        if row.method is not None:
            raise UserError(
                f"row {row.name!r} keeps chosen words and has a method", "one of them", "Leave out the method"
            )

    def describe(self) -> str:
        return f"vectors of {self.count:,} words"

    def prepare(self, prepared: Prepared, runs: Runs) -> Prepared:
        embedding = network.embedding_of(prepared.network)
        kept = torch.zeros(embedding.weight.shape, dtype=torch.bool)
        kept[chosen_words(prepared.loaded, self.count, self.frequent)] = True
        name = next(name for name, weight in prepared.network.named_parameters() if weight is embedding.weight)
        return replace(prepared, method=Static(masks={name: kept}))


def chosen_words(loaded: Loaded, count: int, frequent: int) -> np.ndarray:
    """Numbers of words, ascending; see `ChosenWords`. Shapes: -> [word]."""
    split, rows = training_texts(loaded)
    classes = np.asarray(split.targets[rows], np.int64) if loaded.objective == "classification" else np.zeros(0, int)
    by_class, sums = np.zeros((max(1, loaded.outputs), loaded.inputs)), np.zeros(loaded.inputs)
    for number, row in enumerate(rows):
        words = np.unique(split.values[split.offsets[row] : split.offsets[row + 1]])
        by_class[classes[number] if len(classes) else 0, words] += 1
        if loaded.objective == "regression":
            sums[words] += split.targets[row]
    by_class[:, :2] = 0  # padding and unknown words
    texts = by_class.sum(0)
    ratios = np.abs(sums) / (texts + 1)
    for inside in by_class if loaded.objective == "classification" else ():
        first, second = inside + 1, texts - inside + 1
        ratios = np.maximum(ratios, np.abs(np.log(first / first.sum()) - np.log(second / second.sum())))
    numbers = np.argsort(-texts, kind="stable")[:frequent]
    ranks = np.where(texts > 0, ratios * np.sqrt(texts), -1)
    ranks[numbers] = -1
    more = np.argsort(-ranks, kind="stable")[: count - frequent]
    numbers = np.concatenate([numbers, more[ranks[more] >= 0]])
    return np.sort(numbers[texts[numbers] > 0])
