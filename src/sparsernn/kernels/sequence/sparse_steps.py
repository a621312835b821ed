"""One recurrent layer step by step, each product in the format that suits its weight: for cells without a kernel."""

from torch import Tensor

from sparsernn.kernels.patterns import reads_state
from sparsernn.kernels.product import Products, best, matrix_of, products
from sparsernn.kernels.registry import Kernel, Problem, State
from sparsernn.kernels.stepping import step_through


def run(problem: Problem) -> tuple[Tensor, State]:
    """As the reference, with the first format that does not refuse a weight."""
    return step_through(problem, Products(problem, lambda matrix: best(matrix)[1]))


def refuses(problem: Problem) -> str | None:
    """Where every weight that reads a state would be multiplied densely, as the reference does."""
    if problem.masks is None and all(problem.remembered(local) is None for local in problem.weights):
        return "nobody says which weights exist"
    readers = [local for local in problem.weights if reads_state(problem.cell.axes[local])]
    last = products()[-1][1]
    if all(best(matrix_of(problem, local))[1] is last for local in readers):
        return "no weight that reads a state is large and sparse enough for another product than the dense one"
    return None


kernel = Kernel("sequence", "sparse_steps", 60, refuses, run, "the cell's own equations")
