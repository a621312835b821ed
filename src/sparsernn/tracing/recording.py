"""Who reads what in a user's model: one real forward, followed tensor by tensor (see `shadows`)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode

from sparsernn.running.carried_states import WidenStates
from sparsernn.structure.axes import OUTSIDE
from sparsernn.structure.description import Description
from sparsernn.structure.wiring import Wiring, unwrap
from sparsernn.tracing.shadows import MOVES, READS_NO_VALUE, Shadows, distinct, name_of, tensors_in, units_in


def trace(model: nn.Module, example: tuple[Any, ...] | None = None) -> Wiring:
    """The wiring of a model: every known module, and who reads whose units.

    Arguments:
        example: the model's positional inputs, with which one real forward is followed. Without them only what a module
            holds within itself and `nn.Sequential` is joined, and something unknown counts as reader of all the rest.
    """
    inner, wiring = unwrap(model), Wiring.local(model)
    if example is not None:
        record(inner, wiring, example)
    else:
        wiring.follow_containers(inner)
        wiring.resolve()
    return wiring


def record(model: nn.Module, wiring: Wiring, example: tuple[Any, ...]) -> Any:
    """Run `model(*example)` once, without gradients, complete the wiring, and return what the model returned."""
    recorder = Recorder(model, wiring)
    with recorder:
        result = run_quietly(model, example)
    recorder.finish(result)
    return result


def run_quietly(model: nn.Module, example: tuple[Any, ...]) -> Any:
    """`model(*example)` in evaluation mode without gradients; modes and torch's generator are as before afterwards."""
    modes = {module: module.training for module in model.modules()}
    state = torch.random.get_rng_state()
    try:
        with torch.no_grad():
            return model.eval()(*example)
    finally:
        torch.random.set_rng_state(state)
        for module, training in modes.items():
            module.training = training


def tensors_of(result: Any) -> list[Tensor]:
    """Every tensor that a forward returned, also inside dataclasses, dictionaries and objects of one's own."""
    found: list[Tensor] = []
    waiting, seen = [result], set()
    while waiting:
        value = waiting.pop(0)
        if isinstance(value, Tensor):
            found.append(value)
        elif id(value) not in seen and not isinstance(value, str | bytes | type | nn.Module):
            seen.add(id(value))
            waiting[:0] = _contents(value)
    return found


def _contents(value: Any) -> list[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, list | tuple | set):
        return list(value)
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return list(vars(value).values()) if hasattr(value, "__dict__") and not callable(value) else []


class Recorder(TorchFunctionMode):
    """Follows one forward: hooks on every known module, and every torch function in between.

    Arguments:
        model: the unwrapped model.
        wiring: of its modules each by itself (`Wiring.local`); completed by `finish`.
    """

    def __init__(self, model: nn.Module, wiring: Wiring):
        super().__init__()
        self.model, self.wiring, self.shadows = model, wiring, Shadows(wiring)
        self.states: dict[int, tuple[str, int]] = {}
        self.drawn: dict[int, set[tuple[str, int]]] = {}
        self.passed: set[tuple[str, int]] = set()
        self.read: set[int] = set()
        self.called: set[str] = set()
        self.inside = 0
        self.handles: list[Any] = []
        self.parameters = {id(parameter): (parameter, name) for name, parameter in wiring.parameters(model).items()}

    def __enter__(self):
        for path in self.wiring.descriptions:
            module = self.model.get_submodule(path)
            self.handles.append(module.register_forward_pre_hook(self._enter_module))
            self.handles.append(
                module.register_forward_hook(self._leave_module(path), with_kwargs=True, always_call=True)
            )
        return super().__enter__()

    def __exit__(self, *details):
        for handle in self.handles:
            handle.remove()
        return super().__exit__(*details)

    def finish(self, result: Any) -> None:
        """The forward is over: what it returns is read by somebody unknown, states excepted."""
        wiring, returned = self.wiring, tensors_of(result)
        for tensor in returned:
            shadow = self.shadows.of(tensor)
            if shadow is None:
                continue
            if id(tensor) in self.states and id(tensor) not in self.read:
                wiring.returned |= units_in(shadow)
                wiring.handed_out.add(self.states[id(tensor)])
            else:
                self.shadows.mark([tensor], "the model returns it")
                self._read_states([tensor])
        for path, axes in wiring.axes.items():
            if path not in self.called or not returned:
                for units in axes.values():
                    wiring.mark(
                        units, "the model returned no tensor" if path in self.called else "the example did not use it"
                    )
        for path, index in self.passed & set(wiring.states_read):
            wiring.states_read[path, index] |= {
                int(unit) for key in wiring.descriptions[path].states[index] for unit in wiring.axes[path][key]
            }
        wiring.recorded = True
        wiring.resolve()

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        result = function(*arguments, **keywords)
        if self.inside:
            return result
        given, made = tensors_in((arguments, keywords)), tensors_in(result)
        self._watch_parameters(function, given, result)
        followed = [tensor for tensor in given if self.shadows.of(tensor) is not None]
        if not followed:
            return result
        name = name_of(function)
        self.shadows.explain(function, arguments, keywords, result, followed)
        if name in ("detach", "detach_") and id(followed[0]) in self.states:
            self.states[id(result)] = self.states[id(followed[0])]
        elif made:
            self.read |= {id(tensor) for tensor in followed}
        if name in MOVES | {"detach", "detach_", "__get__"}:
            sources = set().union(*(self._origins(tensor) for tensor in followed))
            self.drawn |= {id(tensor): sources for tensor in made if sources}
        elif made or name not in READS_NO_VALUE:
            self._read_states(followed)
        return result

    def _origins(self, tensor: Tensor) -> set[tuple[str, int]]:
        """The states, (module, number), that a tensor is, or was drawn from by indexing and the like."""
        return self.drawn.get(id(tensor), set()) | ({self.states[id(tensor)]} if id(tensor) in self.states else set())

    def _read_states(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            for origin in self._origins(tensor):
                self.wiring.states_read.setdefault(origin, set()).update(units_in(self.shadows.of(tensor)))

    def _watch_parameters(self, function: Callable, given: list[Tensor], result: Any) -> None:
        """A known weight that the forward reads by itself keeps all of its units."""
        for tensor in given:
            if id(tensor) not in self.parameters:
                continue
            name = self.parameters[id(tensor)][1]
            if name_of(function) == "__get__" and isinstance(result, Tensor):
                self.parameters[id(result)] = (result, name)
            elif name_of(function) not in READS_NO_VALUE and not name_of(function).startswith("new_"):
                for units in self.wiring.weights[name].axes.values():
                    self.wiring.mark(units, f"{name_of(function)} reads {name} itself")

    def _enter_module(self, module: nn.Module, arguments: Any) -> None:
        self.inside += 1

    def _leave_module(self, path: str) -> Callable:
        def leave(module: nn.Module, arguments: Any, keywords: dict[str, Any], result: Any) -> None:
            if result is not None and self.inside == 1:
                self._module_called(path, module, arguments, dict(keywords), result)
            self.inside -= 1

        return leave

    def _module_called(
        self, path: str, module: nn.Module, arguments: tuple[Any, ...], keywords: dict[str, Any], result: Any
    ) -> None:
        wiring, description = self.wiring, self.wiring.descriptions[path]
        self.called.add(path)
        given = arguments[0] if arguments else keywords.pop("input", keywords.pop("x", None))
        if description.reads:
            self._join_input(path, given.data if isinstance(given, PackedSequence) else given)
        if description.states:
            self._join_states(path, (*arguments[1:], *keywords.values()))
        if description.mixes:
            wiring.mark(wiring.reads(path), description.mixes)
        output, states = (result, ()) if isinstance(result, Tensor) else _split_result(result, description)
        self.shadows.follow(output, wiring.writes(path))
        for index, (keys, state) in enumerate(zip(description.states, states, strict=False)):
            self._follow_state(
                path, module, index, keys, state, stacked=state is not output and not _is_cell(result, description)
            )

    def _join_input(self, path: str, given: Tensor) -> None:
        self.read.add(id(given))
        self._read_states([given])
        shadow, own = self.shadows.of(given), self.wiring.reads(path)
        if shadow is None:
            self.wiring.mark(own, "it reads the model's input, or something that could not be followed")
            return
        (shadow,) = distinct(shadow)
        for row in shadow.reshape(-1, shadow.shape[-1]).unique(dim=0):
            self.wiring.join(own, row)

    def _join_states(self, path: str, given: tuple[Any, ...]) -> None:
        states = [tensor for tensor in tensors_in(given) if tensor.is_floating_point()]
        for keys, state in zip(self.wiring.descriptions[path].states, states, strict=False):
            shadow = self.shadows.of(state)
            if shadow is None:
                self.wiring.fed[path] = self.wiring.fed.get(path, True) and not bool(state.any())
                continue
            if id(state) in self.states:
                self.passed.add(self.states[id(state)])
            else:
                self._read_states([state])
            for own, rows in zip(
                self._state_units(path, keys), shadow.reshape(len(keys), -1, shadow.shape[-1]), strict=True
            ):
                for row in rows.unique(dim=0):
                    self.wiring.join(own, row)

    def _state_units(self, path: str, keys: tuple[str, ...]) -> Tensor:
        """Unit numbers of a state, narrower layers padded. [layers*directions hidden]"""
        rows = [self.wiring.axes[path][key] for key in keys]
        widest = max(map(len, rows))
        return torch.stack([torch.cat([row, row.new_full((widest - len(row),), OUTSIDE)]) for row in rows])

    def _follow_state(
        self, path: str, module: nn.Module, index: int, keys: tuple[str, ...], state: Tensor, stacked: bool
    ) -> None:
        units = self._state_units(path, keys)
        for hook in module._forward_hooks.values():
            if isinstance(hook, WidenStates):
                units = hook.spread(units, index)
        units = F.pad(units, (0, state.shape[-1] - units.shape[-1]))
        if not stacked:
            self.shadows.follow(state, units[0])
            return
        self.shadows.follow(state, units if state.dim() == 2 else units.unsqueeze(1))
        self.states[id(state)] = (path, index)


def _is_cell(result: Any, description: Description) -> bool:
    """Whether a module handed back (h, c) of one step, as torch.nn.LSTMCell does."""
    return (
        len(description.states) == len(result) > 1
        and len(description.states[0]) == 1
        and all(isinstance(value, Tensor) for value in result)
        and result[0].shape == result[1].shape
        and result[0].dim() <= 2
    )


def _split_result(result: Any, description: Description) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A recurrent module's result: its output (the data of a packed one) and its states in order."""
    if _is_cell(result, description):
        return result[0], tuple(result)
    output, states = result
    output = output.data if isinstance(output, PackedSequence) else output
    return output, states if isinstance(states, tuple) else (states,)
