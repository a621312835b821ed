"""Classifiers of a few automata that a person can read with `sparsernn explain` (Dodge et al. 2019, Table 1)."""

from dataclasses import replace

from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import ROW, Deviation, Stated
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import dodge2019, dodge2019_text
from sparsernn.recipes.papers.dodge2019_text import ASSIGNED, GLOVE, OPENED, SCALED, begun, beside, learned

# By corpus: automata of four transitions at first, transitions to be left, and how near is near enough.
FEW = {"mix": (6, 16, 4), "sentences": (4, 10, 2)}
GOAL, NEAR = dodge2019.TABLE_1.transitions, 2


def rows(size: Size) -> list[Row]:
    """Rows CORPUS_grams_4, CORPUS_structure_GOAL and CORPUS_goal_GOAL.

    `domains_*` is the source's network: on all domains together three automata with eight transitions, what is left of
    24 automata with 96. `mix_*` and `sentences_*` are our own, and begin with as many automata as are to be read.
    """
    readable = [
        replace(made, options={**made.options, "units": patterns})
        for corpus, (patterns, goal, tolerance) in FEW.items()
        for made in (begun(size, corpus), *learned(size, corpus, goal, tolerance))
    ]
    return [*readable, begun(size, "domains"), *learned(size, "domains", GOAL, NEAR)]


def stated(row: AnyRow) -> Stated:
    """As of all rows of the paper, if it has the row."""
    return dodge2019_text.stated(row) if row.name.startswith("domains_") else {}


recipe = Recipe(
    title="Reviews and sentences, GloVe-100: a few automata to read",
    source="Dodge et al. 2019, Table 1",
    rows=rows,
    paper=beside(
        "Table 1, on visualization",
        (GOAL,),
        GLOVE,
        ASSIGNED,
        Deviation(ROW, "none", "mix_*", "six automata with 16 transitions, as in the authors' code", "mix_*"),
        Deviation(ROW, "none", "sentences_*", "short texts, four automata with 10 transitions", "sentences_*"),
        Deviation("search.tolerance", dodge2019.TOLERANCE, NEAR, "8 transitions are not 18", "domains_*"),
        stated=stated,
    ),
    scaled=(*SCALED, OPENED),
)
