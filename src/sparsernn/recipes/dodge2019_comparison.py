"""What one layer of 24 automata compares with: an LSTM and two layers of automata (Dodge et al. 2019, footnote 6)."""

from __future__ import annotations

import dataclasses

from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.dodge2019_text import LSTM_RATE, LSTM_UNITS, WIDTH, begun

CORPORA = ("kitchen", "dvd", "books", "mix")


def rows(size: Size) -> list[Row]:
    """Rows CORPUS_grams_4, CORPUS_two_layers and CORPUS_lstm; splits pair by seed.

    Deviations: the size and learning rate of the LSTM are our own, as the source gives none.
    """
    return [made for corpus in CORPORA for made in trio(size, corpus)]


def trio(size: Size, corpus: str) -> list[Row]:
    """The rows of one data set."""
    one = begun(size, corpus)
    lstm = {"inputs": WIDTH, "units": LSTM_UNITS, "dropout": one.options["dropout"], "embedding_frozen": True}
    slower = dataclasses.replace(one.settings, learning_rate=LSTM_RATE)
    return [
        one,
        dataclasses.replace(one, name=f"{corpus}_two_layers", options={**one.options, "layers": 2}),
        dataclasses.replace(one, name=f"{corpus}_lstm", options={"cell": "lstm", **lstm}, settings=slower),
    ]


recipe = Recipe(
    title="Amazon reviews, GloVe-100: one layer of automata, two layers, an LSTM",
    source="Dodge et al. 2019, footnote 6",
    rows=rows,
)
