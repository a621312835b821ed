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
FILLED: dict[object, tuple[float, ...]] = {
    aten.new_full.default: (),
    aten.new_zeros.default: (0.0,),
    aten.new_ones.default: (1.0,),
}
WHOLE = 2**63 - 1
"""The end of a slice that has none."""
STEPPED = (aten.select.int, aten.slice.Tensor)
"""Operators that read one step of a sequence."""


def plain(graph: fx.Graph, count: int) -> fx.Graph:
    """A copy in which nothing is computed twice, or put together and taken apart again, but for all so many steps.

    What is split into steps is selected step by step; what is written step by step is stacked.
    """
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
        if node.op == "call_function" and (same := _same(target, args, count)) is not None:
            places[node] = same
            continue
        if items := _written(target, args):
            target, args, kwargs = aten.stack.default, (items, args[2]), {}
        if target in FILLED:  # the first argument tells the type alone
            target, args = aten.full.default, (*args[1:], *FILLED[target])
            kwargs = {"dtype": node.meta["val"].dtype}
        key = (node.op, *key_of(_constant(node) or target, args, kwargs))
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


def _constant(node: fx.Node) -> Key:
    """What a tensor holds that a step makes of numbers of its own, as the next step makes another; () of all else."""
    value = operator.attrgetter(str(node.target))(node.graph.owning_module) if node.op == "get_attr" else None
    if not isinstance(value, torch.Tensor) or isinstance(value, torch.nn.Parameter):
        return ()
    return str(value.dtype), tuple(value.shape), value.detach().numpy().tobytes()


def _same(target: object, args: Read, count: int) -> fx.Node | None:
    """The node that an operator gives as it is, such as one that was stacked before; None: it makes another."""
    x = args[0] if args else None
    if not isinstance(x, fx.Node):
        return None
    if target is aten.slice.Tensor and args[2:] == (0, WHOLE):
        return x
    if target is aten.slice_scatter.default and args[3:] == (0, WHOLE):
        return args[1]
    if target is aten.copy.default and _look(x) == _look(args[1]):
        return args[1]
    if target is aten.squeeze.dim and x.target is aten.unsqueeze.default and x.args[1] == args[1]:
        return x.args[0]  # type: ignore[return-value]
    if target is aten.select.int and x.target is aten.stack.default and argument(x, 1, "dim") == args[1]:
        return x.args[0][args[2]] if len(x.args[0]) < count else None  # type: ignore[arg-type, index, return-value]
    return None


def _look(node: fx.Node) -> tuple[object, ...]:
    value = node.meta.get("val")
    return (value.shape, value.dtype) if isinstance(value, torch.Tensor) else (node,)


def _written(target: object, args: Read) -> list[fx.Node]:
    """What was written into every place along a dimension, one after the other, or nothing."""
    if target is not aten.select_scatter.default:
        return []
    items = _written_so_far(target, args)
    return items if len(items) == args[0].meta["val"].shape[args[2]] else []


def _written_so_far(target: object, args: Read) -> list[fx.Node]:
    """What was written into a place and all before it, or nothing."""
    x, item, dimension, number = args
    if number == 0:
        return [item]
    if not isinstance(x, fx.Node) or x.target is not target or x.args[2:] != (dimension, number - 1):
        return []
    before = _written_so_far(target, x.args)
    return [*before, item] if before else []


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
