"""Classifiers of a few automata that a person can read with `sparsernn explain` (Dodge et al. 2019, Table 1)."""

from __future__ import annotations

from sparsernn.recipes.dodge2019_text import learned
from sparsernn.recipes.recipe import Recipe, Row, Size

GOALS = {"mix": (16, 4), "kitchen": (10, 4), "sentences": (10, 4)}


def rows(size: Size) -> list[Row]:
    """Rows CORPUS_structure_GOAL and CORPUS_goal_GOAL.

    Deviations: the source reads six automata of 16 transitions on all domains together; the smaller ones are our own.
    """
    return [row for corpus, (goal, near) in GOALS.items() for row in learned(size, corpus, goal, near)]


recipe = Recipe(
    title="Reviews and sentences, GloVe-100: a few automata to read",
    source="Dodge et al. 2019, Table 1",
    rows=rows,
)
