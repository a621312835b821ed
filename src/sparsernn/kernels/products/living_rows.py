"""The product with a matrix of which many rows are empty, as those of constant gates are: only the others are taken."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from sparsernn.kernels.product import Matrix, Product, Times

EMPTIEST = 0.25
"""The least share of empty rows that pays for putting the others back in their places."""
SMALLEST = 1 << 16


def prepare(matrix: Matrix) -> Times:
    weight, bias, height = matrix.weight, matrix.bias, len(matrix.weight)
    places = _living(matrix).nonzero().squeeze(1)
    living = weight[places]

    def times(vector: Tensor) -> Tensor:
        product = F.linear(vector, living)
        zeros = (0 * vector.detach()).sum(-1, keepdim=True)  # not so where a number is not finite
        whole = zeros.expand(*product.shape[:-1], height).index_copy(-1, places, product)
        return whole if bias is None else whole + bias

    return times


def refuses(matrix: Matrix) -> str | None:
    """What it cannot compute, or not faster than a dense product."""
    if matrix.diagonal:
        return "a diagonal matrix has no rows to leave out"
    if matrix.weight.numel() < SMALLEST:
        return f"a step with fewer than {SMALLEST} numbers is quicker dense"
    if matrix.existing() is None:
        return "nobody says which numbers of the weight exist"
    if (empty := 1 - float(_living(matrix).float().mean())) < EMPTIEST:
        return f"{empty:.0%} of the rows are empty; below {EMPTIEST:.0%} a dense product is faster"
    return None


def _living(matrix: Matrix) -> Tensor:
    """Which rows have a weight. [row]"""
    mask = matrix.existing()
    if mask is None:
        return torch.ones(len(matrix.weight), dtype=torch.bool)
    return mask[slice(*matrix.rows)].any(1)


product = Product(20, refuses, prepare, "torch.nn.functional.linear")
