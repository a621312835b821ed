"""Scaling or redrawing the weights that are left after pruning, so that signals or gradients keep their size."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from sparsernn.methods.parts.one_batch import Passes, follow, passes_of, scored_layers
from sparsernn.methods.run import Run
from sparsernn.running.jacobians import mean_square_singular_value
from sparsernn.running.passes import Pass
from sparsernn.structure.layer import Layer

STEPS = 100
RESCALINGS = ("none", "variance", "dense", "one", "isometry", "drive")
HORIZON = 4
DRIVE = 0.5
"""Root mean square of what a gate is given by the input: within the range in which its function is not flat."""


class Rescaling:
    """Made before pruning, applied after it. See `RandomPruning` for the kinds."""

    def __init__(self, run: Run, kind: str):
        self.run, self.kind = run, kind
        self.squares: dict[str, Tensor] = {}
        self.layers: list[tuple[Layer, dict[str, Tensor]]] = []
        self.passes: Passes = {}
        self.targets: dict[str, float] = {}
        if kind == "variance":
            self.squares = {name: self._by_gate(name).square().sum((1, 2)) for name in run.selected}
        if kind in ("dense", "one", "drive"):
            follow(run)
        if kind in ("dense", "one"):
            self.layers, self.passes = scored_layers(run), passes_of(run)
            self.targets = {
                layer.label: self._spectrum(layer, weights) if kind == "dense" else 1.0
                for layer, weights in self.layers
            }

    @torch.no_grad()
    def apply_(self) -> None:
        """Scale the weights, and note by how much."""
        if self.kind == "none":
            return
        if self.kind == "isometry":
            self._isometric()
        if self.kind == "drive":
            self._drive()
        for name, before in self.squares.items():
            after = self._by_gate(name).square().sum((1, 2))
            self._by_gate(name).mul_(torch.where(after > 0, (before / after).sqrt(), 1.0).view(-1, 1, 1))
        reached = {layer.label: self._fit(layer, weights) for layer, weights in self.layers}
        self.run.note("rescale", more={"mean_squared_singular_value": reached} if reached else None)

    def _drive(self) -> None:
        """Scale what reads the input, gate by gate; each layer with those below it as they are by then."""
        for layer, weights in scored_layers(self.run):
            seen = torch.cat([_seen(one) for one in passes_of(self.run)[layer.label]])
            for local in [local for local in weights if _reads_input(layer, local)]:
                if layer.weights[local] in self.run.selected:
                    gates = self._by_gate(layer.weights[local])
                    strength = (seen @ gates.transpose(1, 2)).square().mean((1, 2)).sqrt()
                    gates.mul_(torch.where(strength > 0, DRIVE / strength, 1.0).view(-1, 1, 1))

    def _isometric(self) -> None:
        """Draw what reads the state anew, gate by gate."""
        for layer, _ in scored_layers(self.run):
            for local in self._reads_state(layer):
                name = layer.weights[local]
                kept = self._by_gate(name, self.run.masks.kept[name])
                for gate, mask in zip(self._by_gate(name), kept, strict=True):
                    gate.copy_(approximate_isometry(gate, mask))

    def _reads_state(self, layer: Layer) -> list[str]:
        """The selected weights, by local name."""
        return [
            local
            for local, name in layer.weights.items()
            if name in self.run.selected and not _reads_input(layer, local)
        ]

    def _by_gate(self, name: str, tensor: Tensor | None = None) -> Tensor:
        """A view of the weight, or of another tensor of its shape. [gate, or 1 if it has none; unit; source]"""
        tensor = self.run.weights[name].data if tensor is None else tensor
        layout = self.run.wiring.weights[name].layout
        gates = len(layout.gates) if layout.stored[0] == "gate" else 1
        return tensor.view(gates, tensor.shape[0] // gates, -1)

    def _spectrum(self, layer: Layer, weights: Mapping[str, Tensor]) -> float:
        """The mean squared singular value on the passes of the batch."""
        values = [mean_square_singular_value(weights, one, HORIZON) for one in self.passes[layer.label]]
        return sum(values) / len(values)

    def _fit(self, layer: Layer, weights: dict[str, Tensor]) -> float:
        """Scale the matrices that read the state; the mean squared singular value that this brings."""
        scaled = self._reads_state(layer)

        def at(factor: float) -> float:
            return self._spectrum(layer, weights | {local: weights[local].detach() * factor for local in scaled})

        factor = nearest_factor(at, self.targets[layer.label]) if scaled else 1.0
        for local in scaled:
            weights[local].mul_(factor)
        return self._spectrum(layer, weights)


def nearest_factor(of: Callable[[float], float], target: float, most: float = 64.0) -> float:
    """The factor between 1/most and most at which a function of it meets a target, or comes nearest to it.

    The factor nearest to 1 where the function crosses the target is found by steps of sqrt(2), then halved intervals.
    """
    first = of(1.0)
    tried, step = {1.0: first}, 2**0.5 if first < target else 2**-0.5
    low = high = 1.0
    while 1 / most <= high * step <= most and (tried[high] < target) == (first < target):
        low, high = high, high * step
        tried[high] = of(high)
    if (tried[high] < target) == (first < target):
        return min(tried, key=lambda factor: abs(tried[factor] - target))
    for _ in range(16):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if (of(middle) < target) == (first < target) else (low, middle)
    return (low * high) ** 0.5


def _seen(one: Pass) -> Tensor:
    """The inputs of all steps before the end of each sequence. [step input]"""
    if one.lengths is None:
        return one.inputs.flatten(0, 1)
    steps = torch.arange(one.inputs.shape[0], device=one.lengths.device).unsqueeze(1)
    return one.inputs[(steps < one.lengths).to(one.inputs.device)]


def _reads_input(layer: Layer, local: str) -> bool:
    return layer.layouts[local].source == ("input",)


@torch.enable_grad()
def approximate_isometry(weight: Tensor, kept: Tensor) -> Tensor:
    """Weights W on the mask near the smallest ||WᵀW − I||, found from `weight` by L-BFGS.

    Arguments:
        weight: [unit source] where the search starts; only what the mask keeps is looked at.
        kept: [unit source] bool. Sources without a connection have no length to keep and are left out.
    Returns: [unit source], zero outside the mask.
    Source: Lee, Ajanthan, Gould & Torr 2020, A signal propagation perspective for pruning neural networks at
    initialization, approximate isometry (there by gradient descent).
    """
    if not bool(kept.any()):
        return torch.zeros_like(weight)
    tall = weight.shape[0] >= weight.shape[1]
    mask = kept if tall else kept.T
    values = (weight if tall else weight.T).detach().float()[mask].requires_grad_(True)
    target = mask.any(0).float().diag()
    search = torch.optim.LBFGS([values], max_iter=STEPS, line_search_fn="strong_wolfe")

    def distance() -> Tensor:
        search.zero_grad()
        matrix = torch.zeros(mask.shape, device=weight.device).masked_scatter(mask, values)
        loss = (matrix.T @ matrix - target).square().sum()
        loss.backward()
        return loss

    search.step(distance)
    nearest = torch.zeros(mask.shape, device=weight.device).masked_scatter(mask, values.detach())
    return (nearest if tall else nearest.T).to(weight.dtype).contiguous()
