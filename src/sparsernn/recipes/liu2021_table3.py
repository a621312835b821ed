"""Penn Treebank, recurrent highway network, 53 % sparse (Liu et al. 2021, Table 3)."""

from sparsernn.experiments.deviations import NOT_STATED, Deviation, Scaled
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import liu2021
from sparsernn.recipes.papers import liu2021_words as language

(SPARSITY,) = liu2021.HIGHWAY.sparsities
DISTRIBUTIONS = ("uniform", "er")
# Units of a dense network with about the weights that the sparse one keeps; as many are left by group lasso, for which
# the source has the same 11.1 of 23.5 million weights.
SMALL_UNITS: dict[Size, int] = {"full": 518, "cpu": 104, "quick": 4}


def rows(size: Size) -> list[Row]:
    """Rows METHOD_DISTRIBUTION, beside dense networks and group lasso on units (ISS).

    Depth 10 and 830 units at full size, depth 5 and 200 units on the first third of the text at the size "cpu".
    """
    words = language.Words("rhn", size)
    table = [words.row("dense", None)]
    for distribution in DISTRIBUTIONS:
        for name, method in words.methods(language.budget(distribution, SPARSITY)).items():
            label = f"{name}_{distribution}"
            table.append(words.row(label, method, published=liu2021.TABLE_3.get(label, {})))
    units = SMALL_UNITS[size]
    return [*table, words.small_dense("small_dense", units), words.iss("iss", units / words.options["units"])]


recipe = Recipe(
    title="Penn Treebank, words: a recurrent highway network with 53 % zeros",
    source="Liu et al. 2021, Table 3",
    rows=rows,
    paper=language.compared(
        "Table 3, on language modelling",
        *language.TRAINING,
        language.HIGHWAY_TRAINING,
        *language.HIGHWAY_RATES,
        *language.RATES_OF_RIVALS,
        *language.RIVALS,
        Deviation("model.options.units", NOT_STATED, SMALL_UNITS["full"], "as many weights as are kept", "small_dense"),
    ),
    scaled=(*language.SCALED, Scaled("method.sparsity", "as many units as the small dense network", "iss")),
)
