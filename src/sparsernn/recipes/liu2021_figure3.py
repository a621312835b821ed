"""How sparse may it be: ST-RNN, SET and a fixed mask over the sparsity (Liu et al. 2021, Figure 3)."""

from sparsernn.experiments.deviations import Deviation
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import liu2021_words as language

SPARSITIES = (0.4, 0.53, 0.67, 0.8, 0.9, 0.95)
METHODS = ("st_rnn", "set", "static")


def rows(size: Size) -> list[Row]:
    """Rows METHOD_SPARSITY; the sparsities are chosen here."""
    words = language.Words("lstm", size)
    return [
        words.row(f"{name}_{sparsity}", words.methods(language.budget("uniform", sparsity))[name])
        for name in METHODS
        for sparsity in SPARSITIES
    ]


recipe = Recipe(
    title="Penn Treebank, words: ST-RNN, SET and a fixed mask over the sparsity",
    source="Liu et al. 2021, Figure 3",
    rows=rows,
    paper=language.compared(
        "Figure 3, on the sparsity",
        *language.TRAINING,
        *language.STRNN_RATES,
        language.RATES_OF_RIVALS[0],
        Deviation("sparsities", "read off a plot", SPARSITIES, "the paper prints no numbers beside the plot"),
    ),
    scaled=language.SCALED,
)
