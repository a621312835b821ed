"""The small dense word language model of Penn Treebank, the starting point of the structured-sparsity papers."""

from __future__ import annotations

import dataclasses

from sparsernn.data.ptb_word import PtbWord
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import ROW, Deviation, Paper, Scaled, Stated
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.lobacheva2020 import NAME, SMALL
from sparsernn.training.settings import Settings

STEPS = SMALL.steps_read
EPOCHS: dict[Size, int] = {"full": SMALL.epochs, "cpu": 3, "quick": 1}
UNITS: dict[Size, int] = {"full": SMALL.units, "cpu": SMALL.units, "quick": 8}


def rows(size: Size) -> list[Row]:
    """The network scored after the last epoch, as the source does, and after its best validation epoch."""
    last = Settings(
        optimizer="sgd",
        learning_rate=SMALL.learning_rate * STEPS,
        clip=SMALL.clip / STEPS,
        epochs=EPOCHS[size],
        batch_size=SMALL.batch_size,
        schedule="step",
        decay=SMALL.decay,
        decay_after=SMALL.decay_after,
        keep="last",
    )
    dense = Row(
        name="dense",
        task=PtbWord(steps=STEPS),
        model="language_model",
        options={"units": UNITS[size], "layers": SMALL.layers, "cell": "lstm", "init": SMALL.init},
        settings=last,
        measure=Measure(compact=False, test_batch_size=1, latency_batches=()),
        published={"perplexity": SMALL.perplexity} if size == "full" else {},
    )
    best = dataclasses.replace(last, keep="best", patience=3)
    return [dense, dataclasses.replace(dense, name="dense_best", settings=best)]


def stated(row: AnyRow) -> Stated:
    """What the source states of its small network."""
    if row.name != "dense":
        return {}
    return {
        "task.steps": SMALL.steps_read,
        "task.end_of_sentence": True,
        "model.options": {"units": SMALL.units, "layers": SMALL.layers, "cell": "lstm", "init": SMALL.init},
        "settings.learning_rate": SMALL.learning_rate,
        "settings.clip": SMALL.clip,
        "settings.decay": SMALL.decay,
        "settings.decay_after": SMALL.decay_after,
        "settings.epochs": SMALL.epochs,
        "settings.batch_size": SMALL.batch_size,
        "settings.keep": "last",
    }


SUMMED = "the source sums the loss over the steps read, here it is their mean: the same update"

recipe = Recipe(
    title="Penn Treebank, words: the small dense LSTM language model (2 x 200)",
    source="Lobacheva et al. 2020, Table 1, small LSTM before pruning",
    rows=rows,
    default_size="full",
    paper=Paper(
        NAME,
        "Table 1, small LSTM before pruning",
        stated,
        (
            Deviation("settings.learning_rate", SMALL.learning_rate, SMALL.learning_rate * STEPS, SUMMED, "dense"),
            Deviation("settings.clip", SMALL.clip, SMALL.clip / STEPS, SUMMED, "dense"),
            Deviation("biases of a gate", 1, 2, "as torch has them"),
            Deviation("first bias of the output", "U(-0.1, 0.1)", 0, "as the other language models"),
            Deviation(ROW, "none", "dense_best", "the same scored at its best epoch", "dense_best"),
        ),
    ),
    scaled=(Scaled("settings.epochs", "an hour on two cores for all of them"),),
)
