"""What is left of a network's structure: compression, and neurons and gates that change, layer by layer."""

from collections import Counter

from torch import nn

from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring


def structure(whole: nn.Module, final: nn.Module, masks: Masks) -> dict[str, object]:
    """Figures of a network that was cut, beside the one it was cut from; an empty dictionary without recurrent layers.

    Arguments:
        whole: before anything was taken away.
        final: what was left; masks: of it.
    Returns: `compression`, all weights by those that are left, biases excluded; the same of the recurrent layers under
        the name of their cell, such as `lstm_compression`; `neurons` and `gates` that are not constant, a number a
        layer and direction.
    Source: Lobacheva et al. 2020, Table 1.
    """
    before, after = Wiring.local(whole), Wiring.local(final)
    if not before.layers:
        return {}
    figures: dict[str, object] = {"compression": _ratio(before, after, whole, final, masks)}
    for kind in dict.fromkeys(type(layer.cell).__name__.lower() for layer in before.layers):
        figures[f"{kind}_compression"] = _ratio(before, after, whole, final, masks, kind)
    constant = Counter(layer for layer, _, _ in masks.constant_gates)
    figures["neurons"] = [layer.sizes["hidden"] for layer in after.layers]
    figures["gates"] = [len(layer.cell.gates) * layer.sizes["hidden"] - constant[layer.label] for layer in after.layers]
    return figures


def _ratio(before: Wiring, after: Wiring, whole: nn.Module, final: nn.Module, masks: Masks, kind: str = "") -> float:
    """Weights with an arrow, of one kind of cell or of all modules: before by after."""
    counts = []
    for wiring, model, kept in ((before, whole, {}), (after, final, masks.kept)):
        names = {
            name
            for layer in wiring.layers
            for name in layer.weights.values()
            if type(layer.cell).__name__.lower() == kind
        }
        count = 0
        for name, parameter in wiring.parameters(model).items():
            if wiring.weights[name].layout.incoming and (not kind or name in names):
                count += int(kept[name].sum()) if name in kept else parameter.numel()
        counts.append(count)
    return counts[0] / max(counts[1], 1)
