"""The dense network and its sparse twin for a user's own file: choices that follow from its kind and size alone."""

import dataclasses

from sparsernn.data.splits import at_most
from sparsernn.data.table_file import TableFile
from sparsernn.data.task import Loaded
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.parts import Options
from sparsernn.experiments.rows import Row, Source
from sparsernn.experiments.sources.latent_vectors import LatentVectors
from sparsernn.experiments.sources.start import Start
from sparsernn.experiments.sources.teacher import Teacher
from sparsernn.methods.method import Method
from sparsernn.training.settings import Settings

SMALL = 5_000  # examples: below it batches are half as large
MOST_BATCHES = 1_000  # in an epoch
MOST_VALIDATED = 20_000
LONGER = 1.5  # epochs of the sparse network for one of the dense
LEARNING_RATE = 2e-3


@dataclasses.dataclass(frozen=True)
class Choice:
    """What suits a kind of file.

    Arguments:
        model: file name in `sparsernn.models`; options: its arguments.
        units: hidden units.
        steps: of the dense training, as far as whole epochs allow.
        slower: learning rate of the sparse network for the dense one's, where it begins with the dense weights.
        taught: share of the dense network's outputs in what the sparse one learns from; the rest are the labels.
    """

    model: str
    units: int
    steps: int
    options: Options = dataclasses.field(default_factory=dict)
    slower: float = 1.0
    taught: float = 0.0


CHOICES = {
    "text": Choice(
        "classifier", 64, 1800, {"inputs": 128, "bidirectional": True, "pool": "max", "dropout": 0.5}, taught=0.8
    ),
    "series": Choice("classifier", 64, 2500, {"bidirectional": True, "pool": "mean", "dropout": 0.2}),
    "tagging": Choice("tagger", 64, 800, {"bidirectional": True, "dropout": 0.2}),
    "forecast": Choice("forecaster", 64, 2500, {"dropout": 0.1, "residual": 0}, slower=0.25),
    "language_model": Choice("language_model", 200, 6000, {"layers": 2, "dropout": 0.2}),
}


def choice(task: TableFile, loaded: Loaded) -> Choice:
    """What suits the file."""
    if loaded.objective == "tagging":
        return CHOICES["tagging"]
    return CHOICES["series" if task.kind == "wide" else task.kind]


def batch_size(task: TableFile, loaded: Loaded) -> int:
    """Examples in a step, or parallel streams of running text."""
    if task.kind == "language_model":
        return 20
    return 32 if len(loaded.train) < SMALL else 64


def sampled(task: TableFile, loaded: Loaded) -> Loaded:
    """The data of the training: of a large file other examples in every epoch, and a sample for validation."""
    most = MOST_BATCHES * batch_size(task, loaded)
    train, valid = at_most(loaded.train, most), at_most(loaded.valid, MOST_VALIDATED)
    return dataclasses.replace(loaded, train=train, valid=valid)


def rows(task: TableFile, loaded: Loaded, method: Method, *, cell: str, units: int = 0, epochs: int = 0) -> list[Row]:
    """The dense network and its sparse twin, from the dense weights where the method prunes trained ones.

    Arguments:
        loaded: what `sampled` gave.
        units, epochs: 0 chooses; epochs that are given hold for both networks.
    """
    suited, language_model = choice(task, loaded), task.kind == "language_model"
    settings = dense_settings(task, loaded, suited, epochs)
    first: list[Source] = [LatentVectors()] if loaded.objective == "classification" and loaded.tokens else []
    measure = Measure(compact=False, test_batch_size=1 if language_model else 256, latency_seconds=6.0)
    dense = Row(
        "dense",
        task,
        suited.model,
        {"cell": cell, "units": units or suited.units, **suited.options},
        settings=settings,
        sources=tuple(first),
        threads=1,
        measure=measure,
    )
    started = method.starts_trained
    tuned = dataclasses.replace(
        settings,
        learning_rate=LEARNING_RATE * (suited.slower if started else 1),
        epochs=epochs or round(LONGER * settings.epochs),
    )
    taught = [Teacher(dense.name, suited.taught)] if suited.taught else []
    sparse = dataclasses.replace(
        dense,
        name="sparse",
        method=method,
        settings=tuned,
        sources=(*([Start(dense.name)] if started else first), *taught),
        measure=dataclasses.replace(measure, compact=True),
    )
    return [dense, sparse]


def dense_settings(task: TableFile, loaded: Loaded, suited: Choice, epochs: int) -> Settings:
    """How the dense network is trained; 0 epochs chooses."""
    batch = batch_size(task, loaded)
    batches = max(1, loaded.train.number_of_batches(batch))
    epochs = epochs or min(40, max(4, round(suited.steps / batches)))
    return Settings(
        learning_rate=LEARNING_RATE,
        batch_size=batch,
        valid_batch_size=10 if task.kind == "language_model" else 256,
        epochs=epochs,
        clip=1.0,
        schedule="cosine",
        patience=max(3, epochs // 3),
        keep="best",
        loggers=("csv",),
    )
