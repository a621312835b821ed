"""Row-by-row MNIST, four cells of 400 units, 95 % sparse before training (Zhang & Stadie 2020, Table 1)."""

from __future__ import annotations

from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import zhang2020_digits as digits

UNITS = 400
PUBLISHED = {"rnn_dense": 7.08, "rnn_jacobian": 7.57}


def rows(size: Size) -> list[Row]:
    """Rows CELL_METHOD.

    The authors train their sparse plain cell without its tanh; here it has it. Their GRU feeds the pruned update block
    into the candidate and the other way round; see `zhang2020_table2` for rows that do so.
    """
    table = []
    for cell in digits.CELLS:
        methods = {"dense": None, "jacobian": digits.jacobian(), "random": digits.random()}
        for name, method in methods.items():
            label = f"{cell}_{name}"
            table.append(digits.row(label, size, method, cell=cell, units=UNITS, error=PUBLISHED.get(label)))
    return table


recipe = Recipe(
    title="Row-by-row MNIST: four cells, 95 % of the weights gone before training",
    source="Zhang & Stadie 2020, Table 1; Figures 1 to 3 are drawn from the same runs",
    rows=rows,
    default_size="full",
)
