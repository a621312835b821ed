"""The published collapse of SNIP and GraSP: the methods' own, or of two gates that change places? (our own study)."""

from dataclasses import replace

from sparsernn.experiments.deviations import Scaled
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.experiments.sources.exchange import Exchange
from sparsernn.recipes.papers import zhang2020_digits as digits

UNITS = 100
SWAPPED = ("update", "candidate")
EPOCHS = {"full": digits.EPOCHS, "cpu": 10, "quick": 1}


def rows(size: Size) -> list[Row]:
    """Rows METHOD and METHOD_swapped.

    Swapped rows emulate the authors' released GRU, which trains the kernel scored for the update gate as the candidate
    and the other way round. Of random masks that changes nothing but the draw.
    """
    table = []
    for name, (method, init) in digits.compared().items():
        for label, sources in ((name, ()), (f"{name}_swapped", (Exchange(SWAPPED),))):
            row = digits.row(label, size, method, units=UNITS, init=init, sources=sources)
            table.append(replace(row, settings=replace(row.settings, epochs=EPOCHS[size])))
    return table


recipe = Recipe(
    title="Row-by-row MNIST: pruning before training, with the released wiring of the GRU and the right one",
    source="none; about Zhang & Stadie 2020, Table 2",
    rows=rows,
    scaled=(Scaled("settings.epochs", "what the exchange does is seen in the first"),),
)
