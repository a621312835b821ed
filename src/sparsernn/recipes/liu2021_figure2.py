"""How much to rewire: ST-RNN from different first rates (Liu et al. 2021, Figure 2)."""

from dataclasses import replace

from sparsernn.experiments.deviations import NOT_STATED, Deviation
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import liu2021
from sparsernn.recipes.papers.liu2021_words import SCALED, STRNN_RATES, TRAINING, Words, budget, compared

SPARSITY = liu2021.STACKED_LSTM.sparsities[0]

RATES = (
    STRNN_RATES[0],
    *(Deviation("method.rate", NOT_STATED, rate, "read off a plot") for rate in liu2021.FIGURE_RATES),
)


def rows(size: Size) -> list[Row]:
    """Rows rate_RATE: the fraction dropped at the first event, falling along a cosine."""
    words = Words("lstm", size)
    method = words.st_rnn(budget("uniform", SPARSITY))
    return [words.row(f"rate_{rate}", replace(method, rate=rate)) for rate in liu2021.FIGURE_RATES]


recipe = Recipe(
    title="Penn Treebank, words: ST-RNN over its first rewiring rate",
    source="Liu et al. 2021, Figure 2",
    rows=rows,
    paper=compared("Figure 2, on the first rewiring rate", *TRAINING, *RATES),
    scaled=tuple(one for one in SCALED if one.field != "method.rate"),
)
