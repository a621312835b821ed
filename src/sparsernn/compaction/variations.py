"""Inputs derived from an example: what else a model may be called with."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_flatten, tree_map

from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.examples import Example
from sparsernn.tracing.tensors import is_continuous

MOST_SIZES, MOST_RANGES = 4, 6
FACTORS = (-1.0, 10.0, 0.0)
OTHER_NUMBERS, STATE = "with other numbers", "with a start state"


@dataclass(frozen=True, eq=False)
class Trial:
    """One call with which the compacted model is compared with the masked one.

    Attributes:
        label: how it differs from the example that it was derived from: "with other numbers".
        exact: whether the model has to take it; one that was derived is left out where the masked model raises.
        followed: whether a line that it alone runs is followed at once, and not only where the outcome differs.
    """

    label: str
    example: Example
    exact: bool = False
    followed: bool = True


class Variations:
    """Every variation of one example.

    Arguments:
        model: the masked model.
        wiring: of it, for the numbers that ids may have.
        state_shapes: of each module that returned states, their shapes.
    """

    def __init__(self, model: nn.Module, wiring: Wiring, state_shapes: Mapping[str, list[tuple[int, ...]]]):
        self.model, self.wiring, self.state_shapes = model, wiring, state_shapes
        self.generator = torch.Generator().manual_seed(0)

    def of(self, example: Example) -> Iterator[Trial]:
        """Trials, the commonest kinds of calls first."""
        leaves, _ = tree_flatten((example.arguments, dict(example.keywords)))
        tensors = [leaf for leaf in leaves if isinstance(leaf, Tensor) and _is_plain(leaf)]
        yield Trial(OTHER_NUMBERS, self._map(example, self._other_numbers))
        for factor in FACTORS:
            yield Trial(f"with its numbers times {factor}", self._map(example, partial(_scaled, factor=factor)))
        yield Trial("with its rows in another order", self._map(example, _reversed_rows))
        for size in _sizes(tensors):
            for step in (1, -1) if size > 2 else (1,):
                resized = self._map(example, lambda leaf, size=size, step=step: _resized(leaf, size, step))
                label = f"of another size ({size + step} instead of {size})"
                yield Trial(label, self._map(resized, self._other_numbers))
        if all(tensor.device.type == "cpu" for tensor in tensors):
            yield from self._other_ids(example, tensors)
            yield from self._short_lengths(example)
        yield from self._other_options(example)
        yield from self._start_states(example)
        yield Trial("in the other mode", replace(example, training=not example.training))

    def _map(self, example: Example, change: Callable[[object], object]) -> Example:
        def changed(leaf: object) -> object:
            return leaf if isinstance(leaf, Tensor) and not _is_plain(leaf) else change(leaf)

        arguments, keywords = tree_map(changed, (example.arguments, dict(example.keywords)), is_leaf=_are_lengths)
        return replace(example, arguments=arguments, keywords=keywords)

    def _random(self, shape: tuple[int, ...] | torch.Size, like: Tensor | None = None) -> Tensor:
        numbers = torch.randn(shape, generator=self.generator)
        return numbers if like is None else numbers.to(like.device, like.dtype)

    def _other_numbers(self, leaf: object) -> object:
        """Ids and flags of those that are there, and random numbers; a tensor of zeros and ones keeps to them."""
        if not isinstance(leaf, Tensor) or not leaf.numel():
            return leaf
        if leaf.is_complex():
            return torch.view_as_complex(self._random((*leaf.shape, 2), torch.view_as_real(leaf)))
        values = leaf.detach()
        marks = bool(((values == 0) | (values == 1)).all()) and bool(values.any())
        if leaf.is_floating_point() and not marks:
            return self._random(leaf.shape, leaf)
        low, high = (0, 1) if marks else (int(values.min()), int(values.max()))
        return torch.randint(low, high + 1, leaf.shape, generator=self.generator).to(leaf.device, leaf.dtype)

    def _other_ids(self, example: Example, tensors: list[Tensor]) -> Iterator[Trial]:
        """Whole numbers below every number of units, and from the end: whoever counts fewer raises an error."""
        if all(is_continuous(tensor) or tensor.dtype == torch.bool for tensor in tensors):
            return
        sizes = {size for description in self.wiring.descriptions.values() for size in description.sizes.values()}
        for size in sorted(sizes, reverse=True)[:MOST_RANGES]:
            for low in (0, -size):

                def ids(leaf: object, low: int = low, size: int = size) -> object:
                    if not isinstance(leaf, Tensor) or is_continuous(leaf) or leaf.dtype == torch.bool:
                        return leaf
                    return torch.randint(low, low + size, leaf.shape, generator=self.generator).to(leaf.dtype)

                yield Trial(f"with ids from {low} to {low + size - 1}", self._map(example, ids))

    def _short_lengths(self, example: Example) -> Iterator[Trial]:
        """The shortest sequences there may be: a 0 or a 1 at one place of what may be lengths."""
        inputs = (example.arguments, dict(example.keywords))
        leaves = tree_flatten(inputs, is_leaf=lambda leaf: isinstance(leaf, PackedSequence))[0]
        numbers = [leaf for leaf in leaves if isinstance(leaf, Tensor) and leaf.dtype in (torch.int64, torch.int32)]
        lengths = [leaf for leaf in numbers if leaf.dim() == 1 and leaf.numel()]
        for changed in lengths[:MOST_SIZES]:
            for shortest in (0, 1):

                def shortened(leaf: object, changed: Tensor = changed, shortest: int = shortest) -> object:
                    if leaf is not changed:
                        return leaf
                    return torch.cat([changed[:-1], changed.new_tensor([shortest])])

                yield Trial(f"with {shortest} in place of a length", self._map(example, shortened), followed=False)

    def _other_options(self, example: Example) -> Iterator[Trial]:
        """Flags, numbers and names in the place of those that are given, one argument at a time."""
        for name, value in _bound(self.model, example).items():
            for other in self._others(value):
                if (changed := _with(self.model, example, {name: other})) is not None:
                    yield Trial(f"with {name}={other!r}", changed)

    def _others(self, value: object) -> list[object]:
        if isinstance(value, bool):
            return [not value]
        if isinstance(value, int):
            return [other for other in (0, 1, value + 1, -1) if other != value]
        if isinstance(value, float):
            return [other for other in (0.0, 1.0) if other != value]
        if isinstance(value, str):
            groups = [list(module) for module in self.model.modules() if isinstance(module, nn.ModuleDict)]
            return [other for group in groups if value in group for other in group if other != value]
        return []

    def _start_states(self, example: Example) -> Iterator[Trial]:
        """States in the place of optional arguments, and the other way round."""
        bound = _bound(self.model, example)
        optional = [name for name, default in _defaults(self.model).items() if default is None]
        for name in optional:
            if bound.get(name) is not None and (without := _with(self.model, example, {name: None})) is not None:
                yield Trial(f"without {name}", without)
        absent = [name for name in optional if bound.get(name) is None]
        shapes = {str(shapes): path for path, shapes in self.state_shapes.items()}
        states = [self._states(path) for path in shapes.values()]
        for name in absent:
            for state in (*states, states) if len(states) > 1 else states:
                if (changed := _with(self.model, example, {name: state})) is not None:
                    yield Trial(STATE, changed)
        for path in shapes.values() if len(absent) > 1 else ():
            one = self._states(path)
            parts = one if isinstance(one, tuple) else (one,)
            if (
                changed := _with(self.model, example, dict(zip(absent, parts * len(absent), strict=False)))
            ) is not None:
                yield Trial(STATE, changed)

    def _states(self, path: str) -> object:
        parameter = next(self.model.get_submodule(path).parameters(), None)
        first, *others = [self._random(shape, parameter) for shape in self.state_shapes[path]]
        return (first, *others) if others else first


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor has numbers, each in a place of its own: it is neither sparse, nested, quantised nor on meta."""
    return tensor.layout == torch.strided and not (tensor.is_nested or tensor.is_quantized or tensor.is_meta)


def _sizes(tensors: list[Tensor]) -> list[int]:
    """Sizes of dimensions that may be those of the batch or of time: the features come last, where there are any."""
    sizes = []
    for tensor in tensors:
        sizes += tensor.shape[: -1 if is_continuous(tensor) and tensor.dim() > 1 else None]
    return list(dict.fromkeys(size for size in sizes if size))[:MOST_SIZES]


def _are_lengths(leaf: object) -> bool:
    return type(leaf) is list and bool(leaf) and all(isinstance(value, int | float) for value in leaf)


def _resized(leaf: object, size: int, step: int) -> object:
    """One more at the end of every dimension of a size, equal to the last one, or one less."""
    if isinstance(leaf, list) and len(leaf) == size:
        return leaf + leaf[-1:] if step > 0 else leaf[:-1]
    if not isinstance(leaf, Tensor):
        return leaf
    for place in range(leaf.dim()):
        if leaf.shape[place] == size:
            last = leaf.narrow(place, size - 1, 1)
            leaf = torch.cat([leaf, last], place) if step > 0 else leaf.narrow(place, 0, size - 1)
    return leaf


def _scaled(leaf: object, factor: float) -> object:
    return leaf * factor if isinstance(leaf, Tensor) and is_continuous(leaf) else leaf


def _reversed_rows(leaf: object) -> object:
    return leaf.flip(0) if isinstance(leaf, Tensor) and leaf.dim() else leaf


def _defaults(model: nn.Module) -> dict[str, object]:
    try:
        parameters = inspect.signature(model.forward).parameters.values()
    except (TypeError, ValueError):
        return {}
    return {parameter.name: parameter.default for parameter in parameters}


def _bound(model: nn.Module, example: Example) -> dict[str, object]:
    """Arguments by the names that the forward has for them; none where it has no names."""
    try:
        bound = inspect.signature(model.forward).bind(*example.arguments, **example.keywords)
    except (TypeError, ValueError):
        return {}
    bound.apply_defaults()
    return bound.arguments


def _with(model: nn.Module, example: Example, changes: Mapping[str, object]) -> Example | None:
    """The example with other values of some arguments, or None where they cannot be set by name."""
    signature = inspect.signature(model.forward)
    try:
        bound = signature.bind(*example.arguments, **example.keywords)
        bound.arguments |= changes
        return replace(example, arguments=tuple(bound.args), keywords=dict(bound.kwargs))
    except (TypeError, ValueError):
        return None
