"""The text classifiers of Liu et al. 2021: what Tables 4, 5 and 6 have in common."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sparsernn.data.ag_news import AgNews
from sparsernn.data.amazon_fine_food import AmazonFineFood
from sparsernn.data.imdb import Imdb
from sparsernn.data.sanders_twitter import SandersTwitter
from sparsernn.data.text_classification import TextClassification
from sparsernn.data.yelp_2018 import Yelp2018
from sparsernn.data.yelp_polarity import YelpPolarity
from sparsernn.experiments.baseline_row import AnyRow, BaselineRow
from sparsernn.experiments.deviations import NOT_STATED, ROW, Deviation, Facts, Paper, Scaled, Stated
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.parts import Options
from sparsernn.experiments.recipe import Size
from sparsernn.experiments.rows import Row
from sparsernn.experiments.seeds import Seeds
from sparsernn.methods.method import Method
from sparsernn.methods.sparse_evolutionary_training import SparseEvolutionaryTraining
from sparsernn.methods.st_rnn import STRNN
from sparsernn.methods.static import Static
from sparsernn.recipes.papers import liu2021
from sparsernn.training.settings import Settings

WIDTH = liu2021.TEXT_MODEL.width
MASKED = ("embedding.weight", "cell.weight*")
"""The output layer stays dense: with few classes it has fewer weights than the Erdős–Rényi rule would keep."""
# What the paper does not say, chosen on IMDb's validation split with test figures in sight (`test_in_sight`), and the
# same for all rows and data sets: small first word vectors, so that rare words say little, whole words dropped in
# training, forget gates that are nearly open at first, as only the last step is read, the learning rate along a cosine.
MODEL: Options = {
    "cell": "lstm",
    "pool": "last",
    "dropout": 0.5,
    "embedding_init": 0.02,
    "embedding_dropout": 0.3,
    "cell_options": {"forget_bias": 3.0},
}
WEIGHT_DECAY = 1e-6
FLOOR = 0.005


SPLIT_BY_SEED = Seeds(resplit=True)
APART = "tweets_apart"
HELD_BACK = 0.1
"""Of the training part, to choose the epoch; the paper names no validation part."""
RATE, BATCH = 0.2, 64
"""Of the sets for which the paper gives none: the nearest set's."""


@dataclass(frozen=True)
class Training:
    """How the networks of a data set are trained.

    Arguments:
        learning_rate, batch_size: Adam's, the examples in a step.
        epochs: at most. patience: epochs without a new best after which training ends.
        sparse_learning_rate: of the sparse networks, where they need another one than the dense.
    """

    learning_rate: float
    batch_size: int
    epochs: int
    patience: int = 3
    sparse_learning_rate: float | None = None


def paper_of(name: str) -> liu2021.TextSet:
    """What the paper has of a data set; tweets without near copies are tweets."""
    return liu2021.TEXTS["sanders" if name == APART else name]


def as_published(name: str, epochs: int, patience: int = 3) -> Training:
    """The paper's rate and batch; it gives no epochs."""
    paper = paper_of(name)
    return Training(paper.learning_rate, paper.batch_size or BATCH, epochs, patience)


@dataclass(frozen=True)
class Corpus:
    """One data set of the tables and how its networks are trained.

    Arguments:
        task: the data, as they are at the size "cpu" but for `cpu`.
        full: how the networks are trained at the size "full".
        smaller: how at "cpu" and "quick"; None: as at "full".
        cpu: options of the task at "cpu", where all of the data is too much for two cores.
        seeds: whether each draws a split of its own, as there is no official one.
        test_in_sight: what was chosen with test figures in sight, as `Measure` has it.
    """

    task: TextClassification
    full: Training
    smaller: Training | None = None
    cpu: Options = field(default_factory=dict)
    seeds: Seeds = Seeds()
    test_in_sight: str = "no"

    def training(self, size: Size) -> Training:
        return self.full if size == "full" or self.smaller is None else self.smaller


# The paper gives no epochs. On IMDb at "cpu" more and larger steps than its own, with which the sparse network learns
# very late. On the tweets it has not learned in 20 epochs at the paper's rate, which the dense one does better with.
CORPORA: dict[str, Corpus] = {
    "sanders": Corpus(
        SandersTwitter(),
        as_published("sanders", epochs=60, patience=20),
        Training(1e-3, 64, epochs=20, patience=10, sparse_learning_rate=4e-3),
        cpu={"length": 40},
        seeds=SPLIT_BY_SEED,
        test_in_sight="yes: rates and patience, with test figures of two of the splits (LOG.md)",
    ),
    "imdb": Corpus(
        Imdb(shares=(0.95, 0.05, 0)),
        as_published("imdb", epochs=40, patience=10),
        Training(2e-3, 64, epochs=7),
        test_in_sight="yes: first weights, dropout, rates and epochs, with test figures of one seed (LOG.md)",
    ),
    "yelp_2018": Corpus(Yelp2018(), as_published("yelp_2018", epochs=5), cpu={"limit": 50_000}, seeds=SPLIT_BY_SEED),
    "amazon": Corpus(
        AmazonFineFood(), as_published("amazon", epochs=5), cpu={"reviews": "sample"}, seeds=SPLIT_BY_SEED
    ),
    "ag_news": Corpus(AgNews(), as_published("ag_news", epochs=8), cpu={"train": "subset"}),
    "yelp_polarity": Corpus(YelpPolarity(), as_published("yelp_polarity", epochs=5)),
}
CORPORA[APART] = replace(CORPORA["sanders"], task=SandersTwitter(near_duplicates="drop"))
"""The tweets with the same test part, and no near copy of it in training."""
BASELINES = ("bag_of_words", "tfidf")
QUICK: Options = {"vocabulary": 500, "length": 20}


def methods(rate: float, eps: float, epochs: int) -> dict[str, Method | None]:
    """The rows of a data set: rewired once an epoch, every gate with an Erdős–Rényi budget.

    The rate of ST-RNN falls along a cosine, that of SET stays.
    """
    budget: Options = {"eps": eps, "distribution": "erdos_renyi", "per": "gate"}
    rewiring: Options = {"every": 1 / epochs, "rate": rate, "stop": 1.0, **budget}
    return {
        "dense": None,
        "st_rnn": STRNN(**rewiring, decay="cosine", floor=FLOOR),
        "set": SparseEvolutionaryTraining(**rewiring, decay="constant"),
        "static": Static(**budget),
    }


def rows(
    size: Size, names: Sequence[str], eps: float, kinds: Sequence[str], published: Mapping[str, float] | None = None
) -> list[AnyRow]:
    """Rows named DATA_METHOD for the given data sets; `published` has their accuracies, where they are known.

    Embedding 256, one LSTM of 256 units, the last 100 of 20,000 words: 5,644,288 weights without biases and output.
    """
    table = []
    for name in names:
        for kind in kinds:
            accuracy = (published or {}).get(f"{name}_{kind}")
            figures = {} if accuracy is None or size == "quick" else {"accuracy": accuracy}
            made = baseline_row(size, name, kind) if kind in BASELINES else network_row(size, name, kind, eps)
            table.append(replace(made, published=figures))
    return table


def network_row(size: Size, name: str, kind: str, eps: float, training: Training | None = None) -> Row:
    """One network of one data set; `training` says how it is trained if not as the others."""
    corpus = CORPORA[name]
    training = training or corpus.training(size)
    epochs = 2 if size == "quick" else training.epochs
    rate = training.learning_rate if kind == "dense" else training.sparse_learning_rate or training.learning_rate
    units = 16 if size == "quick" else WIDTH
    return Row(
        name=f"{name}_{kind}",
        task=task_at(size, name),
        options={"inputs": units, "units": units, **MODEL},
        method=methods(paper_of(name).rate or RATE, eps * units / WIDTH, epochs)[kind],
        settings=Settings(
            optimizer="adam",
            learning_rate=rate,
            weight_decay=WEIGHT_DECAY,
            batch_size=training.batch_size,
            valid_batch_size=500,
            epochs=epochs,
            schedule="cosine",
            patience=training.patience,
            where=MASKED,
        ),
        seeds=corpus.seeds,
        threads=1,
        measure=measured(corpus, size),
    )


def measured(corpus: Corpus, size: Size) -> Measure:
    """Nothing is timed; says what was chosen with test figures in sight."""
    in_sight = "no" if size == "quick" else corpus.test_in_sight
    return Measure(compact=False, test_batch_size=500, latency_batches=(), test_in_sight=in_sight)


def baseline_row(size: Size, name: str, kind: str) -> BaselineRow:
    """One baseline of one data set."""
    corpus = CORPORA[name]
    return BaselineRow(f"{name}_{kind}", task_at(size, name), kind, seeds=corpus.seeds, threads=1)


def task_at(size: Size, name: str) -> TextClassification:
    """The data of a set at a size."""
    corpus, paper = CORPORA[name], paper_of(name)
    options = {"quick": {**corpus.cpu, **QUICK}, "cpu": corpus.cpu, "full": {"unknown": "drop"}}[size]
    if size == "full" and paper.shares:
        options = {**options, "shares": held_back(*paper.shares)}
    if size == "full" and paper.limit:
        options = {**options, "limit": paper.limit}
    return replace(corpus.task, **options)


def held_back(train: float, test: float) -> tuple[float, float, float]:
    """Shares of training, validation and test: the paper's test part, and a part of its training part to validate."""
    return round((1 - HELD_BACK) * train, 4), round(HELD_BACK * train, 4), test


def stated(row: AnyRow) -> Stated:
    """What the paper states of a row: of the data, of the network and of its method."""
    name = next(name for name in CORPORA if row.name.startswith(f"{name}_"))
    if name == APART:
        return {}
    paper = paper_of(name)
    task: dict[str, object] = {
        "task.vocabulary": liu2021.TEXT_MODEL.vocabulary,
        "task.length": liu2021.TEXT_MODEL.length,
        "task.keep": NOT_STATED,
        "task.unknown": NOT_STATED,
        "task.shares": (paper.shares[0], 0, paper.shares[1]) if paper.shares else NOT_STATED,
        **({"task.limit": paper.limit} if paper.limit else {}),
    }
    if not isinstance(row, Row):
        return task
    rewired = {"rate": NOT_STATED if paper.rate is None else paper.rate}
    decayed = {"decay": NOT_STATED, "floor": NOT_STATED} if isinstance(row.method, STRNN) else {}
    moves = isinstance(row.method, (STRNN, SparseEvolutionaryTraining))
    return {
        **task,
        "model.options": {"inputs": WIDTH, "units": WIDTH, "cell": "lstm", **dict.fromkeys(UNSTATED, NOT_STATED)},
        "settings.optimizer": "adam",
        "settings.learning_rate": paper.learning_rate,
        "settings.batch_size": NOT_STATED if paper.batch_size is None else paper.batch_size,
        "settings.epochs": NOT_STATED,
        "settings.patience": NOT_STATED,
        "settings.schedule": NOT_STATED,
        "settings.weight_decay": NOT_STATED,
        **({"method": {**rewired, **decayed}} if moves else {}),
    }


UNSTATED = ("dropout", "embedding_dropout", "embedding_init", "cell_options.forget_bias")
CHOSEN = "chosen on IMDb's validation part, with test figures of one seed in sight (LOG.md)"


def compared(
    place: str, names: Sequence[str], *deviations: Deviation, moves: str = "*_st_rnn", stated: Facts = stated
) -> Paper:
    """A table of the section on text classification, and how the rows of its data sets differ from it.

    Arguments:
        moves: pattern of the rows in which ST-RNN rewires.
    """
    shared = (
        Deviation("task.keep", NOT_STATED, "last", "as Keras' padding does by default"),
        Deviation("task.unknown", NOT_STATED, "drop", "as Keras' tokenizer does by default"),
        Deviation("model.options.dropout", NOT_STATED, MODEL["dropout"], CHOSEN),
        Deviation("model.options.embedding_dropout", NOT_STATED, MODEL["embedding_dropout"], CHOSEN),
        Deviation("model.options.embedding_init", NOT_STATED, MODEL["embedding_init"], CHOSEN),
        Deviation("model.options.cell_options.forget_bias", NOT_STATED, 3.0, CHOSEN),
        Deviation("settings.schedule", NOT_STATED, "cosine", CHOSEN),
        Deviation("settings.weight_decay", NOT_STATED, WEIGHT_DECAY, CHOSEN),
        Deviation("method.decay", NOT_STATED, "cosine", "as in language modelling", moves),
        Deviation("method.floor", NOT_STATED, FLOOR, "of the authors' related code", moves),
    )
    by_set = (deviation for name in names for deviation in deviations_of(name))
    return Paper(liu2021.NAME, place, stated, (*shared, *by_set, *deviations))


def deviations_of(name: str) -> list[Deviation]:
    """What is our own about one data set."""
    if name == APART:
        return [Deviation(ROW, "none", f"{APART}_*", "no near copy of a test tweet in training", f"{APART}_*")]
    training, paper, rows = CORPORA[name].full, paper_of(name), f"{name}_*"
    split, shares = task_at("full", name).shares, (paper.shares[0], 0, paper.shares[1]) if paper.shares else NOT_STATED
    deviations = [
        Deviation("task.shares", shares, split, "a part of the training rows chooses the epoch", rows),
        Deviation("settings.epochs", NOT_STATED, training.epochs, "at most; the best on validation counts", rows),
        Deviation("settings.patience", NOT_STATED, training.patience, "epochs without a new best", rows),
    ]
    if paper.batch_size is None:
        deviations.append(Deviation("settings.batch_size", NOT_STATED, BATCH, "that of most other sets", rows))
    if paper.rate is None:
        deviations.append(Deviation("method.rate", NOT_STATED, RATE, "that of the other large sets", rows))
    return deviations


BASELINES_ARE_OURS = Deviation("baselines", "none", BASELINES, "what networks have to beat")
SCALED = {
    "imdb": (
        Scaled("settings.*", "at the paper's rate and batch the sparse network learns very late", "imdb_*"),
        Scaled("method.every", "one event an epoch, of fewer epochs", "imdb_*"),
    ),
    "sanders": (
        Scaled("task.length", "tweets are shorter: only the padding differs", "sanders_*"),
        Scaled("task.unknown", "as it was when the rows were run", "sanders_*"),
        Scaled("task.shares", "as they were when the rows were run", "sanders_*"),
        Scaled("settings.*", "fewer epochs, and steps with which the sparse network learns in them", "sanders_*"),
        Scaled("method.every", "one event an epoch, of fewer epochs", "sanders_*"),
    ),
    "yelp_2018": (Scaled("task.*", "the first 50,000 reviews, split otherwise", "yelp_2018_*"),),
    "amazon": (Scaled("task.*", "the sample of 1,000 reviews, split otherwise", "amazon_*"),),
    "ag_news": (Scaled("task.*", "a sixth of the training articles", "ag_news_*"),),
    "yelp_polarity": (Scaled("task.unknown", "unknown words stay as one word", "yelp_polarity_*"),),
}


SCALED[APART] = tuple(replace(one, rows=f"{APART}_*") for one in SCALED["sanders"])


def scaled(names: Sequence[str]) -> tuple[Scaled, ...]:
    """What the rows of these data sets have otherwise on a CPU."""
    return tuple(one for name in names for one in SCALED[name])
