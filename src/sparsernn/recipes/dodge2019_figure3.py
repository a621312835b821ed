"""Accuracy over the number of transitions: given lengths against learned ones (Dodge et al. 2019, Figure 3)."""

from sparsernn.experiments.deviations import ROW, Deviation
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import dodge2019_text as text

CORPORA = ("kitchen", "dvd", "books", "mix")


def rows(size: Size) -> list[Row]:
    """Rows CORPUS_grams_N, CORPUS_mixed, CORPUS_structure_GOAL, CORPUS_goal_GOAL and CORPUS_4_patterns.

    Splits pair by seed.
    """
    table: list[Row] = []
    for corpus in CORPORA:
        table += text.baselines(size, corpus)
        for goal in text.GOALS:
            table += text.learned(size, corpus, goal)
        table += text.few(size, corpus, 4)
    return table


recipe = Recipe(
    title="Amazon reviews, GloVe-100: automata of given and of learned lengths",
    source="Dodge et al. 2019, Figure 3 (type-level vectors)",
    rows=rows,
    paper=text.beside(
        "Figure 3, type-level vectors",
        text.GOALS,
        text.GLOVE,
        text.ASSIGNED,
        Deviation(ROW, "none", "*_4_patterns", "whole automata to read, our own", "*_4_patterns"),
    ),
    scaled=(*text.SCALED, text.OPENED),
)
