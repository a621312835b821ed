"""Which weights to keep before training: criteria, normalisers, budgets and scaling on four cells (our own study)."""

from dataclasses import replace
from typing import NamedTuple

from sparsernn.experiments.deviations import Scaled
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.methods.grasp import GraSP
from sparsernn.methods.jacobian_spectrum import JacobianSpectrum
from sparsernn.methods.method import Method
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.snip import SNIP
from sparsernn.methods.synflow import SynFlow
from sparsernn.recipes.papers import zhang2020_digits as digits

SPARSITY = 0.95
SPARSITIES = (0.90, SPARSITY, 0.98)
WIDTHS = (100, 400)
MAIN = ("random", "random_drive", "snip", "jacobian")
CPU_EPOCHS = 10


class Setting(NamedTuple):
    """What the criteria are compared on, and which of them; () is all."""

    cell: str
    units: int
    sparsity: float
    names: tuple[str, ...] = ()


def compared_on(size: Size) -> list[Setting]:
    """Everything at "full". At "cpu" all criteria on one GRU, and the main ones on other sparsities and cells."""
    if size == "full":
        return [Setting(cell, units, sparsity) for cell in digits.CELLS for units in WIDTHS for sparsity in SPARSITIES]
    others = [("gru", 0.90), ("gru", 0.98), ("rnn", SPARSITY), ("lstm", SPARSITY)] if size == "cpu" else []
    return [Setting("gru", 100, SPARSITY), *(Setting(cell, 100, sparsity, MAIN) for cell, sparsity in others)]


def criteria(sparsity: float) -> dict[str, Method]:
    """Every criterion from the same first weights: as it is, then with a budget for each gate, then scaled up."""
    gate = {"sparsity": sparsity, "per": "gate"}
    methods: dict[str, Method] = {
        "random": RandomPruning(sparsity, per="kernel"),
        "random_gate": RandomPruning(**gate),
        "snip": SNIP(sparsity),
        "snip_gate": SNIP(**gate),
        "snip_rounds": SNIP(sparsity, rounds=10),
        "grasp": GraSP(sparsity),
        "grasp_gate": GraSP(**gate),
        "synflow": SynFlow(sparsity),
        "jacobian": JacobianSpectrum(sparsity),
        "jacobian_paper": JacobianSpectrum(sparsity, reading="paper"),
        "jacobian_frobenius": JacobianSpectrum(sparsity, functional="frobenius"),
        "jacobian_raw": JacobianSpectrum(sparsity, normaliser="none"),
        "jacobian_gate": JacobianSpectrum(**gate),
        "jacobian_first_order": JacobianSpectrum(sparsity, first_order=True),
    }
    for rescale in ("variance", "dense", "one", "isometry", "drive"):
        methods[f"random_{rescale}"] = RandomPruning(sparsity, per="kernel", rescale=rescale)
        methods[f"random_gate_{rescale}"] = RandomPruning(**gate, rescale=rescale)
        methods[f"snip_gate_{rescale}"] = SNIP(**gate, rescale=rescale)
        methods[f"jacobian_{rescale}"] = JacobianSpectrum(sparsity, rescale=rescale)
    return methods


def rows(size: Size) -> list[Row]:
    """Rows CELL_UNITS_PERCENT_CRITERION, all from Glorot's first weights; beside the GRUs dense ones."""
    table = []
    settings = compared_on(size)
    changes = {} if size != "cpu" else {"epochs": CPU_EPOCHS}

    def add(label: str, method: Method | None, cell: str, units: int) -> None:
        made = digits.row(label, size, method, cell=cell, units=units, init=digits.GLOROT)
        table.append(replace(made, settings=replace(made.settings, **changes)))

    for cell, units in dict.fromkeys((one.cell, one.units) for one in settings if not one.names):
        add(f"{cell}_{units}_dense", None, cell, units)
        add(f"{cell}_{units}_dense_drive", RandomPruning(0.0, rescale="drive"), cell, units)
    for cell, units, sparsity, names in settings:
        for name, method in criteria(sparsity).items():
            if not names or name in names:
                add(f"{cell}_{units}_{round(100 * sparsity)}_{name}", method, cell, units)
    return table


recipe = Recipe(
    title="Row-by-row MNIST: which weights to keep before training",
    source="none; beside Zhang & Stadie 2020",
    rows=rows,
    scaled=(Scaled("settings.epochs", "many rows on two cores"),),
)
