"""Results of a compacted model: which of their units were cut, to be filled in where they go out."""

from collections.abc import Iterator, MutableMapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sparsernn.running.filled_results import Filled, FillResults
from sparsernn.structure.wiring import Wiring

Hook = TypeVar("Hook")


def filled_results(wiring: Wiring, alive: Tensor) -> FillResults:
    """How what the model returns gets its width back. alive: [units]"""
    return FillResults(_filled(wiring, alive))


def _filled(wiring: Wiring, alive: Tensor) -> Iterator[Filled]:
    done = set()
    for result in wiring.results:
        staying = alive[result.units.abs()]
        if bool(staying.all()) or (result.count, result.place) in done:
            continue
        done.add((result.count, result.place))
        dimension = unit_dimension(result.units)
        positions = torch.where(staying, staying.cumsum(dimension) - 1, -1)
        yield Filled(result.count, result.place, dimension - positions.dim(), positions)


def unit_dimension(units: Tensor) -> int:
    """The last dimension along which the units of a result change."""
    return max((place for place, size in enumerate(units.shape) if size > 1), default=units.dim() - 1)


def take_results(model: nn.Module) -> FillResults | None:
    """The hook of an earlier cut, taken off."""
    return taken(model._forward_hooks, FillResults)


def taken(hooks: MutableMapping[int, Any], kind: type[Hook]) -> Hook | None:
    """The hook of a kind, taken off; None if there is none."""
    number = next((number for number, hook in hooks.items() if isinstance(hook, kind)), None)
    return None if number is None else hooks.pop(number)


def fill_results(model: nn.Module, before: FillResults | None, results: FillResults) -> None:
    """Let the results of a model have the width that they had before this cut, and before an earlier one."""
    together = results if before is None else before.then(results)
    if together.tensors:
        model.register_forward_hook(together)
