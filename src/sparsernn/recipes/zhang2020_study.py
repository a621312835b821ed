"""Which weights to keep before training: criteria, normalisers, budgets and scaling on four cells (our own study)."""

from __future__ import annotations

from sparsernn.methods.grasp import GraSP
from sparsernn.methods.jacobian_spectrum import JacobianSpectrum
from sparsernn.methods.method import Method
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.snip import SNIP
from sparsernn.methods.synflow import SynFlow
from sparsernn.recipes import zhang2020_digits as digits
from sparsernn.recipes.recipe import Recipe, Row, Size

SPARSITY = 0.95
SPARSITIES: dict[Size, tuple[float, ...]] = {"full": (0.90, 0.95, 0.98), "cpu": (SPARSITY,), "quick": (SPARSITY,)}
WIDTHS: dict[Size, tuple[int, ...]] = {"full": (100, 400), "cpu": (100,), "quick": (100,)}


def criteria(sparsity: float, part: str) -> dict[str, Method]:
    """Every criterion from the same first weights: as it is, then with a budget for each gate, then scaled up."""
    gate = {"sparsity": sparsity, "per": "gate"}
    found: dict[str, Method] = {
        "random": RandomPruning(sparsity, per="kernel"),
        "random_gate": RandomPruning(**gate),
        "snip": SNIP(sparsity),
        "snip_gate": SNIP(**gate),
        "snip_rounds": SNIP(sparsity, rounds=10),
        "grasp": GraSP(sparsity),
        "grasp_gate": GraSP(**gate),
        "synflow": SynFlow(sparsity),
        "jacobian": JacobianSpectrum(sparsity, part=part),
        "jacobian_paper": JacobianSpectrum(sparsity, reading="paper", part=part),
        "jacobian_frobenius": JacobianSpectrum(sparsity, functional="frobenius", part=part),
        "jacobian_raw": JacobianSpectrum(sparsity, normaliser="none", part=part),
        "jacobian_gate": JacobianSpectrum(**gate, part=part),
        "jacobian_first_order": JacobianSpectrum(sparsity, first_order=True, part=part),
    }
    for rescale in ("variance", "dense", "one", "isometry", "drive"):
        found[f"random_{rescale}"] = RandomPruning(sparsity, per="kernel", rescale=rescale)
        found[f"random_gate_{rescale}"] = RandomPruning(**gate, rescale=rescale)
        found[f"snip_gate_{rescale}"] = SNIP(**gate, rescale=rescale)
        found[f"jacobian_{rescale}"] = JacobianSpectrum(sparsity, part=part, rescale=rescale)
    return found


def rows(size: Size) -> list[Row]:
    """Rows CELL_UNITS_SPARSITY_CRITERION, all from Glorot's first weights; beside them dense networks.

    At the size "cpu" only the GRU of 100 units.
    """
    found = []
    for cell in digits.CELLS if size == "full" else ("gru",):
        for units in WIDTHS[size]:
            for label, method in (("dense", None), ("dense_drive", RandomPruning(0.0, rescale="drive"))):
                found.append(
                    digits.row(f"{cell}_{units}_{label}", size, method, cell=cell, units=units, init=digits.GLOROT)
                )
            for sparsity in SPARSITIES[size]:
                for name, method in criteria(sparsity, digits.PARTS.get(cell, "hidden")).items():
                    label = f"{cell}_{units}_{round(100 * sparsity)}_{name}"
                    found.append(digits.row(label, size, method, cell=cell, units=units, init=digits.GLOROT))
    return found


recipe = Recipe(
    title="Row-by-row MNIST: which weights to keep before training",
    source="none; beside Zhang & Stadie 2020",
    rows=rows,
)
