"""Penn Treebank, words, 2 x 200 LSTM units: pruning by weights, gates and neurons (Lobacheva et al. 2020, Table 1)."""

from dataclasses import replace

from sparsernn.experiments.deviations import ROW, Deviation, Paper, Scaled
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.experiments.sources.start import Start
from sparsernn.experiments.sources.teacher import Teacher
from sparsernn.methods.magnitude import Magnitude
from sparsernn.recipes.papers.lobacheva2020 import NAME, SMALL, TABLE_1
from sparsernn.recipes.papers.lobacheva2020_words import Words

WORDS = Words(
    TABLE_1["small"],
    SMALL,
    epochs={"full": SMALL.epochs, "cpu": SMALL.epochs, "quick": 2},
    units={"full": SMALL.units, "cpu": SMALL.units, "quick": 8},
)

# Our rows: dropout, and a rate that is held while weights go.
DROPOUT, LIGHT, LITTLE = 0.2, 0.1, 0.05
FIRST, LAST = 1.5 / SMALL.epochs, 7 / SMALL.epochs
OURS = replace(WORDS.settings(), decay=0.65, decay_after=8)
DECAYED = replace(OURS, decay=0.7, weight_decay=2e-6)
TEACHER = Teacher("dropout_dense")

# Gates and neurons in 6 epochs; what is next to nothing goes, and 14 without a penalty.
PENALTY = replace(WORDS.group_lasso("W+G+N"), strength=8.8e-5)
AT_ONCE = replace(PENALTY, strength=0.0, l1=0.0, zero_below=None, stop=0.0, threshold=0.01)
EARLY = replace(WORDS.settings(), decay=0.5, decay_after=3)
AGAIN = replace(DECAYED, learning_rate=10.0, schedule="cosine", warm_up=0.02)


def rows(size: Size) -> list[Row]:
    """The source's three rows, and our own: the same network with dropout, dense and pruned.

    *_weights: single weights of the LSTM layers. *_whole: of every matrix. *_structure: gates and neurons, by the
    source's penalty. light_*: half the dropout. Of taught_* most of the loss is the difference from dropout_dense:
    taught_structure is the source's row, taught_again goes on from early_structure, with the source's epochs in all.
    """
    every = replace(OURS, where=("*weight*",))
    return [
        *WORDS.published_rows(size),
        WORDS.row(size, "dropout_dense", None, DECAYED, DROPOUT),
        WORDS.row(size, "dropout_weights", gradual(0.9), DECAYED, DROPOUT),
        WORDS.row(size, "light_whole", gradual(0.88), every, LIGHT),
        taught(WORDS.row(size, "taught_structure", WORDS.group_lasso("W+G+N"))),
        part(WORDS.row(size, "early_structure", PENALTY, EARLY), 0.3),
        part(taught(WORDS.row(size, "taught_again", AT_ONCE, AGAIN, LITTLE), Start("early_structure")), 0.7),
        taught(WORDS.row(size, "taught_weights", gradual(0.9), DECAYED, LIGHT)),
    ]


def taught(row: Row, *start: Start) -> Row:
    """A row that learns from the dense network with dropout."""
    return replace(row, sources=(*start, TEACHER))


def part(row: Row, share: float) -> Row:
    """A row of a share of the epochs."""
    return replace(row, settings=replace(row.settings, epochs=max(1, round(share * row.settings.epochs))))


def gradual(sparsity: float) -> Magnitude:
    """Single weights, one ranking over all matrices, while the rate is high."""
    return Magnitude(sparsity=sparsity, scope="global", start=FIRST, stop=LAST, every=0.0025)


recipe = Recipe(
    title="Penn Treebank, words: a small LSTM language model (2 x 200) pruned by weights, gates and neurons",
    source="Lobacheva et al. 2020, Table 1, small LSTM",
    rows=rows,
    default_size="full",
    paper=Paper(
        NAME,
        "Table 1, small LSTM",
        WORDS.stated,
        (
            *WORDS.deviations(),
            Deviation(
                ROW, "none", "ours", "the same network with dropout, a rate held longer, other methods", "dropout_*"
            ),
            Deviation(ROW, "none", "ours", "the same with half the dropout", "light_*"),
            Deviation(ROW, "none", "ours", "a rate that falls sooner", "early_*"),
            Deviation(ROW, "none", "ours", "taught by our dense row", "taught_*"),
        ),
    ),
    scaled=(Scaled("task.fraction", "a third of the text is what one core reads in ten minutes"),),
)
