"""A user's model whose recurrent layers run on the inference engine; its own forward stays as it is."""

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from sparsernn.deploy.packing import array_of, arrays_of
from sparsernn.deploy.planning import plan
from sparsernn.errors import UserError
from sparsernn.kernels.registry import Problem, State
from sparsernn.running.loop import Input, Part, Stack, run_layers
from sparsernn.running.modules import Recurrent
from sparsernn.running.runner import Place, by_kernels
from sparsernn.running.torch_layers import called, parts_of, plain_forward
from sparsernn.runtime.layers import RecurrentLayer
from sparsernn.runtime.layouts import FORMATS
from sparsernn.runtime.network import LayerSpec, NetworkSpec
from sparsernn.structure.masks import Masks
from sparsernn.structure.neighbour import has_another_forward
from sparsernn.structure.wiring import unwrap
from sparsernn.tracing.copying import copy_of

FORWARDS = (Recurrent.forward, nn.LSTM.forward, nn.GRU.forward, nn.RNN.forward)
"""Forwards that the engine stands in for; a subclass with one of its own is left as it is."""


def accelerate(
    model: nn.Module,
    masks: Masks | Mapping[str, Tensor] | None = None,
    format: str | None = None,
    int8: bool = False,
    batch: int = 1,
) -> nn.Module:
    """A copy of a model whose recurrent layers are computed by the inference engine, for inference on a CPU.

    Its class, forward and state_dict are the model's own, without wrappers (data parallel, compiled); weights need no
    gradient. What the engine cannot take (another type than float32, another device, a gradient that is asked for, code
    that is compiled, layers with a forward of their own) is computed as before. Every call compares
    the weights with those that were packed, which takes as long as reading them: a step a call is quicker by
    `runtime.load`.

    Arguments:
        masks: of the model; weights that they leave out are zero in the copy.
        format: of all layers, a name in `runtime.layouts.FORMATS`; None times the candidates and takes the quickest.
        int8: whether formats that round to 8 bits are candidates too.
        batch: sequences side by side for which formats are timed.
    Raises: UserError for a model without recurrent layers or that cannot be copied, masks of other weights, or an
        unknown format.
    """
    fast = copy_of(unwrap(model)).eval().requires_grad_(False)
    Masks.write_(masks, fast)
    if format is not None and format not in FORMATS:
        raise UserError(f'format is "{format}"', f"one of {', '.join(FORMATS)}", "choose one of them")
    modules = [
        module for module in fast.modules() if type(module).forward in FORWARDS and not has_another_forward(module)
    ]
    if not modules:
        raise UserError(
            "the model has no recurrent layer whose forward is its class's own",
            "an LSTM, GRU or RNN, or one of sparsernn.nn",
            "pass another",
        )
    for module in modules:
        module.forward = EngineForward(module, format, int8, batch)  # type: ignore[method-assign]
    return fast


class EngineForward:
    """The forward of one recurrent module. A copy of the module has the plain one again."""

    def __init__(self, module: Any, format: str | None, int8: bool, batch: int):
        self.module, self.format, self.int8, self.batch = module, format, int8, batch
        self._layers: dict[tuple[str, ...], RecurrentLayer] = {}
        self._packed_weights: list[Tensor] = []

    def __call__(self, input: Input, hx: object = None, lengths: Tensor | None = None) -> object:
        if torch.compiler.is_compiling():
            return plain_forward(self.module)(input, hx, *([] if lengths is None else [lengths]))
        run = partial(self._compute, called(self, self.module), input, hx, lengths)
        return cast(Callable[[], object], torch.compiler.disable(run))() if "torch._dynamo" in sys.modules else run()

    def _compute(self, module: Any, input: Input, hx: object, lengths: Tensor | None) -> object:
        parts = parts_of(module)
        widths = getattr(module, "state_widths", None)
        directions = 1 + int(module.bidirectional)
        stack = Stack(module, parts, directions, module.batch_first, state_widths=widths)
        return run_layers(stack, input, hx, lengths, partial(self._run, self._packed_layers(parts)))

    def _packed_layers(self, parts: Sequence[Part]) -> dict[tuple[str, ...], RecurrentLayer]:
        """Those packed before; none where weights have changed, as writing through `.data` leaves no other trace."""
        weights = [weight.detach() for part in parts for weight in part.weights.values()]
        before, layers = self._packed_weights, self._layers
        if len(before) != len(weights) or not all(map(torch.equal, before, weights)):
            layers = {}
            self._packed_weights, self._layers = [weight.clone() for weight in weights], layers
        return layers

    def _run(
        self, layers: dict[tuple[str, ...], RecurrentLayer], place: Place, problem: Problem
    ) -> tuple[Tensor, State]:
        tensors = (problem.x, *problem.state, *problem.weights.values())
        wants_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        plain = all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
        if wants_gradient or not plain or problem.is_scaled or torch.compiler.is_compiling():
            return by_kernels(place, problem)
        key = tuple(place.names.values())
        if key not in layers:
            layers[key] = self._packed(problem)
        state = tuple(map(array_of, problem.state))
        lengths = None if problem.lengths is None else problem.lengths.to(torch.int64).numpy()
        output, after = layers[key].run(array_of(problem.x), state, lengths)
        return torch.from_numpy(output), tuple(map(torch.from_numpy, after))

    def _packed(self, problem: Problem) -> RecurrentLayer:
        layer = LayerSpec(problem.cell, arrays_of(problem.weights), self.format or "dense")
        if self.format is None:
            (layer,) = plan(NetworkSpec("recurrent", [layer]), batch=self.batch, int8=self.int8)[0].layers
        return layer.build()

    def __reduce__(self) -> tuple[Any, ...]:
        return plain_forward, (self.module,)


def explain(model: nn.Module) -> Mapping[str, list[str]]:
    """Module -> the format of each of its layers that have run so far."""
    formats = {}
    for name, module in model.named_modules():
        forward = vars(module).get("forward")
        if isinstance(forward, EngineForward):
            formats[name] = [layer.format for layer in forward._layers.values()]
    return formats
