"""Graphs of a forward that goes through its steps itself, with a scan in the place of every loop."""

from collections.abc import Callable, Iterator, Sequence

import torch
from torch import fx

from sparsernn.deploy.to_onnx.lengths import freed
from sparsernn.deploy.to_onnx.loops import Loop
from sparsernn.deploy.to_onnx.one_form import key_of, look_of, plain

aten = torch.ops.aten
COMPARED: dict[object, Callable[..., object]] = {
    getattr(aten, name).Scalar: getattr(aten, name).Tensor for name in ("lt", "le", "gt", "ge", "eq", "ne")
}
STEPS = 7
"""Steps of the shorter of two traces: enough to see what repeats, the first and the last step aside."""


def rolled(trace: Callable[[int], fx.GraphModule], place: tuple[int, int]) -> fx.GraphModule | None:
    """The graph of a forward for any number of steps, or None where what it does for one more is not a step more.

    Arguments:
        trace: gives the graph of so many steps, without changes in place.
        place: the input, and its dimension, that has as many steps.
    """
    longer, shorter = (_rolled(trace(count), count) for count in (STEPS + 1, STEPS))
    if longer is None or shorter is None:
        return None
    return shorter if freed(shorter, longer, place, STEPS) else None


def _rolled(module: fx.GraphModule, count: int) -> fx.GraphModule | None:
    """With every loop of about so many steps as a scan; None without a loop."""
    graph, loops = plain(module.graph, count), 0
    _number_steps(graph, count)
    while (loop := _find(graph, count)) is not None:
        loop.replace(module, f"loop_{loops}")
        loops += 1
        graph.eliminate_dead_code()
    return fx.GraphModule(module, graph) if loops else None


def _number_steps(graph: fx.Graph, count: int) -> None:
    """Let what is compared with the number of each step, as lengths are, read it off a sequence of them."""
    compared: dict[tuple[object, object], list[fx.Node]] = {}
    for node in graph.nodes:
        if node.target in COMPARED and type(node.args[1]) is int:
            compared.setdefault((node.target, node.args[0]), []).append(node)
    for nodes in compared.values():
        numbers = sorted(node.args[1] for node in nodes)  # type: ignore[type-var]
        if numbers != list(range(numbers[0], numbers[0] + len(nodes))) or len(nodes) < count - 1:  # type: ignore[operator]
            continue
        with graph.inserting_before(nodes[0]):
            steps = graph.call_function(aten.arange.start, (numbers[0], numbers[-1] + 1))  # type: ignore[operator]
        for node in nodes:
            with graph.inserting_before(node):
                number = graph.call_function(aten.select.int, (steps, 0, node.args[1] - numbers[0]))  # type: ignore[operator]
            node.target, node.args = COMPARED[node.target], (node.args[0], number)


def _find(graph: fx.Graph, count: int) -> Loop | None:
    """The first loop of about so many steps, cut where there are the most of them.

    Elsewhere a step would begin with what is the end of another, and there would be one step too few.
    """
    nodes = [node for node in graph.nodes if node.op == "call_function"]
    looks = [look_of(node) for node in nodes]
    numbers = {look: number for number, look in enumerate(dict.fromkeys(looks))}
    line = [numbers[look] for look in looks]
    lookup = {key_of(node.target, node.args, node.kwargs): node for node in graph.nodes}
    for size in range(1, len(line) // (count - 3) + 1):
        for place in _repeats(line, size, count - 4):
            loops: list[Loop] = []
            for start in range(place, min(place + size, len(line) - 2 * size + 1)):
                loop = Loop(graph, nodes[start : start + size], nodes[start + size : start + 2 * size])
                if loop.is_found(lookup, count):
                    delayed = loop.delayed(lookup) if len(loop.steps) == count - 1 else None
                    if delayed is not None and delayed.is_found(lookup, count):
                        loop = delayed
                    if len(loop.steps) >= count:
                        return loop
                    loops.append(loop)
            if loops:
                return max(loops, key=lambda loop: (len(loop.steps), -len(loop.starts)))
    return None


def _repeats(line: Sequence[int], size: int, times: int) -> Iterator[int]:
    """Where so many numbers come so many times more. Gives a place in the middle."""
    run = 0
    for place in range(len(line) - size):
        run = run + 1 if line[place] == line[place + size] else 0
        if run == size * times:
            yield place + 1 - size
