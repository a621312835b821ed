"""Results of a compacted model: which of their units were cut, to be filled in where they go out."""

import itertools
from collections.abc import Iterator, Mapping, MutableMapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sparsernn.running.filled_results import Filled, FillResults
from sparsernn.running.modules import Recurrent, RecurrentStep
from sparsernn.structure.description import Description
from sparsernn.structure.wiring import Wiring

Hook = TypeVar("Hook")
PACKED = (1, 3)
"""How many more tensors a result has where sequences are packed: their sizes, and how they were sorted."""


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


def filled_outputs(module: nn.Module, kept: Mapping[str, Tensor], description: Description) -> FillResults:
    """How the outputs and final states of one recurrent module get their width back.

    Arguments:
        kept: axis key -> indices of the units that stay.
    """

    def positions(key: str, start: int = 0) -> Tensor:
        places = torch.full((description.sizes[key],), -1)
        places[kept[key]] = torch.arange(start, start + len(kept[key]))
        return places

    starts = itertools.accumulate((len(kept[key]) for key in description.writes), initial=0)
    outputs = torch.cat([positions(key, start) for key, start in zip(description.writes, starts, strict=False)])
    states = [torch.stack([positions(key) for key in keys]).unsqueeze(1) for keys in description.states]
    tensors, packed = [state[0, 0] if len(state) == 1 else state for state in states], [0]
    if isinstance(module, nn.RNNBase | Recurrent):
        tensors, packed = [outputs, *tensors], [0, *PACKED]
    filled = []
    for others, (place, one) in itertools.product(packed, enumerate(tensors)):
        if bool((one < 0).any()):
            filled.append(Filled(len(tensors) + others, place + others if place else 0, -1, one))
    return FillResults(filled)


def may_be_wide(wiring: Wiring, path: str, model: nn.Module) -> bool:
    """Whether a module can go on giving its old width: a recurrent one whose own forward runs, without lines."""
    description = wiring.descriptions[path]
    if not description.states or description.lines or path in wiring.wrapped or not path:
        return False
    return isinstance(model.get_submodule(path), nn.RNNBase | nn.RNNCellBase | Recurrent | RecurrentStep)


def state_units(wiring: Wiring, path: str) -> Tensor:
    """The units of a recurrent module's states. [unit]"""
    return torch.cat([wiring.axes[path][key] for keys in wiring.descriptions[path].states for key in keys])


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
