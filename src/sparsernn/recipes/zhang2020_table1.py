"""Row-by-row MNIST, four cells of 400 units, 95 % sparse before training (Zhang & Stadie 2020, Table 1)."""

from sparsernn.experiments.deviations import Deviation
from sparsernn.experiments.recipe import Recipe, Size
from sparsernn.experiments.rows import Row
from sparsernn.recipes.papers import zhang2020
from sparsernn.recipes.papers import zhang2020_digits as digits

UNITS = zhang2020.DIGITS_UNITS


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
            table.append(digits.row(label, size, method, cell=cell, units=UNITS, error=zhang2020.TABLE_1.get(label)))
    return table


recipe = Recipe(
    title="Row-by-row MNIST: four cells, 95 % of the weights gone before training",
    source="Zhang & Stadie 2020, Table 1; Figures 1 to 3 are drawn from the same runs",
    rows=rows,
    default_size="full",
    paper=digits.beside(
        "Table 1",
        Deviation(
            "plain cell of the sparse rows", "without its tanh in training (code)", "with it", "an error", "rnn_*"
        ),
    ),
    scaled=digits.SCALED,
)
