"""How much to rewire: ST-RNN from different first rates (Liu et al. 2021, Figure 2)."""

from __future__ import annotations

import dataclasses

from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.liu2021_words import Words, budget

RATES = (0.1, 0.3, 0.5, 0.6, 0.7, 0.8, 0.9)
SPARSITY = 0.67


def rows(size: Size) -> list[Row]:
    """Rows rate_RATE: the fraction dropped at the first event, falling along a cosine."""
    words = Words("lstm", size)
    method = words.st_rnn(budget("uniform", SPARSITY))
    return [words.row(f"rate_{rate}", dataclasses.replace(method, rate=rate)) for rate in RATES]


recipe = Recipe(
    title="Penn Treebank, words: ST-RNN over its first rewiring rate",
    source="Liu et al. 2021, Figure 2",
    rows=rows,
)
