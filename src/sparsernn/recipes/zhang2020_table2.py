"""Row-by-row MNIST, GRUs of 100, 400 and 1600 units, seven ways to 95 % sparsity (Zhang & Stadie 2020, Table 2)."""

from __future__ import annotations

import dataclasses

from sparsernn.recipes import zhang2020_digits as digits
from sparsernn.recipes.recipe import Recipe, Row, Size

WIDTHS: dict[Size, tuple[int, ...]] = {"full": (100, 400, 1600), "cpu": (100, 400), "quick": (100,)}
# Units of a dense GRU with at most the weights that are left of 100, 400 and 1600 at 95 %.
SMALL_UNITS = {100: 14, 400: 79, 1600: 347}
PUBLISHED = {"jacobian_100": 3.09, "random_100": 2.78}


def rows(size: Size) -> list[Row]:
    """Rows METHOD_UNITS; random_drive_UNITS is our own, and random_drive_UNITS_long the same with all epochs where the
    others have fewer.
    """
    found = []
    for units in WIDTHS[size]:
        found.append(digits.row(f"dense_{units}", size, None, units=units))
        for name, (method, init) in digits.compared().items():
            label = f"{name}_{units}"
            found.append(digits.row(label, size, method, units=units, init=init, error=PUBLISHED.get(label)))
        own = digits.row(f"random_drive_{units}", size, digits.own(), units=units, init=digits.GLOROT)
        found.append(own)
        if size == "cpu" and own.settings.epochs < digits.EPOCHS:
            longer = dataclasses.replace(own.settings, epochs=digits.EPOCHS)
            found.append(dataclasses.replace(own, name=f"{own.name}_long", settings=longer))
        found.append(digits.row(f"l2_{units}", size, digits.l2(size, units), units=units))
        found.append(digits.row(f"small_dense_{units}", size, None, units=SMALL_UNITS[units]))
    return found


recipe = Recipe(
    title="Row-by-row MNIST: GRUs, seven ways to 95 % sparsity",
    source="Zhang & Stadie 2020, Table 2; Table 7 (run times) is benchmarks/one_shot_cost.py",
    rows=rows,
)
