"""Penn Treebank, words, 2 x 200 LSTM units: pruning by weights, gates and neurons (Lobacheva et al. 2020, Table 1)."""

from __future__ import annotations

import dataclasses

from sparsernn.data.ptb_word import PtbWord
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import ROW, Deviation, Paper, Scaled, Stated
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.method import Method
from sparsernn.recipes.papers.lobacheva2020 import NAME, SMALL, TABLE_1, Pruning
from sparsernn.training.settings import Settings

STEPS = SMALL.steps_read
EPOCHS: dict[Size, int] = {"full": SMALL.epochs, "cpu": SMALL.epochs, "quick": 2}
FRACTION: dict[Size, float] = {"full": 1.0, "cpu": 1 / 3, "quick": 0.05}
UNITS: dict[Size, int] = {"full": SMALL.units, "cpu": SMALL.units, "quick": 8}
PRECISION = "bfloat16"

# Our own rows: dropout, a rate that is held while weights go, and no penalty on what is left.
DROPOUT, LIGHT = 0.2, 0.1
HELD, DECAY = 8, 0.65
FIRST, LAST = 1.5 / SMALL.epochs, 7 / SMALL.epochs


def group_lasso(pruning: Pruning, granularity: str | tuple[str, ...]) -> GroupLasso:
    """The source's penalty for a loss that is a mean over the steps read."""
    return GroupLasso(
        strength=pruning.groups / STEPS,
        granularity=granularity,
        l1=pruning.l1 / STEPS,
        zero_below=pruning.zero_below,
        stop=None,
        counted_twice=True,
    )


PUBLISHED = Settings(
    optimizer="sgd",
    learning_rate=SMALL.learning_rate * STEPS,
    clip=SMALL.clip / STEPS,
    epochs=SMALL.epochs,
    batch_size=SMALL.batch_size,
    schedule="step",
    decay=SMALL.decay,
    decay_after=SMALL.decay_after,
    keep="last",
    precision=PRECISION,
)
OURS = dataclasses.replace(PUBLISHED, decay=DECAY, decay_after=HELD)


def rows(size: Size) -> list[Row]:
    """The source's three rows, and our own: the same network with dropout, dense and pruned.

    *_weights: single weights of the LSTM layers. *_whole: single weights of every matrix. *_structure: gates and
    neurons. light_* have half the dropout, as small networks need less.
    """
    structure = GroupLasso(
        strength=0.0017 / STEPS, granularity=("gate", "outgoing"), sparsity=0.6, stop=0.4, proximal=True
    )
    return [
        row(size, "dense"),
        row(size, "W+N", group_lasso(SMALL.neurons, "neuron")),
        row(size, "W+G+N", group_lasso(SMALL.neurons_and_gates, ("gate", "outgoing"))),
        row(size, "dropout_dense", dropout=DROPOUT),
        row(size, "dropout_weights", gradual(0.9), dropout=DROPOUT),
        row(size, "light_weights", gradual(0.9), dropout=LIGHT),
        row(size, "light_whole", gradual(0.88), dropout=LIGHT, where=("*weight*",)),
        row(size, "light_structure", structure, dropout=LIGHT),
    ]


def row(size: Size, name: str, method: Method | None = None, dropout: float = 0.0, **settings: object) -> Row:
    """One row: the source's where it has no dropout, else ours."""
    training = dataclasses.replace(OURS if dropout else PUBLISHED, epochs=EPOCHS[size], **settings)
    network = {"units": UNITS[size], "layers": SMALL.layers, "cell": "lstm", "init": SMALL.init, "dropout": dropout}
    return Row(
        name=name,
        task=PtbWord(steps=STEPS, fraction=FRACTION[size]),
        model="language_model",
        options=network,
        method=method,
        settings=training,
        threads=1,
        measure=Measure(test_batch_size=1, latency_batches=()),
        published=TABLE_1.get(name, {}) if size == "full" else {},
    )


def gradual(sparsity: float) -> Magnitude:
    """Single weights, one ranking over all matrices, while the rate is high."""
    return Magnitude(sparsity=sparsity, scope="global", start=FIRST, stop=LAST, every=0.0025)


def stated(row: AnyRow) -> Stated:
    """What the source states of its rows."""
    if row.name not in TABLE_1:
        return {}
    shared: Stated = {
        "task.steps": SMALL.steps_read,
        "task.end_of_sentence": True,
        "task.fraction": 1.0,
        "model.options": {
            "units": SMALL.units,
            "layers": SMALL.layers,
            "cell": "lstm",
            "init": SMALL.init,
            "dropout": SMALL.dropout,
        },
        "settings.learning_rate": SMALL.learning_rate,
        "settings.clip": SMALL.clip,
        "settings.decay": SMALL.decay,
        "settings.decay_after": SMALL.decay_after,
        "settings.epochs": SMALL.epochs,
        "settings.batch_size": SMALL.batch_size,
        "settings.keep": "last",
        "settings.precision": "float32",
    }
    if row.name == "dense":
        return shared
    pruning = SMALL.neurons if row.name == "W+N" else SMALL.neurons_and_gates
    return {
        **shared,
        "method.strength": pruning.groups,
        "method.l1": pruning.l1,
        "method.zero_below": pruning.zero_below,
        "method.counted_twice": True,
    }


SUMMED = "the source sums the loss over the steps read, here it is their mean: the same update"

recipe = Recipe(
    title="Penn Treebank, words: a small LSTM language model (2 x 200) pruned by weights, gates and neurons",
    source="Lobacheva et al. 2020, Table 1, small LSTM",
    rows=rows,
    default_size="full",
    paper=Paper(
        NAME,
        "Table 1, small LSTM",
        stated,
        (
            Deviation("settings.learning_rate", SMALL.learning_rate, SMALL.learning_rate * STEPS, SUMMED),
            Deviation("settings.clip", SMALL.clip, SMALL.clip / STEPS, SUMMED),
            Deviation("method.strength", SMALL.neurons.groups, SMALL.neurons.groups / STEPS, SUMMED, "W+N"),
            Deviation(
                "method.strength",
                SMALL.neurons_and_gates.groups,
                SMALL.neurons_and_gates.groups / STEPS,
                SUMMED,
                "W+G+N",
            ),
            Deviation("method.l1", SMALL.neurons.l1, SMALL.neurons.l1 / STEPS, SUMMED, "W+*"),
            Deviation("settings.precision", "float32", PRECISION, "products of half the length, in half the time"),
            Deviation("biases of a gate", 1, 2, "as torch has them"),
            Deviation("first bias of the output", "U(-0.1, 0.1)", 0, "as the other language models"),
            Deviation("what is set to zero", "every parameter", "weights with a group", "not the embedding, no bias"),
            Deviation(
                ROW, "none", "ours", "the same network with dropout, a rate held longer, other methods", "dropout_*"
            ),
            Deviation(ROW, "none", "ours", "the same with half the dropout", "light_*"),
        ),
    ),
    scaled=(Scaled("task.fraction", "a third of the text is what one core reads in ten minutes"),),
)
