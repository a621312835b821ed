"""The text classifiers of Lobacheva et al. 2020, made sparse by variational dropout: what their recipes share."""

from dataclasses import dataclass, replace

from sparsernn.data.text_classification import TextClassification
from sparsernn.experiments.baseline_row import AnyRow, BaselineRow
from sparsernn.experiments.deviations import ROW, Deviation, Paper, Scaled, Stated
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.recipe import Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers.lobacheva2020 import CONFIGURATIONS, NAME, TABLE_2, Bayesian, variational
from sparsernn.training.settings import Settings

WIDTH: dict[Size, int] = {"cpu": 100, "quick": 16}
RATE: dict[Size, float] = {"cpu": 2e-3, "quick": 2e-3}
WARM_UP: dict[Size, float] = {"full": 0.0, "cpu": 0.8, "quick": 0.0}
TEMPERATURE: dict[Size, float] = {"full": 1.0, "cpu": 0.2, "quick": 1.0}
SQUASH: dict[Size, str] = {"full": "hard_sigmoid", "cpu": "sigmoid", "quick": "sigmoid"}
TOP = (100, 300, 1_000, 3_000)
"""How many weights of a linear model are kept for its curve."""


@dataclass(frozen=True)
class Texts:
    """The rows of one data set of the table.

    Arguments:
        name: of the data set in `TABLE_2`.
        paper: its facts.
        task: the data, as the source prepares them.
        cpu_units, cpu_epochs: at the size "cpu".
        vectors: with which the source begins its embedding.
        place: in the source.
    """

    name: str
    paper: Bayesian
    task: TextClassification
    cpu_units: int
    cpu_epochs: int
    vectors: str
    place: str = "Table 2, text classification"

    def rows(self, size: Size) -> list[AnyRow]:
        """The source's rows, a dense network, and linear models of words and word pairs, whole and with few weights."""
        paper = self.paper
        quick = {"vocabulary": 1_000, "length": 20} if size == "quick" else {}
        task = replace(self.task, **{"vocabulary": paper.vocabulary, "length": paper.length, **quick})
        settings = Settings(
            optimizer="adam",
            learning_rate=RATE.get(size, paper.learning_rate),
            epochs={"full": paper.epochs, "cpu": self.cpu_epochs, "quick": 2}[size],
            batch_size=paper.batch_size,
            keep="last",
            where=("*weight*",),
            precision="float32" if size == "full" else "bfloat16",
        )
        network = {
            "inputs": WIDTH.get(size, paper.embedding),
            "units": {"full": paper.units, "cpu": self.cpu_units, "quick": 8}[size],
            "cell": "lstm",
            "embedding_init": 0.05,
            "cell_options": {"gate_activation": SQUASH[size], "forget_bias": 1.0},
        }
        dense = Row(
            name="dense",
            task=task,
            options=network,
            settings=replace(settings, keep="best", patience=3, where=None),
            threads=1,
            measure=Measure(test_batch_size=500, latency_batches=()),
        )
        random = [self.bayesian(size, name, dense, settings) for name in CONFIGURATIONS]
        gru = {**network, "cell": "gru", "cell_options": {}}
        grus = [replace(row, name=f"gru_{row.name}", options=gru, published={}) for row in (dense, random[-1])]
        linear = [
            BaselineRow(name, task, name, threads=1) for name in ("tfidf", *(f"tfidf_top_{count}" for count in TOP))
        ]
        return [dense, *random, *grus, *linear]

    def bayesian(self, size: Size, name: str, dense: Row, settings: Settings) -> Row:
        """A row of the source."""
        rate = settings.learning_rate
        rates = {"learning_rate": rate, "group_learning_rate": rate}
        method = variational(self.paper, name, **rates, warm_up=WARM_UP[size], temperature=TEMPERATURE[size])
        published = TABLE_2[self.name][name] if size == "full" else {}
        return replace(dense, name=name, method=method, settings=settings, published=published)

    def stated(self, row: AnyRow) -> Stated:
        """What the source states of its rows."""
        if row.name not in CONFIGURATIONS:
            return {}
        paper = self.paper
        return {
            "task.vocabulary": paper.vocabulary,
            "task.length": paper.length,
            "task.keep": "first",
            "task.shares": list(self.task.shares),
            "model.options": {
                "inputs": paper.embedding,
                "units": paper.units,
                "cell": "lstm",
                "embedding_init": self.vectors,
                "cell_options.gate_activation": "hard_sigmoid",
                "cell_options.forget_bias": 1.0,
            },
            "settings.optimizer": "adam",
            "settings.learning_rate": paper.learning_rate,
            "settings.epochs": paper.epochs,
            "settings.batch_size": paper.batch_size,
            "settings.keep": "last",
            "settings.schedule": "constant",
            "method.levels": list(CONFIGURATIONS[row.name]),
            "method.vocabulary": True,
            "method.examples": paper.examples,
            "method.log_sigma": -3.0,
            "method.threshold": 3.0,
            "method.temperature": 1.0,
            "method.warm_up": 0.0,
            "method.divergence": "chirkova2018",
            "method.local": ["head"],
        }

    def of_paper(self, *more: Deviation) -> Paper:
        """What is the source's, and what is not."""
        deviations = (
            Deviation(
                "model.options.embedding_init", self.vectors, 0.05, "its vectors are not at hand; Keras' own start"
            ),
            Deviation(
                "first recurrent weights", "orthogonal, gain 1.1; Glorot for inputs", "torch's", "one start for all"
            ),
            Deviation("padding", "left, steps masked", "right, with lengths", "the same network on the same words"),
            Deviation(ROW, "none", "ours", "what the others are compared with", "dense"),
            Deviation(ROW, "none", "ours", "the same levels of another cell", "gru_*"),
            Deviation(ROW, "none", "ours", "what a network has to beat", "tfidf*"),
        )
        return Paper(NAME, self.place, self.stated, (*deviations, *more))


SCALED = (
    Scaled("model.options.*", "a smaller network for two cores, and gates that the compiled kernels know"),
    Scaled("settings.*", "fewer epochs of larger steps, and products of half the length"),
    Scaled("method.*", "larger steps, and a divergence that comes in slowly, for fewer epochs"),
)
