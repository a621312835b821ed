"""The product with a matrix stored row by row: only numbers that exist are multiplied (C++, `native/`)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from sparsernn.kernels import compiled, patterns
from sparsernn.kernels.patterns import Pattern, pattern_of
from sparsernn.kernels.product import Matrix, Product, Times
from sparsernn.kernels.products import dense

DENSEST = 0.15
SMALLEST = 1 << 18


class RowsTimes(torch.autograd.Function):
    """W v, given the numbers of W row by row. Shapes: values [number], vector [batch column] -> [batch row]."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, vector: Tensor, pattern: Pattern) -> Tensor:
        turned = vector.t().contiguous()
        product = vector.new_empty(1, pattern.height, len(vector))
        _product(pattern.rows, values.detach(), turned, product)
        ctx.pattern = pattern
        ctx.save_for_backward(values, turned)
        return product[0].t()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        values, turned = ctx.saved_tensors
        pattern, outer = ctx.pattern, outer.t().contiguous()
        by_vector = by_values = None
        if ctx.needs_input_grad[1]:
            by_vector = torch.empty_like(turned)
            _product(pattern.columns, values[pattern.turned], outer, by_vector.unsqueeze(0))
            by_vector = by_vector.t()
        if ctx.needs_input_grad[0]:
            by_values = torch.zeros_like(values)
            arrays = outer.unsqueeze(0).numpy(), 0, turned.unsqueeze(0).numpy(), by_values.numpy()
            pattern.rows.sampled(*arrays, torch.get_num_threads(), "")
        return by_values, by_vector, None


def _product(rows: Any, values: Tensor, vectors: Tensor, product: Tensor) -> None:
    rows.product(values.numpy(), vectors.unsqueeze(0).numpy(), product.numpy(), torch.get_num_threads(), "")


def prepare(matrix: Matrix) -> Times:
    mask = matrix.existing()
    if mask is None:
        raise ValueError("a product by rows needs a mask")
    pattern = pattern_of(mask, matrix.rows)
    values, bias, dense_times = pattern.values(matrix.weight), matrix.bias, dense.prepare(matrix)

    def times(vector: Tensor) -> Tensor:
        if not patterns.all_finite(vector):  # zeros have a say there
            return dense_times(vector)
        product = RowsTimes.apply(values, vector.flatten(0, -2), pattern).unflatten(0, vector.shape[:-1])
        return product if bias is None else product + bias

    return times


def refuses(matrix: Matrix) -> str | None:
    """What it cannot compute, or not faster than a dense product."""
    if matrix.diagonal:
        return "a diagonal matrix has no rows to leave out"
    if matrix.twice:
        return "it can be differentiated once"
    if (refusal := compiled.refuses(matrix.weight)) is not None:
        return refusal
    if matrix.weight.numel() < SMALLEST:
        return f"a step with fewer than {SMALLEST} numbers is quicker dense"
    mask = matrix.existing()
    if mask is None:
        return "nobody says which numbers of the weight exist"
    if (density := patterns.share(mask)) > DENSEST:
        return f"{density:.0%} of the numbers exist; above {DENSEST:.0%} a dense product is faster"
    return None


product = Product(10, refuses, prepare, "native/kernels/sparse_rows.cpp")
