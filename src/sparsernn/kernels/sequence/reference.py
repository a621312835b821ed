"""One recurrent layer over a sequence, step by step in plain torch: the oracle of every other kernel."""

from collections.abc import Callable

from torch import Tensor

from sparsernn.kernels.product import Products
from sparsernn.kernels.products import dense
from sparsernn.kernels.registry import Kernel, Problem, State
from sparsernn.kernels.stepping import step_through


def run(problem: Problem, watch: Callable[[State], State] | None = None) -> tuple[Tensor, State]:
    """h_t, c_t = step(x_t, (h_{t-1}, c_{t-1})) of the cell, each product dense."""
    return step_through(problem, Products(problem, lambda matrix: dense.product), watch)


def refuses(problem: Problem) -> str | None:
    """Nothing is refused."""
    return None


kernel = Kernel("sequence", "reference", 90, refuses, run, "the cell's own equations")
