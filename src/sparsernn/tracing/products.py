"""Products of tensors as equations in the letters of einsum."""

import string
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

from torch import Tensor

from sparsernn.tracing.calls import Call


class Equation(NamedTuple):
    """A product of tensors.

    Attributes:
        tensors: those that are multiplied.
        terms: the letters of each one's dimensions.
        result: the letters of the result's dimensions; the others are summed over.
        bias: a tensor that is added, or None.
        differences: whether differences are added up instead of products, so that both sides have to be zero.
    """

    tensors: list[Tensor]
    terms: list[str]
    result: str
    bias: Tensor | None = None
    differences: bool = False


class Pair(NamedTuple):
    """Two factors of a product that can be multiplied first.

    Attributes:
        left, right: their places; result: the letters that are left of them.
    """

    left: int
    right: int
    result: str


def next_pair(terms: Sequence[Sequence[str]], result: str) -> Pair | None:
    """The first two factors that share a letter which stands nowhere else; None where there are no such two."""
    for left, right in combinations(range(len(terms)), 2):
        elsewhere = set(result).union(*(term for place, term in enumerate(terms) if place not in (left, right)))
        letters = dict.fromkeys([*terms[left], *terms[right]])
        if set(terms[left]) & set(terms[right]) - elsewhere:
            return Pair(left, right, "".join(letter for letter in letters if letter in elsewhere))
    return None


def equation_of(call: Call) -> Equation | None:
    """The product that a function computes; None where it computes something else."""
    name, tensors = call.name, call.inputs
    if name in ("matmul", "__matmul__", "bmm", "mm", "mv", "dot", "vdot") and len(tensors) == 2:
        return Equation(tensors, *_matrices(tensors[0].dim(), tensors[1].dim()))
    if name == "__rmatmul__" and len(tensors) == 2:
        return Equation(tensors[::-1], *_matrices(tensors[1].dim(), tensors[0].dim()))
    if name in ("baddbmm", "addmm", "addmv") and len(tensors) == 3:
        return Equation(tensors[1:], *_matrices(tensors[1].dim(), tensors[2].dim()), tensors[0])
    if name == "linear" and len(tensors) in (2, 3):
        batch, bias = string.ascii_lowercase[: tensors[0].dim() - 1], tensors[2] if len(tensors) == 3 else None
        weight, written = ("OI", "O") if tensors[1].dim() == 2 else ("I", "")
        return Equation(tensors[:2], [f"{batch}I", weight], batch + written, bias)
    if name == "einsum":
        return _einsum(call)
    if name == "inner" and len(tensors) == 2:
        left, right = (string.ascii_lowercase[: tensors[0].dim() - 1], string.ascii_uppercase[: tensors[1].dim() - 1])
        return Equation(tensors, [f"{left}z", f"{right}z"], left + right)
    if name == "cdist":
        batch = string.ascii_lowercase[: tensors[0].dim() - 2]
        return Equation(tensors, [f"{batch}RI", f"{batch}CI"], f"{batch}RC", differences=True)
    if name == "cosine_similarity":
        place = call.argument(2, "dim", 1)
        dims = max(tensor.dim() for tensor in tensors)
        letters = string.ascii_lowercase[:dims]
        if not isinstance(place, int) or len(tensors) != 2:
            return None
        terms = [letters[dims - tensor.dim() :] for tensor in tensors]
        return Equation(tensors, terms, letters.replace(letters[place % dims], ""), differences=True)
    return None


def _matrices(left: int, right: int) -> tuple[list[str], str]:
    """The equation of a matrix product of tensors with so many dimensions."""
    batch = string.ascii_lowercase[: max(left, right, 2) - 2]
    first = "K" if left == 1 else batch[len(batch) - (left - 2) :] + "RK"
    second = "K" if right == 1 else batch[len(batch) - (right - 2) :] + "KC"
    return [first, second], batch + first.strip("K" + batch) + second.strip("K" + batch)


def _einsum(call: Call) -> Equation | None:
    text = call.argument(0, "equation")
    if not isinstance(text, str):
        return None
    terms, arrow, result = text.replace(" ", "").partition("->")
    terms, tensors = terms.split(","), call.inputs
    if not arrow:
        letters = sorted(set(terms[0] + "".join(terms[1:])) - {",", "."})
        result = "..." + "".join(letter for letter in letters if "".join(terms).count(letter) == 1)
    if len(terms) != len(tensors):
        return None
    spare = [letter for letter in string.ascii_letters if letter not in text]
    dots = max(tensor.dim() - len(term.replace("...", "")) for term, tensor in zip(terms, tensors, strict=True))
    batch = "".join(spare[:dots])
    whole = []
    for term, tensor in zip(terms, tensors, strict=True):
        count = tensor.dim() - len(term.replace("...", ""))
        whole.append(term.replace("...", batch[dots - count :]))
        if len(set(whole[-1])) < len(whole[-1]):
            return None
    return Equation(tensors, whole, result.replace("...", batch))
