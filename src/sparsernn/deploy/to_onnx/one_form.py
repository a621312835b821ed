"""One form of a traced graph, in which what is the same in every step looks the same."""

import operator
from collections.abc import Sequence
from typing import Any

import torch
from torch import fx
from torch.fx.node import map_arg
from torch.utils import _pytree as tree

aten = torch.ops.aten
Key = tuple[object, ...]
Read = tuple[Any, ...]
"""What a node is called with, as torch.fx has it."""
STEPPED = (aten.select.int, aten.slice.Tensor)
"""Operators that read one step of a sequence."""


def plain(graph: fx.Graph) -> fx.Graph:
    """A copy in which nothing is computed twice, and what is split into steps is selected step by step."""
    result, places, seen = fx.Graph(), {}, {}
    for node in graph.nodes:
        if node.op == "output":
            result.output(map_arg(tuple(tree.tree_leaves(node.args)), places.__getitem__))
            continue
        if node.op == "call_function" and "assert" in str(node.target):
            continue
        target, args = _selecting(node)
        args = map_arg(args, places.__getitem__)
        kwargs = map_arg(node.kwargs, places.__getitem__)
        key = (node.op, *key_of(target, args, kwargs))
        if node.op == "placeholder" or key not in seen:
            seen[key] = result.create_node(node.op, target, args, kwargs, node.name)
            seen[key].meta = dict(node.meta)
        places[node] = seen[key]
    result.eliminate_dead_code()
    for node in reversed(list(result.nodes)):
        for user in list(node.users) if is_one(node) else ():  # a step is selected where it is read
            with result.inserting_before(user):
                copy = result.node_copy(node)
                user.replace_input_with(node, copy)
    result.eliminate_dead_code()
    return result


def _selecting(node: fx.Node) -> tuple[Any, Read]:
    """What a node does; one piece of a sequence that is taken apart is selected by itself."""
    source = node.args[0] if node.target is operator.getitem else None
    if isinstance(source, fx.Node) and isinstance(number := node.args[1], int):
        x, dimension = (
            source.args[0] if source.args else None,
            argument(source, 1 + (source.target in SPLITS), "dim"),
        )
        if source.target is aten.unbind.int:
            return aten.select.int, (x, dimension, number)
        size = source.args[1] if source.target in SPLITS else 0
        if size == 1 or (isinstance(size, list | tuple) and set(size) == {1}):
            return aten.slice.Tensor, (x, dimension, number, number + 1)
    return node.target, node.args


SPLITS = (aten.split.Tensor, aten.split_with_sizes.default)


def argument(node: fx.Node, number: int, name: str) -> int:
    return node.args[number] if len(node.args) > number else node.kwargs.get(name, 0)  # type: ignore[return-value]


def key_of(target: object, args: object, kwargs: object) -> Key:
    values, form = tree.tree_flatten((args, kwargs))
    return (target, str(form), *map(identity_of, values))


def identity_of(leaf: object) -> object:
    """Equal for what is the same; a step that is selected is the same wherever."""
    if not isinstance(leaf, fx.Node):
        return type(leaf), leaf
    return key_of(leaf.target, leaf.args, leaf.kwargs) if is_one(leaf) else leaf


def is_one(node: fx.Node) -> bool:
    """Whether a node selects one step, or one of something else."""
    if node.target is aten.slice.Tensor and len(node.args) == 4:
        return all(isinstance(end, int) for end in node.args[2:]) and node.args[3] - node.args[2] == 1  # type: ignore[operator]
    return node.target is aten.select.int


def leaves(node: fx.Node) -> list[Any]:
    return tree.tree_leaves((node.args, node.kwargs))


def look_of(node: fx.Node) -> Key:
    """What a node looks like whatever step it belongs to."""
    values, form = tree.tree_flatten((node.args, node.kwargs))
    kinds = [type(leaf) if isinstance(leaf, fx.Node | int) and not isinstance(leaf, bool) else leaf for leaf in values]
    return (node.target, str(form), *kinds)


def reads_a_step(node: fx.Node, reads: Sequence[Read], numbers: Sequence[Read]) -> bool:
    """Whether an operator of `STEPPED` reads the next step, or the one before, of what stays the same."""
    if reads[0][0] != "same" or abs(numbers[0][2]) != 1:
        return False
    if node.target is aten.select.int:
        return True
    return len(numbers) == 2 and numbers[1][2] == numbers[0][2] and numbers[1][1] == numbers[0][1] + 1
