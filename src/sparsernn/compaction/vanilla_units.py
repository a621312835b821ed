"""Vanilla units: LSTM units whose memory nothing changes have it settled from the first step on."""

import math
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsernn.cells.lstm import LSTM
from sparsernn.cells.peephole_lstm import PeepholeLSTM
from sparsernn.compaction.liveness import live_units
from sparsernn.compaction.remains import living_constants, units_of
from sparsernn.errors import UserError, reason
from sparsernn.structure.constant_gates import WRITING, gates_by_unit
from sparsernn.structure.layer import Layer
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring, unwrap
from sparsernn.tracing.examples import Example
from sparsernn.tracing.recording import run_quietly, trace
from sparsernn.tracing.tensors import tensors_of

OPEN, SHUT = 40.0, -40.0  # where a sigmoid is 1 and 0 to rounding, in single and in double precision
FARTHEST, NEARER = 0.9, 0.5  # memories that stand for one that a candidate cannot reach
SAME = 1e-5


class VanillaUnits(NamedTuple):
    """What was changed.

    Attributes:
        count: units that are h = constant * sigmoid(output gate) now.
        change: the largest change of the model's output on the example.
    """

    count: int
    change: float


class Settling(NamedTuple):
    """A living unit whose input, forget and candidate gates are constant, and i g / (1 - f), where its memory ends."""

    layer: Layer
    unit: int
    number: int
    memory: float


@torch.no_grad()
def make_vanilla_(model: nn.Module, masks: Masks, example: object) -> VanillaUnits:
    """Turn LSTM units with constant input, forget and candidate gates into h = tanh(i g / (1 - f)) * sigmoid(o).

    Such a memory settles whatever the sequence is; now it is at its end after the first step, because the biases say
    i = 1, f = 0, g = i g / (1 - f). Only the first steps change, and how much that is gets measured. A candidate cannot
    reach a memory of 1 or more: it is given a smaller one, and what reads the unit is scaled to make up for it. Where
    that is not exact (an activation stands between, a sum with another layer, an initial state from outside), the unit
    stays as it is. The hidden states of scaled units are handed out, and taken in again, in their new scale.

    Arguments:
        model: changed in place; its zeros are written. Layers without biases or with another activation than tanh are
            left alone.
        masks: of it; they stay what they are.
        example: what the model is called with, as in `compact`.
    Raises: UserError for an example that the model does not take.
    Source: Lobacheva et al. 2020, who see such units in pruned networks.
    """
    inner, arguments = unwrap(model), Example.of(example)
    try:
        before = _output(inner, arguments)
    except Exception as error:  # whatever the user's forward raises
        happened = f"the model cannot be called with this example ({reason(error)})"
        raise UserError(happened, "what a call of it takes", "pass its arguments, several in a tuple") from error
    wiring = trace(inner, arguments)
    units = list(_settling(wiring, inner, masks))
    near = [one for one in units if abs(one.memory) < 1]
    far = [one for one in units if abs(one.memory) >= 1 and _can_be_scaled(wiring, one)]
    for one in near:
        _settle(inner, one, one.memory)
    if far and not _scaled(inner, wiring, far, arguments):
        far = []
    return VanillaUnits(len(near) + len(far), float((_output(inner, arguments) - before).abs().max()))


def _settling(wiring: Wiring, model: nn.Module, masks: Masks) -> Iterator[Settling]:
    alive = live_units(wiring, model)
    for layer in wiring.layers:
        cell = layer.cell
        if not isinstance(cell, LSTM | PeepholeLSTM) or cell.activation != "tanh" or "bias_hh" not in layer.weights:
            continue
        by_unit = gates_by_unit(living_constants(wiring, model, masks, layer, alive))
        numbers = units_of(wiring, layer)
        for unit, gates in by_unit.items():
            if numbers is not None and alive[numbers[unit]] and set(WRITING) <= set(gates) and gates["forget"] < 1:
                memory = gates["input"] * gates["candidate"] / (1 - gates["forget"])
                yield Settling(layer, unit, int(numbers[unit]), memory)


def _can_be_scaled(wiring: Wiring, one: Settling) -> bool:
    """Whether weights alone read a unit, nothing else writes it, and it begins at zero."""
    writers = sum(int((written.units == one.number).sum()) for written in wiring.written)
    fed = not wiring.fed.get(one.layer.module, True)
    return isinstance(one.layer.cell, LSTM) and one.number not in wiring.external and writers == 1 and not fed


def _settle(model: nn.Module, one: Settling, memory: float) -> None:
    """Write the biases: i = 1, f = 0, g = memory."""
    values = {"input": OPEN, "forget": SHUT, "candidate": math.atanh(memory)}
    layer = one.layer
    biases = {local: model.get_parameter(name) for local, name in layer.weights.items() if "bias" in local}
    for local, bias in biases.items():
        rows = layer.layouts[local].view(bias.data)
        for gate, value in values.items():
            rows[layer.layouts[local].gates.index(gate), one.unit] = value if local == "bias_ih" else 0.0


def _scaled(model: nn.Module, wiring: Wiring, units: list[Settling], arguments: Example) -> bool:
    """Give units memories that can be reached and scale their readers; all as before where two scales differ."""
    saved = {name: parameter.detach().clone() for name, parameter in wiring.parameters(model).items()}
    outputs = []
    for reach in (NEARER, FARTHEST):
        for name, parameter in wiring.parameters(model).items():
            parameter.data.copy_(saved[name])
        for one in units:
            memory = math.copysign(reach, one.memory)
            _settle(model, one, memory)
            _scale_readers(model, wiring, one.number, math.tanh(one.memory) / math.tanh(memory))
        outputs.append(_output(model, arguments))
    scale = 1 + float(outputs[1].abs().max())
    if float((outputs[0] - outputs[1]).abs().max()) <= SAME * scale:
        return True
    for name, parameter in wiring.parameters(model).items():
        parameter.data.copy_(saved[name])
    return False


def _scale_readers(model: nn.Module, wiring: Wiring, number: int, factor: float) -> None:
    """Scale every weight that reads a unit."""
    for use in wiring.uses:
        named = use.layout.view(model.get_parameter(use.name).data)
        for place in use.layout.source_places if use.layout.incoming else ():
            units = use.units_by_dimension[place]
            for column in [] if units is None else (units == number).nonzero().flatten().tolist():
                named.select(place, column).mul_(factor)


def _output(model: nn.Module, arguments: Example) -> Tensor:
    """The first tensor that a model returns, as states come after it."""
    return tensors_of(run_quietly(model, arguments))[0]
