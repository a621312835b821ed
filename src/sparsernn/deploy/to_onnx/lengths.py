"""Numbers of a traced graph that hang on how many steps there are, made to follow them."""

import operator

import torch
from torch import fx
from torch.utils import _pytree as tree

from sparsernn.deploy.to_onnx.one_form import leaves

aten = torch.ops.aten


def freed(shorter: fx.GraphModule, longer: fx.GraphModule, place: tuple[int, int], count: int) -> bool:
    """Put the number of steps in place of the numbers that hang on it; False where graphs differ otherwise.

    Arguments:
        shorter, longer: what a forward does with so many steps, and with one more; the shorter is changed.
        place: the input, and its dimension, that has as many steps.
        count: of the shorter.
    """
    if not _alike_bodies(shorter, longer) or len(shorter.graph.nodes) != len(longer.graph.nodes):
        return False
    graph = shorter.graph
    inputs = [node for node in graph.nodes if node.op == "placeholder"]
    with graph.inserting_after(inputs[-1]):
        steps = graph.call_function(aten.sym_size.int, (inputs[place[0]], place[1]))
    for node, other in zip([one for one in graph.nodes if one is not steps], longer.graph.nodes, strict=True):
        values, form = tree.tree_flatten((node.args, node.kwargs))
        further, other_form = tree.tree_flatten((other.args, other.kwargs))
        if node.op != other.op or form != other_form or (node.op == "call_function" and node.target != other.target):
            return False
        for number, (leaf, more) in enumerate(zip(values, further, strict=True)):
            if type(leaf) is not int or leaf == more:
                continue
            with graph.inserting_before(node):
                values[number] = _in_steps(graph, steps, leaf - count * (more - leaf), more - leaf)
        node.args, node.kwargs = tree.tree_unflatten(values, form)
    graph.lint()
    shorter.recompile()
    return True


def _in_steps(graph: fx.Graph, steps: fx.Node, rest: int, more: int) -> fx.Node:
    """A number that is so much more for each step, and so much on top."""
    product = steps if more == 1 else graph.call_function(operator.mul, (steps, more))
    return product if rest == 0 else graph.call_function(operator.add, (product, rest))


def _alike_bodies(shorter: fx.GraphModule, longer: fx.GraphModule) -> bool:
    bodies = [
        [str(node.target) + str([leaf for leaf in leaves(node) if isinstance(leaf, int)]) for node in body.graph.nodes]
        for body in (*shorter.children(), *longer.children())
        if isinstance(body, fx.GraphModule)
    ]
    half = len(bodies) // 2
    return bodies[:half] == bodies[half:]
