"""The language models of Liu et al. 2021 on Penn Treebank: what their tables and figures have in common."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from sparsernn.data.ptb_word import PtbWord
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import NOT_STATED, Deviation, Paper, Scaled, Stated
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.parts import Options
from sparsernn.experiments.recipe import Size
from sparsernn.experiments.rows import Row
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.method import Method
from sparsernn.methods.rigl import RigL
from sparsernn.methods.snfs import SNFS
from sparsernn.methods.sparse_evolutionary_training import SparseEvolutionaryTraining
from sparsernn.methods.st_rnn import STRNN
from sparsernn.methods.static import Static
from sparsernn.recipes.papers import liu2021
from sparsernn.training.settings import Settings

Kind = Literal["lstm", "rhn"]

PAPER: dict[Kind, liu2021.LanguageModel] = {"lstm": liu2021.STACKED_LSTM, "rhn": liu2021.HIGHWAY}
MASKED = ("*weight*",)
"""Every matrix: embedding, cells and output layer."""

FRACTION: dict[Size, float] = {"full": 1.0, "cpu": 1 / 3, "quick": 0.05}
EPOCHS: dict[Kind, dict[Size, int]] = {
    "lstm": {"full": PAPER["lstm"].epochs, "cpu": 12, "quick": 2},
    "rhn": {"full": PAPER["rhn"].epochs, "cpu": 12, "quick": 2},
}
# At the size "cpu" chosen so that the dense network does well in 12 epochs.
DROPOUT: dict[Size, float] = {"full": PAPER["lstm"].dropout, "cpu": 0.3, "quick": 0.0}
MOMENTUM = 0.9
CLIP = 10.0
# The rate at which ST-RNN begins: not given in the paper; authors' related code takes 0.7 to 0.8 and 0.5. In twelve
# epochs that costs more than it finds, so at the size "cpu" every method begins with the rate of SET and RigL.
RATE: dict[Kind, dict[Size, float]] = {
    "lstm": {"full": 0.7, "cpu": 0.3, "quick": 0.3},
    "rhn": {"full": 0.5, "cpu": 0.3, "quick": 0.3},
}
SNFS_RATE: dict[Size, float] = {"full": 0.5, "cpu": 0.3, "quick": 0.3}
FLOOR = 0.005
# First weights of a sparse network: as they are, or scaled to the variance of the dense one's, which it needs to learn
# anything in twelve epochs.
RESCALE: dict[Size, str] = {"full": "none", "cpu": "variance", "quick": "variance"}
ISS_STRENGTH: dict[Kind, float] = {
    "lstm": 0.003 / PAPER["lstm"].steps_read,
    "rhn": 0.005 / PAPER["rhn"].steps_read,
}
"""Of intrinsic sparse structures: the penalty for a loss that is a sum over steps, here a mean."""

MODELS: dict[Kind, dict[Size, Options]] = {
    "lstm": {
        "full": {"cell": "lstm", "units": PAPER["lstm"].units, "layers": PAPER["lstm"].layers},
        "cpu": {"cell": "lstm", "units": 200, "layers": 2},
        "quick": {"cell": "lstm", "units": 8, "layers": 2},
    },
    "rhn": {
        "full": {"units": PAPER["rhn"].units, "cell_options": {"depth": PAPER["rhn"].depth}},
        "cpu": {"units": 200, "cell_options": {"depth": 5}},
        "quick": {"units": 8, "cell_options": {"depth": 2}},
    },
}
HIGHWAY = {"cell": "recurrent_highway", "layers": 1, "tied": True, "dropout_kind": "variational"}


@dataclass(frozen=True)
class Words:
    """Makes the rows of one network at one size.

    Arguments:
        kind: "lstm", two stacked layers, or "rhn", a variational recurrent highway network with tied weights.
        size: of the recipe.
    """

    kind: Kind
    size: Size

    @property
    def paper(self) -> liu2021.LanguageModel:
        return PAPER[self.kind]

    @property
    def epochs(self) -> int:
        return EPOCHS[self.kind][self.size]

    @property
    def options(self) -> Options:
        """Arguments of the model; PyTorch's initial weights in the cells, U(-0.1, 0.1) in embedding and output."""
        sizes = dict(MODELS[self.kind][self.size])
        if self.kind == "lstm":
            return {**sizes, "dropout": DROPOUT[self.size]}
        rates = dropouts(self.paper)
        scale = DROPOUT[self.size] / DROPOUT["full"]
        return {**HIGHWAY, **sizes, **{name: round(rate * scale, 3) for name, rate in rates.items()}}

    def row(
        self, name: str, method: Method | None, published: Mapping[str, float] | None = None, **changes: object
    ) -> Row:
        """A row trained with momentum, the learning rate divided at every epoch that does not improve."""
        settings = Settings(
            optimizer="sgd",
            learning_rate=self.paper.learning_rate,
            momentum=MOMENTUM,
            clip=CLIP,
            schedule="plateau",
            decay=1 / self.paper.division,
            epochs=self.epochs,
            batch_size=self.paper.batch_size,
            where=None if isinstance(method, GroupLasso) else MASKED,
        )
        row = Row(
            name=name,
            task=PtbWord(steps=self.paper.steps_read, fraction=FRACTION[self.size]),
            model="language_model",
            options=self.options,
            method=method,
            settings=settings,
            threads=None if self.size == "full" else 1,
            measure=Measure(compact=False, test_batch_size=20, latency_batches=()),
            published=published or {} if self.size == "full" else {},
        )
        return replace(row, **changes)

    def once_an_epoch(self, **fields: object) -> Options:
        """Fields of a method that rewires after every epoch but the last."""
        return {"every": 1 / self.epochs, "stop": 1.0, **fields}

    def methods(self, budget: Options) -> dict[str, Method]:
        """The sparse methods of the tables by name, each as its source has it, all rewiring once an epoch."""
        cosine = {"decay": "cosine", "floor": FLOOR}
        scaled = self.scaled(budget)
        return {
            "st_rnn": self.st_rnn(budget),
            "set": self.set(budget),
            "static": Static(**scaled),
            "rigl": RigL(**{**self.once_an_epoch(rate=0.3, decay="cosine"), "stop": 0.75}, **scaled),
            "snfs": SNFS(**self.once_an_epoch(rate=SNFS_RATE[self.size], **cosine), **scaled),
        }

    def st_rnn(self, budget: Options) -> STRNN:
        """The paper's method, whose rate falls along a cosine."""
        rate = RATE[self.kind][self.size]
        return STRNN(**self.once_an_epoch(rate=rate, decay="cosine", floor=FLOOR), **self.scaled(budget))

    def set(self, budget: Options) -> SparseEvolutionaryTraining:
        """SET, whose rate stays."""
        return SparseEvolutionaryTraining(**self.once_an_epoch(rate=0.3, decay="constant"), **self.scaled(budget))

    def scaled(self, budget: Options) -> Options:
        """A budget and how the first weights are scaled to it."""
        return {"rescale": RESCALE[self.size], **budget}

    def small_dense(self, name: str, units: int) -> Row:
        """A dense network with fewer units, trained the same way."""
        return self.row(name, None, options={**self.options, "units": units})

    def iss(self, name: str, kept: float, published: Mapping[str, float] | None = None) -> Row:
        """Group lasso on whole units from the first step; after 70 % of training this fraction of them is kept."""
        method = GroupLasso(strength=ISS_STRENGTH[self.kind], granularity="neuron", sparsity=1 - kept)
        return self.row(name, method, published)


def budget(distribution: str, sparsity: float) -> Options:
    """A budget for every tensor by its short name: "uniform" or "er"."""
    return {"sparsity": sparsity, "distribution": {"uniform": "uniform", "er": "erdos_renyi"}[distribution]}


def dropouts(paper: liu2021.LanguageModel) -> dict[str, float]:
    """Rates of a variational network, by the option of the model."""
    return {
        "embedding_dropout": paper.embedding_dropout,
        "input_dropout": paper.dropout,
        "recurrent_dropout": paper.recurrent_dropout,
        "output_dropout": paper.dropout,
    }


def stated(row: AnyRow) -> Stated:
    """What the paper states of a row of one of its tables, by the network and the method."""
    kind = kind_of(row)
    units = {"model.options.units": PAPER[kind].units}
    if row.name.startswith("small_dense"):
        units = {"model.options.units": SMALL_DENSE.get(row.name, NOT_STATED)}
    method: dict[str, object] = {}
    if isinstance(row, Row) and isinstance(row.method, (STRNN, SparseEvolutionaryTraining, SNFS, RigL)):
        method["method.rate"] = NOT_STATED
    if isinstance(row, Row) and isinstance(row.method, STRNN):
        method |= {"method.floor": NOT_STATED, "method.decay": "cosine", "method.stop": 1.0}
    return {**NETWORKS[kind], **units, **method}


SMALL_DENSE = {f"small_dense_{round(100 * sparsity)}": units for sparsity, units in liu2021.SMALL_DENSE_UNITS.items()}
RATES_OF_RIVALS = (
    Deviation("method.rate", NOT_STATED, 0.3, "of SET's own paper", "set*"),
    Deviation("method.rate", NOT_STATED, 0.3, "of RigL's own paper", "rigl*"),
    Deviation("method.rate", NOT_STATED, SNFS_RATE["full"], "of the own code of sparse momentum", "snfs*"),
)


def kind_of(row: AnyRow) -> Kind:
    """Of which network a row is."""
    return "lstm" if isinstance(row, Row) and row.options["cell"] == "lstm" else "rhn"


def network(paper: liu2021.LanguageModel) -> Stated:
    """What the paper states of a network, whatever its sparsity."""
    variational = paper.depth > 1
    sizes = {"cell_options.depth": paper.depth, **dropouts(paper)} if variational else {"dropout": paper.dropout}
    return {
        "task.steps": paper.steps_read,
        "task.fraction": 1.0,
        "model.options": {"layers": paper.layers, **sizes},
        "settings.optimizer": "sgd",
        "settings.learning_rate": paper.learning_rate,
        "settings.momentum": NOT_STATED,
        "settings.clip": NOT_STATED if paper.clip is None else paper.clip,
        "settings.schedule": "plateau",
        "settings.decay": 1 / paper.division,
        "settings.epochs": paper.epochs,
        "settings.batch_size": paper.batch_size,
        "settings.weight_decay": NOT_STATED,
        "settings.keep": "best",
    }


NETWORKS: dict[Kind, Stated] = {kind: network(paper) for kind, paper in PAPER.items()}
TRAINING = (
    Deviation(
        "norm that is clipped",
        "of the gradients of all weights (related code)",
        "of weights that exist",
        "one rule whatever the kernel; at cpu neither comes near 10",
    ),
    Deviation("settings.momentum", NOT_STATED, MOMENTUM, "the default of the authors' related code"),
    Deviation("settings.weight_decay", NOT_STATED, 0.0, "the related code has 1.2e-6 with another optimizer"),
    Deviation(
        "counts of weights",
        "each weight exists with the density, by itself (related code)",
        "exact",
        "a table that compares sizes needs equal ones",
    ),
)
HIGHWAY_TRAINING = Deviation("settings.clip", NOT_STATED, CLIP, "that of the stacked LSTM")
STRNN_RATES = (
    Deviation("method.floor", NOT_STATED, FLOOR, "of the authors' related code"),
    Deviation("method.rate", NOT_STATED, RATE["lstm"]["full"], "the related code takes 0.7 or 0.8"),
)
HIGHWAY_RATES = (STRNN_RATES[0], Deviation("method.rate", NOT_STATED, RATE["rhn"]["full"], "that of the related code"))
RIVALS = (
    Deviation(
        "training of the dense network",
        "quoted from Wen et al. 2018: plain SGD, another learning rate, clipping and dropout",
        "as the sparse networks",
        "else a gain mixes recipe and sparsity",
        "dense",
    ),
    Deviation(
        "training of group lasso",
        "quoted from Wen et al. 2018, small weights set to 0 at every step",
        "as the sparse networks, the smallest units removed once after 70 % of training",
        "rivals share one recipe",
        "iss*",
    ),
)
SCALED = (
    Scaled("task.fraction", "a third of the text is what two cores read in minutes"),
    Scaled("model.options.*", "narrower, and less dropout for fewer epochs"),
    Scaled("settings.epochs", "what two cores do in half an hour"),
    Scaled("method.every", "one event an epoch, of fewer epochs"),
    Scaled("method.rate", "in twelve epochs a larger first rate costs more than it finds; that of SET and RigL"),
    Scaled("method.rescale", "as they are the first weights of a sparse network learn nothing in twelve epochs"),
)


def compared(place: str, *deviations: Deviation) -> Paper:
    """A table of the section on language modelling, and how its rows differ from it."""
    return Paper(liu2021.NAME, place, stated, deviations)
