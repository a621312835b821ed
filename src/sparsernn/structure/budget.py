"""How many weights (or groups) each tensor keeps: uniform, Erdős–Rényi, in proportion to importance; always exact."""

import math
from collections.abc import Sequence

from sparsernn.errors import UserError
from sparsernn.typed import is_of


def check_sparsity(sparsity: float) -> None:
    """Raises: UserError unless 0 <= sparsity < 1."""
    if not (is_of(sparsity, float) and 0 <= sparsity < 1):
        raise UserError(
            f"sparsity is {sparsity!r}", "a number in [0, 1), the fraction of zeros", "pass 0.9 for 90 % zeros"
        )


def check_fraction(value: float, name: str) -> None:
    """Raises: UserError unless 0 <= value <= 1."""
    if not (is_of(value, float) and 0 <= value <= 1):
        raise UserError(f"{name} is {value!r}", "a number in [0, 1]", f"pass {name} as a fraction")


def check_number(value: float, name: str) -> None:
    """Raises: UserError unless the value is a finite number, 0 or above."""
    if not (is_of(value, float) and 0 <= value < float("inf")):
        raise UserError(f"{name} is {value!r}", "a number, 0 or above", f"pass {name}=0.001, for example")


def check_positive(value: float, name: str) -> None:
    """Raises: UserError unless the value is a number above 0."""
    if not (is_of(value, float) and 0 < value < float("inf")):
        raise UserError(f"{name} is {value!r}", "a number above 0", f"pass {name}=1.0, for example")


def uniform(sizes: Sequence[int], sparsity: float) -> list[int]:
    """Every tensor keeps the same fraction, rounded, and never loses its last weight."""
    return [max(1, round((1 - sparsity) * size)) if size else 0 for size in sizes]


def erdos_renyi(shapes: Sequence[Sequence[int]], sparsity: float, power: float = 1.0) -> list[int]:
    """Denser where a tensor is small: density_l = eps (sum of the shape / product of the shape)^power, one global eps.

    With (fan-in, fan-out) as shapes this is the Erdős–Rényi rule, with whole shapes the rule for kernels (ERK). A
    tensor that would exceed density 1 is dense and eps is solved again over the others. The total is exact; every
    tensor keeps at least one weight.

    Arguments:
        shapes: (fan-in, fan-out), or the whole shape, of each tensor.
        power: 0 is uniform, 1 is Erdős–Rényi.
    Source: Mocanu et al. 2018, equation 3; Evci et al. 2020 for saturation, kernels and the power.
    """
    sizes, scales = [math.prod(shape) for shape in shapes], [_scale(shape, power) for shape in shapes]
    total = round((1 - sparsity) * sum(sizes))
    dense: set[int] = set()
    while True:
        free = [index for index in range(len(sizes)) if index not in dense]
        left = total - sum(sizes[index] for index in dense)
        scale = sum(scales[index] for index in free)
        if not free or scale == 0:
            return list(sizes)
        eps = max(left, 0) / scale
        over = [index for index in free if eps * scales[index] > sizes[index]]
        if not over:
            break
        dense.update(over)
    shares = [float(sizes[index]) if index in dense else eps * scales[index] for index in range(len(sizes))]
    return _none_empty(settle(shares, sizes, total), sizes)


def from_epsilon(shapes: Sequence[Sequence[int]], eps: float, power: float = 1.0) -> list[int]:
    """Erdős–Rényi with a given eps: a matrix keeps eps (n_in + n_out) weights, rounded, at most all of them."""
    return [min(math.prod(shape), round(eps * _scale(shape, power))) for shape in shapes]


def apportion(total: int, importance: Sequence[float], room: Sequence[int], evenly: bool = True) -> list[int]:
    """Whole shares of `total` in proportion to importance, none above its room; they add up to total if there is room.

    What does not fit is spread over the others, again and again: evenly, or in proportion to their importance.

    Source: Dettmers & Zettlemoyer 2019, appendix (evenly); Mostafa & Wang 2019, algorithm 1 (in proportion).
    """
    shares, left = [0.0] * len(room), float(min(total, sum(room)))
    weights = list(importance)
    while left > 1e-6:
        open_ = [index for index, most in enumerate(room) if shares[index] < most]
        if not sum(weights[index] for index in open_) > 0:
            weights = [1.0] * len(room)
        scale = sum(weights[index] for index in open_)
        for index in open_:
            shares[index] += left * weights[index] / scale
        left = sum(max(share - most, 0.0) for share, most in zip(shares, room, strict=True))
        shares = [min(share, float(most)) for share, most in zip(shares, room, strict=True)]
        weights = [1.0] * len(room) if evenly else weights
    return settle(shares, room, min(total, sum(room)))


def settle(shares: Sequence[float], sizes: Sequence[int], total: int) -> list[int]:
    """Whole counts nearest to the shares that add up to `total`, none above its size: largest remainders first."""
    counts = [min(int(value), size) for value, size in zip(shares, sizes, strict=True)]
    by_remainder = sorted(range(len(counts)), key=lambda index: (counts[index] - shares[index], index))
    left = total - sum(counts)
    while left > 0:
        open_ = [index for index in by_remainder if counts[index] < sizes[index]]
        if not open_:
            break
        for index in open_[:left]:
            counts[index] += 1
        left = total - sum(counts)
    return counts


def _scale(shape: Sequence[int], power: float) -> float:
    """The number of weights at eps = 1."""
    size = math.prod(shape)
    return size * (sum(shape) / size) ** power if size else 0.0


def _none_empty(counts: list[int], sizes: Sequence[int]) -> list[int]:
    """One weight for every tensor that has none, taken from the largest."""
    counts = list(counts)
    for index, size in enumerate(sizes):
        if size and not counts[index]:
            largest = max(range(len(counts)), key=counts.__getitem__)
            counts[largest] -= counts[largest] > 1
            counts[index] = 1
    return counts
