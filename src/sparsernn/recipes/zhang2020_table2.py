"""Row-by-row MNIST, GRUs of 100, 400 and 1600 units, seven ways to 95 % sparsity (Zhang & Stadie 2020, Table 2)."""

from __future__ import annotations

import dataclasses

from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import zhang2020_digits as digits

WIDTHS: dict[Size, tuple[int, ...]] = {"full": (100, 400, 1600), "cpu": (100, 400), "quick": (100,)}
# Units of a dense GRU with at most the weights that are left of 100, 400 and 1600 at 95 %.
SMALL_UNITS = {100: 14, 400: 79, 1600: 347}
PUBLISHED = {"jacobian_100": 3.09, "random_100": 2.78}


def rows(size: Size) -> list[Row]:
    """Rows METHOD_UNITS; random_drive_UNITS is our own, and random_drive_UNITS_long the same with all epochs where the
    others have fewer.
    """
    table = []
    for units in WIDTHS[size]:
        table.append(digits.row(f"dense_{units}", size, None, units=units))
        for name, (method, init) in digits.compared().items():
            label = f"{name}_{units}"
            table.append(digits.row(label, size, method, units=units, init=init, error=PUBLISHED.get(label)))
        scaled = digits.row(f"random_drive_{units}", size, digits.random_drive(), units=units, init=digits.GLOROT)
        table.append(scaled)
        if size == "cpu" and scaled.settings.epochs < digits.EPOCHS:
            longer = dataclasses.replace(scaled.settings, epochs=digits.EPOCHS)
            table.append(dataclasses.replace(scaled, name=f"{scaled.name}_long", settings=longer))
        table.append(digits.row(f"l2_{units}", size, digits.l2(size, units), units=units))
        table.append(digits.row(f"small_dense_{units}", size, None, units=SMALL_UNITS[units]))
    return table


recipe = Recipe(
    title="Row-by-row MNIST: GRUs, seven ways to 95 % sparsity",
    source="Zhang & Stadie 2020, Table 2; Table 7 (run times) is benchmarks/one_shot_cost.py",
    rows=rows,
)
