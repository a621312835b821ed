"""Larger texts, a wide LSTM at 95 % sparsity (Zhang & Stadie 2020, Table 4)."""

from __future__ import annotations

import dataclasses

from sparsernn.data.language_modelling import LanguageModelling
from sparsernn.data.one_billion_words import OneBillionWords
from sparsernn.data.wikitext2 import WikiText2
from sparsernn.data.wikitext103 import WikiText103
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import zhang2020_digits as digits
from sparsernn.training.settings import Settings

TASKS: dict[str, LanguageModelling] = {
    "wiki2": WikiText2(),
    "wiki103": WikiText103(),
    "1b": OneBillionWords(vocabulary=100_000),
}
UNITS: dict[Size, int] = {"full": 2000, "cpu": 300, "quick": 8}
EMBEDDING: dict[Size, int] = {"full": 400, "cpu": 100, "quick": 8}
# Passes over the text; the source takes 12,000 to 30,000 steps.
EPOCHS: dict[Size, dict[str, int]] = {
    "full": {"wiki2": 10, "wiki103": 1, "1b": 1},
    "cpu": {"wiki2": 2, "wiki103": 1, "1b": 1},
    "quick": {"wiki2": 1, "wiki103": 1, "1b": 1},
}
FRACTION: dict[Size, dict[str, float]] = {
    "full": {"wiki2": 1.0, "wiki103": 0.2, "1b": 0.03},
    "cpu": {"wiki2": 0.25, "wiki103": 0.005, "1b": 0.001},
    "quick": {"wiki2": 0.002, "wiki103": 0.0001, "1b": 0.00001},
}
SCORED = 0.01  # of the training text


def rows(size: Size) -> list[Row]:
    """Rows TEXT_METHOD. The perplexity is that of a random 1 % of the *training* text, as the source scores it.

    The embedding is random and frozen, N(0, 0.1²), windows of 20 words are read apart from each other, each from zero
    states. The softmax is over all words, where the source draws 1,000 negatives for the two larger texts; steps, batch
    size and learning rate are ours.
    """
    table = []
    for text, task in TASKS.items():
        part = {"steps": 20, "windows": True, "test_on_train": SCORED, "fraction": FRACTION[size][text]}
        dense = Row(
            name=f"{text}_dense",
            task=dataclasses.replace(task, **part),
            model="language_model",
            options={
                "cell": "lstm",
                "layers": 1,
                "units": UNITS[size],
                "embedding": EMBEDDING[size],
                "frozen_embedding": 0.1,
                "cell_options": {**digits.CELLS["lstm"], **digits.NORMAL},
            },
            settings=Settings(epochs=EPOCHS[size][text], batch_size=64, keep="last"),
            threads=None if size == "full" else 1,
            measure=Measure(compact=False, test_batch_size=64, latency_batches=()),
        )
        table.append(dense)
        for name, method in (("jacobian", digits.jacobian()), ("random", digits.random())):
            table.append(dataclasses.replace(dense, name=f"{text}_{name}", method=method))
    return table


recipe = Recipe(
    title="Larger texts: a wide LSTM with 95 % zeros",
    source="Zhang & Stadie 2020, Table 4",
    rows=rows,
    default_size="full",
)
