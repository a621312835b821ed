"""Memories of LSTM units: how often they are saturated, and how soon those that nothing changes have settled."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.running.jacobians import unroll
from sparsernn.running.passes import Pass, passes_of
from sparsernn.structure.constant_gates import WRITING, constant_gates, gates_by_unit
from sparsernn.structure.layer import Layer
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import unwrap

CLOSE = 0.01


def memory_saturation(
    model: nn.Module, forward: Callable[[nn.Module], object], masks: Masks, threshold: float = 0.95
) -> dict[str, dict[str, object]]:
    """How often |tanh c| lies above a threshold, and how soon memories that nothing changes have settled.

    Arguments:
        forward: runs the model once on some batch, as in ``lambda model: model(x)``.
        masks: of the model.
    Returns: the label of each layer with a memory -> {"saturated": of each unit the share of steps, over all sequences;
        "settled": unit -> the number of steps, from c = 0 on, until c is within 1 % of i g / (1 - f), of the units
        whose input, forget and candidate gates are constant}. JSON values.
    Raises: UserError if no layer with a memory ran.
    Source: Lobacheva et al. 2020, Section 4 (units without a varying input, forget and candidate gate).
    """
    inner, (wiring, passes) = unwrap(model), passes_of(model, forward)
    by_layer: dict[str, list[Tensor]] = {}
    for one in passes:
        if "memory" in one.layer.cell.states:
            by_layer.setdefault(one.layer.label, []).append(_memories(one.layer.weights_in(inner), one))
    if not by_layer:
        raise UserError("no layer with a memory ran", "a forward of a model with an LSTM", "call the model in forward")
    measured: dict[str, dict[str, object]] = {}
    for layer in wiring.layers:
        if layer.label in by_layer:
            saturated = torch.tanh(torch.cat(by_layer[layer.label])).abs() > threshold
            settled = {
                str(unit): steps_to_settle(gates["forget"])
                for unit, gates in constant_writers(layer, layer.weights_in(inner), masks).items()
            }
            measured[layer.label] = {"saturated": saturated.float().mean(0).tolist(), "settled": settled}
    return measured


def constant_writers(layer: Layer, weights: Mapping[str, Tensor], masks: Masks) -> dict[int, dict[str, float]]:
    """Units whose input, forget and candidate gates are constant, with the values of their constant gates."""
    kept = {local: masks.kept[name] for local, name in layer.weights.items() if name in masks.kept}
    by_unit = gates_by_unit(constant_gates(layer, weights, kept))
    return {unit: gates for unit, gates in sorted(by_unit.items()) if set(WRITING) <= set(gates)}


def steps_to_settle(forget: float) -> int | None:
    """The first t with f^t <= 1 %: c_t = (1 - f^t) i g / (1 - f) from c_0 = 0 on. None if never, for f = 1."""
    if forget >= 1:
        return None
    return max(1, math.ceil(math.log(CLOSE) / math.log(forget))) if forget > 0 else 1


def _memories(weights: Mapping[str, Tensor], one: Pass) -> Tensor:
    """The memory after every step that a sequence has. [step unit]"""
    with torch.no_grad():
        states, running = unroll(weights, one)
    place = one.layer.cell.states.index("memory")
    memories = torch.stack([state[place] for state in states[1:]])
    return memories.flatten(0, 1) if running is None else memories[running]
