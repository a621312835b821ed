"""Does moving weights between layers help? ST-RNN with and without redistribution (Liu et al. 2021, Table 7)."""

from __future__ import annotations

import dataclasses

from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes import liu2021_table3
from sparsernn.recipes.papers.liu2021_words import Kind, Words, budget, perplexities

SPARSITY: dict[Kind, float] = {"lstm": 0.67, "rhn": liu2021_table3.SPARSITY}
# Validation and test perplexity where they are known; the source's other tables differ slightly for the same rows.
PUBLISHED = {
    "lstm_uniform_none": perplexities(78.83, 75.76),
    "lstm_er_none": perplexities(79.44, 76.06),
    "rhn_uniform_none": perplexities(65.71, 63.04),
}


def rows(size: Size) -> list[Row]:
    """Rows NETWORK_DISTRIBUTION_REDISTRIBUTION; "momentum" shares the grown weights out as sparse momentum does."""
    table = []
    for kind in SPARSITY:
        words = Words(kind, size)
        for distribution in ("uniform", "er"):
            method = words.st_rnn(budget(distribution, SPARSITY[kind]))
            for redistribution in ("none", "momentum"):
                name = f"{kind}_{distribution}_{redistribution}"
                moved = dataclasses.replace(method, redistribution=redistribution)
                table.append(words.row(name, moved, published=PUBLISHED.get(name, {})))
    return table


recipe = Recipe(
    title="Penn Treebank, words: ST-RNN with and without redistribution between layers",
    source="Liu et al. 2021, Table 7",
    rows=rows,
)
