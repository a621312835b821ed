"""Product of one weight with vectors: what a format declares, and the products of a layer handed to its step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache, partial

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsernn import folders
from sparsernn.cells.cell import Cell
from sparsernn.kernels import torch_math
from sparsernn.kernels.registry import Problem

Times = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Matrix:
    """Some rows of a weight that a step multiplies with vectors.

    Attributes:
        weight: [row column]; [row] for a diagonal matrix, or a few of them one above the other.
        bias: added to the product. [row] or None
        existing: gives the mask of the whole weight, or None where nothing is known.
        rows: those of the whole weight that this is.
        diagonal: whether each row reads its own unit only.
        twice: whether the product will be differentiated twice.
    """

    weight: Tensor
    bias: Tensor | None
    existing: Callable[[], Tensor | None]
    rows: tuple[int, int]
    diagonal: bool = False
    twice: bool = False


@dataclass(frozen=True)
class Product:
    """One format of a weight.

    Attributes:
        rank: smaller is tried first.
        refuses: a sentence why it cannot take a matrix, or not well, or None.
        prepare: from a matrix to its product with vectors [.. column] -> [.. row]; called once a sequence.
        source: where it is from.
    """

    rank: int
    refuses: Callable[[Matrix], str | None]
    prepare: Callable[[Matrix], Times]
    source: str = ""


@cache
def products() -> tuple[tuple[str, Product], ...]:
    """Every format by name in the order tried."""
    return tuple(sorted(folders.entries("kernels.products").items(), key=lambda entry: (entry[1].rank, entry[0])))


def best(matrix: Matrix) -> tuple[str, Product]:
    """The first format that does not refuse a matrix; the last one takes all."""
    return next((name, product) for name, product in products() if product.refuses(matrix) is None)


class Products:
    """The products of one layer over one sequence, handed to the cell's step. See `cells.parts.arithmetic.Multiply`.

    Arguments:
        choose: the format of a matrix.
    """

    def __init__(self, problem: Problem, choose: Callable[[Matrix], Product]):
        self.problem, self.choose = problem, choose
        self.prepared: dict[tuple[str, tuple[str, ...] | None], Times] = {}

    def __call__(self, name: str, vector: Tensor | None = None, gates: tuple[str, ...] | None = None) -> Tensor | float:
        if vector is None:
            weight = self.problem.weights.get(name)
            return 0.0 if weight is None else weight
        times = self.prepared.get((name, gates))
        if times is None:
            times = self.prepared[name, gates] = self.prepare(name, gates)
        return times(vector)

    def prepare(self, name: str, gates: tuple[str, ...] | None) -> Times:
        """The product with some rows of a weight, factors included; they do not reach its bias."""
        matrix = matrix_of(self.problem, name, gates)
        column, row = self.problem.factors.get(name, (None, None))
        if self.problem.outgoing is not None and _reads_what_is_carried(self.problem.cell, name):
            column = self.problem.outgoing if column is None else column * self.problem.outgoing
        if row is None:
            times = self.choose(matrix).prepare(matrix)
            return times if column is None else lambda vector: times(vector * column)
        if gates is not None:
            row = row[..., self.problem.cell.rows(name, gates, row.shape[-1])]
        bias, plain = matrix.bias, replace(matrix, bias=None)
        without = self.choose(plain).prepare(plain)

        def times_row(vector: Tensor) -> Tensor:
            product = without(vector if column is None else vector * column) * row
            return product if bias is None else product + bias

        return times_row


def _reads_what_is_carried(cell: Cell, name: str) -> bool:
    return carries_output(cell) and cell.axes[name].endswith(f"<- {cell.state_axes[0]}")


@cache
def carries_output(cell: Cell) -> bool:
    """Whether a step of a cell passes its output on otherwise than through products, as a GRU does and an LSTM not."""
    if not cell.reads_state:
        return False
    sizes = cell.sizes(2, 2) | {"projection": 2}

    def multiply(name: str, vector: Tensor | None = None, gates: tuple[str, ...] | None = None) -> Tensor:
        rows = cell.rows(name, gates, cell.shape(name, sizes)[0])
        return torch.zeros(rows.stop - rows.start)

    with torch.enable_grad():
        states = tuple(torch.ones(sizes[axis], requires_grad=True) for axis in cell.state_axes)
        after = cell.step(cell.project(torch.zeros(2), multiply, torch_math), states, multiply, torch_math)
        moved = [state.sum() for state in after if state.requires_grad]
        if not moved:
            return False
        (slope,) = torch.autograd.grad(torch.stack(moved).sum(), states[:1], allow_unused=True)
    return slope is not None and bool(slope.any())


def matrix_of(problem: Problem, name: str, gates: tuple[str, ...] | None = None) -> Matrix:
    """Some rows of a weight with their bias and mask."""
    cell, weight, bias = problem.cell, problem.weights[name], _bias(problem, name)
    rows = cell.rows(name, gates, len(weight))
    if gates is not None:
        weight, bias = weight[rows], None if bias is None else bias[rows]
    existing = partial(problem.existing, name)
    return Matrix(weight, bias, existing, (rows.start, rows.stop), cell.is_diagonal(name), problem.twice)


def _bias(problem: Problem, name: str) -> Tensor | None:
    """The bias of a product; where it has fewer gates than the weight, the others have none. [row]"""
    height = len(problem.weights[name])
    local, rows = problem.cell.bias_rows(name, height)
    bias = problem.weights.get(local)
    if bias is None or len(bias) == height:
        return bias
    return F.pad(bias, (rows.start, height - rows.stop))
