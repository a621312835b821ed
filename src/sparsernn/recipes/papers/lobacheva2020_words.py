"""Word language models pruned by group lasso while they are trained (Lobacheva et al. 2020; Wen et al. 2018)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from sparsernn.data.ptb_word import PtbWord
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import ROW, Deviation, Scaled, Stated
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.recipe import Size
from sparsernn.experiments.rows import Row
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.method import Method
from sparsernn.recipes.papers.lobacheva2020 import WordLstm
from sparsernn.training.settings import Settings

FRACTION: dict[Size, float] = {"full": 1.0, "cpu": 1 / 3, "quick": 0.05}
PRECISION = "bfloat16"
LEVELS: dict[str, str | tuple[str, ...]] = {"W+N": "neuron", "iss": "neuron", "W+G+N": ("gate", "outgoing")}
UNPRUNED = Deviation(ROW, "none", "ours", "dropout and schedule of Zaremba et al. 2014, large", "dense")
SCALED = (
    Scaled("task.fraction", "a third of the text for two cores"),
    Scaled("model.options.units", "fewer units for two cores"),
    Scaled("settings.epochs", "fewer epochs"),
)
SUMMED = "the source sums the loss over the steps read, here it is their mean: the same update"


@dataclass(frozen=True)
class Words:
    """The rows of one model of the table.

    Arguments:
        table: the source's figures by row.
        paper: the facts of the model.
        epochs, units: by size.
    """

    table: Mapping[str, Mapping[str, object]]
    paper: WordLstm
    epochs: dict[Size, int]
    units: dict[Size, int]

    def settings(self, row: str = "") -> Settings:
        """The source's training."""
        paper = self.paper
        return Settings(
            optimizer="sgd",
            learning_rate=paper.learning_rate * paper.steps_read,
            clip=paper.clip / paper.steps_read,
            epochs=paper.epochs,
            batch_size=paper.batch_size,
            schedule="step",
            decay=paper.decays.get(row, paper.decay),
            decay_after=paper.decay_after,
            decay_every=paper.decay_every,
            keep="last",
            precision=PRECISION,
        )

    def row(
        self,
        size: Size,
        name: str,
        method: Method | None = None,
        settings: Settings | None = None,
        dropout: float | None = None,
    ) -> Row:
        """One row; the source's training and dropout where no other is handed in."""
        paper = self.paper
        training = replace(settings or self.settings(name), epochs=self.epochs[size])
        network = {
            "units": self.units[size],
            "layers": paper.layers,
            "cell": "lstm",
            "init": paper.init,
            "one_bias": True,
        }
        return Row(
            name=name,
            task=PtbWord(steps=paper.steps_read, fraction=FRACTION[size]),
            model="language_model",
            options={**network, "dropout": paper.dropout if dropout is None else dropout},
            method=method,
            settings=training,
            threads=1,
            measure=Measure(test_batch_size=1, latency_batches=()),
            published=self.table.get(name, {}) if size == "full" else {},
        )

    def unpruned(self, size: Size) -> Row:
        """The large network that others prune, dense: Zaremba et al. 2014."""
        settings = replace(self.settings(), decay=1 / 1.15, decay_after=14, decay_every=1)
        return self.row(size, "dense", None, settings, 0.65)

    def published_rows(self, size: Size) -> list[Row]:
        """By neurons, and by gates and neurons; before them dense, where the source has that row."""
        names = list(self.table)
        return [self.row(size, name, self.group_lasso(name) if name in LEVELS else None) for name in names]

    def group_lasso(self, row: str) -> GroupLasso:
        """The source's penalty for a loss that is a mean over the steps read."""
        pruning, steps = self.paper.pruning(row), self.paper.steps_read
        return GroupLasso(
            strength=pruning.groups / steps,
            granularity=LEVELS[row],
            l1=pruning.l1 / steps,
            zero_below=pruning.zero_below,
            stop=None,
            counted_twice=True,
        )

    def stated(self, row: AnyRow) -> Stated:
        """What the source states of its rows."""
        if row.name not in self.table:
            return {}
        paper = self.paper
        shared: Stated = {
            "task.steps": paper.steps_read,
            "task.end_of_sentence": True,
            "task.fraction": 1.0,
            "model.options": {
                "units": paper.units,
                "layers": paper.layers,
                "cell": "lstm",
                "init": paper.init,
                "one_bias": True,
                "dropout": paper.dropout,
            },
            "settings.learning_rate": paper.learning_rate,
            "settings.clip": paper.clip,
            "settings.decay": paper.decays.get(row.name, paper.decay),
            "settings.decay_after": paper.decay_after,
            "settings.decay_every": paper.decay_every,
            "settings.epochs": paper.epochs,
            "settings.batch_size": paper.batch_size,
            "settings.keep": "last",
            "settings.precision": "float32",
        }
        if row.name == "dense":
            return shared
        pruning = paper.pruning(row.name)
        return {
            **shared,
            "method.strength": pruning.groups,
            "method.l1": pruning.l1,
            "method.zero_below": pruning.zero_below,
            "method.counted_twice": True,
        }

    def deviations(self) -> tuple[Deviation, ...]:
        """Where the source's rows are not the source's."""
        paper, steps = self.paper, self.paper.steps_read
        scaled = [
            Deviation(f"method.{ours}", stated, stated / steps, SUMMED, name)
            for name in self.table
            if name in LEVELS
            for ours, stated in (("strength", paper.pruning(name).groups), ("l1", paper.pruning(name).l1))
            if stated
        ]
        return (
            Deviation("settings.learning_rate", paper.learning_rate, paper.learning_rate * steps, SUMMED),
            Deviation("settings.clip", paper.clip, paper.clip / steps, SUMMED),
            *scaled,
            Deviation("settings.precision", "float32", PRECISION, "products of half the length, in half the time"),
            Deviation("first bias of the output", f"U(-{paper.init}, {paper.init})", 0, "as the other language models"),
            Deviation("what is set to zero", "every parameter", "weights with a group", "not the embedding, no bias"),
        )
