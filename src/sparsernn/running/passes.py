"""A model's recurrent layers run in plain operations, differentiable twice, and what each of them was given."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sparsernn.kernels import registry
from sparsernn.kernels.registry import Problem, State
from sparsernn.running.runner import Place, running_by
from sparsernn.running.torch_layers import is_run_here, require_run_here, run_as_before
from sparsernn.structure.layer import Layer
from sparsernn.structure.modes import eagerly, modes_kept
from sparsernn.structure.wiring import Wiring, unwrap


@dataclass(frozen=True)
class Pass:
    """What one recurrent layer, in one direction, was given in a forward; a backward direction sees time turned round.

    Attributes:
        layer: the layer.
        inputs: [time batch input]
        start: initial states. [batch unit] each
        lengths: of each sequence, or None. [batch]
    """

    layer: Layer
    inputs: Tensor
    start: State
    lengths: Tensor | None = None


class Tape:
    """A runner that notes the passes of all layers of a model, in the order in which they ran.

    A cell that a user's loop calls step by step, each time with the state it has just returned, makes one pass.
    """

    def __init__(self, model: nn.Module, wiring: Wiring):
        self.passes: list[Pass] = []
        self._ends: dict[int, State] = {}
        self._by_weight = {name: layer for layer in reversed(wiring.layers) for name in layer.weights.values()}
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._tied = wiring.tied

    def __call__(self, place: Place, problem: Problem) -> tuple[Tensor, State]:
        output, ends = registry.run(replace(problem, twice=True))
        if (layer := self.layer(place)) is not None:
            self._note(place.module, layer, problem, ends)
        return output, ends

    def layer(self, place: Place) -> Layer | None:
        """The layer of the model that runs at a place."""
        if id(place.module) not in self._paths:
            return None
        path, local = self._paths[id(place.module)], next(iter(place.names.values()))
        name = f"{path}.{local}" if path else local
        return self._by_weight.get(self._tied.get(name, name))

    def _note(self, module: nn.Module, layer: Layer, problem: Problem, ends: State) -> None:
        """Note one pass, or a step that continues one: the pass that ended with the very states it begins with."""
        inputs, before = problem.x.detach(), self._ends.get(id(module), ())
        number = next((at for at in reversed(range(len(self.passes))) if self.passes[at].layer is layer), None)
        goes_on = bool(before) and all(end is start for end, start in zip(before, problem.state, strict=True))
        if number is not None and goes_on:
            longer = torch.cat([self.passes[number].inputs, inputs])
            self.passes[number] = replace(self.passes[number], inputs=longer)
        else:
            start = tuple(part.detach() for part in problem.state)
            self.passes.append(Pass(layer, inputs, start, problem.lengths))
        self._ends[id(module)] = ends


def passes_of(model: nn.Module, forward: Callable[[nn.Module], object]) -> tuple[Wiring, list[Pass]]:
    """A model's layers, and what each was given in one forward in evaluation mode, without gradients."""
    inner = unwrap(model)
    wiring = Wiring.local(inner)
    with modes_kept(model), torch.no_grad(), stepwise(inner.eval(), wiring) as passes:
        forward(model)
    return wiring, passes


@contextmanager
def stepwise(model: nn.Module, wiring: Wiring) -> Iterator[list[Pass]]:
    """Inside, every recurrent layer runs in plain operations and notes what it is given; compiled code is not used.

    Arguments:
        model: the unwrapped module.
        wiring: of this model.
    """
    tape = Tape(model, wiring)
    modules = [model.get_submodule(path) for path in {layer.module for layer in wiring.layers}]
    plain = [module for module in modules if not is_run_here(module)]
    try:
        for module in plain:
            require_run_here(module)
        with eagerly(), running_by(tape):
            yield tape.passes
    finally:
        for module in plain:
            run_as_before(module)
