"""SynFlow."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.engines.initial_pruning import InitialPruning
from sparsernn.methods.parts.one_batch import gradients, scored_layers
from sparsernn.methods.parts.scores import mean_over
from sparsernn.methods.run import Run
from sparsernn.structure.groups import Groups
from sparsernn.structure.layer import Layer


@dataclass(frozen=True)
class SynFlow(InitialPruning):
    """Before training and without data, keep the weights through which most of the network's flow goes.

    The flow R is what comes out of the recurrent layers after `steps` steps of ones, if every weight is replaced by its
    absolute value and every activation by the identity, the gates of a unit being added up:
    h_t = sum over gates (|W| x_t + |U| h_{t-1}). The score is w dR/dw. Layers that feed each other are one network; R
    is summed over those that feed none. A group's score is the mean over its weights.

    Arguments:
        steps: time steps of the flow.
    Shapes: weights of recurrent layers.
    Raises: UserError for an option out of range, weights of other layers, or a flow that overflows.
    Source: Tanaka et al. 2020, algorithm 1; the flow of a recurrent layer is our own.
    Deviations: one ranking a layer unless scope="global"; biases, normalisation and output layers are left out.
    """

    rounds: int = 100
    steps: int = 4
    layers_only = True
    needs_loss = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.steps < 1:
            raise UserError(f"steps is {self.steps!r}", "a number of time steps, at least 1", "pass steps=4")

    def score(self, run: Run, groups: Groups) -> Tensor:
        return mean_over(run, groups, self.importance(run))

    def importance(self, run: Run) -> dict[str, Tensor]:
        """The score of every weight of the selected tensors, by name."""
        scored_layers(run)
        sizes = {name: weight.detach().abs().double().requires_grad_() for name, weight in run.weights.items()}
        with torch.enable_grad():
            slopes = gradients(self.flow(run, sizes), {name: sizes[name] for name in run.selected})
        return {name: sizes[name].detach() * slope for name, slope in slopes.items()}

    def flow(self, run: Run, sizes: Mapping[str, Tensor]) -> Tensor:
        """The sum of what leaves the last layers. sizes: |w| by name. []"""
        wiring = run.wiring
        flows = [torch.ones(len(wiring.units.parent), dtype=torch.double, device=run.device)] * self.steps
        read = {unit for layer in wiring.layers for unit in _entering(run, layer).tolist()}
        leaving = flows[0].new_zeros(())
        for layer in wiring.layers:
            entering, written = _entering(run, layer), _written(run, layer)
            values = [flow[entering] for flow in flows]
            layer_sizes = {local: sizes[name] for local, name in layer.weights.items()}
            outputs = layer_flow(layer, layer_sizes, values, len(written))
            flows = [flow.index_put((written,), output) for flow, output in zip(flows, outputs, strict=True)]
            if not read & set(written.tolist()):
                leaving = leaving + outputs[-1].sum()
        return leaving


def layer_flow(layer: Layer, sizes: Mapping[str, Tensor], inputs: list[Tensor], width: int) -> list[Tensor]:
    """What a layer hands on at each step: h_t = sum over gates (|W| x_t + |U| h_{t-1}), and |P| h_t if it projects.

    Units that no matrix reads and that are not the output itself (states of automata) go into every output.
    """
    matrices = {local: layout for local, layout in layer.layouts.items() if layout.incoming}
    read = {axis for layout in matrices.values() for axis in layout.source}
    handed_on = layer.cell.state_axes[0]
    outputs: list[Tensor] = []
    before: dict[str, Tensor] = {}
    for x in inputs:
        now: dict[str, Tensor] = {}
        for local, layout in sorted(matrices.items(), key=lambda entry: "gate" not in entry[1].stored):
            source = (layout.source or layout.destination[-1:])[0]
            incoming = x if source == "input" else (before if "gate" in layout.stored else now).get(source)
            if incoming is not None:
                matrix = layout.view(sizes[local]).sum(0) if "gate" in layout.stored else sizes[local]
                made = matrix @ incoming if layout.source else matrix * incoming
                now[layout.destination[-1]] = now.get(layout.destination[-1], 0.0) + made
        loose = [flow.sum() for axis, flow in now.items() if axis not in read and axis != handed_on]
        outputs.append(now.get(handed_on, x.new_zeros(width)) + sum(loose))
        before = now | ({"memory": now["hidden"]} if "hidden" in now else {})
    return outputs


def _entering(run: Run, layer: Layer) -> Tensor:
    """Numbers of the units that a layer reads."""
    weights = [run.wiring.weights[name] for name in layer.weights.values()]
    return next(weight.axes["input"] for weight in weights if "input" in weight.axes)


def _written(run: Run, layer: Layer) -> Tensor:
    """Numbers of the units that it hands on."""
    path = layer.module
    place = [other.label for other in run.wiring.layers if other.module == path].index(layer.label)
    return run.wiring.axes[path][run.wiring.descriptions[path].states[0][place]]
