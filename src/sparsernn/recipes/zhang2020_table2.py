"""Row-by-row MNIST, GRUs of 100, 400 and 1600 units, seven ways to 95 % sparsity (Zhang & Stadie 2020, Table 2)."""

from dataclasses import replace

from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import ROW, Deviation, Stated
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import zhang2020
from sparsernn.recipes.papers import zhang2020_digits as digits

WIDTHS: dict[Size, tuple[int, ...]] = {"full": zhang2020.TABLE_2_UNITS, "cpu": (100, 400), "quick": (100,)}
# Units of a dense GRU with at most the weights that are left of 100, 400 and 1600 at 95 %.
SMALL_UNITS = {100: 14, 400: 79, 1600: 347}

OURS = {"random_drive": "our own", "random_glorot": "its pair", "small_dense": "as many weights as are left"}


def rows(size: Size) -> list[Row]:
    """Rows METHOD_UNITS.

    random_drive_UNITS is our own, and random_drive_UNITS_long the same with all epochs where the others have fewer. It
    begins with Glorot's weights, so its pair is random_glorot_UNITS; random_UNITS begins with N(0, 0.1²), as the source
    has it.
    """
    published = zhang2020.TABLE_2
    table = []
    for units in WIDTHS[size]:
        table.append(digits.row(f"dense_{units}", size, None, units=units, error=published.get(f"dense_{units}")))
        for name, (method, init) in digits.compared().items():
            label = f"{name}_{units}"
            table.append(digits.row(label, size, method, units=units, init=init, error=published.get(label)))
        scaled = digits.row(f"random_drive_{units}", size, digits.random_drive(), units=units, init=digits.GLOROT)
        table.append(scaled)
        table.append(digits.row(f"random_glorot_{units}", size, digits.random(), units=units, init=digits.GLOROT))
        if size == "cpu" and scaled.settings.epochs < digits.EPOCHS:
            longer = replace(scaled.settings, epochs=digits.EPOCHS)
            table.append(replace(scaled, name=f"{scaled.name}_long", settings=longer))
        label = f"l2_{units}"
        table.append(digits.row(label, size, digits.l2(), units=units, error=published.get(label)))
        table.append(digits.row(f"small_dense_{units}", size, None, units=SMALL_UNITS[units]))
    return table


def stated(row: AnyRow) -> Stated:
    """As of every network that reads digits, if the paper has the row."""
    return {} if row.name.startswith(tuple(OURS)) else digits.stated(row)


recipe = Recipe(
    title="Row-by-row MNIST: GRUs, seven ways to 95 % sparsity",
    source="Zhang & Stadie 2020, Table 2; Table 7 (run times) is benchmarks/one_shot_cost.py",
    rows=rows,
    paper=digits.beside(
        "Table 2",
        *(Deviation(ROW, "none", f"{name}_*", why, f"{name}_*") for name, why in OURS.items()),
        Deviation(
            "rungs of L2",
            "every 10,000 of 49,000 steps, so 90 % at the end",
            "equally spaced, 95 % at the end",
            "the table's caption says 95 %",
            "l2_*",
        ),
        stated=stated,
    ),
    scaled=digits.SCALED,
)
