"""Penn Treebank, words, 2 x 1500 LSTM units: pruning by weights, gates and neurons (Lobacheva et al. 2020, Table 1)."""

from __future__ import annotations

import dataclasses

from sparsernn.experiments.deviations import ROW, Deviation, Paper, Scaled
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.lobacheva2020 import LARGE, NAME, TABLE_1
from sparsernn.recipes.papers.lobacheva2020_words import Words

WORDS = Words(
    TABLE_1["large"],
    LARGE,
    epochs={"full": LARGE.epochs, "cpu": 12, "quick": 2},
    units={"full": LARGE.units, "cpu": 400, "quick": 8},
)

# The dense network is the one that others prune: Zaremba et al. 2014, large.
DENSE_DROPOUT = 0.65
DENSE = dataclasses.replace(WORDS.settings(), decay=1 / 1.15, decay_after=14, decay_every=1)


def rows(size: Size) -> list[Row]:
    """The source's two rows, and a dense network."""
    return [WORDS.row(size, "dense", None, DENSE, DENSE_DROPOUT), *WORDS.published_rows(size)]


recipe = Recipe(
    title="Penn Treebank, words: a large LSTM language model (2 x 1500) pruned by weights, gates and neurons",
    source="Lobacheva et al. 2020, Table 1, large LSTM",
    rows=rows,
    paper=Paper(
        NAME,
        "Table 1, large LSTM",
        WORDS.stated,
        (
            *WORDS.deviations(),
            Deviation(ROW, "none", "ours", "dropout and schedule of Zaremba et al. 2014, large", "dense"),
        ),
    ),
    scaled=(
        Scaled("task.fraction", "a third of the text for two cores"),
        Scaled("model.options.units", "fewer units for two cores"),
        Scaled("settings.epochs", "fewer epochs"),
    ),
)
