"""Learned structures trained on from their weights, and from new ones (the authors' code for Dodge et al. 2019)."""

from sparsernn.experiments.deviations import Deviation
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.dodge2019_text import ASSIGNED, GLOVE, GOALS, OPENED, SCALED, begun, beside, learned

CORPORA = ("kitchen", "mix")


def rows(size: Size) -> list[Row]:
    """Rows CORPUS_grams_4, CORPUS_structure_GOAL, CORPUS_goal_GOAL and CORPUS_scratch_GOAL."""
    table: list[Row] = []
    for corpus in CORPORA:
        table.append(begun(size, corpus))
        for goal in GOALS:
            table += learned(size, corpus, goal, scratch=True)
    return table


recipe = Recipe(
    title="Amazon reviews, GloVe-100: learned automata from their own weights and from new ones",
    source="the authors' code for Dodge et al. 2019",
    rows=rows,
    paper=beside(
        "structures trained from new weights, in the authors' code only",
        GOALS,
        GLOVE,
        ASSIGNED,
        Deviation(
            "new weights",
            "drawn for the lengths that are left",
            "drawn for 24 patterns of four states",
            "the network keeps its size and its zeros",
            "*_scratch_*",
        ),
    ),
    scaled=(*SCALED, OPENED),
)
