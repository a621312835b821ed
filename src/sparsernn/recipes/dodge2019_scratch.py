"""Learned structures trained on from their weights, and from new ones (the authors' code for Dodge et al. 2019)."""

from __future__ import annotations

from sparsernn.recipes.dodge2019_text import GOALS, learned
from sparsernn.recipes.recipe import Recipe, Row, Size

CORPORA = ("kitchen", "mix")


def rows(size: Size) -> list[Row]:
    """Rows CORPUS_structure_GOAL, CORPUS_goal_GOAL and CORPUS_scratch_GOAL.

    Deviations: new weights are drawn for 24 patterns of four states, not for the lengths that are left.
    """
    return [row for corpus in CORPORA for goal in GOALS for row in learned(size, corpus, goal, scratch=True)]


recipe = Recipe(
    title="Amazon reviews, GloVe-100: learned automata from their own weights and from new ones",
    source="the authors' code for Dodge et al. 2019",
    rows=rows,
)
