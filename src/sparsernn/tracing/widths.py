"""Widths of followed tensors, as numbers that notice when a forward computes with them."""

from collections.abc import Callable
from typing import Any, Self

# These take sizes; everywhere else a width is a number among others.
TAKE_SIZES = frozenset(
    """
    zeros ones empty rand randn new_zeros new_ones new_empty resize_ as_strided layer_norm pad unfold normal
    empty_strided zeros_like ones_like size
    """.split()
)


class Width(int):
    """A size of a tensor along its units: sums and products of sizes are widths too, quotients and powers are values.

    Arguments:
        number: the size.
        used: called when it is turned into a value.
    """

    used: Callable[[], None]

    def __new__(cls, number: int, used: Callable[[], None]) -> Self:
        width = super().__new__(cls, number)
        width.used = used
        return width

    def _give(self, other: object, result: Any) -> Any:
        if type(result) is int:
            return Width(result, self.used)
        if result is not NotImplemented or isinstance(other, float):
            self.used()
        return result

    def __add__(self, other: Any) -> Any:
        return self._give(other, super().__add__(other))

    def __radd__(self, other: Any) -> Any:
        return self._give(other, super().__radd__(other))

    def __sub__(self, other: Any) -> Any:
        return self._give(other, super().__sub__(other))

    def __rsub__(self, other: Any) -> Any:
        return self._give(other, super().__rsub__(other))

    def __mul__(self, other: Any) -> Any:
        return self._give(other, super().__mul__(other))

    def __rmul__(self, other: Any) -> Any:
        return self._give(other, super().__rmul__(other))

    def __floordiv__(self, other: Any) -> Any:
        return self._give(other, super().__floordiv__(other))

    def __truediv__(self, other: Any) -> Any:
        return self._give(other, super().__truediv__(other))

    def __rtruediv__(self, other: Any) -> Any:
        return self._give(other, super().__rtruediv__(other))

    def __pow__(self, other: Any, modulo: Any = None) -> Any:
        self.used()
        return super().__pow__(other, modulo)

    def __rpow__(self, other: Any, modulo: Any = None) -> Any:
        self.used()
        return super().__rpow__(other, modulo)

    def __float__(self) -> float:
        self.used()
        return super().__float__()

    def __reduce__(self) -> Any:
        return int, (int(self),)

    def __deepcopy__(self, memo: Any) -> int:
        return int(self)
