"""Remains of a masked network: which units, gates and words of it live, as JSON values."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from sparsernn.compaction.liveness import live_units
from sparsernn.compaction.resizing import equalise
from sparsernn.structure.constant_gates import ConstantGate, constant_gates
from sparsernn.structure.layer import Layer
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring, unwrap
from sparsernn.tracing.copying import copy_of
from sparsernn.tracing.examples import Example
from sparsernn.tracing.recording import trace

MOST_WORDS = 50


def remains(
    model: nn.Module, masks: Masks, example: object, vocabulary: Sequence[str] = (), carried_states: bool = False
) -> dict[str, object]:
    """What of a network lives: its units by the rule of `compact`, its gates, and the words of its embeddings.

    Arguments:
        masks: of the model, which is left as it is.
        example: what the model is called with, as in `compact`.
        vocabulary: texts of the words, by number.
        carried_states: as in `compact`.
    Returns: {"layers": [{"label", "cell", "gates", "units", "alive": [bool], "constant": gate -> [value, or None where
        the gate varies]}], "words": [{"label", "count", "alive", "largest": [{"number", "norm", "word"}]}]}. The
        vectors' norms are over living units; the largest 50 are given. Layers of automata are left out.
    """
    whole = copy_of(unwrap(model))
    masks.apply_(whole)
    wiring = trace(whole, Example.of(example))
    wiring.rely_on(carried_states)
    alive = equalise(wiring, live_units(wiring, whole))
    layers = []
    for layer in wiring.layers:
        numbers = units_of(wiring, layer)
        if numbers is None:
            continue
        units = alive[numbers]
        constants: dict[str, list[float | None]] = {gate: [None] * len(units) for gate in layer.cell.gates}
        for gate, unit, value in living_constants(wiring, whole, masks, layer, alive):
            constants[gate][unit] = value
        described = {"label": layer.label, "cell": type(layer.cell).__name__, "gates": list(layer.cell.gates)}
        layers.append(described | {"units": len(units), "alive": units.tolist(), "constant": constants})
    return {"layers": layers, "words": list(_words(wiring, whole, alive, vocabulary))}


def living_constants(wiring: Wiring, model: nn.Module, masks: Masks, layer: Layer, alive: Tensor) -> list[ConstantGate]:
    """Gates of a layer that never change once the dead units are gone.

    Arguments:
        wiring: of the model, followed with an example.
        alive: which units live. [units]
    """
    parameters = wiring.parameters(model)
    weights, kept = {}, {}
    for local, name in layer.weights.items():
        weights[local] = parameters[name]
        layout = layer.layouts[local]
        if layout.incoming:
            mask = masks.kept.get(name, torch.ones_like(parameters[name], dtype=torch.bool)).cpu()
            living = wiring.weights[name].of_living(alive, layout.source_places)
            kept[local] = layout.stack(layout.view(mask) & living).view_as(mask)
    return constant_gates(layer, weights, kept)


def units_of(wiring: Wiring, layer: Layer) -> Tensor | None:
    """Numbers of a layer's units; None where its gates are of something else, such as the states of automata."""
    for local, name in layer.weights.items():
        if {"gate", "hidden"} <= set(layer.layouts[local].destination):
            return wiring.weights[name].axes["hidden"]
    return None


def _words(
    wiring: Wiring, model: nn.Module, alive: Tensor, vocabulary: Sequence[str]
) -> Iterator[Mapping[str, object]]:
    """What is left of each embedding."""
    for name, parameter in wiring.parameters(model).items():
        weight = wiring.weights[name]
        if weight.layout.text != "word -> unit":
            continue
        norms = parameter.detach().cpu().float()[:, alive[weight.axes["unit"]]].norm(dim=1)
        largest = []
        for number in norms.argsort(descending=True, stable=True)[:MOST_WORDS].tolist():
            if norms[number] > 0:
                word = {"word": vocabulary[number]} if number < len(vocabulary) else {}
                largest.append({"number": number, "norm": round(float(norms[number]), 6), **word})
        count = int((norms > 0).sum())
        yield {"label": name, "count": len(norms), "alive": count, "largest": largest}
