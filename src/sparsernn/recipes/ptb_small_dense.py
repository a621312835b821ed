"""The small dense word language model of Penn Treebank, the starting point of the structured-sparsity papers."""

from __future__ import annotations

import dataclasses

from sparsernn.data.ptb_word import PtbWord
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.training.settings import Settings

STEPS = 20
EPOCHS: dict[Size, int] = {"full": 20, "cpu": 3, "quick": 1}
UNITS: dict[Size, int] = {"full": 200, "cpu": 200, "quick": 8}


def rows(size: Size) -> list[Row]:
    """The network scored after the last epoch, as the source does, and after its best validation epoch.

    The source sums the loss over the steps of a batch; here it is the mean over them, so the learning rate is
    multiplied and the clipping norm divided by the number of steps. The source's cells have one bias a gate, these
    have two, as torch's; the source's output bias starts in U(-0.1, 0.1), this one at 0.
    """
    last = Settings(
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
        settings=last,
        measure=Measure(compact=False, test_batch_size=1, latency_batches=()),
        published={"perplexity": 114.41} if size == "full" else {},
    )
    best = dataclasses.replace(last, keep="best", patience=3)
    return [dense, dataclasses.replace(dense, name="dense_best", settings=best)]


recipe = Recipe(
    title="Penn Treebank, words: the small dense LSTM language model (2 x 200)",
    source="Lobacheva et al. 2020, Table 1, small LSTM before pruning",
    rows=rows,
    default_size="full",
)
