"""Row-by-row MNIST as Zhang & Stadie 2020 train it: what their tables have in common."""

from dataclasses import replace

from sparsernn.data.sequential_digits import SequentialDigits
from sparsernn.data.sequential_mnist import SequentialMnist
from sparsernn.data.task import Task
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import NOT_STATED, Deviation, Facts, Paper, Scaled, Stated
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
from sparsernn.recipes.papers.zhang2020 import NAME, TRAINING, accuracy
from sparsernn.training.settings import Settings

EPOCHS = TRAINING.digits_epochs
SPARSITY = TRAINING.sparsity
NORMAL = {"init": "normal", "init_scale": TRAINING.normal}
GLOROT = {"init": "glorot"}
CELLS: dict[str, Options] = {
    "rnn": {},
    "lstm": {"forget_bias": 1.0},
    "peephole_lstm": {"peephole": "full"},
    "gru": {"reset": "before"},
}
L2_RUNGS = TRAINING.l2_ladder[1:]
"""Their counter starts at the second rung."""


def task(size: Size) -> Task:
    """MNIST, 63,000 digits to train, 7,000 to validate and test, pixels from 0 to 0.1; 8x8 digits for a quick run."""
    if size == "quick":
        return SequentialDigits()
    return SequentialMnist(order="row", division="one_shot", scale=TRAINING.pixel_scale)


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
        error: the published validation error in per cent, which stands beside the row if it is trained as long.
        changes: fields of the row to be set otherwise.
    """
    width = 8 if size == "quick" else units
    whole = epochs(size, units) == EPOCHS
    published = {"accuracy": accuracy(error)} if error is not None and whole else {}
    made = Row(
        name=name,
        task=task(size),
        options={"cell": cell, "units": width, "cell_options": {**CELLS[cell], **init}},
        method=method,
        settings=Settings(
            learning_rate=TRAINING.learning_rate,
            epochs=epochs(size, units),
            batch_size=TRAINING.batch_size,
            valid_batch_size=500,
            keep="last",
        ),
        threads=None if size == "full" else 1,
        measure=Measure(compact=False, latency_batches=(), spectra=True),
        published=published,
    )
    return replace(made, **changes)


def jacobian(sparsity: float = SPARSITY, **changes: object) -> JacobianSpectrum:
    """The paper's own method, as its code computes it."""
    return replace(JacobianSpectrum(sparsity), **changes)


def random(sparsity: float = SPARSITY) -> RandomPruning:
    """Uniform over a layer's fused kernel."""
    return RandomPruning(sparsity, per="kernel")


def random_drive() -> RandomPruning:
    """What did best in `zhang2020_study`: the same at random, and what reads the input scaled to it."""
    return RandomPruning(SPARSITY, per="kernel", rescale="drive")


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


def l2() -> IterativeL2:
    """Along the ladder, every 10,000 of 49,000 steps; as that never reaches 95 %, equally spaced over fewer steps."""
    ladder = tuple(rung for rung in L2_RUNGS if rung <= SPARSITY)
    return IterativeL2(SPARSITY, ladder=ladder, every=0.8 / len(ladder))


def stated(row: AnyRow) -> Stated:
    """What the paper and its code state of every network that reads digits."""
    if not isinstance(row, Row):
        return {}
    pruned = isinstance(row.method, (JacobianSpectrum, SNIP, GraSP))
    return {
        "task": {"order": "row", "division": "one_shot", "scale": TRAINING.pixel_scale},
        "settings.optimizer": TRAINING.optimizer,
        "settings.learning_rate": TRAINING.learning_rate,
        "settings.batch_size": TRAINING.batch_size,
        "settings.epochs": TRAINING.digits_epochs,
        "settings.schedule": "constant",
        "settings.clip": None,
        "settings.weight_decay": 0.0,
        "settings.keep": NOT_STATED,
        **({"settings.scoring_examples": TRAINING.scored, "method.rounds": 1} if pruned else {}),
        **({"method.horizon": TRAINING.horizon} if isinstance(row.method, JacobianSpectrum) else {}),
        **first_weights(row),
    }


def first_weights(row: Row) -> Stated:
    """Those that the authors give a method: Glorot's to the normalised rivals, else N(0, 0.1^2)."""
    glorot = isinstance(row.method, (SNIP, GraSP)) and row.method.normaliser == "released"
    return {f"model.options.cell_options.{name}": value for name, value in (GLOROT if glorot else NORMAL).items()}


DEVIATIONS = (
    Deviation("settings.keep", NOT_STATED, "last", "the code keeps no other"),
    Deviation(
        "first weights of the softmax layer",
        "Glorot's (text), N(0, 0.1²) (code)",
        "torch's",
        "it is dense and learns in the first steps",
    ),
    Deviation(
        "wiring of the sparse GRU",
        "what is pruned for the update gate is trained as the candidate, and the other way round (code)",
        "each gate as it was scored",
        "an error of the code; zhang2020_wiring shows what it does",
    ),
)
SCORED = Deviation("settings.scoring_examples", TRAINING.scored, None, "the examples of a step, which are as many")
SCALED = (Scaled("settings.epochs", "above 100 units 50 epochs take too long on two cores"),)


def beside(place: str, *deviations: Deviation, stated: Facts = stated) -> Paper:
    """A table of the section "Evaluation", and how its rows differ from it."""
    return Paper(NAME, f'{place}, in "Evaluation"', stated, (*DEVIATIONS, SCORED, *deviations))
