"""Scan nodes over the step of a cell that the standard has no operator for."""

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import torch

from sparsernn.deploy.to_onnx.nodes import SCANNED
from sparsernn.deploy.to_onnx.step_graph import GraphMath, GraphProducts, Numbers, StepGraph
from sparsernn.kernels.registry import Problem


def expand(graph: ir.Graph, problems: Sequence[Problem]) -> None:
    """Make a Scan of every node that stands for a layer, those in loops included."""
    nodes = [node for node in ir.traversal.RecursiveGraphIterator(graph) if node.domain == SCANNED]
    for number, node in enumerate(nodes):
        scan = _scan(node, problems[node.attributes["layer"].as_int()], f"layer_{number}_")
        around: ir.Graph = node.graph  # type: ignore[assignment]
        around.insert_before(node, scan)
        ir.convenience.replace_all_uses_with(node.outputs, scan.outputs, replace_graph_outputs=True)
        for old, new in zip(node.outputs, scan.outputs, strict=True):
            new.name, new.shape, new.type = old.name, old.shape, old.type
        around.remove(node, safe=True)


def _scan(node: ir.Node, problem: Problem, prefix: str) -> ir.Node:
    """The weights of a layer are read from outside the body."""
    cell, states = problem.cell, len(problem.state)
    free = len(node.inputs) - node.attributes["weights"].as_int()
    body = StepGraph(torch.empty(0, dtype=problem.x.dtype).numpy().dtype, prefix)
    heights = [len(weight) for weight in problem.weights.values()]
    weights = dict(zip(problem.weights, zip(node.inputs[free:], heights, strict=True), strict=True))
    state = tuple(body.input(name, int(part.shape[-1])) for name, part in zip(cell.states, problem.state, strict=True))
    x = body.input("projected", int(node.inputs[states].shape[-1]))  # type: ignore[index, union-attr]
    inputs, math = [*state, x], GraphMath(body)
    after = list(cell.step(x, state, GraphProducts(body, cell, weights), math))  # type: ignore[arg-type]
    output = after[0]
    if problem.lengths is not None:
        goes_on = body.input("goes_on", 1, np.dtype(bool))
        inputs.append(goes_on)
        after = [math.where(goes_on.value, new.value, old) for new, old in zip(after, state, strict=True)]
        output = Numbers(body, body.write("Where", [goes_on.value, output.value, body.scalar(0.0)])[0], output.width)
    # What a body gives has to be made in it, each by a node of its own.
    outputs = [number.map("Identity").value for number in (*after, output)]
    graph = ir.Graph(
        [number.value for number in inputs],
        outputs,
        nodes=body.nodes,
        initializers=body.constants,
        name=f"{prefix}step",
    )
    for value, like in zip(outputs, (*state, output), strict=True):
        value.shape, value.type = ir.Shape(["batch", like.width]), x.value.type
    attributes = [ir.AttrGraph("body", graph), ir.AttrInt64("num_scan_inputs", free - states)]
    return ir.Node("", "Scan", node.inputs[:free], attributes, num_outputs=len(node.outputs), name=f"{prefix}scan")
