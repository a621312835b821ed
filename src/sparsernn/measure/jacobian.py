"""What a recurrent layer does to a small change of its state, and which connections it has left."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.running.jacobians import ending_together, step_jacobian, unroll
from sparsernn.running.passes import Pass, stepwise
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring, unwrap


def spectra(
    model: nn.Module,
    forward: Callable[[nn.Module], object],
    *,
    sequences: int = 4,
    horizon: int = 4,
    part: str = "hidden",
) -> dict[str, dict[str, Any]]:
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
    inner, training = unwrap(model), model.training
    wiring = Wiring.local(inner)
    try:
        with torch.no_grad(), stepwise(inner.eval(), wiring) as passes:
            forward(model)
    finally:
        model.train(training)
    if not passes:
        raise UserError("no recurrent layer ran", "a forward of this model", "call the model in forward")
    found: dict[str, list[Tensor]] = {}
    for given in passes:
        weights = {local: inner.get_parameter(name).detach() for local, name in given.layer.weights.items()}
        found.setdefault(given.layer.label, []).extend(_jacobians(weights, given, sequences, horizon, part))
    return {label: _summary(torch.stack(matrices)) for label, matrices in found.items()}


def _jacobians(weights: Mapping[str, Tensor], given: Pass, sequences: int, horizon: int, part: str) -> list[Tensor]:
    with torch.no_grad():
        states, running = unroll(weights, given)
    inputs = ending_together(given)[0].inputs
    steps = range(max(0, len(inputs) - horizon), len(inputs))
    return [
        step_jacobian(given.layer.cell, weights, inputs[time, number], tuple(s[number] for s in states[time]), part)
        for number in range(min(sequences, inputs.shape[1]))
        for time in steps
        if running is None or bool(running[time, number])
    ]


def _summary(matrices: Tensor) -> dict[str, Any]:
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
    found: dict[str, dict[str, dict[str, dict[str, int]]]] = {}
    for layer in Wiring.local(inner).layers:
        own = found.setdefault(layer.label, {"input": {}, "recurrent": {}})
        for local, name in layer.weights.items():
            layout = layer.layouts[local]
            if not layout.incoming:
                continue
            side = own["input" if layout.source == ("input",) else "recurrent"]
            kept = masks.kept.get(name)
            kept = torch.ones_like(inner.get_parameter(name), dtype=torch.bool) if kept is None else kept
            gated = "gate" in layout.stored
            for gate, rows in zip(layout.gates, layout.view(kept), strict=True) if gated else [(local, kept)]:
                entry = side.setdefault(gate, {"kept": 0, "dense": 0})
                entry["kept"] += int(torch.count_nonzero(rows))
                entry["dense"] += rows.numel()
    return found
