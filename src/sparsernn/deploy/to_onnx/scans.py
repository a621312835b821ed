"""Scan nodes over the step of a cell that the standard has no operator for."""

from collections.abc import Sequence

import onnx_ir as ir
import torch
from torch import Tensor, nn

from sparsernn.cells.cell import Cell
from sparsernn.deploy.to_onnx.nodes import SCANNED
from sparsernn.kernels import torch_math
from sparsernn.kernels.product import Products
from sparsernn.kernels.products import dense
from sparsernn.kernels.registry import Problem


class Step(nn.Module):
    """One step of a layer as a function of tensors: states, projected input, whether sequences go on, weights."""

    def __init__(self, cell: Cell, names: Sequence[str], has_lengths: bool):
        super().__init__()
        self.cell, self.names, self.has_lengths = cell, names, has_lengths

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        count = len(self.cell.states)
        state, x, rest = tensors[:count], tensors[count], tensors[count + 1 :]
        weights = dict(zip(self.names, rest[self.has_lengths :], strict=True))
        problem = Problem(self.cell, weights, x.unsqueeze(0), state)
        after = self.cell.step(x, state, Products(problem, lambda matrix: dense.product), torch_math)
        output = after[0] * 1
        if self.has_lengths:
            after = [torch.where(rest[0], new, old) for new, old in zip(after, state, strict=True)]
            output = torch.where(rest[0], output, torch.zeros((), dtype=x.dtype))
        return (*after, output)


def bodies(problems: Sequence[Problem], opset: int) -> list[ir.Model]:
    """A graph of one step for each layer; layers of one kind and size have copies of one."""
    made: dict[object, ir.Model] = {}
    models = []
    for problem in problems:
        shapes = tuple((name, tuple(weight.shape)) for name, weight in problem.weights.items())
        key = problem.cell, shapes, problem.x.dtype, problem.lengths is None
        if key not in made:
            made[key] = _body(problem, opset)
        models.append(made[key].clone())
    return models


def _body(problem: Problem, opset: int) -> ir.Model:
    names, has_lengths, batch = list(problem.weights), problem.lengths is not None, 3
    dtype, sizes = problem.x.dtype, {name: tuple(weight.shape) for name, weight in problem.weights.items()}
    widths = [int(part.shape[-1]) for part in problem.state]
    tensors = [torch.zeros(batch, width, dtype=dtype) for width in widths]
    projected = problem.cell.project(
        torch.zeros(batch, problem.x.shape[-1], dtype=dtype),
        Products(_zeros(problem, sizes), lambda matrix: dense.product),
        torch_math,
    )
    tensors.append(projected)
    if has_lengths:
        tensors.append(torch.ones(batch, 1, dtype=torch.bool))
    free = len(tensors)
    tensors += [torch.zeros(size, dtype=dtype) for size in sizes.values()]
    axis = torch.export.Dim("batch")
    shapes = tuple({0: axis} if number < free else None for number in range(len(tensors)))
    step = Step(problem.cell, names, has_lengths)
    with torch.no_grad():
        program = torch.export.export(step, tuple(tensors), dynamic_shapes=(shapes,), strict=False)
    exported = torch.onnx.export(program, dynamo=True, opset_version=opset, verbose=False)
    return exported.model  # type: ignore[union-attr]


def _zeros(problem: Problem, sizes: dict[str, tuple[int, ...]]) -> Problem:
    weights = {name: torch.zeros(size, dtype=problem.x.dtype) for name, size in sizes.items()}
    return Problem(problem.cell, weights, torch.zeros(1, 1, problem.x.shape[-1], dtype=problem.x.dtype), ())


def expand(graph: ir.Graph, steps: Sequence[ir.Model]) -> None:
    """Make a Scan of every node that stands for a layer."""
    for node in list(graph):
        if node.domain == SCANNED:
            number = node.attributes["layer"].as_int()
            scan = _scan(node, steps[number].graph, f"layer_{number}_")
            graph.insert_before(node, scan)
            ir.convenience.replace_all_uses_with(node.outputs, scan.outputs, replace_graph_outputs=True)
            for old, new in zip(node.outputs, scan.outputs, strict=True):
                new.name, new.shape, new.type = old.name, old.shape, old.type
            graph.remove(node, safe=True)


def _scan(node: ir.Node, body: ir.Graph, prefix: str) -> ir.Node:
    """The weights of a layer are read from outside the body."""
    states = len(node.outputs) - 1
    values = [value for inner in body for value in inner.outputs]
    for value in [*body.inputs, *values, *body.initializers.values()]:
        value.name = prefix + str(value.name)
    free = len(body.inputs) - node.attributes["weights"].as_int()
    for inner, outer in zip(body.inputs[free:], node.inputs[free:], strict=True):
        ir.convenience.replace_all_uses_with(inner, outer)  # type: ignore[arg-type]
    inputs, outputs, nodes = list(body.inputs[:free]), list(body.outputs), list(body)
    initializers = list(body.initializers.values())
    body.inputs.clear()
    body.outputs.clear()
    body.initializers.clear()
    body.remove(nodes)
    graph = ir.Graph(inputs, outputs, nodes=nodes, initializers=initializers, name=f"{prefix}step")
    attributes = [ir.AttrGraph("body", graph), ir.AttrInt64("num_scan_inputs", free - states)]
    return ir.Node("", "Scan", node.inputs[:free], attributes, num_outputs=len(node.outputs), name=f"{prefix}scan")
