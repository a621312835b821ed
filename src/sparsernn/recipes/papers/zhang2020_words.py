"""The language models of Zhang & Stadie 2020: what their two tables have in common."""

from collections.abc import Mapping
from dataclasses import replace

from sparsernn.data.language_modelling import LanguageModelling
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import NOT_STATED, Deviation, Paper, Scaled, Stated
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.recipe import Size
from sparsernn.experiments.rows import Row
from sparsernn.methods.method import Method
from sparsernn.recipes.papers import zhang2020
from sparsernn.recipes.papers.zhang2020_digits import CELLS, DEVIATIONS
from sparsernn.training.settings import Settings


def dense(
    size: Size,
    name: str,
    task: LanguageModelling,
    paper: zhang2020.Words,
    units: int,
    embedding: int,
    epochs: int,
) -> Row:
    """A dense network of one layer on a frozen random embedding: Adam, batches of 64 windows, the last epoch."""
    return Row(
        name=name,
        task=replace(task, steps=paper.steps_read),
        model="language_model",
        options={
            "cell": paper.cell,
            "layers": paper.layers,
            "units": units,
            "embedding": embedding,
            "frozen_embedding": paper.embedding_scale,
            "cell_options": {**CELLS[paper.cell], "init": paper.init},
        },
        settings=Settings(
            learning_rate=zhang2020.TRAINING.learning_rate,
            epochs=epochs,
            batch_size=zhang2020.TRAINING.batch_size,
            keep="last",
        ),
        threads=None if size == "full" else 1,
        measure=Measure(compact=False, test_batch_size=zhang2020.TRAINING.batch_size, latency_batches=()),
    )


def methods(dense: Row, sparse: Mapping[str, Method]) -> list[Row]:
    """The dense row and one for each method, named after it; a prefix of the dense row's name stays."""
    prefix = dense.name.removesuffix("dense")
    return [dense, *(replace(dense, name=prefix + name, method=method) for name, method in sparse.items())]


SCALED = tuple(Scaled(field, "two cores") for field in ("model.options.*", "task.fraction", "settings.epochs"))


def beside(place: str, paper: zhang2020.Words, *deviations: Deviation) -> Paper:
    """A table of the section "Evaluation", and how its rows differ from it."""
    facts: Stated = {
        "task": {"steps": paper.steps_read, "windows": True},
        "model.options": {
            "cell": paper.cell,
            "layers": paper.layers,
            "units": paper.units,
            "embedding": paper.embedding,
            "frozen_embedding": paper.embedding_scale,
            "cell_options.init": paper.init,
        },
        "settings.optimizer": zhang2020.TRAINING.optimizer,
        "settings.learning_rate": zhang2020.TRAINING.learning_rate,
        "settings.batch_size": zhang2020.TRAINING.batch_size,
        "settings.schedule": "constant",
        "settings.clip": None,
        "settings.keep": NOT_STATED,
        **({"settings.epochs": NOT_STATED} if any(one.field == "settings.epochs" for one in deviations) else {}),
    }

    def stated(row: AnyRow) -> Stated:
        return facts

    softmax = [one for one in DEVIATIONS if not one.field.startswith("wiring")]
    return Paper(zhang2020.NAME, f'{place}, in "Evaluation"', stated, (*softmax, *deviations))
