"""Row-by-row MNIST as Zhang & Stadie 2020 train it: what their tables have in common."""

from __future__ import annotations

import dataclasses

from sparsernn.data.sequential_digits import SequentialDigits
from sparsernn.data.sequential_mnist import SequentialMnist
from sparsernn.data.task import Task
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.parts import Options
from sparsernn.experiments.recipe import Size
from sparsernn.experiments.rows import Row
from sparsernn.methods.grasp import GraSP
from sparsernn.methods.iterative_l2 import IterativeL2
from sparsernn.methods.jacobian_spectrum import JacobianSpectrum
from sparsernn.methods.method import Method
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.snip import SNIP
from sparsernn.training.settings import Settings

PIXEL_SCALE = 2550
EPOCHS = 50
SPARSITY = 0.95
NORMAL = {"init": "normal", "init_scale": 0.1}
GLOROT = {"init": "glorot"}
CELLS: dict[str, Options] = {
    "rnn": {},
    "lstm": {"forget_bias": 1.0},
    "peephole_lstm": {"peephole": "full"},
    "gru": {"reset": "before"},
}
L2_RUNGS = (0.4, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99)
"""Their counter starts at the second rung."""


def task(size: Size) -> Task:
    """MNIST, 63,000 digits to train, 7,000 to validate and test, pixels from 0 to 0.1; 8x8 digits for a quick run."""
    if size == "quick":
        return SequentialDigits()
    return SequentialMnist(order="row", division="one_shot", scale=PIXEL_SCALE)


def epochs(size: Size, units: int) -> int:
    """50, as the paper; on a CPU that takes too long above 100 units."""
    if size == "quick":
        return 1
    return EPOCHS if size == "full" or units <= 100 else 10


def row(
    name: str,
    size: Size,
    method: Method | None,
    *,
    cell: str = "gru",
    units: int = 400,
    init: Options = NORMAL,
    error: float | None = None,
    **changes: object,
) -> Row:
    """A row: Adam, 1e-3, batches of 64, no clipping, no dropout; the network of the last epoch counts.

    The softmax layer starts as torch has it, biases at 0, the LSTM's forget gate at 1.

    Arguments:
        init: of the cell's kernel, as options of `models.layers.make_cell`.
        error: the published validation error in per cent.
        changes: fields of the row to be set otherwise.
    """
    width = 8 if size == "quick" else units
    published = {} if error is None else {"accuracy": round(1 - error / 100, 5)}
    made = Row(
        name=name,
        task=task(size),
        options={"cell": cell, "units": width, "cell_options": {**CELLS[cell], **init}},
        method=method,
        settings=Settings(epochs=epochs(size, units), batch_size=64, valid_batch_size=500, keep="last"),
        threads=None if size == "full" else 1,
        measure=Measure(compact=False, latency_batches=(), spectra=True),
        published=published if size == "full" else {},
    )
    return dataclasses.replace(made, **changes)


def jacobian(sparsity: float = SPARSITY, **changes: object) -> JacobianSpectrum:
    """The paper's own method, as its code computes it."""
    return dataclasses.replace(JacobianSpectrum(sparsity), **changes)


def random(sparsity: float = SPARSITY) -> RandomPruning:
    """Uniform over a layer's fused kernel."""
    return RandomPruning(sparsity, per="kernel")


def random_drive(sparsity: float = SPARSITY) -> RandomPruning:
    """What did best in `zhang2020_study`: the same at random, and what reads the input scaled to it."""
    return RandomPruning(sparsity, per="kernel", rescale="drive")


def compared(sparsity: float = SPARSITY) -> dict[str, tuple[Method, Options]]:
    """The rivals by name, each with the first weights that the authors gave it."""
    return {
        "jacobian": (jacobian(sparsity), NORMAL),
        "random": (random(sparsity), NORMAL),
        "snip": (SNIP(sparsity), NORMAL),
        "snip_normalised": (SNIP(sparsity, normaliser="released"), GLOROT),
        "grasp": (GraSP(sparsity), NORMAL),
        "grasp_normalised": (GraSP(sparsity, normaliser="released"), GLOROT),
    }


def l2(size: Size, units: int, sparsity: float = SPARSITY) -> IterativeL2:
    """Along the ladder, every 10,000 of 49,000 steps; as that never reaches 95 %, equally spaced over fewer steps."""
    ladder = tuple(rung for rung in L2_RUNGS if rung <= sparsity)
    return IterativeL2(sparsity, ladder=ladder, every=0.8 / len(ladder))
