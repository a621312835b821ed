"""Learned structures trained on from their weights, and from new ones (the authors' code for Dodge et al. 2019)."""

from __future__ import annotations

from sparsernn.recipes.dodge2019_text import GOALS, begun, learned
from sparsernn.recipes.recipe import Recipe, Row, Size

CORPORA = ("kitchen", "mix")


def rows(size: Size) -> list[Row]:
    """Rows CORPUS_grams_4, CORPUS_structure_GOAL, CORPUS_goal_GOAL and CORPUS_scratch_GOAL.

    Deviations: new weights are drawn for 24 patterns of four states, not for the lengths that are left.
    """
    found: list[Row] = []
    for corpus in CORPORA:
        found.append(begun(size, corpus))
        for goal in GOALS:
            found += learned(size, corpus, goal, scratch=True)
    return found


recipe = Recipe(
    title="Amazon reviews, GloVe-100: learned automata from their own weights and from new ones",
    source="the authors' code for Dodge et al. 2019",
    rows=rows,
)
