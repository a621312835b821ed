"""The main job: one network made sparse in several ways, compacted, scored and timed."""

from dataclasses import replace

from sparsernn.data.sequential_digits import SequentialDigits
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.experiments.sources.match import Match
from sparsernn.experiments.sources.start import Start
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.st_rnn import STRNN
from sparsernn.training.settings import Settings

UNITS: dict[Size, int] = {"full": 256, "cpu": 256, "quick": 24}
EPOCHS: dict[Size, int] = {"full": 20, "cpu": 20, "quick": 4}
SECONDS: dict[Size, float] = {"full": 15.0, "cpu": 15.0, "quick": 1.0}


def rows(size: Size) -> list[Row]:
    """A dense network, two made small from it, one sparse from the start, and a small dense one of equal bytes.

    Rows that do not start from the dense network train for as many epochs as it and its successors together.
    """
    epochs, start = EPOCHS[size], Start("dense")

    def row(name: str, learning_rate: float, epochs: int, **changes: object) -> Row:
        options = {"cell": "gru", "units": UNITS[size]}
        settings = Settings(learning_rate=learning_rate, batch_size=32, epochs=epochs, clip=1.0)
        measure = Measure(latency_seconds=SECONDS[size])
        plain = Row(name, SequentialDigits(), options=options, settings=settings, threads=1, measure=measure)
        return replace(plain, **changes)

    lasso = GroupLasso(strength=5e-3, granularity="neuron", threshold=0.01)
    return [
        row("dense", 3e-3, epochs),
        row("small_dense", 2e-3, 2 * epochs, sources=(Match("neurons"),)),
        row("neurons", 1e-3, epochs, method=Magnitude(sparsity=0.75, granularity="neuron"), sources=(start,)),
        row("st_rnn", 5e-3, 2 * epochs, method=STRNN(sparsity=0.9)),
        row("group_lasso", 3e-3, epochs, method=lasso, sources=(start,)),
    ]


recipe = Recipe(
    title="Sequential digits: a GRU, made small in four ways",
    source="none; the digits come with scikit-learn",
    rows=rows,
)
