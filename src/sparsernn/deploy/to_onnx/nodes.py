"""One node of ONNX for each recurrent layer, written into the graph of a model while it is traced."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from sparsernn.cells.cell import Cell
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.rnn import RNN
from sparsernn.kernels import torch_math
from sparsernn.kernels.product import Products
from sparsernn.kernels.products import dense
from sparsernn.kernels.registry import Problem, State
from sparsernn.running.runner import Place

SCANNED = "sparsernn"
"""The domain of nodes that stand for a layer until `scans.expand` makes a Scan of them."""


@dataclass(frozen=True)
class Operator:
    """A recurrent operator of the standard.

    Attributes:
        name: of the operator.
        order: for each gate of the standard the number of the cell's.
        gates: the standard's letters for these gates.
        attributes: beside the number of units.
    """

    name: str
    order: tuple[int, ...]
    gates: str
    attributes: tuple[tuple[str, object], ...] = ()


OPERATORS: dict[Cell, Operator] = {
    LSTM(): Operator("LSTM", (0, 3, 1, 2), "i o f c"),
    GRU(): Operator("GRU", (1, 0, 2), "z r h", (("linear_before_reset", 1),)),
    GRU(reset="before"): Operator("GRU", (1, 0, 2), "z r h", (("linear_before_reset", 0),)),
    RNN(): Operator("RNN", (0,), "h"),
    RNN(nonlinearity="relu"): Operator("RNN", (0,), "h", (("activations", ["Relu"]),)),
}
"""Cells that the standard has an operator for; any other becomes a Scan over its step."""


class LayerNodes:
    """A runner (`running.runner.Runner`) that writes nodes instead of computing.

    Arguments:
        paths: of the model's modules, by `id`.
    Attributes:
        scanned: layers that have no operator, their weights by local name; one for all steps of a loop that calls it.
        described: what the file says of each layer, in the order in which they ran.
    """

    def __init__(self, paths: Mapping[int, str]):
        self.paths = paths
        self.forget()

    def forget(self) -> None:
        """As before any layer ran."""
        self.scanned: list[Problem] = []
        self.described: list[dict[str, object]] = []
        self._numbers: dict[tuple[object, ...], int] = {}

    def __call__(self, place: Place, problem: Problem) -> tuple[Tensor, State]:
        cell, path = problem.cell, self.paths.get(id(place.module), "")
        names = [f"{path}.{name}".removeprefix(".") for name in place.names.values()]
        operator = OPERATORS.get(cell) if problem.x.dtype == torch.float32 else None
        about: dict[str, object] = {"cell": repr(cell), "weights": names, "states": list(cell.states)}
        if operator is None:
            about |= {"node": "Scan", "gates": " ".join(cell.gates)}
        else:
            about |= {"node": operator.name, "gates": operator.gates}
        if isinstance(cell, GRU):
            about["reset"] = f"{cell.reset} the recurrent product"
        if about not in self.described:
            self.described.append(about)
        if operator is not None:
            return _node(operator, problem)
        key = id(place.module), *names, problem.lengths is None
        number = self._numbers.setdefault(key, len(self.scanned))
        self.scanned += [problem] * (number == len(self.scanned))
        return self._scan(number, problem)

    def _scan(self, number: int, problem: Problem) -> tuple[Tensor, State]:
        multiply = Products(replace(problem, masks=None), lambda matrix: dense.product)
        x = problem.cell.project(problem.x, multiply, torch_math)
        time, batch = x.shape[:2]
        inputs = [*problem.state, x]
        if problem.lengths is not None:
            inputs.append((torch.arange(time).unsqueeze(1) < problem.lengths).unsqueeze(-1))
        inputs += problem.weights.values()
        widths = [part.shape[-1] for part in problem.state]
        shapes = [*([batch, width] for width in widths), [time, batch, widths[0]]]
        dtypes = [x.dtype] * len(shapes)
        attributes: dict[str, object] = {"layer": number, "weights": len(problem.weights)}
        *state, output = _symbolic(f"{SCANNED}::Layer", inputs, attributes, dtypes, shapes)
        return output, tuple(state)


def _node(operator: Operator, problem: Problem) -> tuple[Tensor, State]:
    x, weights, gates = problem.x, problem.weights, len(operator.order)
    width = problem.state[0].shape[-1]
    time, batch = x.shape[:2]
    biases = [weights.get(name) for name in ("bias_ih", "bias_hh")]
    bias = None
    if any(part is not None for part in biases):
        parts = [x.new_zeros(gates * width) if part is None else _ordered(part, operator.order) for part in biases]
        bias = torch.cat(parts).unsqueeze(0)
    inputs = [
        x.contiguous(),
        *(_ordered(weights[name], operator.order).unsqueeze(0) for name in ("weight_ih", "weight_hh")),
        bias,
        None if problem.lengths is None else problem.lengths.to(torch.int32),
        *(part.unsqueeze(0) for part in problem.state),
    ]
    shapes = [[time, 1, batch, width], *([1, batch, width] for _ in problem.state)]
    attributes = {"hidden_size": width, **dict(operator.attributes)}
    output, *state = _symbolic(operator.name, inputs, attributes, [x.dtype] * len(shapes), shapes)
    return output.squeeze(1), tuple(part.squeeze(0) for part in state)


def _ordered(weight: Tensor, order: Sequence[int]) -> Tensor:
    """Gates in the order of the standard. Shapes: [gate*hidden ..]"""
    pieces = weight.chunk(len(order))
    return torch.cat([pieces[number] for number in order])


def _symbolic(
    name: str,
    inputs: Sequence[Tensor | None],
    attributes: dict[str, object],
    dtypes: Sequence[torch.dtype],
    shapes: Sequence[Sequence[int]],
) -> Sequence[Tensor]:
    return torch.onnx.ops.symbolic_multi_out(name, inputs, attributes, dtypes=dtypes, shapes=shapes)  # type: ignore[arg-type]
