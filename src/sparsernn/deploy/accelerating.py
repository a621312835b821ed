"""A user's model whose recurrent layers run on the inference engine; its own forward stays as it is."""

import copy
import types
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.deploy.packing import array_of, arrays_of
from sparsernn.deploy.planning import plan
from sparsernn.errors import UserError
from sparsernn.kernels.registry import Problem, State
from sparsernn.running.loop import Stack, run_layers
from sparsernn.running.modules import Recurrent
from sparsernn.running.runner import Place, by_kernels
from sparsernn.running.torch_layers import parts_of
from sparsernn.runtime.layers import RecurrentLayer
from sparsernn.runtime.layouts import FORMATS
from sparsernn.runtime.network import LayerSpec, NetworkSpec
from sparsernn.structure.masks import Masks

FORWARDS = (Recurrent.forward, nn.LSTM.forward, nn.GRU.forward, nn.RNN.forward)
"""Forwards that the engine stands in for; a subclass with one of its own is left as it is."""


def accelerate(
    model: nn.Module, masks: Masks | None = None, format: str | None = None, int8: bool = False, batch: int = 1
) -> nn.Module:
    """A copy of a model whose recurrent layers are computed by the inference engine, for inference on a CPU.

    Its class, forward and state_dict are the model's own; weights need no gradient. What the engine cannot take
    (another type than float32, another device, a gradient that is asked for) is computed as before. Every call compares
    the weights with those that were packed, which takes as long as reading them: a step a call is quicker by
    `runtime.load`.

    Arguments:
        masks: of the model; weights that they leave out are zero in the copy.
        format: of all layers, a name in `runtime.layouts.FORMATS`; None times the candidates and takes the quickest.
        int8: whether formats that round to 8 bits are candidates too.
        batch: sequences side by side for which formats are timed.
    Raises: UserError for a model without recurrent layers, or an unknown format.
    """
    fast = copy.deepcopy(model).eval().requires_grad_(False)
    if masks is not None:
        masks.apply_(fast)
    if format is not None and format not in FORMATS:
        raise UserError(f'format is "{format}"', f"one of {', '.join(FORMATS)}", "choose one of them")
    modules = [module for module in fast.modules() if type(module).forward in FORWARDS]
    if not modules:
        raise UserError(
            "the model has no recurrent layer", "an LSTM, GRU or RNN, or one of sparsernn.nn", "pass another"
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

    def __call__(self, input: Any, hx: Any = None, lengths: Tensor | None = None) -> Any:
        module, parts = self.module, parts_of(self.module)
        self._look_again()
        widths = getattr(module, "state_widths", None)
        directions = 1 + int(module.bidirectional)
        stack = Stack(module, parts, directions, module.batch_first, state_widths=widths)
        return run_layers(stack, input, hx, lengths, self._run)

    def _look_again(self) -> None:
        """Layers are packed anew when weights have changed; writing through `.data` leaves no other trace."""
        weights = [weight.detach() for weight in self.module.parameters()]
        before = self._packed_weights
        if len(before) != len(weights) or not all(map(torch.equal, before, weights)):
            self._packed_weights, self._layers = [weight.clone() for weight in weights], {}

    def _run(self, place: Place, problem: Problem) -> tuple[Tensor, State]:
        tensors = (problem.x, *problem.state, *problem.weights.values())
        wants_gradient = torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)
        plain = all(tensor.dtype == torch.float32 and tensor.device.type == "cpu" for tensor in tensors)
        if wants_gradient or not plain or problem.is_scaled or torch.compiler.is_compiling():
            return by_kernels(place, problem)
        key = tuple(place.names.values())
        if key not in self._layers:
            self._layers[key] = self._packed(problem)
        state = tuple(map(array_of, problem.state))
        lengths = None if problem.lengths is None else problem.lengths.to(torch.int64).numpy()
        output, after = self._layers[key].run(array_of(problem.x), state, lengths)
        return torch.from_numpy(output), tuple(map(torch.from_numpy, after))

    def _packed(self, problem: Problem) -> RecurrentLayer:
        layer = LayerSpec(problem.cell, arrays_of(problem.weights), self.format or "dense")
        if self.format is None:
            (layer,) = plan(NetworkSpec("recurrent", [layer]), batch=self.batch, int8=self.int8)[0].layers
        return layer.build()

    def __reduce__(self) -> tuple[Any, ...]:
        return _plain_forward, (self.module,)


def _plain_forward(module: nn.Module) -> Any:
    return types.MethodType(type(module).forward, module)


def explain(model: nn.Module) -> Mapping[str, list[str]]:
    """Module -> the format of each of its layers that have run so far."""
    formats = {}
    for name, module in model.named_modules():
        forward = vars(module).get("forward")
        if isinstance(forward, EngineForward):
            formats[name] = [layer.format for layer in forward._layers.values()]
    return formats
