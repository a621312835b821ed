"""Weights that are drawn for one forward, and take the place of a model's parameters during it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.methods.draw import Change, Draw
from sparsernn.running.runner import active, by_kernels, running_by
from sparsernn.running.scaling import Plan, Scaling
from sparsernn.running.sequences import Sequences
from sparsernn.running.torch_layers import is_run_here, require_run_here, run_as_before
from sparsernn.sparsifying.sparse_run import SparseRun
from sparsernn.structure.choice import count


class Drawing:
    """Draws weights and puts them where parameters are, in every module that uses such a parameter, and back.

    Arguments:
        run: whose method draws. Where weights are absent drawn ones are zero.
    """

    def __init__(self, run: SparseRun):
        self.run = run
        self._replaced: list[tuple[nn.Module, str, nn.Parameter]] = []
        self._around = ExitStack()
        self._plan: Plan | None = None
        self._evaluated: tuple[list[tuple[int, int]], Draw] | None = None

    def draw(self) -> Draw:
        """New weights. Raises: UserError if one does not fit the parameter of its name."""
        drawn = self.run.method.before_forward(self.run)
        drawn = drawn if isinstance(drawn, Draw) else Draw(drawn or {})
        return Draw(self._checked(drawn.weights), drawn.factors, drawn.outputs)

    def evaluated(self) -> Draw:
        """The weights of a forward in evaluation mode, made anew only when parameters have changed."""
        if torch.is_grad_enabled():
            return Draw(self._checked(self.run.method.before_evaluation(self.run) or {}))
        tensors = [*self.run.weights.values(), *self.run.owned.values()]
        versions = [(tensor.data_ptr(), tensor._version) for tensor in tensors]
        if self._evaluated is None or self._evaluated[0] != versions:
            self._evaluated = versions, Draw(self._checked(self.run.method.before_evaluation(self.run) or {}))
        return self._evaluated[1]

    def forget(self) -> None:
        """Parameters have changed."""
        self._evaluated = None

    def _checked(self, drawn: Mapping[str, Tensor]) -> dict[str, Tensor]:
        weights, parameters = dict(drawn), self.run.weights
        for name, weight in weights.items():
            if name not in parameters or weight.shape != parameters[name].shape:
                raise UserError(
                    f"the method draws {name} of shape {tuple(weight.shape)}",
                    "a weight of this model in its own shape",
                    "let before_forward return names and shapes of run.weights",
                )
            kept = self.run.masks.kept.get(name)
            if kept is not None and count(kept) < kept.numel():
                weights[name] = weight.masked_fill(~kept, 0)
        return weights

    def put(self, drawn: Draw) -> None:
        """From now on the model computes with what is drawn."""
        model = self.run.model
        stand_ins = {id(model.get_parameter(name)): weight for name, weight in drawn.weights.items()}
        for module in model.modules() if stand_ins else ():
            for name, parameter in list(module._parameters.items()):
                if parameter is not None and id(parameter) in stand_ins:
                    self._replaced.append((module, name, parameter))
                    # nn.Module's own assignment takes nothing but parameters in such a place.
                    module._parameters[name] = stand_ins[id(parameter)]  # type: ignore[assignment]
        for module in {module for module, *_ in self._replaced}:
            if isinstance(module, nn.RNNBase):  # it sees by itself only weights that it never had before
                module._flat_weights = [getattr(module, name) for name in module._flat_weights_names]
        if drawn.factors or drawn.outputs:
            self._put_around(drawn)

    def _put_around(self, drawn: Draw) -> None:
        """Let layers be run with factors, and outputs be changed, as long as the forward lasts."""
        model, groups = self.run.model, [factors.groups for factors in drawn.factors]
        if self._plan is None or [id(one) for one in self._plan.groups] != [id(one) for one in groups]:
            self._plan = Plan(model, self.run.wiring, groups)
        scaling = Scaling(self._plan, drawn.factors, active() or by_kernels)
        self._around.enter_context(running_by(scaling))
        modules = [model.get_submodule(path) for path in self._plan.paths.values()]
        for module in modules:
            if not is_run_here(module):
                require_run_here(module)
                self._around.callback(run_as_before, module)
        sequences = partial(Sequences, any(getattr(module, "batch_first", False) for module in modules))
        for path in self._plan.inputs if drawn.factors else ():

            def scale(_: nn.Module, arguments: tuple[Tensor, ...], path: str = path) -> tuple[Tensor, ...]:
                return scaling.scale(path, arguments[0], sequences(scaling.batch)), *arguments[1:]

            self._around.callback(model.get_submodule(path).register_forward_pre_hook(scale).remove)
        for path, change in drawn.outputs.items():

            def after(_: nn.Module, arguments: tuple[Tensor, ...], output: Tensor, change: Change = change) -> Tensor:
                return change(arguments[0], output, sequences(scaling.batch))

            self._around.callback(model.get_submodule(path).register_forward_hook(after).remove)

    def put_back(self) -> None:
        """The model computes with its parameters again."""
        self._around.close()
        for module, name, parameter in self._replaced:
            setattr(module, name, parameter)
        self._replaced = []
