"""Training that sees the rounding of the int8 formats: a network fine-tuned so loses less when it is packed.

with eight_bits(model):
    loss = criterion(model(x), target)
loss.backward()
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sparsernn.kernels.product import Matrix, Product, Products, Times
from sparsernn.kernels.products import dense
from sparsernn.kernels.registry import Problem, State
from sparsernn.kernels.stepping import step_through
from sparsernn.running.runner import Place, running_by
from sparsernn.running.torch_layers import is_run_here, require_run_here, run_as_before

LARGEST = 127


@contextmanager
def eight_bits(model: nn.Module) -> Iterator[None]:
    """Within the block the recurrent layers of a model compute as `runtime` does in an int8 format, and can be trained.

    Weights are rounded to 8 bits with a scale a row, what they multiply to 8 bits with a scale for each vector at each
    step; biases, numbers that multiply their own unit, states and outputs are not. Gradients pass as if nothing were
    rounded. Weights that are zero stay so. A few hundred steps at a tenth of the usual rate, from a trained network,
    are meant; every layer goes step by step.

    Source: Jacob et al. 2018 (rounding in training); Bengio et al. 2013 (gradients straight through).
    """
    with ExitStack() as around:
        for module in model.modules():
            if not is_run_here(module):
                require_run_here(module)
                around.callback(run_as_before, module)
        around.enter_context(running_by(_run))
        yield


def rounded(numbers: Tensor) -> Tensor:
    """Numbers as 8 bits hold them with a scale along the last dimension, the largest becoming 127.

    The gradient is that of the numbers. Shapes: any, the same.
    """
    with torch.no_grad():
        scales = numbers.abs().amax(-1, keepdim=True) / LARGEST
        whole = torch.round(numbers / torch.where(scales > 0, scales, 1))
        change = whole * scales - numbers
    return numbers + change


def _run(place: Place, problem: Problem) -> tuple[Tensor, State]:
    return step_through(problem, Products(problem, lambda matrix: _PRODUCT))


def _prepare(matrix: Matrix) -> Times:
    if matrix.diagonal:
        return dense.product.prepare(matrix)
    weight = rounded(matrix.weight)
    return lambda vector: F.linear(rounded(vector), weight, matrix.bias)


_PRODUCT = Product(0, lambda matrix: None, _prepare)
