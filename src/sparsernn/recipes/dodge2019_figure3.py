"""Accuracy over the number of transitions: given lengths against learned ones (Dodge et al. 2019, Figure 3)."""

from __future__ import annotations

from sparsernn.recipes.dodge2019_text import GOALS, baselines, few, learned
from sparsernn.recipes.recipe import Recipe, Row, Size

CORPORA = ("kitchen", "dvd", "books", "mix")


def rows(size: Size) -> list[Row]:
    """Rows CORPUS_grams_N, CORPUS_mixed, CORPUS_structure_GOAL, CORPUS_goal_GOAL and CORPUS_4_patterns.

    Splits pair by seed.
    """
    found: list[Row] = []
    for corpus in CORPORA:
        found += baselines(size, corpus)
        for goal in GOALS:
            found += learned(size, corpus, goal)
        found += few(size, corpus, 4)
    return found


recipe = Recipe(
    title="Amazon reviews, GloVe-100: automata of given and of learned lengths",
    source="Dodge et al. 2019, Figure 3 (type-level vectors)",
    rows=rows,
)
