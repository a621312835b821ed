"""The main job: one network made sparse in several ways, compacted, scored and timed."""

from __future__ import annotations

from sparsernn.data.sequential_digits import SequentialDigits
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.st_rnn import STRNN
from sparsernn.recipes.recipe import Measure, Recipe, Row, Size
from sparsernn.training.settings import Settings

UNITS: dict[Size, int] = {"full": 256, "cpu": 256, "quick": 24}
EPOCHS: dict[Size, int] = {"full": 25, "cpu": 25, "quick": 4}


def rows(size: Size) -> list[Row]:
    """A dense network, networks made sparse from it or from the start, and a small dense one of equal bytes."""
    task, epochs = SequentialDigits(), EPOCHS[size]
    options = {"cell": "gru", "units": UNITS[size]}
    settings = Settings(learning_rate=3e-3, batch_size=32, epochs=epochs, clip=1.0)
    gentle = Settings(learning_rate=1e-3, batch_size=32, epochs=epochs, clip=1.0)
    measure = Measure(latency_seconds=2.0 if size == "quick" else 15.0)

    def row(name: str, **fields: object) -> Row:
        return Row(name, task, **{"options": options, "settings": settings, "measure": measure, **fields})

    return [
        row("dense"),
        row("small_dense", match="neurons"),
        row("neurons", method=Magnitude(sparsity=0.75, granularity="neuron"), start="dense", settings=gentle),
        row("st_rnn", method=STRNN(sparsity=0.9)),
        row("group_lasso", method=GroupLasso(strength=1e-3, granularity="neuron"), start="dense", settings=gentle),
    ]


recipe = Recipe(
    title="Sequential digits: one GRU, four ways to make it small",
    source="none; the digits of scikit-learn",
    rows=rows,
)
