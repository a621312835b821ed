"""Accuracy over the number of transitions on contextual vectors (Dodge et al. 2019, Figure 3 and appendix)."""

from sparsernn.experiments.deviations import NOT_STATED, Deviation
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import dodge2019
from sparsernn.recipes.papers import dodge2019_text as text

GOALS = dodge2019.BERT.goals
NEAR = 5
READABLE, NEAR_READABLE = dodge2019.APPENDIX_TABLE.transitions, 2
"""The source's network of four automata to read."""


def rows(size: Size) -> list[Row]:
    """Rows contextual_grams_N, contextual_mixed, contextual_structure_GOAL and contextual_goal_GOAL on kitchen reviews.

    The encoder is an installed package or, with `--set task.encoder=FOLDER`, any in a local folder.
    """
    table = text.baselines(size, "contextual")
    for goal in GOALS:
        table += text.learned(size, "contextual", goal, NEAR)
    return table + text.learned(size, "contextual", READABLE, NEAR_READABLE)


OPTIONS = text.CORPORA["contextual"].assignment
CHOSEN = "that of GloVe vectors, with a rate that does best here"

recipe = Recipe(
    title="Kitchen reviews, vectors of a frozen encoder: automata of given and of learned lengths",
    source="Dodge et al. 2019, Figure 3 (contextual vectors), and the four automata of the appendix",
    rows=rows,
    paper=text.beside(
        "Figure 3 and the appendix, contextual vectors",
        (*GOALS, READABLE),
        Deviation("task.encoder", "BERT-large", text.ENCODER, "an encoder that can be installed, 384 numbers a token"),
        Deviation("settings.batch_size", dodge2019.BERT.batch_size, 64, "that of GloVe vectors"),
        Deviation("settings.learning_rate", NOT_STATED, OPTIONS.learning_rate, CHOSEN),
        Deviation("settings.clip", NOT_STATED, OPTIONS.clip, CHOSEN),
        Deviation("settings.weight_decay", NOT_STATED, OPTIONS.weight_decay, CHOSEN),
        Deviation("model.options.dropout", NOT_STATED, OPTIONS.dropout, CHOSEN),
        Deviation("model.options.cell_options.input_dropout", NOT_STATED, OPTIONS.input_dropout, CHOSEN),
        *(
            Deviation("search.tolerance", text.TOLERANCE, NEAR, "half of it, of half as many", f"*_{goal}")
            for goal in GOALS
        ),
        Deviation("search.tolerance", text.TOLERANCE, NEAR_READABLE, "11 transitions are not 20", f"*_{READABLE}"),
        vectors=dodge2019.BERT,
    ),
    scaled=text.SCALED,
)
