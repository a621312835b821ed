"""Penn Treebank, stacked LSTM, 67 % and 80 % sparse: seven ways to get there (Liu et al. 2021, Table 2)."""

from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import liu2021
from sparsernn.recipes.papers import liu2021_words as language

SPARSITIES = liu2021.STACKED_LSTM.sparsities
DISTRIBUTIONS = ("uniform", "er")
# Units of a dense network with the weights that the sparse one keeps; at full size the source's.
SMALL_UNITS: dict[Size, dict[float, int]] = {
    "full": dict(liu2021.SMALL_DENSE_UNITS),
    "cpu": {0.67: 72, 0.80: 44},
    "quick": {0.67: 3, 0.80: 2},
}
ISS_UNITS = sum(liu2021.ISS_UNITS) / (2 * liu2021.STACKED_LSTM.units)
"""The fraction of units that group lasso left: 21.8 of 66.0 million weights."""


def rows(size: Size) -> list[Row]:
    """Rows METHOD_DISTRIBUTION_SPARSITY, beside dense networks and group lasso on units (ISS).

    The source quotes its dense figure from another paper's recipe; here the dense network is trained as the sparse
    ones are. At the size "cpu" it is 2 x 200 units on the first third of the text, for 12 epochs.
    """
    words = language.Words("lstm", size)
    table = [words.row("dense", None, published=liu2021.TABLE_2["dense"])]
    for sparsity in SPARSITIES:
        percent = round(100 * sparsity)
        for distribution in DISTRIBUTIONS:
            for name, method in words.methods(language.budget(distribution, sparsity)).items():
                label = f"{name}_{distribution}_{percent}"
                table.append(words.row(label, method, published=liu2021.TABLE_2.get(label, {})))
        table.append(words.small_dense(f"small_dense_{percent}", SMALL_UNITS[size][sparsity]))
    return [*table, words.iss("iss_67", ISS_UNITS, liu2021.TABLE_2["iss_67"])]


recipe = Recipe(
    title="Penn Treebank, words: a stacked LSTM with 67 % and 80 % zeros",
    source="Liu et al. 2021, Table 2",
    rows=rows,
    paper=language.compared(
        "Table 2, on language modelling",
        *language.TRAINING,
        *language.STRNN_RATES,
        *language.RATES_OF_RIVALS,
        *language.RIVALS,
    ),
    scaled=language.SCALED,
)
