"""Accuracy over the number of transitions on contextual vectors (Dodge et al. 2019, Figure 3)."""

from __future__ import annotations

from sparsernn.recipes.dodge2019_text import baselines, learned
from sparsernn.recipes.recipe import Recipe, Row, Size

GOALS = (40, 30, 20, 10)
TOLERANCE = 5


def rows(size: Size) -> list[Row]:
    """Rows contextual_grams_N, contextual_mixed, contextual_structure_GOAL and contextual_goal_GOAL on kitchen reviews.

    The encoder is an installed package or, with `--set task.encoder=FOLDER`, any in a local folder.
    """
    found = baselines(size, "contextual")
    for goal in GOALS:
        found += learned(size, "contextual", goal, TOLERANCE)
    return found


recipe = Recipe(
    title="Kitchen reviews, vectors of a frozen encoder: automata of given and of learned lengths",
    source="Dodge et al. 2019, Figure 3 (contextual vectors)",
    rows=rows,
)
