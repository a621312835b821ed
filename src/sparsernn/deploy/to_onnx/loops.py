"""One loop of a forward over its steps: what repeats in its graph, and a scan in its place."""

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import fx
from torch._higher_order_ops.scan import scan_op
from torch.fx.node import map_arg
from torch.utils import _pytree as tree

from sparsernn.deploy.to_onnx.one_form import (
    STEPPED,
    Key,
    Read,
    argument,
    identity_of,
    key_of,
    leaves,
    look_of,
    reads_a_step,
)  # fmt: skip

aten = torch.ops.aten


@dataclass
class Loop:
    """The nodes of a loop.

    Attributes:
        body: those of one step, in order; steps: those of each step that there are, by their place in the body.
        carried: places in the body that the next step reads; starts: what the first step reads instead.
        delays: places that read what the step before read at another place, which is carried along.
    """

    graph: fx.Graph
    body: list[fx.Node]
    later: list[fx.Node]
    delays: dict[int, int] = field(default_factory=dict)
    steps: list[dict[int, fx.Node]] = field(default_factory=list)
    starts: dict[int, fx.Node] = field(default_factory=dict)

    def __post_init__(self) -> None:
        places = {node: place for place, node in enumerate(self.body)}
        after = {node: place for place, node in enumerate(self.later)}
        self.reads = [
            [self._read(one, other, places, after) for one, other in zip(leaves(node), leaves(next_), strict=True)]
            for node, next_ in zip(self.body, self.later, strict=True)
        ]
        for place, source in self.delays.items():
            self.reads[place] = [("before", source)]

    def _leaves(self, place: int, node: fx.Node) -> list[Any]:
        return [node] if place in self.delays else leaves(node)

    def delayed(self, lookup: dict[Key, fx.Node]) -> "Loop | None":
        """With what reads the part of the step before carried along; None where nothing does.

        The step that is missing is the first one, which reads something else there.
        """
        body, later, delays = list(self.body), list(self.later), {}
        for place, last in self.steps[-1].items():
            if last.target not in STEPPED or self.reads[place][2][0] != "number":
                continue
            (x, dimension, number, *_), more = last.args, self.reads[place][2][2]
            size = x.meta["val"].shape[dimension]  # type: ignore[union-attr, index]
            if type(size) is not int or number != (size - 2 if more == 1 else 1):
                continue
            for node in (last, self.later[place]):
                after = (x, dimension, *(end + more for end in node.args[2:]))  # type: ignore[operator]
                key = key_of(node.target, after, node.kwargs)
                if key not in lookup:
                    with self.graph.inserting_after(last):
                        lookup[key] = self.graph.call_function(node.target, after)  # type: ignore[arg-type]
            delays[place] = len(body)
            body.append(self.later[place])
            later.append(lookup[key])
        return Loop(self.graph, body, later, delays) if delays else None

    @staticmethod
    def _read(one: Any, other: Any, places: Mapping[fx.Node, int], after: Mapping[fx.Node, int]) -> Read:
        """("now" or "before", place) of what a step computes, ("same", value), ("number", first, more each step)."""
        if isinstance(one, fx.Node):
            if other in after:
                return "now", after[other]
            if other in places:
                return "before", places[other]
            return ("same", one) if one is other else ("other",)
        if isinstance(one, int) and not isinstance(one, bool) and one != other:
            return "number", one, other - one
        return "same", one

    def fits(self) -> bool:
        """Whether the two steps are the same, but for places of a sequence that are read one after the other."""
        for node, reads in zip(self.body, self.reads, strict=True):
            numbers = [read for read in reads if read[0] == "number"]
            if any(read[0] == "other" for read in reads):
                return False
            if numbers and node.target not in STEPPED and "onnx" not in str(node.target):
                return False
            if numbers and node.target in STEPPED and not reads_a_step(node, reads, numbers):
                return False
        for place, reads in enumerate(self.reads):
            if any(read == ("now", other) for read in reads for other in range(place, len(self.body))):
                return False
        return any(read[0] in ("before", "number") for reads in self.reads for read in reads)

    def extend(self, lookup: Mapping[Key, fx.Node]) -> bool:
        """Find all steps before and after, and the start. Returns whether there is one start.

        Arguments:
            lookup: the nodes of the graph by what they are.
        """
        self.steps = [dict(enumerate(self.body))]
        carried = {read[1] for reads in self.reads for read in reads if read[0] == "before"}
        shown = self._shown()
        number = 1
        while True:
            step = self._completed({}, self.steps[-1], number, lookup)
            if step.items() <= self.steps[-1].items() or not (carried & step.keys() or shown <= step.keys()):
                break  # what never changes is no step
            self.steps.append(step)
            number += 1
        number = -1
        while True:
            before = self._values_before(self.steps[0])
            if before is None:
                return False
            step = self._as_step(before, number, lookup)
            if step is None or not (before or (shown <= step.keys() and step.items() - self.steps[0].items())):
                self.starts = before
                return True
            self.steps.insert(0, step)
            number -= 1

    def is_found(self, lookup: dict[Key, fx.Node], count: int) -> bool:
        """Whether these are two steps of about so many, all of which are known now."""
        return self.fits() and self.extend(lookup) and self.is_whole(count)

    def _shown(self) -> set[int]:
        """Places that what is read behind the loop is made of: all there is of a last step whose state nobody reads."""
        inside = {*self.body, *self.later}
        places = {place for place, node in enumerate(self.body) if node.users.keys() - inside}
        for place in reversed(range(len(self.body))):
            if place in places:
                places |= {read[1] for read in self.reads[place] if read[0] == "now"}
        return places or {-1}

    def _values_before(self, step: Mapping[int, fx.Node]) -> dict[int, fx.Node] | None:
        """What a step reads of the one before, or None where two nodes differ on that."""
        values: dict[int, fx.Node] = {}
        for place, node in step.items():
            for read, leaf in zip(self.reads[place], self._leaves(place, node), strict=True):
                if read[0] == "before" and identity_of(values.setdefault(read[1], leaf)) != identity_of(leaf):
                    return None
        return values

    def _completed(
        self, step: dict[int, fx.Node], before: Mapping[int, fx.Node], number: int, lookup: Mapping[Key, fx.Node]
    ) -> dict[int, fx.Node]:
        """With those nodes of a step that follow from what it reads."""
        for place, (node, reads) in enumerate(zip(self.body, self.reads, strict=True)):
            if place in step:
                continue
            values = [self._value(read, step, before, number) for read in reads]
            if any(value is _MISSING for value in values):
                continue
            if place in self.delays:
                step[place] = values[0]
                continue
            args, kwargs = tree.tree_unflatten(values, tree.tree_structure((node.args, node.kwargs)))
            if (same := lookup.get(key_of(node.target, args, kwargs))) is not None:
                step[place] = same
        return step

    @staticmethod
    def _value(read: Read, step: Mapping[int, fx.Node], before: Mapping[int, fx.Node], number: int) -> Any:
        if read[0] == "same":
            return read[1]
        if read[0] == "number":
            return read[1] + number * read[2]
        return (step if read[0] == "now" else before).get(read[1], _MISSING)

    def _as_step(
        self, values: Mapping[int, fx.Node], number: int, lookup: Mapping[Key, fx.Node]
    ) -> dict[int, fx.Node] | None:
        """The step that made these values, or None where some other nodes did."""
        step: dict[int, fx.Node] = {}
        if not all(self._matches(place, node, number, step) for place, node in values.items()):
            return None
        before = self._values_before(step)
        return None if before is None else self._completed(step, before, number, lookup)

    def _matches(self, place: int, node: fx.Node, number: int, step: dict[int, fx.Node]) -> bool:
        if place in step:
            return identity_of(step[place]) == identity_of(node)
        if place in self.delays:
            step[place] = node
            return True
        if node.op != "call_function" or look_of(node) != look_of(self.body[place]):
            return False
        step[place] = node
        for read, leaf in zip(self.reads[place], leaves(node), strict=True):
            if read[0] == "now" and not self._matches(read[1], leaf, number, step):
                return False
            if read[0] == "same" and identity_of(leaf) != identity_of(read[1]):
                return False
            if read[0] == "number" and leaf != read[1] + number * read[2]:
                return False
        return True

    # A scan in place of all steps

    def is_whole(self, count: int) -> bool:
        """Whether there are about so many steps that all read their part of a sequence, and somebody reads them."""
        read = {place for place, reads in enumerate(self.reads) if any(one[0] == "number" for one in reads)}
        whole = all(read <= step.keys() for step in self.steps)
        return whole and abs(len(self.steps) - count) <= 2 and bool(self.outside())

    def outside(self) -> dict[int, list[fx.Node]] | None:
        """For each place of the body those who read it behind the loop; None where they read a step in the middle."""
        inside = {node for step in self.steps for node in step.values()}
        readers: dict[int, list[fx.Node]] = {}
        for place, reads in enumerate(self.reads):
            reads_here = self.body[place].target in STEPPED and any(read[0] == "number" for read in reads)
            if reads_here or place in self.delays:
                continue
            nodes = [step.get(place) for step in self.steps]
            users = [user for node in nodes if node is not None for user in node.users if user not in inside]
            for user in dict.fromkeys(users):
                if not _reads_all(user, nodes) and any(user in node.users for node in nodes[:-1] if node is not None):
                    return None
                readers.setdefault(place, []).append(user)
        return readers

    def replace(self, module: fx.GraphModule, name: str) -> None:
        """Put a scan in the place of the steps."""
        readers = self.outside() or {}
        carried = sorted(self.starts)
        first = next(node for node in self.graph.nodes if any(node in users for users in readers.values()))
        with self.graph.inserting_before(first):
            body = _Body(self, module, carried, sorted(readers))
            setattr(module, name, body.module)
            starts = [_cloned(self.graph, self.starts[place]) for place in carried]
            called = self.graph.get_attr(name)
            results = self.graph.call_function(scan_op, (called, starts, body.sequences, tuple(body.constants)))
            outputs = [
                self.graph.call_function(operator.getitem, (results, len(carried) + number))
                for number in range(len(readers))
            ]
        for stacked, place in zip(outputs, sorted(readers), strict=True):
            nodes = [step.get(place) for step in self.steps]
            for user in readers[place]:
                self._read_stacked(user, nodes, stacked)

    def _read_stacked(self, user: fx.Node, nodes: Sequence[fx.Node | None], stacked: fx.Node) -> None:
        with self.graph.inserting_before(user):
            if not _reads_all(user, nodes):
                last = self.graph.call_function(aten.select.int, (stacked, 0, -1))
                user.replace_input_with(nodes[-1], last)  # type: ignore[arg-type]
                return
            items, dimension = list(user.args[0]), argument(user, 1, "dim")  # type: ignore[call-overload]
            start = min(items.index(nodes[0]), items.index(nodes[-1]))
            if items.index(nodes[0]) > items.index(nodes[-1]):
                stacked = self.graph.call_function(aten.flip.default, (stacked, [0]))
            rank = nodes[0].meta["val"].dim()  # type: ignore[union-attr]
            dimension %= rank + (user.target is aten.stack.default)
            joined = self.graph.call_function(aten.movedim.int, (stacked, 0, dimension))
            before, after = items[:start], items[start + len(nodes) :]
            if user.target is aten.cat.default:
                joined = self.graph.call_function(aten.flatten.using_ints, (joined, dimension, dimension + 1))
            else:
                unsqueeze = lambda item: self.graph.call_function(aten.unsqueeze.default, (item, dimension))  # noqa: E731
                before, after = list(map(unsqueeze, before)), list(map(unsqueeze, after))
            if before or after:
                joined = self.graph.call_function(aten.cat.default, ([*before, joined, *after], dimension))
            joined.meta = dict(user.meta)
            user.replace_all_uses_with(joined)
        self.graph.erase_node(user)


_MISSING = object()


def _cloned(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """In memory of its own, as a scan wants what it carries."""
    return graph.call_function(aten.clone.default, (node,), {"memory_format": torch.contiguous_format})


def _reads_all(user: fx.Node, nodes: Sequence[fx.Node | None]) -> bool:
    """Whether a node joins what all steps gave, one after the other, or the last one first."""
    if user.target not in (aten.stack.default, aten.cat.default) or None in nodes:
        return False
    items = list(user.args[0])  # type: ignore[call-overload]
    places = [number for number, item in enumerate(items) if item in nodes]
    return bool(places) and items[places[0] : places[-1] + 1] in (list(nodes), list(nodes)[::-1])


class _Body:
    """The graph of one step.

    Attributes:
        module: it. sequences: what it reads a step of, steps first. constants: what it reads as it is.
    """

    def __init__(self, loop: Loop, module: fx.GraphModule, carried: Sequence[int], read: Sequence[int]):
        self.loop, self.graph, self.outer = loop, fx.Graph(), loop.graph
        self.sequences: list[fx.Node] = []
        self.constants: list[fx.Node] = []
        steps = len(loop.steps)
        before = {place: self.graph.placeholder(f"before_{place}") for place in carried}
        values = self._sequences(steps)
        self._inner: dict[fx.Node, fx.Node] = {}
        for place, (node, reads) in enumerate(zip(loop.body, loop.reads, strict=True)):
            if place in values:
                continue
            arguments = [self._leaf(one, values, before) for one in reads]
            if place in loop.delays:
                values[place] = arguments[0]
                continue
            args, kwargs = tree.tree_unflatten(arguments, tree.tree_structure((node.args, node.kwargs)))
            values[place] = self.graph.create_node("call_function", node.target, args, kwargs)
        self.graph.output([_cloned(self.graph, values[place]) for place in (*carried, *read)])
        self.graph.lint()
        self.module = fx.GraphModule(module, self.graph)

    def _sequences(self, steps: int) -> dict[int, fx.Node]:
        """What is read a step at a time, by place in the body."""
        inputs: dict[int, fx.Node] = {}
        for place, (node, reads) in enumerate(zip(self.loop.body, self.loop.reads, strict=True)):
            numbers = [read for read in reads if read[0] == "number"]
            if not numbers or node.target not in STEPPED:
                continue
            ((_, number, more),) = numbers[:1]
            x, dimension = node.args[:2]
            first = number + more * (0 - self.loop.steps.index(dict(enumerate(self.loop.body))))
            low = min(first, first + more * (steps - 1))
            cut = self.outer.call_function(aten.slice.Tensor, (x, dimension, low, low + steps))
            moved = self.outer.call_function(aten.movedim.int, (cut, dimension, 0))
            if more < 0:
                moved = self.outer.call_function(aten.flip.default, (moved, [0]))
            self.sequences.append(moved)
            inputs[place] = self.graph.placeholder(f"step_{place}")
        if not self.sequences:
            self.sequences.append(self.outer.call_function(aten.zeros.default, ([steps],)))
            self.graph.placeholder("step")
        for place, input in inputs.items():
            node = self.loop.body[place]
            if node.target is aten.slice.Tensor:
                inputs[place] = self.graph.call_function(aten.unsqueeze.default, (input, node.args[1]))
        return inputs

    def _leaf(self, read: Read, values: Mapping[int, fx.Node], before: Mapping[int, fx.Node]) -> Any:
        if read[0] == "now":
            return values[read[1]]
        if read[0] == "before":
            return before[read[1]]
        return self._constant(read[1]) if isinstance(read[1], fx.Node) else read[1]

    def _constant(self, node: fx.Node) -> fx.Node:
        """A value of the graph around; sizes are read off tensors within."""
        if node not in self._inner:
            if isinstance(node.meta.get("val"), torch.Tensor) or node.op == "get_attr":
                last = [one for one in self.graph.nodes if one.op == "placeholder"][-1]
                with self.graph.inserting_after(last):
                    self._inner[node] = self.graph.placeholder(f"constant_{len(self.constants)}")
                self.constants.append(node)
            else:
                args, kwargs = map_arg(node.args, self._constant), map_arg(node.kwargs, self._constant)
                self._inner[node] = self.graph.call_function(node.target, args, kwargs)  # type: ignore[arg-type]
        return self._inner[node]
