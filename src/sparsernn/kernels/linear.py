"""Product of vectors with a dense matrix, for gradients that are written out, by the faster library that torch has."""

from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F


def linear(vectors: Tensor, weight: Tensor) -> Tensor:
    """`vectors @ weight.T`, not differentiable; small products on a CPU are quicker by oneDNN than by BLAS.

    Shapes: vectors [.. column], weight [row column] -> [.. row].
    """
    if vectors.dtype == torch.float32 and vectors.device.type == "cpu" and vectors.numel() and _has_one_dnn():
        return torch.ops.mkldnn._linear_pointwise(vectors, weight, None, "none", [], "")
    return F.linear(vectors, weight)


def packed(weight: Tensor, vectors: int) -> Tensor:
    """A weight laid out for many products with so many vectors each, if oneDNN will take them."""
    if weight.dtype == torch.float32 and weight.device.type == "cpu" and vectors and _has_one_dnn():
        return torch.ops.mkldnn._reorder_linear_weight(weight.contiguous(), vectors)
    return weight


@cache
def _has_one_dnn() -> bool:
    return torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_reorder_linear_weight")
