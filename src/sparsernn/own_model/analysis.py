"""Analysis of a model: what each recurrent layer, gate and unit holds on some data, and what the loss would miss."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from sparsernn import durable
from sparsernn.errors import UserError
from sparsernn.own_model.batches import Loss, batches_of, evaluating
from sparsernn.own_model.sensitivity import follow, run, sensitivities
from sparsernn.running.gate_values import gate_values
from sparsernn.running.passes import Pass, stepwise
from sparsernn.sparsifying.checks import check_tensors
from sparsernn.structure.groups import Groups
from sparsernn.structure.layer import Layer
from sparsernn.structure.left_out import left_out
from sparsernn.structure.wiring import Wiring, unwrap
from sparsernn.tracing.carriers import unwrapped
from sparsernn.tracing.surroundings import undisturbed

Range = tuple[float, float]
CLOSED, OPEN, MOSTLY = 0.05, 0.95, 0.99
ALIKE, STILL = 0.9999, 1e-6


@dataclass(frozen=True)
class GateAnalysis:
    """One gate of one layer.

    Attributes:
        mean: of its values, over units and steps; unit_means: of each unit.
        range: smallest and largest value before the activation.
        saturated: unit -> its mean, of the units whose gate lies below 0.05 or above 0.95 (beyond +-0.95 for one that
            takes both signs) at 99 % of all steps.
        sensitivity: of each unit; see `LayerAnalysis`.
    """

    name: str
    mean: float
    unit_means: list[float]
    range: Range
    saturated: dict[int, float]
    sensitivity: list[float]


@dataclass(frozen=True)
class LayerAnalysis:
    """One recurrent layer, in one direction.

    Attributes:
        label, cell: its name and what it computes; inputs, units: its sizes.
        weights, kept: how many weights its matrices have, and how many of them are not zero.
        sensitivity: of each unit, the mean over batches of (sum of weight times gradient, over all weights that come in
            at the unit or read it)^2: what the loss would change by if the unit went, to first order.
        dead: units that are zero at every step; constant: those that never change.
        duplicates: pairs of units and their correlation, where it is beyond +-0.9999.
        ranges: "input" and each state -> smallest and largest value.
        gates: one each, those that have an activation of their own.
    """

    label: str
    cell: str
    inputs: int
    units: int
    weights: int
    kept: int
    sensitivity: list[float]
    dead: list[int]
    constant: list[int]
    duplicates: list[tuple[int, int, float]]
    ranges: dict[str, Range]
    gates: list[GateAnalysis]


@dataclass(frozen=True)
class Analysis:
    """All recurrent layers of a model.

    Attributes:
        layers: those that ran, in the order of the model.
        batches: how many batches were looked at.
    """

    layers: list[LayerAnalysis]
    batches: int

    def to_json(self) -> dict[str, object]:
        """Plain JSON values."""
        return {"batches": self.batches, "layers": [asdict(layer) for layer in self.layers]}

    def rows(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """The columns and rows of a table: a row for each layer, and one for each of its gates."""
        total = sum(sum(layer.sensitivity) for layer in self.layers) or 1.0
        columns = ("layer", "units", "weights", "sensitivity", "dead", "same", "saturated", "mean", "range")
        rows: list[tuple[str, ...]] = []
        for layer in self.layers:
            low, high = layer.ranges[next(reversed(list(layer.ranges)))]
            share = f"{sum(layer.sensitivity) / total:.1%}"
            constant, alike = f"{len(layer.constant):,}", f"{len(layer.duplicates):,}"
            size = (f"{layer.units:,}", f"{layer.kept:,}")
            rows.append(
                (f"{layer.label} ({layer.cell})", *size, share, constant, alike, "", "", f"{low:.2g}..{high:.2g}")
            )
            of_gates = sum(sum(gate.sensitivity) for gate in layer.gates) or 1.0
            for gate in layer.gates:
                share, (low, high) = f"{sum(gate.sensitivity) / of_gates:.1%}", gate.range
                activity = (f"{len(gate.saturated):,}", f"{gate.mean:.2f}", f"{low:.2g}..{high:.2g}")
                rows.append((f"  {gate.name}", "", "", share, "", "", *activity))
        return columns, rows

    def __str__(self) -> str:
        columns, rows = self.rows()
        widths = [max(len(row[place]) for row in (columns, *rows)) for place in range(len(columns))]
        lines = []
        for row in (columns, *rows):
            cells = [
                row[0].ljust(widths[0]),
                *(text.rjust(width) for text, width in zip(row[1:], widths[1:], strict=True)),
            ]
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)

    def picture(self, path: str | Path | None = None) -> str:
        """An SVG of each layer's units by sensitivity and of its gates' means, written to the path if there is one."""
        from sparsernn.reports import analysis

        drawing = analysis.picture(self.to_json())
        if path is not None:
            durable.replace(path, drawing)
        return drawing


def analyse(model: nn.Module, data: object, loss: Loss | None = None, batches: int = 8) -> Analysis:
    """What each recurrent layer, gate and unit of a model does on some data, and how much the loss hangs on it.

    Arguments:
        model: any module with recurrent layers; it is run in evaluation mode and left as it was.
        data: batches, as a loader gives them; or one batch alone, a tensor. Without `loss` each is the model's input: a
            tensor, a tuple of positional inputs, a dict of keywords, or a pair (tuple, dict).
        loss: (model, batch) -> a number to differentiate; None: the mean square of what the model returns.
        batches: how many are looked at, at most.
    Returns: an Analysis; `print` it, or take its `to_json()` and `picture(path)`.
    Raises: UserError if there is no batch, weights have no numbers, or no recurrent layer ran.
    Source: Molchanov et al. 2019, Equation 8 (squared first-order sensitivity), for groups of weights.
    """
    check_tensors(unwrap(model))
    with undisturbed(unwrap(model)):
        return _analysis(unwrap(model), batches_of(data, batches), loss)


def _analysis(inner: nn.Module, looked_at: Sequence[object], loss: Loss | None) -> Analysis:
    wiring = follow(inner, looked_at[0], loss)
    levels = _levels(wiring, inner)
    values = sensitivities(inner, looked_at, loss, list(levels.values()))
    by_level = {level: (levels[level], scores) for level, scores in zip(levels, values, strict=True)}
    activity = _activities(inner, wiring, looked_at, loss)
    if not activity:
        other = next(left_out(inner, wiring.descriptions), None)
        what, do = ("", "check the batches") if other is None else (f": {other.path} {other.reason}", other.do)
        raise UserError(f"no recurrent layer ran{what}", "a model that calls one, and data that it takes", do)
    layers = []
    for layer in wiring.layers:
        if layer.label in activity:
            of_units = _of_units(wiring, layer, *by_level["neuron"]) if "neuron" in by_level else []
            of_gates = _in_family(layer, *by_level["gate"]) if "gate" in by_level else []
            layers.append(_analysed(inner, layer, activity[layer.label], of_units, of_gates))
    return Analysis(layers, len(looked_at))


def _levels(wiring: Wiring, model: nn.Module) -> dict[str, Groups]:
    """Units and gates, where the layers have them."""
    levels = {}
    for level in ("neuron", "gate"):
        with contextlib.suppress(UserError):
            levels[level] = Groups.of(wiring, model, level)
    return levels


@dataclass(frozen=True)
class Activity:
    """What one layer held at all steps of all batches.

    Attributes:
        gates: gate -> what it was given, and what it gave out. [step unit] each
        tensors: "input" and each state. [step unit]
    """

    gates: dict[str, tuple[Tensor, Tensor]]
    tensors: dict[str, Tensor]

    @classmethod
    def of(cls, model: nn.Module, passes: Sequence[Pass]) -> Activity:
        """What some passes of the same layer held."""
        gates: dict[str, list[tuple[Tensor, Tensor]]] = {}
        tensors: dict[str, list[Tensor]] = {}
        for one in passes:
            weights = {local: model.get_parameter(name).detach() for local, name in one.layer.weights.items()}
            values, states = gate_values(weights, one)
            for gate, pair in values.items():
                gates.setdefault(gate, []).append(pair)
            for name, tensor in zip(
                ("input", *one.layer.cell.states), (one.inputs.flatten(0, 1), *states), strict=True
            ):
                tensors.setdefault(name, []).append(tensor)
        joined = {
            gate: (torch.cat([a for a, _ in pairs]), torch.cat([b for _, b in pairs])) for gate, pairs in gates.items()
        }
        return cls(joined, {name: torch.cat(parts) for name, parts in tensors.items()})


def _activities(model: nn.Module, wiring: Wiring, batches: Sequence[object], loss: Loss | None) -> dict[str, Activity]:
    """What each layer held, by its label; a pass without a step, or within a transform of torch.func, shows nothing."""
    with evaluating(model), torch.set_grad_enabled(loss is not None), stepwise(model, wiring) as passes:
        for batch in batches:
            _ = run(model, batch, loss)
    by_layer: dict[str, list[Pass]] = {}
    for one in [one for one in passes if unwrapped(one.inputs) is one.inputs and one.inputs.numel()]:
        by_layer.setdefault(one.layer.label, []).append(one)
    return {label: Activity.of(model, of_layer) for label, of_layer in by_layer.items()}


def _analysed(
    model: nn.Module, layer: Layer, activity: Activity, of_units: list[float], of_gates: list[float]
) -> LayerAnalysis:
    """One layer, from what it held and what the loss would change by."""
    matrices = [
        model.get_parameter(name).detach() for local, name in layer.weights.items() if local.startswith("weight")
    ]
    output = activity.tensors[layer.cell.states[0]]
    spread = output.amax(0) - output.amin(0)
    units = output.shape[1]
    shares = [of_gates[place * units : (place + 1) * units] for place in range(len(layer.cell.gates))]
    return LayerAnalysis(
        label=layer.label or "cell",
        cell=type(layer.cell).__name__,
        inputs=layer.sizes["input"],
        units=units,
        weights=sum(matrix.numel() for matrix in matrices),
        kept=sum(int(matrix.count_nonzero()) for matrix in matrices),
        sensitivity=of_units,
        dead=torch.nonzero(output.abs().amax(0) == 0).flatten().tolist(),
        constant=torch.nonzero(spread <= STILL * output.abs().amax()).flatten().tolist(),
        duplicates=_duplicates(output),
        ranges={name: _range(tensor) for name, tensor in activity.tensors.items()},
        gates=[
            _gate(gate, *activity.gates[gate], share)
            for gate, share in zip(layer.cell.gates, shares, strict=True)
            if gate in activity.gates
        ],
    )


def _gate(name: str, before: Tensor, after: Tensor, sensitivity: list[float]) -> GateAnalysis:
    """One gate, from what it was given and gave out. [step unit]"""
    signed = float(after.min()) < 0
    far = after.abs() > OPEN if signed else (after < CLOSED) | (after > OPEN)
    means = after.mean(0)
    saturated = {unit: float(means[unit]) for unit in torch.nonzero(far.float().mean(0) >= MOSTLY).flatten().tolist()}
    return GateAnalysis(name, float(means.mean()), means.tolist(), _range(before), saturated, sensitivity)


def _range(tensor: Tensor) -> Range:
    return float(tensor.min()), float(tensor.max())


def _duplicates(output: Tensor) -> list[tuple[int, int, float]]:
    """Pairs of units that are the same up to a factor and an offset. output: [step unit]"""
    centred = output.double() - output.double().mean(0)
    norms = centred.norm(dim=0)
    moving = torch.nonzero(norms > STILL * norms.max()).flatten()
    directions = centred[:, moving] / norms[moving]
    correlations = (directions.T @ directions).triu(1)
    pairs = torch.nonzero(correlations.abs() > ALIKE).tolist()
    return [(int(moving[a]), int(moving[b]), float(correlations[a, b])) for a, b in pairs]


def _of_units(wiring: Wiring, layer: Layer, groups: Groups, values: Tensor) -> list[float]:
    """The value of each unit's group; layers whose units are added to one another share groups."""
    weights = [wiring.weights[name] for name in layer.weights.values()]
    for weight in weights:
        if (units := weight.axes.get(layer.cell.state_axes[0])) is not None and groups.units is not None:
            numbers = groups.units[units]
            return torch.where(numbers < 0, 0.0, values[numbers.clamp_min(0)]).tolist()
    return _in_family(layer, groups, values)


def _in_family(layer: Layer, groups: Groups, values: Tensor) -> list[float]:
    """The values of the groups that a layer alone has, such as its gates, unit by unit."""
    for family in groups.families:
        if family.label == (layer.label or "cell"):
            return values[family.start : family.stop].tolist()
    return []
