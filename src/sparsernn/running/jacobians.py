"""The step Jacobians of a recurrent layer: its states unrolled, products with vectors, whole matrices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from sparsernn.cells.cell import Cell
from sparsernn.kernels import registry, torch_math
from sparsernn.kernels.product import Products
from sparsernn.kernels.products import dense
from sparsernn.kernels.registry import Problem
from sparsernn.running.passes import Pass
from sparsernn.structure.layer import State, Weights

FUNCTIONALS = ("JT1", "J1", "frobenius")
PARTS = ("hidden", "state")


def ending_together(one: Pass) -> tuple[Pass, Tensor | None]:
    """The same sequences, shifted so that all end at the last step, and which run at each step. [time batch] or None"""
    if one.lengths is None:
        return one, None
    steps, lengths = one.inputs.shape[0], one.lengths.to(one.inputs.device)
    place = torch.arange(steps, device=lengths.device).unsqueeze(1) - (steps - lengths).unsqueeze(0)
    index = place.clamp_min(0).unsqueeze(-1).expand_as(one.inputs)
    return replace(one, inputs=one.inputs.gather(0, index), lengths=None), place >= 0


def unroll(
    weights: Weights, one: Pass, offset: float = 0.0, last: int | None = None
) -> tuple[list[State], Tensor | None]:
    """States before the first step and after each, of sequences that end together; differentiable in the weights.

    Arguments:
        weights: local name -> tensor.
        offset: is added to the part of every gate that the state does not enter, and taken from mirrored gates.
        last: give only the states around so many last steps. Those before are taken at once where that is quicker,
            and can then be differentiated only once.
    Returns: time + 1 states, or last + 1, and which sequences run at each step. [time batch] or None
    """
    one, running = ending_together(one)
    steps, number = StepsOf(one.layer.cell, weights), len(one.inputs)
    apart = 0 if last is None else max(number - last, 0)
    added = steps.offsets(one.inputs, offset)
    state = _advanced(weights, one, added if offset else None, apart) if apart and running is None else None
    begun = 0 if state is None else apart
    projected = steps.project(one.inputs[begun:]) + added
    states = [one.start if state is None else _views(state)]
    for time in range(begun, number):
        state = steps.advance(projected[time - begun], states[-1])
        if running is not None:
            here = running[time].unsqueeze(-1)
            state = tuple(torch.where(here, new, old) for new, old in zip(state, states[-1], strict=True))
        states.append(_views(state))
    return states[apart - begun :], running


class StepsOf:
    """Single steps of a layer, each product dense, so that all can be differentiated as often as torch can.

    Arguments:
        cell: what a step computes.
        weights: local name -> tensor.
    """

    def __init__(self, cell: Cell, weights: Weights):
        self.cell, self.weights = cell, weights
        problem = Problem(cell, weights, next(iter(weights.values())), ())
        self.multiply = Products(problem, lambda matrix: dense.product)

    def project(self, x: Tensor) -> Tensor:
        """What the input makes of the gates. Shapes: [.. input] -> [.. gate*hidden]."""
        return self.cell.project(x, self.multiply, torch_math)

    def offsets(self, inputs: Tensor, offset: float) -> Tensor:
        """What a number added to every gate, and taken from mirrored ones, adds to `project`. [gate*hidden]"""

        def rows_of(name: str, vector: Tensor | None = None, gates: tuple[str, ...] | None = None) -> Tensor:
            rows = self.weights[name].new_zeros(len(self.weights[name]))
            for gate in self.cell.gates_of(name) if "gate" in self.cell.axes[name].split() else ():
                rows[self.cell.rows(name, (gate,), len(rows))] = -offset if gate in self.cell.mirrored else offset
            return rows

        return self.cell.project(inputs.new_zeros(inputs.shape[-1]), rows_of, torch_math)

    def advance(self, projected: Tensor, state: State) -> State:
        """The states after one step. Shapes: [batch gate*hidden], each state [batch hidden]."""
        return self.cell.step(projected, state, self.multiply, torch_math)

    def step(self, x: Tensor, state: State) -> State:
        """One time step. Shapes: x [batch input], each state [batch hidden]."""
        return self.advance(self.project(x), state)


def _views(state: State) -> State:
    """Views, so that a derivative in one state does not go by way of another that was computed from it."""
    return tuple(part.view_as(part) for part in state)


def _advanced(weights: Weights, one: Pass, added: Tensor | None, steps: int) -> State | None:
    """The state after the first steps, by the quickest kernel; None where offsets cannot be put into a bias."""
    cell = one.layer.cell
    if added is not None:
        if cell.gates_of("bias_ih") != cell.gates or not {"bias_ih", "bias_hh"} <= set(cell.axes):
            return None
        bias = weights.get("bias_ih", weights["weight_ih"].new_zeros(len(weights["weight_ih"])))
        weights = {"bias_hh": torch.zeros_like(bias), **weights, "bias_ih": bias + added}
    return registry.run(Problem(cell, weights, one.inputs[:steps], one.start))[1]


def product(before: State, after: State, functional: str, part: str, generator: torch.Generator) -> Tensor:
    """J^T 1, J 1, or J^T s with random signs s, where J = d after / d before; differentiable. [batch unit]

    Arguments:
        before, after: states, where `after` was computed from `before` (which needs a gradient).
        functional: "JT1", "J1" or "frobenius" (the mean square of J^T s estimates the mean squared singular value).
        part: "hidden" takes the output's Jacobian to itself, other states held fixed; "state", or any for a layer that
            does not read its own output, that of all states.
    """
    count = 1 if part == "hidden" and _is_read(before[0], after) else len(after)
    sources, targets = before[:count], after[:count]
    if functional == "frobenius":
        weights = [_signs(target, generator) for target in targets]
        return torch.cat(_back(targets, sources, weights), -1)
    ones = [torch.ones_like(target, requires_grad=functional == "J1") for target in targets]
    products = _back(targets, sources, ones)
    if functional == "J1":
        products = _back([torch.stack([piece.sum() for piece in products]).sum()], ones, None)
    return torch.cat(products, -1)


def mean_square(products: Tensor, running: Tensor | None) -> Tensor:
    """The mean of the squares over units and over the sequences that run. [batch unit] -> []"""
    squares = products.square().mean(-1)
    return squares.mean() if running is None else (squares * running).sum() / running.sum().clamp_min(1)


def mean_square_singular_value(weights: Weights, one: Pass, horizon: int) -> float:
    """The mean squared singular value of dh_t/dh_{t-1} over sequences and the last steps, estimated by random signs."""
    generator = torch.Generator().manual_seed(0)
    weights = {local: weight.detach() for local, weight in weights.items()}
    with torch.no_grad():
        states, running = unroll(weights, one)
    inputs, squares = ending_together(one)[0].inputs, []
    steps = StepsOf(one.layer.cell, weights)
    for time in range(max(0, len(inputs) - horizon), len(inputs)):
        before = tuple(state.clone().requires_grad_() for state in states[time])
        with torch.enable_grad():
            after = steps.step(inputs[time], before)
            value = mean_square(product(before, after, "frobenius", "hidden", generator), _at(running, time))
        squares.append(float(value.detach()))
    return sum(squares) / len(squares)


def step_jacobian(cell: Cell, weights: Weights, x: Tensor, state: State, part: str = "hidden") -> Tensor:
    """The whole matrix d after / d before of one step of one sequence. x [input], states [unit] -> [unit unit]"""
    width = sum(piece.shape[-1] for piece in state)
    copies = tuple(piece.detach().expand(width, -1).clone().requires_grad_() for piece in state)
    with torch.enable_grad():
        after = StepsOf(cell, weights).step(x.expand(width, -1), copies)
        count = 1 if part == "hidden" and _is_read(copies[0], after) else len(state)
        outputs = torch.cat(after[:count], -1)
        every = torch.eye(width, outputs.shape[-1], dtype=outputs.dtype, device=x.device)
        rows = _back([outputs], copies[:count], [every])
    return torch.cat(rows, -1)[: outputs.shape[-1]].detach()


def _is_read(output: Tensor, after: State) -> bool:
    """Whether the step reads the output of the one before."""
    return torch.autograd.grad(after[0].sum(), output, retain_graph=True, allow_unused=True)[0] is not None


def _back(targets: Sequence[Tensor], sources: Sequence[Tensor], weights: Sequence[Tensor] | None) -> tuple[Tensor, ...]:
    """Vector-Jacobian products, zero for what is not read; differentiable."""
    return torch.autograd.grad(targets, sources, weights, create_graph=True, allow_unused=True, materialize_grads=True)


def _signs(like: Tensor, generator: torch.Generator) -> Tensor:
    return (2.0 * torch.randint(2, like.shape, generator=generator) - 1).to(like)


def _at(running: Tensor | None, time: int) -> Tensor | None:
    return None if running is None else running[time]
