"""Penn Treebank, words, 2 x 1500 LSTM units: pruning by weights, gates and neurons (Lobacheva et al. 2020, Table 1)."""

from sparsernn.experiments.deviations import Paper
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.lobacheva2020 import LARGE, NAME, TABLE_1
from sparsernn.recipes.papers.lobacheva2020_words import SCALED, UNPRUNED, Words

WORDS = Words(
    TABLE_1["large"],
    LARGE,
    epochs={"full": LARGE.epochs, "cpu": 12, "quick": 2},
    units={"full": LARGE.units, "cpu": 400, "quick": 8},
)


def rows(size: Size) -> list[Row]:
    """The source's two rows, and a dense network."""
    return [WORDS.unpruned(size), *WORDS.published_rows(size)]


recipe = Recipe(
    title="Penn Treebank, words: a large LSTM language model (2 x 1500) pruned by weights, gates and neurons",
    source="Lobacheva et al. 2020, Table 1, large LSTM",
    rows=rows,
    paper=Paper(NAME, "Table 1, large LSTM", WORDS.stated, (*WORDS.deviations(), UNPRUNED)),
    scaled=SCALED,
)
