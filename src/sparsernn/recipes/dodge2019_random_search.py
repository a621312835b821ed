"""The source's protocol: hyper-parameters drawn at random, the best repeated (Dodge et al. 2019, appendix A)."""

import math
import random

from sparsernn.experiments.deviations import Deviation, Scaled
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.experiments.seeds import Seeds
from sparsernn.experiments.sources.best_of import BestOf
from sparsernn.experiments.sources.start import Start
from sparsernn.recipes.papers import dodge2019
from sparsernn.recipes.papers import dodge2019_text as text
from sparsernn.recipes.papers.dodge2019 import Assignment

ONE_SEED = Seeds(only=0, resplit=True)
TRIES: dict[Size, int] = {"full": dodge2019.TRIES, "cpu": 5, "quick": 2}
SEARCHED: dict[Size, tuple[str, ...]] = {"full": ("kitchen", "dvd", "books", "mix"), "cpu": ("kitchen",),
                                       "quick": ("kitchen",)}  # fmt: skip


def draw(chance: random.Random) -> Assignment:
    """One assignment, from the distributions of the authors' code."""

    def log_uniform(low: float, high: float) -> float:
        return math.exp(chance.uniform(math.log(low), math.log(high)))

    return Assignment(
        learning_rate=log_uniform(*dodge2019.GLOVE.rates),
        clip=chance.uniform(*dodge2019.CLIPS),
        weight_decay=log_uniform(*dodge2019.WEIGHT_DECAYS),
        dropout=chance.uniform(*dodge2019.DROPOUTS),
        input_dropout=chance.uniform(*dodge2019.DROPOUTS),
    )


def rows(size: Size) -> list[Row]:
    """Rows CORPUS_NAME for the baselines and CORPUS_goal_GOAL, each the best of its tries CORPUS_NAME_try_K.

    The tries, in the order of their learning rates, are trained with seed 0, a structure's strength searched for each;
    the best on validation is trained again with the seeds asked for, of which the source takes five. On a CPU there
    are five tries for twenty, and kitchen reviews alone.
    """
    table: list[Row] = []
    for corpus in SEARCHED[size]:
        for name, lengths in text.CORPORA[corpus].lengths().items():
            tries = [
                text.row(size, corpus, f"{name}_try_{number}", lengths, assignment, seeds=ONE_SEED)
                for number, assignment in enumerate(drawn(f"{corpus}_{name}", TRIES[size]), 1)
            ]
            best = {tried.name: tried.name for tried in tries}
            table += [*tries, text.row(size, corpus, name, lengths, sources=(BestOf(best),))]
        for goal in text.GOALS:
            table += searched(size, corpus, goal)
    return table


def searched(size: Size, corpus: str, goal: int) -> list[Row]:
    """The tries of one goal, structures and what they make, and the best of them."""
    structures, networks = [], []
    for number, assignment in enumerate(drawn(f"{corpus}_{goal}", TRIES[size]), 1):
        first = text.structure(
            size, corpus, f"structure_{goal}_try_{number}", goal, text.TOLERANCE, assignment, seeds=ONE_SEED
        )
        structures.append(first)
        networks.append(
            text.row(
                size,
                corpus,
                f"goal_{goal}_try_{number}",
                text.LONGEST,
                assignment,
                text.TUNED,
                sources=(Start(first.name),),
                seeds=ONE_SEED,
            )
        )
    shapes = {after.name: before.name for before, after in zip(structures, networks, strict=True)}
    again = text.row(size, corpus, f"structure_{goal}", sources=(*text.begun_with(size, corpus), BestOf(shapes)))
    best = BestOf({name: name for name in shapes})
    tuned = text.row(size, corpus, f"goal_{goal}", sources=(Start(again.name), best))
    return [*structures, *networks, again, tuned]


def drawn(name: str, count: int) -> list[Assignment]:
    """The assignments of a row, the same each time."""
    chance = random.Random(name)
    return sorted((draw(chance) for _ in range(count)), key=lambda assignment: assignment.learning_rate)


recipe = Recipe(
    title="Amazon reviews, GloVe-100: automata with hyper-parameters drawn at random",
    source="Dodge et al. 2019, the appendix on hyper-parameters, and the authors' code",
    rows=rows,
    paper=text.beside(
        "the appendix on hyper-parameters",
        text.GOALS,
        text.GLOVE,
        Deviation("each search", "begins where the last one ended", "begins anew", "rows do not depend on others"),
        Deviation("a try whose search gives up", "is drawn again", "is left out", "rows are known before they run"),
        stated=text.protocol,
    ),
    scaled=(
        *text.SCALED,
        Scaled("best_of.*", "five tries for twenty"),
        Scaled("model.options.*", "the first five of the twenty are not the same when sorted"),
    ),
)
