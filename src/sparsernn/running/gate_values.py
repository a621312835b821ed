"""Values of the gates of a recurrent layer, at every step of what it was given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor

from sparsernn.cells.parts.arithmetic import Math
from sparsernn.kernels import torch_math
from sparsernn.running.jacobians import StepsOf, ending_together, unroll
from sparsernn.running.passes import Pass
from sparsernn.structure.constant_gates import activated_gates
from sparsernn.structure.layer import Weights

ACTIVATED = ("sigmoid", "tanh", "relu", "selu", "log_sigmoid", "watch")


class Watching:
    """Torch's arithmetic, which notes what goes through an activation: before and after it."""

    def __init__(self) -> None:
        self.activated: list[tuple[Tensor, Tensor]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        function = getattr(torch_math, name)
        if name not in ACTIVATED:
            return function

        def noted(vector: Tensor, *others: Tensor) -> Tensor:
            activated = function(vector, *others)
            self.activated.append((vector, activated.exp() if name == "log_sigmoid" else activated))
            return activated

        return noted


@torch.no_grad()
def gate_values(weights: Weights, one: Pass) -> tuple[dict[str, tuple[Tensor, Tensor]], list[Tensor]]:
    """What each gate was given and gave out at every step that a sequence has, and the states after it.

    A gate that is activated several times in a step has the values of the first time; one that goes through no
    activation of its own has none.

    Arguments:
        weights: local name -> tensor.
    Returns: gate -> (before the activation, after it), [step unit] each; and each state, [step unit].
    """
    cell = one.layer.cell
    states, running = unroll(weights, one)
    before = tuple(torch.stack([state[place] for state in states[:-1]]) for place in range(len(states[0])))
    multiply, watching = StepsOf(cell, weights).multiply, Watching()
    arithmetic = cast(Math, watching)
    inputs = ending_together(one)[0].inputs
    cell.step(cell.project(inputs, multiply, arithmetic), before, multiply, arithmetic)
    there = torch.ones(inputs.shape[:2], dtype=torch.bool, device=inputs.device) if running is None else running
    values: dict[str, tuple[Tensor, Tensor]] = {}
    for (vector, activated), gates in zip(watching.activated, activated_gates(one.layer, weights), strict=True):
        for gate, places in gates.items():
            index = torch.as_tensor(places, device=vector.device)
            values.setdefault(gate, (vector[there][:, index], activated[there][:, index]))
    after = [torch.stack([state[place] for state in states[1:]])[there] for place in range(len(states[0]))]
    return values, after
