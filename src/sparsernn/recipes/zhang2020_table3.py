"""Row-by-row MNIST, GRU of 400 units at 90, 95 and 98 % sparsity (Zhang & Stadie 2020, Table 3)."""

from __future__ import annotations

from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import zhang2020_digits as digits

UNITS = 400
SPARSITIES = (0.90, 0.95, 0.98)


def rows(size: Size) -> list[Row]:
    """Rows METHOD_SPARSITY. The source's column of parameters is that of an LSTM: a GRU keeps 3/4 of it."""
    table = [digits.row("dense", size, None, units=UNITS)]
    for sparsity in SPARSITIES:
        percent = round(100 * sparsity)
        for name, method in (("jacobian", digits.jacobian(sparsity)), ("random", digits.random(sparsity))):
            table.append(digits.row(f"{name}_{percent}", size, method, units=UNITS))
    return table


recipe = Recipe(
    title="Row-by-row MNIST: a GRU at three sparsities",
    source="Zhang & Stadie 2020, Table 3",
    rows=rows,
    default_size="full",
)
