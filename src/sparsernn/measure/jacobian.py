"""What a recurrent layer does to a small change of its state, and which connections it has left."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.running.jacobians import ending_together, step_jacobian, unroll
from sparsernn.running.passes import Pass, passes_of
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring, unwrap


def spectra(
    model: nn.Module,
    forward: Callable[[nn.Module], object],
    *,
    sequences: int = 4,
    horizon: int = 4,
    part: str = "hidden",
) -> dict[str, dict[str, object]]:
    """Singular values and eigenvalues of the step Jacobians dh_t/dh_{t-1} of every recurrent layer, on real inputs.

    Arguments:
        forward: runs the model once on some batch, as in ``lambda model: model(x)``.
        sequences: of the batch, the first ones.
        horizon: steps from the end of each sequence.
        part: "hidden": of the output to itself, other states held fixed; "state": of all states together.
    Returns: by layer, "singular_values" (falling), "eigenvalues" as [real, imaginary] (by falling magnitude), both of
        all matrices together, "matrices", and "mean_squared_singular_value". JSON values.
    Raises: UserError if no recurrent layer ran.
    """
    _, passes = passes_of(model, forward)
    if not passes:
        raise UserError("no recurrent layer ran", "a forward of this model", "call the model in forward")
    by_layer: dict[str, list[Tensor]] = {}
    for one in passes:
        weights = one.layer.weights_in(unwrap(model))
        by_layer.setdefault(one.layer.label, []).extend(_jacobians(weights, one, sequences, horizon, part))
    return {label: _summary(torch.stack(matrices)) for label, matrices in by_layer.items()}


def _jacobians(weights: Mapping[str, Tensor], layer: Pass, sequences: int, horizon: int, part: str) -> list[Tensor]:
    with torch.no_grad():
        states, running = unroll(weights, layer)
    inputs = ending_together(layer)[0].inputs
    matrices = []
    for number in range(min(sequences, inputs.shape[1])):
        for time in range(max(0, len(inputs) - horizon), len(inputs)):
            if running is None or bool(running[time, number]):
                before = tuple(state[number] for state in states[time])
                matrices.append(step_jacobian(layer.layer.cell, weights, inputs[time, number], before, part))
    return matrices


def _summary(matrices: Tensor) -> dict[str, object]:
    singular = torch.linalg.svdvals(matrices).flatten().sort(descending=True).values
    eigenvalues = torch.linalg.eigvals(matrices).flatten()
    eigenvalues = eigenvalues[eigenvalues.abs().argsort(descending=True)]
    return {
        "matrices": len(matrices),
        "mean_squared_singular_value": float(singular.square().mean()),
        "singular_values": [round(value, 6) for value in singular.tolist()],
        "eigenvalues": [[round(value.real, 6), round(value.imag, 6)] for value in eigenvalues.tolist()],
    }


def connections(model: nn.Module, masks: Masks) -> dict[str, dict[str, dict[str, dict[str, int]]]]:
    """Connections by layer, by what they read ("input" or "recurrent") and by gate: {"kept", "dense"} each, as JSON.

    A matrix without gates counts as a gate of its own name; tensors without a mask as whole.
    """
    inner = unwrap(model)
    by_layer: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for layer in Wiring.local(inner).layers:
        sides = by_layer.setdefault(layer.label, {"input": {}, "recurrent": {}})
        for local, name in layer.weights.items():
            layout = layer.layouts[local]
            if not layout.incoming:
                continue
            side = sides["input" if layout.source == ("input",) else "recurrent"]
            kept = masks.kept.get(name)
            kept = torch.ones_like(inner.get_parameter(name), dtype=torch.bool) if kept is None else kept
            gated = "gate" in layout.stored
            for gate, rows in zip(layout.gates, layout.view(kept), strict=True) if gated else [(local, kept)]:
                entry = side.setdefault(gate, {"kept": 0, "dense": 0})
                entry["kept"] += int(torch.count_nonzero(rows))
                entry["dense"] += rows.numel()
    return by_layer
