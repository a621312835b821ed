"""Cut dead units out of every tensor, so that the small network computes what the masked one did."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.structure.axes import OUTSIDE
from sparsernn.structure.masks import Masks
from sparsernn.structure.resizing import Cut, equalise, resize
from sparsernn.structure.wiring import Wiring, unwrap

FORMAT = "sparsernn-compact-1"
HISTORY = "_sparsernn_cuts"


def compact(model: nn.Module, masks: Masks, example: Any = None, uniform: bool = False) -> tuple[nn.Module, Masks]:
    """A smaller copy of the model with the same outputs (to rounding, <= 1e-6 in float32), and its masks.

    A unit is cut when every weight that reads it is absent or zero, or when it is always zero itself (no
    incoming weight and no bias, from a zero initial state); repeated until nothing changes. Every axis keeps
    at least one unit. The model itself is left alone, except that absent weights of the copy are zero.

    Arguments:
        masks: which weights exist, from `Sparsifier.finalize`.
        example: the model's positional inputs (a tuple, or one tensor). With it one real forward shows who reads
            what, and the small model is run on it. Without it only single modules and nn.Sequential are followed.
        uniform: cut all layers and directions of a module to the width of its widest one, so that the torch
            class stays; otherwise unequal widths become `structure.stacked.Stacked`.
    Returns: (small, masks): the model's own class and forward; wrappers (data parallel, compiled) are taken off.
        small.cut_report: why units that carry no weight had to stay.
    Raises: UserError if the small model does not run on the example; the model itself is unchanged.
    """
    small = copy.deepcopy(unwrap(model))
    masks.apply_(small)
    arguments = None if example is None else example if isinstance(example, tuple) else (example,)
    wiring = Wiring.of(small, arguments)
    level = [path for path, description in wiring.descriptions.items()
             if description.states and (uniform or path in wiring.states_read)]
    alive = equalise(wiring, live_units(wiring, small), level)
    cuts = {path: Cut.of(wiring, path, alive) for path in wiring.descriptions}
    kept = {name: masks.kept[name] for name in masks.kept if name in wiring.weights}
    small, left = _cut(small, wiring, cuts, kept)
    setattr(small, HISTORY, [*getattr(small, HISTORY, []), {path: cut.as_json() for path, cut in cuts.items() if cut.changes}])
    result = Masks(left, selected={name for name in left if _origin(name, cuts) in masks.selected})
    after = Wiring.local(small)
    result.layouts = {name: weight.layout for name, weight in after.weights.items()}
    result.constant_gates = result.find_constant_gates(after)
    small.cut_report = _report(wiring, alive)
    if arguments is not None:
        _try(small, arguments)
    return small, result


def live_units(wiring: Wiring, model: nn.Module) -> Tensor:
    """Which unit numbers must stay: a fixed point of "nobody reads it" and "it is always zero". [units]"""
    named = {name: wiring.weights[name].layout.view(parameter.detach() != 0)
             for name, parameter in wiring.parameters(model).items()}
    alive = torch.ones(len(wiring.units.parent), dtype=torch.bool)
    while True:
        present = {name: nonzero & _corner(wiring, name, alive) for name, nonzero in named.items()}
        unread, silent = _unread(wiring, present), _silent(wiring, present)
        dead = unread | silent
        dead[list(wiring.external)] = False
        dead[OUTSIDE] = False
        after = alive & ~dead
        _keep_one(wiring, alive, after)
        if torch.equal(after, alive):
            return alive
        alive = after


def _corner(wiring: Wiring, name: str, alive: Tensor) -> Tensor:
    """Entries of a named view whose units are all alive."""
    dimensions = wiring.weights[name].units_by_dimension
    corner = torch.ones([1] * len(dimensions), dtype=torch.bool)
    for place, units in enumerate(dimensions):
        if units is not None:
            corner = corner & alive[units].view([-1 if other == place else 1 for other in range(len(dimensions))])
    return corner


def _unread(wiring: Wiring, present: dict[str, Tensor]) -> Tensor:
    read = torch.zeros(len(wiring.units.parent), dtype=torch.bool)
    for weight in wiring.uses:
        name = weight.name
        if not weight.layout.incoming:
            continue
        for place, axis in enumerate(weight.layout.stored):
            if place in _source_places(weight):
                others = [other for other in range(present[name].dim()) if other != place]
                read[weight.axes[axis][present[name].any(others) if len(others) == 1 else _any(present[name], others)]] = True
    unread = ~read
    unread[sorted(wiring.returned)] = False
    return unread


def _any(present: Tensor, dims: list[int]) -> Tensor:
    for place in sorted(dims, reverse=True):
        present = present.any(place)
    return present


def _source_places(weight: Any) -> range:
    layout = weight.layout
    count = len(layout.source)
    first_is_source = "->" in layout.text
    return range(count) if first_is_source else range(len(layout.stored) - count, len(layout.stored))


def _silent(wiring: Wiring, present: dict[str, Tensor]) -> Tensor:
    """Units that every writer leaves at zero."""
    silent = torch.zeros(len(wiring.units.parent), dtype=torch.bool)
    loud = torch.zeros_like(silent)
    for written in wiring.written:
        speaks = torch.zeros(len(written.units), dtype=torch.bool)
        for name, gate in written.pieces:
            layout = wiring.weights[name].layout
            rows = present[name][layout.gates.index(gate)] if gate is not None else present[name]
            places = [units for units in wiring.weights[name].units_by_dimension if units is not None]
            place = next(place for place, units in enumerate(places) if torch.equal(units, written.units))
            speaks |= _any(rows, [other for other in range(rows.dim()) if other != place])
        if written.recurrent and not wiring.fed.get(written.module, True):
            speaks[:] = True
        if not written.pieces:
            speaks[:] = True
        silent[written.units[~speaks]] = True
        loud[written.units[speaks]] = True
    silent &= ~loud
    silent[sorted(wiring.shifted)] = False
    return silent


def _keep_one(wiring: Wiring, before: Tensor, after: Tensor) -> None:
    """No axis loses its last unit."""
    for axes in wiring.axes.values():
        for units in axes.values():
            if len(units) and not bool(after[units].any()):
                after[units[before[units]][0]] = True


def _cut(small: nn.Module, wiring: Wiring, cuts: dict[str, Cut], kept: dict[str, Tensor]) -> tuple[nn.Module, dict[str, Tensor]]:
    masks, shared = dict(kept), {}
    for path, cut in cuts.items():
        if not cut.changes:
            continue
        names = [name for name, weight in wiring.weights.items() if weight.module == path] + \
            [alias for alias in wiring.tied if _module_of(alias) == path]
        module, renamed = resize(small.get_submodule(path), cut, shared)
        small = _replace(small, path, module)
        prefix = f"{path}." if path else ""
        for name in names:
            if name in masks:
                local = name.removeprefix(prefix)
                masks[prefix + renamed.get(local, local)] = cut.select(local, masks.pop(name))
    return small, masks


def _module_of(name: str) -> str:
    return name.rpartition(".")[0]


def _origin(name: str, cuts: dict[str, Cut]) -> str:
    for path, cut in cuts.items():
        prefix = f"{path}." if path else ""
        if name.startswith(prefix):
            local = name.removeprefix(prefix)
            return prefix + {new: old for old, new in cut.renamed.items()}.get(local, local)
    return name


def _replace(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    if not path:
        return module
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent) if parent else model, name, module)
    return model


def _report(wiring: Wiring, alive: Tensor) -> list[str]:
    """Reasons why axes could not be cut, one line each."""
    lines = []
    for path, axes in wiring.axes.items():
        for key, units in axes.items():
            reasons = {wiring.external[number] for number in units.tolist() if number in wiring.external}
            lines += [f"{path or 'model'} {key}: {reason}" for reason in sorted(reasons)]
    return lines


def _try(small: nn.Module, arguments: tuple[Any, ...]) -> None:
    state = torch.random.get_rng_state()
    try:
        with torch.no_grad():
            small(*arguments)
    except (RuntimeError, ValueError, IndexError, AssertionError) as error:
        frame = error.__traceback__
        lines = []
        while frame is not None:
            lines.append(f"{frame.tb_frame.f_code.co_filename}:{frame.tb_lineno}")
            frame = frame.tb_next
        own = [line for line in lines if "/torch/" not in line and "sparsernn/structure" not in line] or lines
        raise UserError(f"the compacted model does not run on the example: {str(error).splitlines()[0]} (at {own[-1]})",
                        "a forward that takes widths from its tensors, not from numbers fixed before",
                        "change that line, or leave this layer out with where=; the model itself is unchanged") from error
    finally:
        torch.random.set_rng_state(state)


def save_compact(path: Path | str, model: nn.Module) -> None:
    """Write a compacted model: safetensors, with what was cut in the header. No pickle.

    Raises: UserError if the model did not come from `compact`.
    """
    inner = unwrap(model)
    if not hasattr(inner, HISTORY):
        raise UserError("this model was not made by compact()", "the small model that compact() returns", "call compact() first")
    tensors, seen = {}, {}
    for name, tensor in inner.state_dict().items():
        if seen.setdefault(tensor.data_ptr() if tensor.numel() else name, name) == name:
            tensors[name] = tensor.detach().contiguous()
    header = {"format": FORMAT, "cuts": json.dumps(getattr(inner, HISTORY))}
    save_file(tensors, str(path), metadata=header)


def load_compact(path: Path | str, model: nn.Module) -> nn.Module:
    """Rebuild a compacted model: the saved cuts are made on a copy of `model`, then its weights are read.

    Arguments:
        model: an instance of the original, uncompacted architecture (its weights do not matter).
    Raises: UserError for a damaged file or another architecture.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if header.get("format") != FORMAT:
            raise ValueError(f"its format is {header.get('format')!r}")
        history = [{module: Cut.from_json(cut) for module, cut in step.items()} for step in json.loads(header["cuts"])]
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        raise UserError(f"{path} is not a readable compacted model ({error})", f"a file written by save_compact ({FORMAT})",
                        "use another copy, or compact the model again") from error
    small = copy.deepcopy(unwrap(model))
    try:
        for step in history:
            shared: dict[int, nn.Parameter] = {}
            for name, cut in step.items():
                module, _ = resize(small.get_submodule(name), cut, shared)
                small = _replace(small, name, module)
        setattr(small, HISTORY, [{name: cut.as_json() for name, cut in step.items()} for step in history])
        missing, unexpected = small.load_state_dict(tensors, strict=False)
        tied = {name for name, tensor in small.state_dict().items() for other in tensors if small.state_dict()[other].data_ptr() == tensor.data_ptr()}
        if unexpected or set(missing) - tied:
            raise ValueError(f"weights differ: {sorted(set(missing) - tied | set(unexpected))[:3]}")
    except (RuntimeError, ValueError, AttributeError, IndexError, KeyError) as error:
        raise UserError(f"{path} does not fit this model ({str(error).splitlines()[0]})",
                        "an instance of the architecture that was compacted", "build the model with its original sizes") from error
    return small
