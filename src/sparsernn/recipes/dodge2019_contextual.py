"""Accuracy over the number of transitions on contextual vectors (Dodge et al. 2019, Figure 3)."""

from __future__ import annotations

from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.dodge2019_text import baselines, learned

GOALS = (40, 30, 20, 10)
TOLERANCE = 5


def rows(size: Size) -> list[Row]:
    """Rows contextual_grams_N, contextual_mixed, contextual_structure_GOAL and contextual_goal_GOAL on kitchen reviews.

    The encoder is an installed package or, with `--set task.encoder=FOLDER`, any in a local folder.
    """
    table = baselines(size, "contextual")
    for goal in GOALS:
        table += learned(size, "contextual", goal, TOLERANCE)
    return table


recipe = Recipe(
    title="Kitchen reviews, vectors of a frozen encoder: automata of given and of learned lengths",
    source="Dodge et al. 2019, Figure 3 (contextual vectors)",
    rows=rows,
)
