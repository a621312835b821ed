"""Penn Treebank, words: sparse variational dropout of an LSTM's weights, gates and neurons (Lobacheva et al. 2020)."""

from dataclasses import replace

from sparsernn.data.ptb_word import PtbWord
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import NOT_STATED, ROW, Deviation, Paper, Scaled, Stated
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.lobacheva2020 import CONFIGURATIONS, NAME, PTB_WORDS, variational
from sparsernn.training.settings import Settings

EPOCHS: dict[Size, int] = {"full": PTB_WORDS.epochs, "cpu": 13, "quick": 2}
OUR_EPOCHS: dict[Size, int] = {"full": 26, "cpu": 13, "quick": 2}
FRACTION: dict[Size, float] = {"full": 1.0, "cpu": 1 / 3, "quick": 0.05}
EXAMPLES: dict[Size, int] = {"full": PTB_WORDS.examples, "cpu": 309_863, "quick": 46_479}
UNITS: dict[Size, int] = {"full": PTB_WORDS.units, "cpu": PTB_WORDS.units, "quick": 8}
WHERE = ("*weight*",)
PRECISION = "bfloat16"
DROPOUT: dict[Size, float] = {"full": 0.2, "cpu": 0.3, "quick": 0.2}

# Our own rows: steps like those of SGD for the means, a divergence that comes in slowly and never whole.
TEMPERATURE, WARM_UP = 0.5, 4


PAPER = Settings(
    optimizer="adam",
    learning_rate=PTB_WORDS.learning_rate,
    clip=10.0,
    batch_size=PTB_WORDS.batch_size,
    keep="last",
    where=WHERE,
    precision=PRECISION,
)


def by_sgd(size: Size) -> Settings:
    """Means by SGD."""
    decay, decay_after = (0.84, 10) if size == "full" else (0.7, 5)
    return replace(
        PAPER,
        optimizer="sgd",
        learning_rate=3.0,
        momentum=0.9,
        clip=0.25,
        epochs=OUR_EPOCHS[size],
        batch_size=20,
        schedule="step",
        decay=decay,
        decay_after=decay_after,
    )


def rows(size: Size) -> list[Row]:
    """The source's rows W, W+N and W+G+N; the same with our training, sgd_*; dense without and with dropout."""
    network = {"units": UNITS[size], "layers": PTB_WORDS.layers, "cell": "lstm", "init": 0.1}
    paper, sgd = replace(PAPER, epochs=EPOCHS[size]), by_sgd(size)
    row = Row(
        name="W",
        task=PtbWord(steps=PTB_WORDS.length, fraction=FRACTION[size]),
        model="language_model",
        options=network,
        settings=paper,
        threads=1,
        measure=Measure(test_batch_size=1, latency_batches=()),
    )
    slow = {"clipped": False, "temperature": TEMPERATURE, "warm_up": min(1.0, WARM_UP / sgd.epochs)}
    table = []
    for name in CONFIGURATIONS:
        for prefix, settings, more in (("", paper, {}), ("sgd_", sgd, slow)):
            method = variational(PTB_WORDS, name, examples=EXAMPLES[size] - settings.batch_size, **more)
            table.append(replace(row, name=f"{prefix}{name}", method=method, settings=settings))
    dense = replace(sgd, learning_rate=20.0, momentum=0.0, keep="best", where=None, decay=0.65)
    return [
        replace(row, name="dense", settings=dense),
        replace(row, name="dropout_dense", settings=dense, options={**network, "dropout": DROPOUT[size]}),
        *table,
    ]


def stated(row: AnyRow) -> Stated:
    """What the source states of its rows."""
    if row.name not in CONFIGURATIONS:
        return {}
    return {
        "task.fraction": 1.0,
        "task.end_of_sentence": True,
        "task.steps": NOT_STATED,
        "model.options": {
            "units": PTB_WORDS.units,
            "layers": PTB_WORDS.layers,
            "cell": "lstm",
            "init": NOT_STATED,
        },
        "settings.optimizer": "adam",
        "settings.learning_rate": PTB_WORDS.learning_rate,
        "settings.clip": NOT_STATED,
        "settings.epochs": PTB_WORDS.epochs,
        "settings.batch_size": NOT_STATED,
        "settings.keep": "last",
        "settings.precision": "float32",
        "method.levels": list(CONFIGURATIONS[row.name]),
        "method.log_sigma": -3.0,
        "method.threshold": 3.0,
        "method.temperature": 1.0,
        "method.warm_up": 0.0,
        "method.clipped": True,
        "method.sampled": "sequence",
        "method.divergence": "chirkova2018",
    }


recipe = Recipe(
    title="Penn Treebank, words: a language model (2 x 200) made sparse by variational dropout",
    source="Lobacheva et al. 2020, Table 2, word-level language model",
    rows=rows,
    paper=Paper(
        NAME,
        "Table 2, word-level language model",
        stated,
        (
            Deviation("task.steps", NOT_STATED, 35, "of the authors' code for words"),
            Deviation("model.options.init", NOT_STATED, 0.1, "that of the pruned models"),
            Deviation("settings.clip", NOT_STATED, 10.0, "of the authors' code for words"),
            Deviation("settings.batch_size", NOT_STATED, PTB_WORDS.batch_size, "of the authors' code for words"),
            Deviation("settings.precision", "float32", PRECISION, "products of half the length, in less time"),
            Deviation(ROW, "none", "ours", "dense networks, trained as our own rows", "*dense"),
            Deviation(ROW, "none", "ours", "means by SGD, a divergence that comes in slowly to a half", "sgd_*"),
        ),
    ),
    scaled=(
        Scaled("task.fraction", "a third of the text is what one core reads in a quarter of an hour"),
        Scaled("settings.*", "fewer epochs"),
        Scaled("model.options.dropout", "more for less text"),
        Scaled("method.*", "fewer tokens, fewer epochs"),
    ),
)
