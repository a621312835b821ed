"""Classifiers of a few automata that a person can read with `sparsernn explain` (Dodge et al. 2019, Table 1)."""

from __future__ import annotations

import dataclasses

from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.dodge2019_text import begun, learned

# By corpus: automata of four transitions at first, transitions to be left, and how near is near enough.
FEW = {"mix": (6, 16, 4), "sentences": (4, 10, 2)}


def rows(size: Size) -> list[Row]:
    """Rows CORPUS_grams_4, CORPUS_structure_GOAL and CORPUS_goal_GOAL.

    Deviations: the source reads six automata of 16 transitions on all domains together, what is left of 24; the smaller
        ones are our own. All begin with as many automata as are to be read: of 24, single words would be left.
    """
    return [
        dataclasses.replace(made, options={**made.options, "units": patterns})
        for corpus, (patterns, goal, tolerance) in FEW.items()
        for made in (begun(size, corpus), *learned(size, corpus, goal, tolerance))
    ]


recipe = Recipe(
    title="Reviews and sentences, GloVe-100: a few automata to read",
    source="Dodge et al. 2019, Table 1",
    rows=rows,
)
