"""Row-by-row MNIST, GRU of 400 units at 90, 95 and 98 % sparsity (Zhang & Stadie 2020, Table 3)."""

from sparsernn.experiments.deviations import Deviation
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import zhang2020
from sparsernn.recipes.papers import zhang2020_digits as digits

UNITS = zhang2020.DIGITS_UNITS


def rows(size: Size) -> list[Row]:
    """Rows METHOD_SPARSITY. The source's column of parameters is that of an LSTM: a GRU keeps 3/4 of it."""
    published = zhang2020.TABLE_3
    table = [digits.row("dense", size, None, units=UNITS, error=published["dense"])]
    for sparsity in zhang2020.TABLE_3_SPARSITIES:
        percent = round(100 * sparsity)
        for name, method in (("jacobian", digits.jacobian(sparsity)), ("random", digits.random(sparsity))):
            label = f"{name}_{percent}"
            table.append(digits.row(label, size, method, units=UNITS, error=published.get(label)))
    return table


recipe = Recipe(
    title="Row-by-row MNIST: a GRU at three sparsities",
    source="Zhang & Stadie 2020, Table 3",
    rows=rows,
    default_size="full",
    paper=digits.beside(
        "Table 3",
        Deviation("column of parameters", "68.4k, 34.2k, 13.7k", "51.4k, 25.7k, 10.3k", "the source's are an LSTM's"),
    ),
    scaled=digits.SCALED,
)
