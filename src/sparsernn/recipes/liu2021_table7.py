"""Does moving weights between layers help? ST-RNN with and without redistribution (Liu et al. 2021, Table 7)."""

from dataclasses import replace

from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import liu2021
from sparsernn.recipes.papers import liu2021_words as language


def rows(size: Size) -> list[Row]:
    """Rows NETWORK_DISTRIBUTION_REDISTRIBUTION; "momentum" shares the grown weights out as sparse momentum does."""
    table = []
    for kind, paper in language.PAPER.items():
        words = language.Words(kind, size)
        for distribution in ("uniform", "er"):
            method = words.st_rnn(language.budget(distribution, paper.sparsities[0]))
            for redistribution in ("none", "momentum"):
                name = f"{kind}_{distribution}_{redistribution}"
                moved = replace(method, redistribution=redistribution)
                table.append(words.row(name, moved, published=liu2021.TABLE_7.get(name, {})))
    return table


recipe = Recipe(
    title="Penn Treebank, words: ST-RNN with and without redistribution between layers",
    source="Liu et al. 2021, Table 7",
    rows=rows,
    paper=language.compared(
        "Table 7, on redistribution",
        *language.TRAINING,
        language.HIGHWAY_TRAINING,
        *language.STRNN_RATES,
        language.HIGHWAY_RATES[1],
    ),
    scaled=language.SCALED,
)
