"""How sparse may it be, on tweets: ST-RNN, SET and a fixed mask over the sparsity (Liu et al. 2021, Figure 3)."""

from dataclasses import replace

from sparsernn.experiments.deviations import Deviation
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import liu2021
from sparsernn.recipes.papers.liu2021_text import compared, network_row, scaled

CORPUS = "sanders"
METHODS = ("st_rnn", "set", "static")
EPS = (liu2021.FIGURE_3_EPS, 40.0, 20.0, 10.0, 5.0, 2.0)


def rows(size: Size) -> list[Row]:
    """Rows sanders_METHOD_EPS; a matrix keeps eps (n_in + n_out) weights, from 52.5 to 0.9 % of all."""
    networks = {(name, eps): network_row(size, CORPUS, name, eps) for name in METHODS for eps in EPS}
    return [replace(row, name=f"{row.name}_{eps:g}") for (_, eps), row in networks.items()]


recipe = Recipe(
    title="Tweets: ST-RNN, SET and a fixed mask over the sparsity",
    source="Liu et al. 2021, Figure 3",
    rows=rows,
    paper=compared(
        "Figure 3, on the sparsity",
        (CORPUS,),
        Deviation("sparsities", "52.5 % zeros, others read off a plot", EPS, "the paper prints no others"),
        moves="*_st_rnn_*",
    ),
    scaled=scaled((CORPUS,)),
)
