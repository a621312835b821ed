"""Larger texts, a wide LSTM at 95 % sparsity (Zhang & Stadie 2020, Table 4)."""

from dataclasses import replace

from sparsernn.data.language_modelling import LanguageModelling
from sparsernn.data.one_billion_words import OneBillionWords
from sparsernn.data.wikitext2 import WikiText2
from sparsernn.data.wikitext103 import WikiText103
from sparsernn.experiments.deviations import Deviation
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import zhang2020, zhang2020_words
from sparsernn.recipes.papers import zhang2020_digits as digits

TASKS: dict[str, LanguageModelling] = {
    "wiki2": WikiText2(),
    "wiki103": WikiText103(),
    "1b": OneBillionWords(vocabulary=zhang2020.TEXTS["1b"].vocabulary),
}
UNITS: dict[Size, int] = {"full": zhang2020.TABLE_4.units, "cpu": 300, "quick": 8}
EMBEDDING: dict[Size, int] = {"full": zhang2020.TABLE_4.embedding, "cpu": 100, "quick": 8}
FRACTION: dict[Size, dict[str, float]] = {
    "cpu": {"wiki2": 0.25, "wiki103": 0.005, "1b": 0.001},
    "quick": {"wiki2": 0.002, "wiki103": 0.0001, "1b": 0.00001},
}
EPOCHS: dict[Size, dict[str, int]] = {"cpu": {"wiki2": 2}, "quick": {}}


def passes(size: Size, text: str) -> tuple[int, float]:
    """Epochs and the fraction of the text that is read in each: at "full" as many steps as the source has."""
    if size != "full":
        return EPOCHS[size].get(text, 1), FRACTION[size][text]
    paper = zhang2020.TEXTS[text]
    times = paper.steps * zhang2020.TRAINING.batch_size * zhang2020.TABLE_4.steps_read / paper.words
    return max(1, round(times)), min(1.0, round(times, 4))


def rows(size: Size) -> list[Row]:
    """Rows TEXT_METHOD. The perplexity is that of a random 1 % of the *training* text, as the source scores it.

    The embedding is random and frozen, N(0, 0.1²), windows of 20 words are read apart from each other, each from zero
    states.
    """
    table = []
    for text, task in TASKS.items():
        epochs, fraction = passes(size, text)
        part = replace(task, windows=True, test_on_train=zhang2020.TABLE_4_SCORED, fraction=fraction)
        table += zhang2020_words.methods(
            zhang2020_words.dense(size, f"{text}_dense", part, zhang2020.TABLE_4, UNITS[size], EMBEDDING[size], epochs),
            {"jacobian": digits.jacobian(), "random": digits.random()},
        )
    published = zhang2020.TABLE_4_PERPLEXITIES if size == "full" else {}
    return [
        replace(row, published={"perplexity": published[row.name]}) if row.name in published else row for row in table
    ]


recipe = Recipe(
    title="Larger texts: a wide LSTM with 95 % zeros",
    source="Zhang & Stadie 2020, Table 4",
    rows=rows,
    default_size="full",
    paper=zhang2020_words.beside(
        "Table 4",
        zhang2020.TABLE_4,
        Deviation("steps", 20_000, "12 passes of 1,632", "training counts passes", "wiki2_*"),
        Deviation("steps", 12_000, "the first 14.9 % of the text, once", "as many steps", "wiki103_*"),
        Deviation("steps", 30_000, "the first 4.8 % of the text, once", "as many steps", "1b_*"),
        *(
            Deviation("softmax", "1,000 negatives are drawn", "over all words", "there is no sampled softmax here", of)
            for of in ("wiki103_*", "1b_*")
        ),
    ),
    scaled=zhang2020_words.SCALED,
)
