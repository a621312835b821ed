"""How much to rewire, on tweets: ST-RNN with different rates (Liu et al. 2021, Figure 2)."""

from dataclasses import replace

from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import NOT_STATED, Deviation, Stated
from sparsernn.experiments.parts import with_field
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import liu2021, liu2021_text
from sparsernn.recipes.papers.liu2021_text import compared, network_row, scaled

CORPUS = "sanders"


def rows(size: Size) -> list[Row]:
    """Rows sanders_rate_RATE: the fraction dropped at the first event, falling along a cosine."""
    row = network_row(size, CORPUS, "st_rnn", liu2021.EPS["table4"])
    methods = {rate: with_field(row.method, "rate", rate) for rate in liu2021.FIGURE_RATES}
    return [replace(row, name=f"{CORPUS}_rate_{rate}", method=one) for rate, one in methods.items()]


def stated(row: AnyRow) -> Stated:
    """As of the tweets' other rows; the rates are read off a plot."""
    return {**liu2021_text.stated(row), "method": {"rate": NOT_STATED, "decay": NOT_STATED, "floor": NOT_STATED}}


recipe = Recipe(
    title="Tweets with 95.69 % zeros: ST-RNN over its first rewiring rate",
    source="Liu et al. 2021, Figure 2",
    rows=rows,
    paper=compared(
        "Figure 2, on the first rewiring rate",
        (CORPUS,),
        *(Deviation("method.rate", NOT_STATED, rate, "read off a plot") for rate in liu2021.FIGURE_RATES),
        moves="*",
        stated=stated,
    ),
    scaled=scaled((CORPUS,)),
)
