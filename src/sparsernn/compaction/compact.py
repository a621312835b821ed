"""Cut dead units out of every tensor, so that the small network computes what the masked one did."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsernn.compaction.liveness import live_units
from sparsernn.compaction.resizing import Cut, Replacements, cut_at, equalise
from sparsernn.compaction.results import RESULTS, fill_results, filled_results, take_results
from sparsernn.errors import UserError
from sparsernn.running.filled_results import FillResults
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring, unwrap
from sparsernn.tracing.recording import record, run_quietly, tensors_of

HISTORY = "_sparsernn_cuts"
NOT_THE_USERS = (
    str(Path(torch.__file__).parent),
    str(Path(__file__).parent),
    str(Path(__file__).parents[1] / "cells"),
    str(Path(__file__).parents[1] / "kernels"),
    str(Path(__file__).parents[1] / "running"),
    str(Path(__file__).parents[1] / "nn.py"),
)


def compact(
    model: nn.Module, masks: Masks, example: object = None, uniform: bool = False, carried_states: bool = False
) -> tuple[nn.Module, Masks]:
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
        carried_states: states that the model returns are only handed to it again, as a language model's are: units that
            nothing else reads are cut, and are zero in these states.
    Returns: (small, masks): the model's own class and forward; wrappers (data parallel, compiled) are taken off.
        small.cut_report: why units that carry no weight had to stay.
    Raises: UserError if the small model does not repeat the result on the example; the model itself is unchanged.
    """
    small = copy.deepcopy(unwrap(model))
    masks.apply_(small)
    arguments = example if isinstance(example, tuple) else (example,)
    earlier = take_results(small)
    wiring, before = _followed(small, None if example is None else arguments, earlier)
    if carried_states:
        wiring.returned = set()
    alive = equalise(wiring, live_units(wiring, small), uniform)
    cuts = {path: Cut.of(wiring, path, alive) for path in wiring.descriptions}
    results, made = filled_results(wiring, alive), {path: cut.as_json() for path, cut in cuts.items() if cut.changes}
    if results.tensors:
        made[RESULTS] = {"tensors": [tensor.as_json() for tensor in results.tensors]}
    history = [*getattr(small, HISTORY, []), made]
    small, left = _cut(small, wiring, cuts, masks.kept)
    fill_results(small, earlier, results)
    setattr(small, HISTORY, history)
    vars(small)["cut_report"] = _report(wiring, alive)
    if example is not None:
        _compare(before, _try(small, arguments), wiring.returned_places if carried_states else ())
    return small, _masks_of(small, left, masks.selected)


def _masks_of(small: nn.Module, kept: dict[str, Tensor], selected: set[str]) -> Masks:
    """The masks of the small model, with the gates of it that never change."""
    wiring = Wiring.local(small)
    layouts = {name: weight.layout for name, weight in wiring.weights.items()}
    masks = Masks(kept, layouts, selected & set(kept))
    masks.constant_gates = masks.find_constant_gates(wiring, small)
    return masks


def _followed(
    model: nn.Module, arguments: tuple[object, ...] | None, earlier: FillResults | None
) -> tuple[Wiring, list[Tensor]]:
    """Who reads which units of a model, and what it returns for the arguments, if there are any."""
    wiring = Wiring.local(model)
    if arguments is not None:
        result = record(model, wiring, arguments)
        return wiring, tensors_of(result if earlier is None else earlier(model, arguments, result))
    wiring.follow_containers(model)
    wiring.resolve()
    return wiring, []


def _cut(
    small: nn.Module, wiring: Wiring, cuts: dict[str, Cut], kept: dict[str, Tensor]
) -> tuple[nn.Module, dict[str, Tensor]]:
    """The small model and its masks, under its own names."""
    masks, replacements = dict(kept), Replacements()
    for path, cut in cuts.items():
        if not cut.changes:
            continue
        prefix = f"{path}." if path else ""
        small = cut_at(small, path, cut, replacements)
        for name, mask in kept.items():
            if name in wiring.weights and wiring.weights[name].module == path:
                masks[name] = cut.select(wiring.descriptions[path], name.removeprefix(prefix), mask)
    return small, masks


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
            f"the compacted model does not run on the example: {first_line(error)} (at {place})",
            "a forward that takes widths from its tensors, not from numbers fixed before",
            "change that line, or leave this layer out with where=; the model itself is unchanged",
        ) from error


def _compare(before: list[Tensor], after: list[Tensor], left_out: Sequence[int] = ()) -> None:
    """Raises: UserError if the results differ by more than rounding can explain; values at some places may."""
    shapes = [[tuple(tensor.shape) for tensor in tensors] for tensors in (before, after)]
    if shapes[0] != shapes[1]:
        raise _differs(f"shapes {shapes[1]} instead of {shapes[0]}")
    for place, (old, new) in enumerate(zip(before, after, strict=True)):
        if place in left_out:
            continue
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


def first_line(error: Exception) -> str:
    """The first line of an error's text, or its kind."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
