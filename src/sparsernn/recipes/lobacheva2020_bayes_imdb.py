"""IMDb: sparse variational dropout of weights, gates, neurons and words (Lobacheva et al. 2020, Table 2)."""

from __future__ import annotations

import dataclasses

from sparsernn.data.imdb import Imdb
from sparsernn.experiments.baseline_row import AnyRow, BaselineRow
from sparsernn.experiments.deviations import ROW, Deviation, Paper, Scaled, Stated
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.lobacheva2020 import CONFIGURATIONS, IMDB, NAME, TABLE_2, variational
from sparsernn.training.settings import Settings

EPOCHS: dict[Size, int] = {"full": IMDB.epochs, "cpu": 20, "quick": 2}
WIDTH: dict[Size, int] = {"full": IMDB.embedding, "cpu": 100, "quick": 16}
UNITS: dict[Size, int] = {"full": IMDB.units, "cpu": IMDB.units, "quick": 8}
VOCABULARY: dict[Size, int] = {"full": IMDB.vocabulary, "cpu": IMDB.vocabulary, "quick": 1_000}
LENGTH: dict[Size, int] = {"full": IMDB.length, "cpu": IMDB.length, "quick": 20}
RATE: dict[Size, float] = {"full": IMDB.learning_rate, "cpu": 2e-3, "quick": 2e-3}
WARM_UP: dict[Size, float] = {"full": 0.0, "cpu": 0.8, "quick": 0.0}
TEMPERATURE: dict[Size, float] = {"full": 1.0, "cpu": 0.2, "quick": 1.0}
SQUASH: dict[Size, str] = {"full": "hard_sigmoid", "cpu": "sigmoid", "quick": "sigmoid"}
TOP = (100, 300, 1_000, 3_000)
"""How many weights of a linear model are kept for its curve."""


TASK = Imdb(keep="first", padding="right", unknown="token", shares=(0.85, 0.15, 0))


def rows(size: Size) -> list[AnyRow]:
    """The source's rows, a dense network, and linear models of words and word pairs, whole and with few weights."""
    task = dataclasses.replace(TASK, vocabulary=VOCABULARY[size], length=LENGTH[size])
    settings = Settings(
        optimizer="adam",
        learning_rate=RATE[size],
        epochs=EPOCHS[size],
        batch_size=IMDB.batch_size,
        keep="last",
        where=("*weight*",),
        precision="float32" if size == "full" else "bfloat16",
    )
    network = {
        "inputs": WIDTH[size],
        "units": UNITS[size],
        "cell": "lstm",
        "embedding_init": 0.05,
        "cell_options": {"gate_activation": SQUASH[size], "forget_bias": 1.0},
    }
    dense = Row(
        name="dense",
        task=task,
        options=network,
        settings=dataclasses.replace(settings, keep="best", patience=3, where=None),
        threads=1,
        measure=Measure(test_batch_size=500, latency_batches=()),
    )
    random = [bayesian(size, name, dense, settings) for name in CONFIGURATIONS]
    gru = {**network, "cell": "gru", "cell_options": {}}
    grus = [dataclasses.replace(row, name=f"gru_{row.name}", options=gru, published={}) for row in (dense, random[-1])]
    return [
        dense,
        *random,
        *grus,
        BaselineRow("tfidf", task, "tfidf", threads=1),
        *(BaselineRow(f"tfidf_top_{count}", task, f"tfidf_top_{count}", threads=1) for count in TOP),
    ]


def bayesian(size: Size, name: str, dense: Row, settings: Settings) -> Row:
    """A row of the source."""
    rates = {"learning_rate": RATE[size], "group_learning_rate": RATE[size]}
    method = variational(IMDB, name, **rates, warm_up=WARM_UP[size], temperature=TEMPERATURE[size])
    published = TABLE_2["imdb"][name] if size == "full" else {}
    return dataclasses.replace(dense, name=name, method=method, settings=settings, published=published)


def stated(row: AnyRow) -> Stated:
    """What the source states of its rows."""
    if row.name not in CONFIGURATIONS:
        return {}
    return {
        "task.vocabulary": IMDB.vocabulary,
        "task.length": IMDB.length,
        "task.keep": "first",
        "task.shares": [0.85, 0.15, 0],
        "model.options": {
            "inputs": IMDB.embedding,
            "units": IMDB.units,
            "cell": "lstm",
            "embedding_init": "word2vec",
            "cell_options.gate_activation": "hard_sigmoid",
            "cell_options.forget_bias": 1.0,
        },
        "settings.optimizer": "adam",
        "settings.learning_rate": IMDB.learning_rate,
        "settings.epochs": IMDB.epochs,
        "settings.batch_size": IMDB.batch_size,
        "settings.keep": "last",
        "settings.schedule": "constant",
        "method.levels": list(CONFIGURATIONS[row.name]),
        "method.vocabulary": True,
        "method.examples": IMDB.examples,
        "method.log_sigma": -3.0,
        "method.threshold": 3.0,
        "method.temperature": 1.0,
        "method.warm_up": 0.0,
        "method.divergence": "chirkova2018",
        "method.local": ["head"],
    }


recipe = Recipe(
    title="IMDb: an LSTM made sparse by variational dropout of weights, gates, neurons and words",
    source="Lobacheva et al. 2020, Table 2, text classification",
    rows=rows,
    paper=Paper(
        NAME,
        "Table 2, text classification",
        stated,
        (
            Deviation(
                "model.options.embedding_init", "word2vec", 0.05, "its vectors are not at hand; Keras' own start"
            ),
            Deviation(
                "first recurrent weights", "orthogonal, gain 1.1; Glorot for inputs", "torch's", "one start for all"
            ),
            Deviation("output", "one, through a sigmoid", "two, through a softmax", "as the other classifiers"),
            Deviation("padding", "left, steps masked", "right, with lengths", "the same network on the same words"),
            Deviation(ROW, "none", "ours", "what the others are compared with", "dense"),
            Deviation(ROW, "none", "ours", "the same levels of another cell", "gru_*"),
            Deviation(ROW, "none", "ours", "what a network has to beat", "tfidf*"),
        ),
    ),
    scaled=(
        Scaled("model.options.*", "a narrower embedding for two cores, and gates that the compiled kernels know"),
        Scaled("settings.*", "twenty epochs of larger steps, and products of half the length"),
        Scaled("method.*", "larger steps, and a divergence that comes in slowly, for fewer epochs"),
    ),
)
