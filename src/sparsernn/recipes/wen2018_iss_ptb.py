"""Penn Treebank, words, 2 x 1500 LSTM units: intrinsic sparse structures (Wen et al. 2018)."""

from dataclasses import replace

from sparsernn.experiments.deviations import ROW, Deviation, Paper
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.lobacheva2020_words import SCALED, UNPRUNED, Words
from sparsernn.recipes.papers.wen2018 import LARGE_LSTM, NAME, TABLE

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
