"""Row-by-row MNIST, GRU of 400 units from five kinds of first weights (Zhang & Stadie 2020, Table 6)."""

from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import NOT_STATED, Deviation, Stated
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import zhang2020
from sparsernn.recipes.papers import zhang2020_digits as digits

UNITS = zhang2020.DIGITS_UNITS
INITS = {
    "glorot": digits.GLOROT,
    "he": {"init": "he"},
    "normal_0.1": digits.NORMAL,
    "normal_1": {"init": "normal", "init_scale": 1.0},
    "uniform": {"init": "uniform", "init_scale": 0.1},
}


def rows(size: Size) -> list[Row]:
    """Rows METHOD_INIT. "he" is twice as wide as "glorot", as in the authors' code; the range of "uniform" is ours."""
    table = []
    for name, method in (("jacobian", digits.jacobian()), ("random", digits.random())):
        for kind, init in INITS.items():
            label = f"{name}_{kind}"
            table.append(digits.row(label, size, method, units=UNITS, init=init, error=zhang2020.TABLE_6.get(label)))
    return table


def stated(row: AnyRow) -> Stated:
    """As of every network that reads digits, with the first weights that the row is named after."""
    init = next(options for kind, options in INITS.items() if row.name.endswith(f"_{kind}"))
    weights = {"init_scale": NOT_STATED if init["init"] == "uniform" else init.get("init_scale", "none")}
    return {**digits.stated(row), "model.options.cell_options": {"init": init["init"], **weights}}


recipe = Recipe(
    title="Row-by-row MNIST: a GRU from five kinds of first weights",
    source="Zhang & Stadie 2020, Table 6",
    rows=rows,
    paper=digits.beside(
        "Table 6",
        Deviation("model.options.cell_options.init_scale", NOT_STATED, 0.1, "as wide as the normal ones", "*_uniform"),
        stated=stated,
    ),
    scaled=digits.SCALED,
)
