"""The dense product: every number of the weight, absent or not."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from sparsernn.kernels.product import Matrix, Product, Times


def refuses(matrix: Matrix) -> str | None:
    """Nothing is refused."""
    return None


def prepare(matrix: Matrix) -> Times:
    weight, bias = matrix.weight, matrix.bias
    if not matrix.diagonal:
        return lambda vector: F.linear(vector, weight, bias)

    def times(vector: Tensor) -> Tensor:
        product = vector.repeat(*[1] * (vector.dim() - 1), len(weight) // vector.shape[-1]) * weight
        return product if bias is None else product + bias

    return times


product = Product(90, refuses, prepare, "torch.nn.functional.linear")
