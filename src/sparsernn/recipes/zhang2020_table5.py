"""Penn Treebank, words, a GRU of 800 units at 0 to 98 % sparsity (Zhang & Stadie 2020, Table 5)."""

from dataclasses import replace

from sparsernn.data.ptb_word import PtbWord
from sparsernn.experiments.deviations import NOT_STATED, Deviation
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import zhang2020, zhang2020_words
from sparsernn.recipes.papers import zhang2020_digits as digits

UNITS: dict[Size, int] = {"full": zhang2020.TABLE_5.units, "cpu": 200, "quick": 8}
EMBEDDING: dict[Size, int] = {"full": zhang2020.TABLE_5.embedding, "cpu": 100, "quick": 4}
EPOCHS: dict[Size, int] = {"full": 20, "cpu": 5, "quick": 1}
# Dense GRUs of the source, with fewer weights.
SMALL_UNITS: dict[Size, tuple[int, ...]] = {"full": zhang2020.TABLE_5_SMALL, "cpu": (50, 25), "quick": (4,)}
FRACTION: dict[Size, float] = {"full": 1.0, "cpu": 1 / 3, "quick": 0.05}


def rows(size: Size) -> list[Row]:
    """Rows METHOD_SPARSITY, and dense networks of fewer units.

    No end-of-sentence token is added, so perplexities are not comparable with those of other tables. The embedding is
    random and frozen, and windows are read apart from each other, each from zero states.
    """
    task = PtbWord(end_of_sentence=False, windows=True, fraction=FRACTION[size])
    dense = zhang2020_words.dense(size, "dense", task, zhang2020.TABLE_5, UNITS[size], EMBEDDING[size], EPOCHS[size])
    small = [
        replace(dense, name=f"dense_{units}", options={**dense.options, "units": units}) for units in SMALL_UNITS[size]
    ]
    methods = {}
    for sparsity in zhang2020.TABLE_5_SPARSITIES:
        percent = round(100 * sparsity)
        methods |= {f"jacobian_{percent}": digits.jacobian(sparsity), f"random_{percent}": digits.random(sparsity)}
    first, *sparse = zhang2020_words.methods(dense, methods)
    return [first, *small, *sparse]


recipe = Recipe(
    title="Penn Treebank, words: a GRU at 0 to 98 % sparsity",
    source="Zhang & Stadie 2020, Table 5",
    rows=rows,
    default_size="full",
    paper=zhang2020_words.beside(
        "Table 5",
        zhang2020.TABLE_5,
        *(
            Deviation(
                "model.options.units", zhang2020.TABLE_5.units, units, "the source's small networks", f"dense_{units}"
            )
            for units in zhang2020.TABLE_5_SMALL
        ),
        Deviation("settings.epochs", NOT_STATED, EPOCHS["full"], "the last counts"),
    ),
    scaled=zhang2020_words.SCALED,
)
