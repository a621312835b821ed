"""A forward that goes through its steps itself, each of its loops as one thing: a step can go on from the last."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

import torch
from torch import Tensor, fx, nn
from torch._higher_order_ops.scan import scan_op
from torch.utils import _pytree as tree
from torch.utils._python_dispatch import _get_current_dispatch_mode

from sparsernn.deploy.stepping import Looped, Stream, Watching, with_over_time
from sparsernn.deploy.to_onnx import rolls
from sparsernn.deploy.to_onnx.axes import Axis, resized
from sparsernn.deploy.to_onnx.calls import Forward
from sparsernn.deploy.to_onnx.functions import intercepted
from sparsernn.kernels import torch_math
from sparsernn.kernels.product import Products
from sparsernn.kernels.products import dense
from sparsernn.kernels.registry import Problem, State
from sparsernn.running.runner import Place, running_by


class Rolled(nn.Module):
    """A forward as a graph with scans, called as the forward is.

    Arguments:
        graph: what it does with its tensors.
        names: of what it returns.
    """

    def __init__(self, graph: fx.GraphModule, names: Sequence[str]):
        super().__init__()
        self.graph, self.names = graph, names

    def forward(self, *args: object, **kwargs: object) -> dict[str, Tensor]:
        tensors = [leaf for leaf in tree.tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        return dict(zip(self.names, _Looping(self.graph).run(*tensors), strict=True))


class _Looping(fx.Interpreter):
    """Runs a graph, and lets whoever watches the operators run its loops."""

    def call_function(self, target: object, args: tuple[object, ...], kwargs: dict[str, object]) -> object:
        if target is not scan_op:
            return super().call_function(target, args, kwargs)  # type: ignore[arg-type]
        mode, loop = _get_current_dispatch_mode(), Looped(*args)  # type: ignore[arg-type]
        return mode.run_loop(loop) if isinstance(mode, Watching) else loop.all()


class _Unrolled(nn.Module):
    """A forward whose layers go through all steps of their input as well, for `torch.export`."""

    def __init__(self, forward: Forward):
        super().__init__()
        self.network, self.forward_of_network = forward.network, forward

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        with intercepted(_stepped), running_by(_stepped):
            return tuple(self.forward_of_network.outputs(tensors).values())


def _stepped(place: Place, problem: Problem) -> tuple[Tensor, State]:
    multiply, state, outputs = Products(replace(problem, masks=None), lambda matrix: dense.product), problem.state, []
    for x in problem.cell.project(problem.x, multiply, torch_math).unbind():
        state = problem.cell.step(x, state, multiply, torch_math)
        outputs.append(state[0])
    return torch.stack(outputs), state


def rolled(stream: Stream) -> Stream | None:
    """The same with a forward whose loops are found, or None where there are none that can be."""
    if not stream.loops or stream.lengths:
        return None
    (place, *_), tensors = stream.time.items(), stream.sequences[0]
    module = _Unrolled(stream.forward)

    def trace(count: int) -> fx.GraphModule:
        inputs = resized(tensors, {Axis(*item): count for item in stream.time.items()})
        program = torch.export.export(module, tuple(inputs), strict=False)
        return program.run_decompositions({}).module(check_guards=False)  # type: ignore[return-value]

    with suppress(Exception), torch.no_grad():  # torch.export raises many kinds, none of them documented
        if (graph := rolls.rolled(trace, place)) is not None:
            network = Rolled(graph, list(stream.forward.outputs(tensors)))
            return with_over_time(replace(stream, forward=replace(stream.forward, network=network)))
    return None
