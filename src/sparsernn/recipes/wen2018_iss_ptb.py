"""Penn Treebank, words, 2 x 1500 LSTM units: intrinsic sparse structures (Wen et al. 2018)."""

from collections.abc import Mapping
from dataclasses import replace

from sparsernn.experiments.deviations import ROW, Deviation, Paper
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.lobacheva2020 import LARGE, Pruning, WordLstm
from sparsernn.recipes.papers.lobacheva2020_words import SCALED, UNPRUNED, Words

NAME = "Wen et al. 2018"
LARGE_LSTM: WordLstm = replace(LARGE, neurons=Pruning(0.00245, l1=0.0), decays={})
"""Strength and dropout of the sample file of the authors' code."""
TABLE: Mapping[str, Mapping[str, object]] = {"iss": {"test_perplexity": 78.65, "neurons": [373, 315]}}
WORDS = Words(
    TABLE,
    LARGE_LSTM,
    epochs={"full": LARGE_LSTM.epochs, "cpu": 12, "quick": 2},
    units={"full": LARGE_LSTM.units, "cpu": 400, "quick": 8},
)
SMALL_DROPOUT, SMALL_UNITS = 0.45, 344


def rows(size: Size) -> list[Row]:
    """The source's row, a dense network, and a dense one with as many units as the source had left."""
    dense, units = WORDS.unpruned(size), SMALL_UNITS * WORDS.units[size] // LARGE_LSTM.units
    smaller = {**dense.options, "units": units, "dropout": SMALL_DROPOUT}
    small = replace(dense, name="small_dense", options=smaller)
    return [dense, *WORDS.published_rows(size), small]


recipe = Recipe(
    title="Penn Treebank, words: a large LSTM language model (2 x 1500) that learns how many units it needs",
    source="Wen et al. 2018, on language modelling with LSTMs",
    rows=rows,
    paper=Paper(
        NAME,
        "On language modelling with LSTMs",
        WORDS.stated,
        (
            *WORDS.deviations(),
            UNPRUNED,
            Deviation(ROW, "none", "ours", "2 x 344 units, where the source had 373 and 315 left", "small_dense"),
        ),
    ),
    scaled=SCALED,
)
