"""How much a weight moves a recurrent layer's outputs on noise: what scores are divided by."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import reduce
from operator import add

import torch
from torch import Tensor

from sparsernn.methods.parts.one_batch import Passes, gradients, passes_of, scored_layers
from sparsernn.methods.run import Run
from sparsernn.running.jacobians import unroll
from sparsernn.running.passes import Pass
from sparsernn.structure.budget import check_fraction
from sparsernn.structure.layer import Layer
from sparsernn.typed import choose

SAMPLES, NOISE = 100, 0.1


@dataclass(frozen=True)
class Reading:
    """One way to read the normaliser |d (sum of outputs) / d weight| of Zhang & Stadie 2020, equation 5.

    Attributes:
        steps: number of steps; None takes that of the batch.
        start: mean of the initial states, which have noise too unless it is 0.
        every_step: whether all outputs are summed, or those of the last step.
        offset: added to all gates, and taken from those that the authors write the other way round.
        floor: quantile of the normaliser, over a layer, below which it is clamped.
    """

    steps: int | None
    start: float
    every_step: bool
    offset: float
    floor: float


READINGS = {
    "released": Reading(steps=5, start=1.0, every_step=False, offset=0.1, floor=0.0),
    "equation_5": Reading(steps=None, start=0.0, every_step=True, offset=0.0, floor=0.01),
}
NORMALISERS = ("none", *READINGS)


def check_normaliser(name: str, floor: float | None) -> None:
    """Raises: UserError for a normaliser that does not exist or a floor that is no fraction."""
    choose("normaliser", name, NORMALISERS)
    if floor is not None:
        check_fraction(floor, "floor")


def passes_for(run: Run, name: str) -> Passes:
    """The passes that the normaliser of that name looks at."""
    return {} if name == "none" else passes_of(run)


def normalised(
    run: Run, scores: Mapping[str, Tensor], passes: Passes, name: str, floor: float | None = None
) -> dict[str, Tensor]:
    """Scores divided by the normaliser of that name, 0/0 being 0; a floor takes the place of the reading's own."""
    if name == "none":
        return dict(scores)
    reading = READINGS[name] if floor is None else dataclasses.replace(READINGS[name], floor=floor)
    quotients = dict(scores)
    for layer, weights in scored_layers(run):
        scored = {local: full for local, full in layer.weights.items() if full in scores}
        gamma = normaliser(layer, weights, list(scored), passes[layer.label][0], reading, run.generator)
        for local, full in scored.items():
            quotients[full] = (scores[full] / gamma[local]).where((scores[full] != 0) | (gamma[local] != 0), 0.0)
    return quotients


def normaliser(
    layer: Layer,
    weights: Mapping[str, Tensor],
    locals_: list[str],
    like: Pass,
    reading: Reading,
    generator: torch.Generator,
) -> dict[str, Tensor]:
    """|d (sum over samples, units and perhaps steps of the output) / d weight|, by local name, clamped from below.

    Arguments:
        weights: of the layer, by local name.
        locals_: those of which it is computed.
        like: a pass of the layer, for its sizes.
    """
    steps = reading.steps or like.inputs.shape[0]

    def noise(*shape: int) -> Tensor:
        return (NOISE * torch.randn(shape, generator=generator)).to(like.inputs)

    inputs = noise(steps, SAMPLES, like.inputs.shape[-1])
    start = tuple(
        reading.start
        + (noise(SAMPLES, state.shape[-1]) if reading.start else inputs.new_zeros(SAMPLES, state.shape[-1]))
        for state in like.start
    )
    with torch.enable_grad():
        states, _ = unroll(weights, Pass(layer, inputs, start), reading.offset)
        total = reduce(add, [state[0].sum() for state in (states[1:] if reading.every_step else states[-1:])])
    sizes = {local: slope.abs() for local, slope in gradients(total, {at: weights[at] for at in locals_}).items()}
    place = round(reading.floor * (sum(slope.numel() for slope in sizes.values()) - 1))
    if not reading.floor:
        return sizes
    least = torch.cat([slope.flatten() for slope in sizes.values()]).kthvalue(place + 1).values
    return {local: slope.clamp_min(least) for local, slope in sizes.items()}
