"""One module with fewer units: which of its units stay, and the same module built from what is left."""

from __future__ import annotations

import base64
import itertools
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields
from dataclasses import replace as replace_fields
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsernn.compaction.liveness import complete_lines
from sparsernn.compaction.results import fill_results, filled_outputs, take_results, taken
from sparsernn.nn import module_of
from sparsernn.running.carried_states import NarrowStates, refuse_scripting
from sparsernn.running.modules import Recurrent, RecurrentStep
from sparsernn.runtime.patterns import Pattern, pack_pattern, unpack_pattern
from sparsernn.structure.description import Description
from sparsernn.structure.modules.recurrent import cell_of
from sparsernn.structure.neighbour import describe, exchange_parameters
from sparsernn.structure.wiring import Wiring

HISTORY = "_sparsernn_cuts"
"""The attribute of a cut model that says what was cut, one entry a time."""


@dataclass
class Cut:
    """What stays of one module.

    Attributes:
        kept: axis key -> indices of the units that stay.
        sizes: axis key -> number of units before.
        narrow: whether initial states of the old width may come in: some did, or final ones go out and may return.
        seen: for each state, axis keys of the layers whose final state the model reads; these have one width.
        wide: whether a recurrent module goes on giving its outputs and states in their old width, zeros filled in.
    """

    kept: dict[str, Tensor]
    sizes: dict[str, int]
    narrow: bool = False
    seen: list[list[str]] = field(default_factory=list)
    wide: bool = False

    @classmethod
    def of(cls, wiring: Wiring, path: str, alive: Tensor) -> Cut:
        """The cut of one module, from which units of the model stay. alive: [units]"""
        description, axes = wiring.descriptions[path], wiring.axes[path]
        kept = {key: alive[units].nonzero().squeeze(1) for key, units in axes.items()}
        narrow = path in wiring.fed or any(module == path for module, _ in wiring.handed_out)
        return cls(kept, dict(description.sizes), narrow, seen_layers(wiring, path))

    @property
    def changes(self) -> bool:
        """Whether any unit goes."""
        return any(len(kept) != self.sizes[key] for key, kept in self.kept.items())

    @property
    def state_widths(self) -> list[int | None]:
        """For each state the width of the layers that the model reads; None where it reads none."""
        return [max((len(self.kept[key]) for key in keys), default=None) for keys in self.seen]

    def widened(self, description: Description) -> Cut:
        """The same, but that what the module takes and gives keeps its old width."""
        return replace_fields(self, narrow=True, seen=[list(keys) for keys in description.states], wide=True)

    def is_even(self, keys: Iterable[str]) -> bool:
        """Whether these axes stay equally wide."""
        return len({len(self.kept[key]) for key in keys}) == 1

    def select(self, description: Description, local: str, tensor: Tensor) -> Tensor:
        """The surviving part of a parameter of the old module, or of a mask of it."""
        part = next(part for part in description.parts if part.name == local)
        named = part.layout.view(tensor)
        for place, axis in enumerate(part.layout.stored):
            if axis != "gate":
                named = named.index_select(place, self._indices(part.axes[axis]).to(named.device))
        return part.layout.stack(named).contiguous() if tensor.dim() < len(part.layout.stored) else named.contiguous()

    def _indices(self, keys: tuple[str, ...]) -> Tensor:
        starts = [0, *itertools.accumulate(self.sizes[key] for key in keys)]
        return torch.cat([self.kept[key] + start for key, start in zip(keys, starts, strict=False)])

    def as_json(self) -> dict[str, object]:
        """What `from_json` reads back: of an axis that is cut, the pattern of what stays."""
        kept = {}
        for key, units in self.kept.items():
            flags = np.zeros(self.sizes[key], bool)
            flags[units.numpy()] = True
            code, data = pack_pattern(flags)
            if code != "all":
                kept[key] = [code, base64.b64encode(data.tobytes()).decode()]
        saved: dict[str, object] = {
            "kept": kept,
            "sizes": self.sizes,
            "narrow": self.narrow,
            "widen": [],
            "seen": self.seen,
        }
        return saved | ({"wide": True} if self.wide else {})

    @classmethod
    def from_json(cls, saved: Mapping[str, Any], sizes: Mapping[str, int]) -> Cut:
        """A cut of a module with these sizes.

        Raises: ValueError, KeyError or TypeError for anything that `as_json` cannot have written.
        """
        if dict(saved["sizes"]) != dict(sizes) or not sizes:
            raise ValueError("a module has other sizes than those that were cut")
        patterns = dict(saved["kept"])
        if not set(patterns) <= set(sizes):
            raise ValueError("its axes have no sizes")
        kept = {key: _units(patterns.get(key, ["all", ""]), size, key) for key, size in sizes.items()}
        if saved["widen"] != []:
            raise ValueError("its states go out in their old width, as earlier versions had it")
        seen = []
        for keys in saved["seen"]:
            seen.append([key for key in keys if len(kept[key])])
        return cls(kept, dict(sizes), saved["narrow"] is True, seen, saved.get("wide") is True)


def _units(saved: Any, size: int, key: str) -> Tensor:
    """Numbers of the units that stay, from a pattern, or from a list of them as earlier versions wrote."""
    if isinstance(saved, list) and len(saved) == 2 and all(isinstance(part, str) for part in saved):
        data = np.frombuffer(base64.b64decode(saved[1], validate=True), np.uint8)
        units = torch.from_numpy(np.flatnonzero(unpack_pattern(Pattern(saved[0], data), size)))
        if not len(units):
            raise ValueError(f"no unit of {key} stays")
        return units
    if not all(type(unit) is int for unit in saved):
        raise TypeError(f"the units of {key} are not whole numbers")
    if not saved or saved != sorted(set(saved)) or saved[0] < 0 or saved[-1] >= size:
        raise ValueError(f"the units of {key} are not increasing numbers below {size}")
    return torch.tensor(saved, dtype=torch.long)


def seen_layers(wiring: Wiring, path: str) -> list[list[str]]:
    """For each state of a module, the axis keys of the layers and directions whose final state the model reads."""
    seen = []
    for index, keys in enumerate(wiring.descriptions[path].states):
        read = wiring.states_read.get((path, index), set())
        seen.append([key for key in keys if read & set(wiring.axes[path][key].tolist())])
    return seen


def equalise(wiring: Wiring, alive: Tensor, uniform: bool = False) -> Tensor:
    """Bring dead units back where a common width is needed.

    Layers whose final state is read by the model become equally wide (all layers if `uniform`, or of a subclass with a
    forward of its own, which has to stay), as do rows of units
    that the forward splits evenly, and a projected layer stays wider than its projection: torch knows projections by
    that. Lines and groups stay complete. Words stay where the
    map from ids to rows would take more than theirs.
    """
    alive = alive.clone()
    while True:
        before = alive.clone()
        for path, description in wiring.descriptions.items():
            for keys in description.states if uniform or path in wiring.wrapped else seen_layers(wiring, path):
                rows = [wiring.axes[path][key] for key in keys]
                width = max((int(alive[row].sum()) for row in rows), default=0)
                for row in rows:
                    _revive(alive, row, width)
            projected = len(description.states) > 1 and not description.lines
            for key, inner in zip(*description.states[:2], strict=True) if projected else ():
                if key != inner:
                    _revive(alive, wiring.axes[path][inner], int(alive[wiring.axes[path][key]].sum()) + 1)
            for key, size in description.whole.items():
                groups = wiring.axes[path][key].view(-1, size)
                alive[groups[alive[groups].any(1)]] = True
            for key, least in description.numbered.items():
                if _numbers_of_dead(wiring, path, key, alive) <= least:
                    alive[wiring.axes[path][key]] = True
        for rows in wiring.even:
            for row in rows:
                _revive(alive, row, int(alive[rows].sum(1).max()))
        complete_lines(wiring, alive)
        if torch.equal(alive, before):
            return alive


def _numbers_of_dead(wiring: Wiring, path: str, key: str, alive: Tensor) -> int:
    """How many weights go with the dead units of an axis."""
    description, axes = wiring.descriptions[path], wiring.axes[path]
    dead, numbers = int((~alive[axes[key]]).sum()), 0
    for part in description.parts:
        others = [other for keys in part.axes.values() for other in keys if other != key]
        if any(key in keys for keys in part.axes.values()):
            numbers += dead * math.prod(int(alive[axes[other]].sum()) for other in others)
    return numbers


def _revive(alive: Tensor, row: Tensor, width: int) -> None:
    alive[row[~alive[row]][: max(0, width - int(alive[row].sum()))]] = True


class Replacements:
    """New parameters for old ones, so that tied weights stay tied."""

    def __init__(self) -> None:
        self._pairs: dict[int, tuple[nn.Parameter, nn.Parameter]] = {}

    def of(self, parameter: nn.Parameter, make: Callable[[], Tensor]) -> nn.Parameter:
        """What replaces a parameter; `make()` gives its values the first time."""
        if id(parameter) not in self._pairs:
            self._pairs[id(parameter)] = (parameter, nn.Parameter(make().clone(), parameter.requires_grad))
        return self._pairs[id(parameter)][1]

    def settle(self, model: nn.Module) -> None:
        """Let the old parameters hold the new values, in the place of the new ones: whoever refers to them sees it."""
        for old, new in self._pairs.values():
            if old.is_meta:
                continue
            old.data = new.data
            exchange(model, new, old)


def resize(module: nn.Module, cut: Cut, replacements: Replacements) -> nn.Module:
    """The module with the units of `cut`: itself, or one of `sparsernn.nn` where its layers have unequal widths.

    Raises: ValueError if the module has other sizes than those that were cut.
    """
    description = describe(module)
    if description is None or description.sizes != cut.sizes:
        raise ValueError(f"{type(module).__name__} has other sizes than those that were cut")
    seen = {key for keys in cut.seen for key in keys}
    if not seen <= set(cut.kept):
        raise ValueError(f"{type(module).__name__} has other states than those that were cut")
    tensors = {}
    for part in description.parts:
        old = module.get_parameter(part.name)
        tensors[part.name] = replacements.of(
            old, lambda old=old, name=part.name: cut.select(description, name, old.detach())
        )
    if isinstance(module, nn.RNNBase) and not all(cut.is_even(keys) for keys in description.states):
        module = _of_unequal_widths(module)
    small = (
        module.resized(cut, tensors)
        if isinstance(module, Recurrent | RecurrentStep)
        else exchange_parameters(module, tensors, cut.kept)
    )
    _exchange_states(small, cut, description)
    if cut.wide:
        fill_results(small, take_results(small), filled_outputs(small, cut.kept, description))
    return small


def _parameter_at(model: nn.Module, path: str) -> nn.Parameter | None:
    """The parameter of this name, which a forward reads itself; None where a module stands there."""
    owner, _, name = path.rpartition(".")
    return vars(model.get_submodule(owner))["_parameters"].get(name)


def cut_at(model: nn.Module, path: str, cut: Cut, replacements: Replacements) -> None:
    """Leave only the units of `cut` in one of a model's modules, or in a parameter that its forward reads itself.

    Raises: ValueError if these have other sizes than those that were cut.
    """
    if (parameter := _parameter_at(model, path)) is None:
        replace(model, path, resize(model.get_submodule(path), cut, replacements))
        return
    if list(cut.sizes.values()) != list(parameter.shape):
        raise ValueError(f"{path} has other sizes than those that were cut")

    def left() -> Tensor:
        values = parameter.detach()
        for place, units in enumerate(cut.kept.values()):
            values = values.index_select(place, units.to(values.device))
        return values

    exchange(model, parameter, replacements.of(parameter, left))


def exchange(model: nn.Module, old: Tensor, new: Tensor) -> None:
    """Put a parameter or buffer in the place of another, wherever that is registered."""
    for module in model.modules():
        for registered in (module._parameters, module._buffers):
            for name in [name for name, tensor in registered.items() if tensor is old]:
                setattr(module, name, new)


def sizes_at(model: nn.Module, path: str) -> dict[str, int]:
    """Axis key -> number of units, of a known module or of a parameter that a forward reads itself."""
    if (parameter := _parameter_at(model, path)) is not None:
        return {f"axis_{place}": size for place, size in enumerate(parameter.shape)}
    description = describe(model.get_submodule(path))
    return {} if description is None else description.sizes


def replace(model: nn.Module, path: str, module: nn.Module) -> None:
    """Let a module become another one: whoever refers to it, registered or not, sees the other one."""
    old = model.get_submodule(path)
    if module is not old:
        members = dict(vars(module))
        vars(old).clear()
        old.__class__ = type(module)
        vars(old).update(members)


def _of_unequal_widths(module: nn.RNNBase) -> nn.Module:
    """The same layers as one of the modules of this package, which may differ in width."""
    cell = cell_of(module)
    names = ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional", "proj_size")
    shape = {name: getattr(module, name) for name in names}
    options = {field.name: getattr(cell, field.name) for field in fields(cell) if field.name != "projected"}
    same = module_of(type(cell))(**shape, **options, device="meta").train(module.training)
    vars(same)["mode"] = module.mode
    for kind in ("_forward_hooks", "_forward_pre_hooks"):
        for hooks in (kind, f"{kind}_with_kwargs"):
            getattr(same, hooks).update(getattr(module, hooks))
    return same


def _exchange_states(small: nn.Module, cut: Cut, description: Description) -> None:
    """States at the door of the model keep the width they had before any cut."""
    kept, widths = [], []
    for keys in description.states:
        kept.append([cut.kept[key].tolist() for key in keys])
        widths.append(max(cut.sizes[key] for key in keys))
    if all(len(units) == width for state, width in zip(kept, widths, strict=True) for units in state):
        return
    narrow = taken(small._forward_pre_hooks, NarrowStates)
    if cut.narrow or narrow is not None:
        narrowing = NarrowStates(*narrow.then(kept)) if narrow else NarrowStates(kept, widths)
        small.register_forward_pre_hook(narrowing, with_kwargs=True)
        vars(small)["__prepare_scriptable__"] = refuse_scripting
