"""Cut dead units out of every tensor, so that the small network computes what the masked one did."""

from __future__ import annotations

import copy
import json
import traceback
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from sparsernn.compaction.liveness import live_units
from sparsernn.compaction.resizing import Cut, Replacements, equalise, resize
from sparsernn.errors import UserError
from sparsernn.running.modules import Recurrent
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring, unwrap
from sparsernn.tracing.recording import record, run_quietly, tensors_of

FORMAT = "sparsernn-compact-1"
HISTORY = "_sparsernn_cuts"
NOT_THE_USERS = (
    str(Path(torch.__file__).parent),
    str(Path(__file__).parent),
    str(Path(__file__).parents[1] / "cells"),
    str(Path(__file__).parents[1] / "kernels"),
    str(Path(__file__).parents[1] / "running"),
    str(Path(__file__).parents[1] / "nn.py"),
)


def compact(model: nn.Module, masks: Masks, example: object = None, uniform: bool = False) -> tuple[nn.Module, Masks]:
    """A smaller copy of the model with the same outputs (to rounding, <= 1e-6 in float32), and its masks.

    A unit is cut when nothing that reaches the model's result reads it, or when it is always zero itself (no
    incoming weight and no bias, from a zero initial state); repeated until nothing changes. Every axis keeps
    at least one unit. The model itself is left alone; in the copy absent weights are zero.

    Arguments:
        masks: which weights exist, from `Sparsifier.finalize`.
        example: the model's positional inputs (a tuple, or one tensor). With it one real forward in evaluation mode
            shows who reads what, and the small model must repeat its result. Without it only single modules and
            nn.Sequential are followed.
        uniform: cut all layers and directions of a module to the width of its widest one, so that the torch
            class stays; otherwise a module with unequal widths becomes one of `sparsernn.nn`.
    Returns: (small, masks): the model's own class and forward; wrappers (data parallel, compiled) are taken off.
        small.cut_report: why units that carry no weight had to stay.
    Raises: UserError if the small model does not repeat the result on the example; the model itself is unchanged.
    """
    small = copy.deepcopy(unwrap(model))
    masks.apply_(small)
    arguments = example if isinstance(example, tuple) else (example,)
    wiring, before = Wiring.local(small), []
    if example is None:
        wiring.follow_containers(small)
        wiring.resolve()
    else:
        before = tensors_of(record(small, wiring, arguments))
    alive = equalise(wiring, live_units(wiring, small), uniform)
    cuts = {path: Cut.of(wiring, path, alive) for path in wiring.descriptions}
    history = [*getattr(small, HISTORY, []), {path: cut.as_json() for path, cut in cuts.items() if cut.changes}]
    small, left = _cut(small, wiring, cuts, masks.kept)
    setattr(small, HISTORY, history)
    after = Wiring.local(small)
    layouts = {name: weight.layout for name, weight in after.weights.items()}
    result = Masks(left, layouts, set(masks.selected) & set(left))
    result.constant_gates = result.find_constant_gates(after, small)
    vars(small)["cut_report"] = _report(wiring, alive)
    if example is not None:
        _compare(before, _try(small, arguments))
    return small, result


def _cut(
    small: nn.Module, wiring: Wiring, cuts: dict[str, Cut], kept: dict[str, Tensor]
) -> tuple[nn.Module, dict[str, Tensor]]:
    """The small model and its masks, under its own names."""
    masks, replacements = dict(kept), Replacements()
    for path, cut in cuts.items():
        if not cut.changes:
            continue
        prefix = f"{path}." if path else ""
        small = _replace(small, path, resize(small.get_submodule(path), cut, replacements))
        for name, mask in kept.items():
            if name in wiring.weights and wiring.weights[name].module == path:
                masks[name] = cut.select(wiring.descriptions[path], name.removeprefix(prefix), mask)
    return small, masks


def _replace(model: nn.Module, path: str, module: nn.Module) -> nn.Module:
    """Put a module in the place of another, wherever that one is registered."""
    if not path:
        return module
    old = model.get_submodule(path)
    for parent in list(model.modules()):
        for name, child in parent._modules.items():
            if child is old:
                setattr(parent, name, module)
    return model


def _report(wiring: Wiring, alive: Tensor) -> list[str]:
    """Reasons why axes could not be cut, one line each."""
    lines = []
    for path, axes in wiring.axes.items():
        for key, units in axes.items():
            reasons = {wiring.external[number] for number in units.tolist() if number in wiring.external}
            lines += [f"{path or 'model'} {key}: {reason}" for reason in sorted(reasons)]
    return lines


def _try(small: nn.Module, arguments: tuple[object, ...]) -> list[Tensor]:
    """What the small model returns. Raises: UserError naming the user's line that asks for another width."""
    try:
        return tensors_of(run_quietly(small, arguments))
    except Exception as error:
        frames = traceback.extract_tb(error.__traceback__)
        users = [frame for frame in frames if not frame.filename.startswith(NOT_THE_USERS)]
        line = (users or frames)[-1]
        place = f"{line.filename}:{line.lineno}"
        raise UserError(
            f"the compacted model does not run on the example: {_first_line(error)} (at {place})",
            "a forward that takes widths from its tensors, not from numbers fixed before",
            "change that line, or leave this layer out with where=; the model itself is unchanged",
        ) from error


def _compare(before: list[Tensor], after: list[Tensor]) -> None:
    """Raises: UserError if the results differ by more than rounding can explain."""
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (before, after)]
    if shapes[0] != shapes[1]:
        raise _differs(f"shapes {shapes[1]} instead of {shapes[0]}")
    for old, new in zip(before, after, strict=True):
        if old.is_floating_point() and old.numel():
            scale = 1 + float(old.nan_to_num(0, 0, 0).abs().amax())
            if not torch.allclose(new, old, rtol=0, atol=scale * torch.finfo(old.dtype).eps ** 0.5, equal_nan=True):
                raise _differs(f"values that differ by {float((old - new).abs().nan_to_num().amax()):.3g}")


def _differs(how: str) -> UserError:
    return UserError(
        f"the compacted model returns {how} on the example",
        "the result of the masked model",
        "look for a forward that splits units by fixed numbers (chunk, output[..., :n]) and take widths from the "
        "layers, leave this layer out with where=, or, if the network is chaotic, pass a shorter example; "
        "the model itself is unchanged",
    )


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def save_compact(path: Path | str, model: nn.Module) -> None:
    """Write a compacted model: safetensors, with what was cut in the header. No pickle.

    Raises: UserError if the model did not come from `compact`.
    """
    inner = unwrap(model)
    if not hasattr(inner, HISTORY):
        raise UserError(
            "this model was not made by compact()", "the small model that compact() returns", "call compact() first"
        )
    state = inner.state_dict()
    tensors = {name: state[name].detach().clone().contiguous() for name in _untied(inner, state)}
    save_file(tensors, str(path), metadata={"format": FORMAT, "cuts": json.dumps(getattr(inner, HISTORY))})


def load_compact(path: Path | str, model: nn.Module) -> nn.Module:
    """Rebuild a compacted model: the saved cuts are made on a copy of `model`, then its weights are read.

    Arguments:
        model: an instance of the original, uncompacted architecture (its weights do not matter).
    Raises: UserError for a damaged file or another architecture.
    """
    tensors, history = _read(path)
    small = copy.deepcopy(unwrap(model))
    try:
        for step in history:
            replacements = Replacements()
            for name, cut in step.items():
                small = _replace(small, name, resize(small.get_submodule(name), cut, replacements))
        _fill(small, _renamed(small, tensors))
    except (RuntimeError, ValueError, TypeError, AttributeError, IndexError, KeyError) as error:
        raise UserError(
            f"{path} does not fit this model ({_first_line(error)})",
            "an instance of the architecture that was compacted",
            "build the model with its original sizes",
        ) from error
    steps = []
    for step in history:
        steps.append({name: cut.as_json() for name, cut in step.items()})
    setattr(small, HISTORY, steps)
    return small


def _read(path: Path | str) -> tuple[dict[str, Tensor], list[dict[str, Cut]]]:
    """A file's tensors and the cuts in its header."""
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
        if header.get("format") != FORMAT:
            raise ValueError(f"its format is {header.get('format')!r}")
        history = []
        for step in json.loads(header["cuts"]):
            history.append({module: Cut.from_json(cut) for module, cut in step.items()})
        return tensors, history
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, OSError, RecursionError) as error:
        raise UserError(
            f"{path} is not a readable compacted model ({_first_line(error)})",
            f"a file written by save_compact ({FORMAT})",
            "use another copy, or compact the model again",
        ) from error


def _renamed(model: nn.Module, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by their present names; earlier versions gave layers of unequal widths a module each."""
    names = {}
    for path, module in model.named_modules():
        for position, parameters in enumerate(module.names if isinstance(module, Recurrent) else ()):
            prefix = f"{path}." if path else ""
            names |= {f"{prefix}layers.{position}.{at}_l0": prefix + name for at, name in parameters.items()}
    return {names.get(name, name): tensor for name, tensor in tensors.items()}


def _fill(model: nn.Module, tensors: dict[str, Tensor]) -> None:
    """Load the tensors. Raises: ValueError unless they are the model's own names, shapes and types."""
    state = model.state_dict()
    expected = _untied(model, state)
    if set(tensors) != set(expected):
        raise ValueError(f"weights differ: {sorted(set(tensors) ^ set(expected))[:3]}")
    for name in expected:
        if (state[name].shape, state[name].dtype) != (tensors[name].shape, tensors[name].dtype):
            raise ValueError(f"{name} is {tuple(state[name].shape)} {state[name].dtype} in the model")
    model.load_state_dict(tensors, strict=False)


def _untied(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Names in the state_dict, a tensor that is there under several names once."""
    owners = dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))
    first: dict[int, str] = {}
    return [name for name in state if first.setdefault(id(owners.get(name, state[name])), name) == name]
