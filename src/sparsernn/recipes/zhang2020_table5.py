"""Penn Treebank, words, a GRU of 800 units at 0 to 98 % sparsity (Zhang & Stadie 2020, Table 5)."""

from __future__ import annotations

import dataclasses

from sparsernn.data.ptb_word import PtbWord
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import zhang2020_digits as digits
from sparsernn.training.settings import Settings

SPARSITIES = (0.2, 0.4, 0.6, 0.8, 0.9, 0.95, 0.98)
UNITS: dict[Size, int] = {"full": 800, "cpu": 200, "quick": 8}
EPOCHS: dict[Size, int] = {"full": 20, "cpu": 5, "quick": 1}
# Dense GRUs of the source, with fewer weights.
SMALL_UNITS: dict[Size, tuple[int, ...]] = {"full": (200, 100), "cpu": (50, 25), "quick": (4,)}
FRACTION: dict[Size, float] = {"full": 1.0, "cpu": 1 / 3, "quick": 0.05}


def rows(size: Size) -> list[Row]:
    """Rows METHOD_SPARSITY, and dense networks of fewer units.

    No end-of-sentence token is added, so perplexities are not comparable with those of other tables. The source
    freezes a random embedding and starts every batch from zero states; here the embedding is trained and states are
    carried. Epochs, learning rate and batch size are ours.
    """
    dense = Row(
        name="dense",
        task=PtbWord(steps=20, end_of_sentence=False, fraction=FRACTION[size]),
        model="language_model",
        options={
            "cell": "gru",
            "layers": 1,
            "units": UNITS[size],
            "embedding": UNITS[size] // 2,
            "cell_options": {**digits.CELLS["gru"], **digits.NORMAL},
        },
        settings=Settings(epochs=EPOCHS[size], batch_size=64, keep="last"),
        measure=Measure(compact=False, test_batch_size=20, latency_batches=()),
    )
    table = [dense]
    for units in SMALL_UNITS[size]:
        options = {**dense.options, "units": units}
        table.append(dataclasses.replace(dense, name=f"dense_{units}", options=options))
    for sparsity in SPARSITIES:
        percent = round(100 * sparsity)
        for name, method in (("jacobian", digits.jacobian(sparsity)), ("random", digits.random(sparsity))):
            table.append(dataclasses.replace(dense, name=f"{name}_{percent}", method=method))
    return table


recipe = Recipe(
    title="Penn Treebank, words: a GRU at 0 to 98 % sparsity",
    source="Zhang & Stadie 2020, Table 5",
    rows=rows,
    default_size="full",
)
