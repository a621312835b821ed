"""Cut dead units out of every tensor, so that the small network computes what the masked one did."""

import re
import warnings
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsernn.compaction.liveness import idle_units, live_units
from sparsernn.compaction.proof import Proof
from sparsernn.compaction.resizing import HISTORY, Cut, Replacements, cut_at, equalise
from sparsernn.compaction.results import fill_results, filled_results, may_be_wide, state_units, take_results
from sparsernn.running.filled_results import FillResults
from sparsernn.structure.axes import OUTSIDE
from sparsernn.structure.left_out import left_out
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import RETURNED, Wiring, unwrap
from sparsernn.tracing.copying import copy_of
from sparsernn.tracing.examples import Example, examples_of
from sparsernn.tracing.recorder import Recorder
from sparsernn.tracing.recording import record

WIDE = "{} gives zeros in the places of units that went; without them {}"
HANDED_OUT = (
    "they may begin in a state that is not zero, and the model hands their states out; "
    "pass carried_states=True if these only come back to the model"
)


def compact(
    model: nn.Module,
    masks: Masks | Mapping[str, Tensor],
    example: object = None,
    uniform: bool = False,
    carried_states: bool = False,
    examples: Sequence[object] = (),
) -> tuple[nn.Module, Masks]:
    """A smaller copy of the model with the same outputs (to rounding, <= 1e-6 in float32), and its masks.

    A unit is cut when nothing that reaches the model's result reads it, or when it is always zero itself (no
    incoming weight and no bias, from a zero initial state); repeated until nothing changes. Every axis keeps one.
    Real forwards show who reads what, and the small model has to repeat the masked one on the examples and on inputs
    derived from them (other numbers, ids, sizes, orders, start states, flags, modes), as far as that one takes these.
    Where a forward works with fixed numbers of a recurrent layer's units, the layer computes fewer and gives as many.

    Arguments:
        masks: which weights exist, from `Sparsifier.finalize`, or a dict: name -> bool tensor.
        example: what the model is called with: a tensor, a tuple of arguments, a dict of keywords, or a (tuple, dict)
            pair. Without any only an `nn.Sequential` of known modules, which nobody hooks, is followed.
        uniform: cut all layers and directions of a module to the width of its widest one, so that the torch
            class stays; otherwise a module with unequal widths becomes one of `sparsernn.nn`.
        carried_states: states that the model returns are only handed to it again, as a language model's are: units that
            nothing else reads are cut, and are zero in these states.
        examples: more of them, for branches that one does not take; ``InTraining(example)`` runs in training mode.
    Returns: (small, masks): the model's own class and forward; wrappers (data parallel, compiled) are taken off.
        small.cut_report: why units that carry no weight had to stay, and which layers give as many as before.
    Raises: UserError if the model does not run on an example or does not repeat itself, the small one gives anything
        else, or masks of a finished run meet weights of another moment; the model itself is unchanged.
    """
    masks = Masks.of(masks)
    masks.check_step(model)
    with torch.inference_mode(False):
        masked = copy_of(unwrap(model))
        masks.apply_(masked)
        proof = Proof(masked, unwrap(model), examples_of(example, examples), carried_states)
        small, left, uncut, wiring = _proved(proof, masks, uniform)
    for sentence in uncut + _unused(wiring):
        warnings.warn(sentence, stacklevel=2)
    return small, _masks_of(small, left, masks.selected)


class Small(NamedTuple):
    """A cut model, its masks by name, and what was cut of which module and result."""

    model: nn.Module
    kept: dict[str, Tensor]
    cuts: dict[str, Cut]
    results: FillResults


def _proved(proof: Proof, masks: Masks, uniform: bool) -> tuple[nn.Module, dict[str, Tensor], list[str], Wiring]:
    """The small model that repeats all trials: those that the first ones do not are followed as well.

    Returns: it, its masks by name, sentences on layers that stay as they are, and who reads what.
    """
    masked, original, calls = proof.masked, proof.original, [trial.example for trial in proof.trials]
    wiring, recorder = _followed(copy_of(masked), calls, original)
    more = [] if recorder is None else proof.derive(wiring, recorder.state_shapes)
    proof.check_copy()
    while True:
        if more:
            calls = [*calls, *more]
            wiring, _ = _followed(copy_of(masked), calls, original)
        wiring.rely_on(proof.carried_states)
        alive = equalise(wiring, live_units(wiring, masked), uniform)
        small = _small(proof, wiring, alive, masks)
        failures = proof.failures(small.model, _left_out(proof, wiring))
        more = [trial.example for trial, _ in failures if trial.example not in calls]
        if not more:
            break
    widened: list[str] = []
    if failures:
        other, paths = _widened(proof, wiring, alive, masks)
        if other is None:
            raise failures[0][1]
        small, widened = other, [WIDE.format(path, failures[0][1].happened) for path in paths]
    uncut = _uncut(wiring, masked, alive, masks) + _unknown(wiring, masked, masks)
    made = {path: cut.as_json() for path, cut in small.cuts.items() if cut.changes} | small.results.as_json()
    setattr(small.model, HISTORY, [*getattr(small.model, HISTORY, []), made])
    vars(small.model)["cut_report"] = _report(wiring) + uncut + widened
    return small.model, small.kept, uncut, wiring


def _small(proof: Proof, wiring: Wiring, alive: Tensor, masks: Masks, wide: Collection[str] = ()) -> Small:
    """The model with the units that live. wide: modules that fill in what they return, for others to read."""
    outside = alive.clone()
    for path in wide:
        outside[state_units(wiring, path)] = True
    outside = equalise(wiring, outside) if wide else outside
    cuts = {path: Cut.of(wiring, path, outside) for path in wiring.descriptions}
    for path in wide:
        inside, units = outside.clone(), state_units(wiring, path)
        inside[units] = alive[units]
        cuts[path] = Cut.of(wiring, path, inside).widened(wiring.descriptions[path], cuts[path])
    small = copy_of(proof.masked)
    kept = _cut(small, wiring, cuts, masks.kept)
    results = filled_results(wiring, outside)
    fill_results(small, take_results(small), results)
    return Small(small, kept, cuts, results)


def _widened(proof: Proof, wiring: Wiring, alive: Tensor, masks: Masks) -> tuple[Small | None, list[str]]:
    """The small model where a forward works with fixed numbers of units: as few layers as possible go on giving those.

    Returns: it, and these layers; None if that is no way out.
    """
    paths = [path for path in wiring.descriptions if may_be_wide(wiring, path, proof.masked)]
    paths = [path for path in paths if not bool(alive[state_units(wiring, path)].all())]

    def attempt(wide: list[str]) -> Small | None:
        small = _small(proof, wiring, alive, masks, wide)
        return None if proof.failures(small.model, _left_out(proof, wiring)) else small

    small, wide = attempt(paths) if paths else None, paths
    for path in paths if small is not None and len(paths) > 1 else ():
        fewer = [other for other in wide if other != path]
        other = attempt(fewer)
        if other is not None and small is not None and _numbers(other.model) <= _numbers(small.model):
            small, wide = other, fewer
    return small, wide


def _numbers(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _left_out(proof: Proof, wiring: Wiring) -> Collection[int]:
    return wiring.returned_places if proof.carried_states else ()


def _masks_of(small: nn.Module, kept: dict[str, Tensor], selected: set[str]) -> Masks:
    """The masks of the small model, with the gates of it that never change."""
    wiring = Wiring.local(small)
    layouts = {name: weight.layout for name, weight in wiring.weights.items()}
    masks = Masks(kept, layouts, selected & set(kept))
    masks.final = True
    masks.constant_gates = masks.find_constant_gates(wiring, small)
    return masks


def _followed(model: nn.Module, examples: list[Example], original: nn.Module) -> tuple[Wiring, Recorder | None]:
    """Who reads which units of a model, and what followed its forwards, if there are examples."""
    wiring = Wiring.local(model)
    take_results(model)
    if examples:
        return wiring, record(model, wiring, examples, original)
    wiring.follow_containers(model)
    wiring.resolve()
    return wiring, None


def _cut(small: nn.Module, wiring: Wiring, cuts: dict[str, Cut], kept: dict[str, Tensor]) -> dict[str, Tensor]:
    """Make a model small, in place. Returns: its masks, under its own names."""
    masks, replacements = dict(kept), Replacements()
    for path, cut in cuts.items():
        if not cut.changes:
            continue
        prefix = f"{path}." if path else ""
        cut_at(small, path, cut, replacements)
        for name, mask in kept.items():
            local = name.removeprefix(prefix)
            of_it = name == path or name.startswith(prefix)
            if of_it and local in {part.name for part in wiring.descriptions[path].parts}:
                masks[name] = cut.select(wiring.descriptions[path], local, mask)
    replacements.settle(small)
    return masks


def _report(wiring: Wiring) -> list[str]:
    """Reasons why axes could not be cut, one line each."""
    lines = []
    for path, axes in wiring.axes.items():
        for key, units in axes.items():
            reasons = {wiring.external[number] for number in units.tolist() if number in wiring.external}
            lines += [f"{path or 'model'} {key}: {reason}" for reason in sorted(reasons)]
    return lines


def _uncut(wiring: Wiring, masked: nn.Module, alive: Tensor, masks: Masks) -> list[str]:
    """Layers of which nothing can go although some units are written by nothing, a sentence each.

    Arguments:
        masks: which tell of other layers than recurrent ones whose units were to go; those that share units with one
            that comes before are left out, and those that make what the model returns, as nobody expects less of it.
    """
    sentences = []
    recurrent = dict.fromkeys(layer.module for layer in wiring.layers)
    seen = {number for number, reason in wiring.external.items() if reason == RETURNED}
    selected = {wiring.weights[name].module for name in masks.selected if name in wiring.weights} - set(wiring.weights)
    for path in [*recurrent, *sorted(selected - set(recurrent))]:
        units = wiring.along(path, wiring.descriptions[path].given)
        external = torch.tensor(sorted(wiring.external), dtype=torch.long)
        still, without = (idle_units(wiring, masked, path, biases) for biases in (True, False))
        stuck = units[still | (without & torch.isin(units, external))]
        told = path not in recurrent and bool(seen & set(units.tolist()))
        if len(stuck) and bool(alive[units].all()) and not told:
            reason = _reason(wiring, masked, path, stuck.tolist(), set(units[~still].tolist()))
            sentences.append(f"0 of {len(units)} units of {path or 'the model'} can go, because {reason}")
        seen |= set(units.tolist()) - {OUTSIDE}
    return sentences


def _reason(wiring: Wiring, model: nn.Module, path: str, units: list[int], others: set[int]) -> str:
    """Why units stay into which no weight of their own layer leads. others: units of the layer into which some do."""
    reasons = [wiring.external[number] for number in units if number in wiring.external]
    if reasons:
        return reasons[0]
    if not wiring.fed.get(path, True):
        handed = (wiring.returned | set(wiring.summed)) & set(units)
        return HANDED_OUT if handed else "they may begin in a state that is not zero, and are read"
    if wiring.started & set(units):
        return "they begin in a state that is not zero, and are read"
    for other, description in wiring.descriptions.items():
        for key, size in description.whole.items():
            if size > 1 and set(units) & set(wiring.axes[other][key].tolist()):
                reader = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(model.get_submodule(other)).__name__).lower()
                return f"{reader} reads it in groups of {size}, none of which is dead as a whole"
    if others & set(units):
        return "the forward joins each of them with others of the same layer"
    sharers = []
    for other, axes in wiring.axes.items():
        if other != path and any(set(units) & set(numbers.tolist()) for numbers in axes.values()):
            sharers.append(other or "the model")
    shared = f"{', '.join(sharers)} share them and have weights there" if sharers else "they are read"
    return f"{shared}; if masks were trained without a forward being seen, pass example= to the Sparsifier too"


def _unknown(wiring: Wiring, masked: nn.Module, masks: Masks) -> list[str]:
    """A sentence on each module that is not known, and of which masks leave weights out."""
    names = [name for name, kept in masks.kept.items() if not bool(kept.all())]
    paths = {name.rpartition(".")[0] for name in names if wiring.tied.get(name, name) not in wiring.weights}
    layers = {layer.path: layer for layer in left_out(masked, wiring.descriptions)}
    sentences = []
    for path in sorted(paths):
        layer, kind = layers.get(path), type(masked.get_submodule(path)).__name__
        if layer is None and kind in dir(nn):
            continue  # known, and left whole for what reads it
        reason = f"it {layer.reason}: {layer.do}" if layer else f"{kind} is no kind of module that is known"
        sentences.append(f"{path or 'the model'} keeps all of its units, because {reason}")
    return sentences


def _unused(wiring: Wiring) -> list[str]:
    """A sentence on the modules that no example ran, if there are any."""
    if not wiring.recorded or not wiring.unused:
        return []
    stay = "its units stay, and those that it may read; pass examples=[...] that run it"
    return [f"no example ran {', '.join(sorted(wiring.unused))}: {stay}"]
