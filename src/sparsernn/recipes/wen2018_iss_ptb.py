"""Penn Treebank, words, 2 x 1500 LSTM units: intrinsic sparse structures (Wen et al. 2018)."""

from __future__ import annotations

import dataclasses

from sparsernn.experiments.deviations import ROW, Deviation, Paper, Scaled
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.lobacheva2020_words import Words
from sparsernn.recipes.papers.wen2018 import LARGE_LSTM, NAME, TABLE

WORDS = Words(
    TABLE,
    LARGE_LSTM,
    epochs={"full": LARGE_LSTM.epochs, "cpu": 12, "quick": 2},
    units={"full": LARGE_LSTM.units, "cpu": 400, "quick": 8},
)
# The dense network is the one that is pruned: Zaremba et al. 2014, large.
DENSE = dataclasses.replace(WORDS.settings(), decay=1 / 1.15, decay_after=14, decay_every=1)
DENSE_DROPOUT, SMALL_DROPOUT, SMALL_UNITS = 0.65, 0.45, 344


def rows(size: Size) -> list[Row]:
    """The source's row, a dense network, and a dense one with as many units as the source had left."""
    small = WORDS.row(size, "small_dense", None, DENSE, SMALL_DROPOUT)
    units = SMALL_UNITS * WORDS.units[size] // LARGE_LSTM.units
    return [
        WORDS.row(size, "dense", None, DENSE, DENSE_DROPOUT),
        *WORDS.published_rows(size),
        dataclasses.replace(small, options={**small.options, "units": units}),
    ]


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
            Deviation(ROW, "none", "ours", "dropout and schedule of Zaremba et al. 2014, large", "dense"),
            Deviation(ROW, "none", "ours", "2 x 344 units, where the source had 373 and 315 left", "small_dense"),
        ),
    ),
    scaled=(
        Scaled("task.fraction", "a third of the text for two cores"),
        Scaled("model.options.units", "fewer units for two cores"),
        Scaled("settings.epochs", "fewer epochs"),
    ),
)
