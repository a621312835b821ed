"""The small dense word language model of Penn Treebank, the starting point of the structured-sparsity papers."""

from __future__ import annotations

from sparsernn.data.ptb_word import PtbWord
from sparsernn.recipes.recipe import Measure, Recipe, Row, Size
from sparsernn.training.settings import Settings

STEPS = 20
EPOCHS: dict[Size, int] = {"full": 20, "cpu": 3, "quick": 1}
UNITS: dict[Size, int] = {"full": 200, "cpu": 200, "quick": 8}


def rows(size: Size) -> list[Row]:
    """One row.

    The source sums the loss over the steps of a batch; here it is the mean over them, so the learning rate is
    multiplied and the clipping norm divided by the number of steps. Its cells have one bias a gate, these have two
    (torch's), and its output bias starts in U(-0.1, 0.1) instead of at 0.
    """
    settings = Settings(
        optimizer="sgd",
        learning_rate=1.0 * STEPS,
        clip=5.0 / STEPS,
        epochs=EPOCHS[size],
        batch_size=20,
        schedule="step",
        decay=0.6,
        decay_after=4,
        keep="last",
    )
    dense = Row(
        name="dense",
        task=PtbWord(steps=STEPS),
        model="language_model",
        options={"units": UNITS[size], "layers": 2, "cell": "lstm", "init": 0.1},
        settings=settings,
        compact=False,
        measure=Measure(test_batch_size=1, latency_batches=()),
        published={"perplexity": 114.41} if size == "full" else {},
    )
    return [dense]


recipe = Recipe(
    title="Penn Treebank, words: the small dense LSTM language model (2 x 200)",
    source="Lobacheva et al. 2020, Table 1, small LSTM, original; test perplexity of the last epoch",
    rows=rows,
    default_size="full",
)
