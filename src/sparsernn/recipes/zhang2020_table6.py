"""Row-by-row MNIST, GRU of 400 units from five kinds of first weights (Zhang & Stadie 2020, Table 6)."""

from __future__ import annotations

from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import zhang2020_digits as digits

UNITS = 400
INITS = {
    "glorot": digits.GLOROT,
    "he": {"init": "he"},
    "normal_0.1": digits.NORMAL,
    "normal_1": {"init": "normal", "init_scale": 1.0},
    "uniform": {"init": "uniform", "init_scale": 0.1},
}
PUBLISHED = {
    "jacobian_glorot": 1.219,
    "jacobian_normal_0.1": 1.46,
    "random_glorot": 1.36,
    "random_normal_0.1": 1.50,
}


def rows(size: Size) -> list[Row]:
    """Rows METHOD_INIT. "he" is twice as wide as "glorot", as in the authors' code; the range of "uniform" is ours."""
    table = []
    for name, method in (("jacobian", digits.jacobian()), ("random", digits.random())):
        for kind, init in INITS.items():
            label = f"{name}_{kind}"
            table.append(digits.row(label, size, method, units=UNITS, init=init, error=PUBLISHED.get(label)))
    return table


recipe = Recipe(
    title="Row-by-row MNIST: a GRU from five kinds of first weights",
    source="Zhang & Stadie 2020, Table 6",
    rows=rows,
)
