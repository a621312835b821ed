"""Row-by-row MNIST: what the Jacobian's score needs, and width at equal weights (after Zhang & Stadie 2020)."""

from dataclasses import replace

from sparsernn.experiments.deviations import Scaled
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.recipes.papers import zhang2020_digits as digits

UNITS: dict[Size, int] = {"full": 400, "cpu": 100, "quick": 100}
EXAMPLES = (1, 8, 64, 512)
HORIZONS = (1, 2, 4, 8, 16, 28)
# Times the units of the first, at as many weights as it has at 95 %.
WIDENINGS = (0.5, 1, 2, 4)


def rows(size: Size) -> list[Row]:
    """Rows examples_P, horizon_U, and width_N_METHOD: GRUs of N units that keep the same number of weights."""
    units, table = UNITS[size], []
    base = digits.row("base", size, digits.jacobian(), units=units)
    for examples in EXAMPLES:
        settings = replace(base.settings, scoring_examples=examples)
        table.append(replace(base, name=f"examples_{examples}", settings=settings))
    for horizon in HORIZONS:
        table.append(replace(base, name=f"horizon_{horizon}", method=digits.jacobian(horizon=horizon)))
    for widening in WIDENINGS:
        width = round(widening * units)
        sparsity = round(1 - (1 - digits.SPARSITY) * weights(units) / weights(width), 6)
        methods = {
            "jacobian": digits.jacobian(sparsity),
            "random": digits.random(sparsity),
            "random_one": RandomPruning(sparsity, per="kernel", rescale="one"),
        }
        for name, method in methods.items():
            table.append(digits.row(f"width_{width}_{name}", size, method, units=width, init=digits.GLOROT))
    return table


def weights(units: int) -> int:
    """Of a GRU that reads rows of 28 pixels."""
    return 3 * units * (units + 28)


recipe = Recipe(
    title="Row-by-row MNIST: examples, horizon and width of one-shot pruning",
    source="none; what Zhang & Stadie 2020 leave to future work",
    rows=rows,
    default_size="full",
    scaled=(
        Scaled("model.options.units", "two cores"),
        Scaled("method.sparsity", "as many weights as the first width keeps"),
        *digits.SCALED,
    ),
)
