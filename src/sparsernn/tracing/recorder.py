"""Follower of forwards: hooks on every known module, and every torch function in between (see `shadows`)."""

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from sparsernn.errors import UserError
from sparsernn.running.carried_states import callers_widths
from sparsernn.structure.axes import NOUGHT, OUTSIDE
from sparsernn.structure.modes import eagerly
from sparsernn.structure.wiring import Returned, Wiring
from sparsernn.tracing.calls import Call, tensors_in
from sparsernn.tracing.carriers import unwrapped
from sparsernn.tracing.copying import parts_of
from sparsernn.tracing.module_calls import split_result, written_units
from sparsernn.tracing.numbers import are_units, collapsed, distinct, units_in, varying
from sparsernn.tracing.shadows import Shadows
from sparsernn.tracing.starts import Starts
from sparsernn.tracing.tables import FILLS, MOVES, READS_NO_VALUE
from sparsernn.tracing.tensors import tensors_of, values_of
from sparsernn.tracing.widths import TAKE_SIZES, Width
from sparsernn.tracing.wrapped import watched


class Recorder(TorchFunctionMode):
    """Follows forwards of a model: hooks on every known module, and every torch function in between.

    Arguments:
        model: the unwrapped model.
        wiring: of its modules each by itself (`Wiring.local`); completed by `complete`.
        original: the model that this one is a copy of, of which its forward must not use anything.
    Attributes:
        values: of each forward, the numbers that it returned.
        state_shapes: of each module that returned states, their shapes.
    """

    def __init__(self, model: nn.Module, wiring: Wiring, original: nn.Module | None = None):
        super().__init__()
        self.model, self.wiring, self.shadows = model, wiring, Shadows(model, wiring)
        self.states: dict[int, tuple[str, int]] = {}
        self.drawn: dict[int, set[tuple[str, int]]] = {}
        self.passed: set[tuple[str, int]] = set()
        self.read: set[int] = set()
        self.called: set[str] = set()
        self.met: dict[tuple[str, str], Tensor] = {}
        self.starts = Starts(wiring)
        self.wrapped = {id(model.get_submodule(path)): path for path in wiring.wrapped}
        self.outside: dict[int, Tensor] = {}
        self.kept: dict[int, Tensor] = {}
        self.values: list[list[Tensor]] = []
        self.state_shapes: dict[str, list[tuple[int, ...]]] = {}
        self.silent, self.inside, self.depth, self.hooks = True, 0, 0, ExitStack()
        self.thread = threading.current_thread()
        self.parameters: dict[int, tuple[Tensor, str]] = {
            id(parameter): (parameter, name) for name, parameter in wiring.parameters(model).items()
        }
        mine = {id(parameter) for parameter in model.parameters()}
        theirs = {} if original is None else dict(original.named_parameters())
        self.originals = {id(parameter): name for name, parameter in theirs.items() if id(parameter) not in mine}

    def __enter__(self) -> Self:
        self.inside, self.depth, self.thread = 0, 0, threading.current_thread()
        self._begin()
        self.hooks.enter_context(eagerly())
        hook = self.model.register_forward_pre_hook
        self.hooks.enter_context(hook(self._arguments_come, prepend=True, with_kwargs=True))
        for kind in set(self.wiring.wrapped.values()):
            self.hooks.enter_context(watched(kind, self._inner_call))
        for path in self.wiring.descriptions.keys() - self.wiring.wrapped.keys():
            module, leave = self.model.get_submodule(path), self._leave_module(path)
            self.hooks.enter_context(module.register_forward_pre_hook(self._enter_module))
            self.hooks.enter_context(
                module.register_forward_hook(leave, prepend=True, with_kwargs=True, always_call=True)
            )
        return super().__enter__()

    def __exit__(self, *details: object) -> None:
        self.hooks.close()
        if self.thread is threading.current_thread():  # else it has ended, and its modes with it
            super().__exit__(*details)

    def _begin(self) -> None:
        """What hangs on the model comes from outside this forward; what an earlier one left there is kept."""
        for tensor in parts_of(self.model):
            if isinstance(tensor, Tensor) and not isinstance(tensor, nn.Parameter):
                (self.outside if self.shadows.of(tensor) is None else self.kept)[id(tensor)] = tensor

    def _arguments_come(self, module: nn.Module, arguments: object, keywords: object) -> None:
        self.outside |= {id(tensor): tensor for tensor in tensors_of((arguments, keywords))}

    def finish(self, result: object) -> None:
        """The only forward is over."""
        self.returns(result)
        self.complete()

    def returns(self, result: object) -> None:
        """A forward is over: what it returns is read by somebody unknown, states excepted."""
        wiring, returned = self.wiring, tensors_of(result)
        self._look_behind(returned)
        leaves = [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]
        self.values.append(values_of(result))
        self.silent &= not returned
        for place, tensor in enumerate(returned):
            shadow = self.shadows.of(tensor)
            positions = [at for at, leaf in enumerate(leaves) if leaf is tensor]
            if shadow is not None and not positions:
                self.shadows.mark([tensor], "the model returns it in an object of its own")
                self._read_states([tensor])
            elif shadow is not None:
                self._hand_out(tensor, [Returned(len(leaves), at, collapsed(shadow)) for at in positions], place)
            else:
                self.shadows.mark([tensor], "the model returns it")
                wiring.results += [Returned(len(leaves), at, torch.full([1], OUTSIDE)) for at in positions or [0]]

    def complete(self) -> None:
        """All forwards are over: modules that none of them used, and what they may read, stay as they are."""
        wiring = self.wiring
        wiring.keep_returned()
        self.shadows.parameters.finish()
        self.starts.join()
        self.called |= set(self.shadows.parameters.units)
        for (path, name), units in self.met.items():
            wiring.mark(wiring.inputs(path)[name][~units], "it reads zeros that the forward makes")
        for path, axes in wiring.axes.items():
            if path in self.called and not self.silent:
                continue
            wiring.unused |= {path} - self.called
            reason = "the model returned no tensor" if path in self.called else "the example did not use it"
            for units in axes.values():
                wiring.mark(units, reason)
        for path in sorted(wiring.unused):
            self._keep_for(path)
        for path, index in self.passed & set(wiring.states_read):
            for key in wiring.descriptions[path].states[index]:
                wiring.states_read[path, index].update(wiring.axes[path][key].tolist())
        wiring.recorded = True
        wiring.resolve()

    def _hand_out(self, tensor: Tensor, results: list[Returned], place: int) -> None:
        """A tensor goes out of the model, in which units that are always zero can be filled in again."""
        wiring, units = self.wiring, results[0].units
        wiring.mark(units[units < 0], "the model returns it after something that makes another number of zeros")
        wiring.results += results
        origins = self._origins(tensor)
        if origins and len(varying(units)) < 3:
            wiring.returned |= units_in(units)
            wiring.returned_places.append(place)
        else:
            wiring.summed |= dict.fromkeys(units_in(units), "the model returns it")
        if id(tensor) not in self.states or id(tensor) in self.read:
            self._read_states([tensor])
        wiring.handed_out |= origins

    def _keep_for(self, unused: str) -> None:
        """Units that a module may read when it is used: of all that are as many as it reads, one layer's or two."""
        widths = [len(units) for units in self.wiring.inputs(unused).values()]
        for path in sorted(self.called):
            units = self.wiring.writes(path)
            if len(units) and any(width in (len(units), 2 * len(units)) for width in widths):
                self.wiring.mark(units, f"{unused}, which no example ran, may read it")

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        arguments: Sequence[object] = (),
        keywords: Mapping[str, object] | None = None,
    ) -> object:
        self.depth += 1
        try:
            result = function(*arguments, **(keywords or {}))
            call = Call(function, arguments, keywords or {}, result)
            self._look_behind(call.inputs)
            if self.inside:
                return result
            self._explain(call)
            return self._widths(call)
        finally:
            self.depth -= 1

    def _widths(self, call: Call) -> object:
        """The result of a call; sizes along units are numbers that notice their use."""
        shadow, sizes = self.shadows.of(call.source), call.result
        if shadow is None or not shadow.numel() or not (isinstance(sizes, torch.Size) or call.name == "size"):
            return sizes
        units = torch.tensor(sorted(units_in(shadow)), dtype=torch.long)

        def size(place: int) -> int:
            number = shadow.shape[place]
            if collapsed(shadow).shape[place] == 1:
                return number
            return Width(number, lambda: self.wiring.mark(units, "its width is used as a number"))

        if isinstance(sizes, torch.Size):
            return torch.Size([size(place) for place in range(shadow.dim())])
        place = call.argument(1, "dim")
        return size(place) if isinstance(place, int) else sizes

    def _use_widths(self, call: Call) -> None:
        """A width that comes into a function which takes no sizes is a number among others."""
        places = call.arguments[1:] if call.name.endswith("full") else call.arguments
        if call.name not in MOVES | TAKE_SIZES and not (call.name in FILLS and call.name != "pad"):
            for leaf in (*places, *call.keywords.values()):
                for number in leaf if isinstance(leaf, tuple | list) else (leaf,):
                    if isinstance(number, Width):
                        number.used()

    def _come_from_outside(self, call: Call) -> None:
        """Whatever is computed from a tensor of the outside is of the outside too, if its numbers count."""
        if call.outputs and not call.name.endswith("_like") and not call.name.startswith("new_"):
            for origin in (self.outside, self.kept):
                if any(id(tensor) in origin for tensor in call.inputs):
                    origin |= {id(tensor): tensor for tensor in call.outputs}

    def reads_unseen(self, arguments: object) -> None:
        """Something that is no torch function reads tensors, such as a scripted one or an extension."""
        if not self.inside and not self.depth:
            self.shadows.mark(tensors_in(arguments), "a scripted function or an extension reads it")

    def _look_behind(self, tensors: list[Tensor]) -> None:
        """What no torch function passes on is read unseen."""
        for tensor in tensors:
            for source in self.shadows.behind(tensor):
                self.shadows.mark([source], "a transform of torch.func or a subclass of Tensor reads it")

    def _explain(self, call: Call) -> None:
        self._watch_parameters(call)
        self._come_from_outside(call)
        self._use_widths(call)
        followed = self.shadows.followed(call)
        if followed:
            self.shadows.explain(call, followed)
            self._note_reading(call, followed)
        self.shadows.make_zeros(call)

    def _note_reading(self, call: Call, followed: list[Tensor]) -> None:
        """Whether a function reads a state, or draws from it what still is one."""
        if call.name in ("detach", "detach_") and id(followed[0]) in self.states:
            self.states[id(call.result)] = self.states[id(followed[0])]
        elif call.outputs:
            self.read |= {id(tensor) for tensor in followed}
        if call.name in MOVES | {"detach", "detach_", "__get__"}:
            sources = set().union(*(self._origins(tensor) for tensor in followed))
            self.drawn |= {id(tensor): sources for tensor in call.outputs if sources}
        elif call.outputs or call.name not in READS_NO_VALUE:
            self._read_states(followed)

    def _origins(self, tensor: Tensor) -> set[tuple[str, int]]:
        """The states, (module, number), that a tensor is, or was drawn from by indexing and the like."""
        return self.drawn.get(id(tensor), set()) | ({self.states[id(tensor)]} if id(tensor) in self.states else set())

    def _read_states(self, tensors: list[Tensor]) -> None:
        for tensor in tensors:
            if (shadow := self.shadows.of(tensor)) is not None:
                for origin in self._origins(tensor):
                    self.wiring.states_read.setdefault(origin, set()).update(units_in(shadow))

    def _watch_parameters(self, call: Call) -> None:
        """A known weight that the forward reads by itself keeps all of its units."""
        for tensor in call.inputs:
            if id(tensor) in self.originals:
                raise _reaches_over(self.originals[id(tensor)])
            if id(tensor) not in self.parameters:
                continue
            name = self.parameters[id(tensor)][1]
            if call.name == "__get__" and isinstance(call.result, Tensor):
                self.parameters[id(call.result)] = (call.result, name)
            elif call.name not in READS_NO_VALUE and not call.name.startswith("new_"):
                for units in self.wiring.weights[name].axes.values():
                    self.wiring.mark(units, f"{call.name} reads {name} itself")

    def _enter_module(self, *_: object) -> None:
        self.inside += 1

    def _leave_module(self, path: str) -> Callable[[nn.Module, tuple[object, ...], dict[str, object], object], None]:
        def leave(_: nn.Module, arguments: tuple[object, ...], keywords: dict[str, object], result: object) -> None:
            if result is not None and self.inside == 1:
                self._module_called(path, arguments, dict(keywords), result)
            self.inside -= 1

        return leave

    def _inner_call(self, module: nn.Module, forward: Callable[..., object], arguments: Any, keywords: Any) -> object:
        """A subclass calls the forward of its kind: that is the call of a known module."""
        if (path := self.wrapped.get(id(module))) is None:
            return forward(*arguments, **keywords)
        self.inside += 1
        try:
            result = forward(*arguments, **keywords)
        finally:
            self.inside -= 1
        if not self.inside:
            self._module_called(path, arguments, dict(keywords), result)
        return result

    def _module_called(
        self, path: str, arguments: tuple[object, ...], keywords: dict[str, object], result: object
    ) -> None:
        wiring, description = self.wiring, self.wiring.descriptions[path]
        self.called.add(path)
        source = arguments[0] if arguments else keywords.pop("input", keywords.pop("x", None))
        sources = {"input": source}
        if description.separate:
            sources = {**keywords, **dict(zip(description.reads, arguments, strict=False))}
        for name, units in wiring.inputs(path).items():
            data = sources.get(name)
            self._join_input(path, name, data.data if isinstance(data, PackedSequence) else data, units)
        if description.states:
            self._join_states(path, (*arguments[1:], *keywords.values()))
        if description.mixes:
            wiring.mark(wiring.reads(path), description.mixes)
        output, states, one_step = split_result(result, description)
        if description.states:
            shapes = [tuple(state.shape) for state in states or (output,)]
            self.state_shapes[path] = callers_widths(self.model.get_submodule(path), shapes)
        module, before = self.model.get_submodule(path), self.shadows.of(source)
        if unwrapped(output) is not output:
            for keys in (description.writes, *description.states):
                wiring.mark(wiring.along(path, keys), "it runs within a transform of torch.func")
        elif description.writes:
            self.shadows.follow(output, written_units(wiring, path, before, module, output.dim()))
        for index, state in enumerate(states[: len(description.states)]):
            self._follow_state(path, index, state, stacked=state is not output and not one_step)

    def _join_input(self, path: str, name: str, source: object, units: Tensor) -> None:
        wiring, description = self.wiring, self.wiring.descriptions[path]
        if not isinstance(source, Tensor) or not self.shadows.follows(source):
            wiring.mark(units, "it reads the model's input, or something that could not be followed")
            return
        self.read.add(id(source))
        self._read_states([source])
        (shadow,) = distinct(self.shadows.among(source).expand(source.shape).movedim(description.place, -1))
        shadow = shadow.expand(*shadow.shape[:-1], len(units))
        met = self.met.setdefault((path, name), torch.zeros(len(units), dtype=torch.bool))
        for row in shadow.reshape(-1, len(units)).unique(dim=0):
            wiring.join(units, row)
            met |= row != NOUGHT
            if description.sums:
                kind = type(self.model.get_submodule(path)).__name__
                self.shadows.joining.needs_zero(row, f"{kind} {path} reads all of them")
            wiring.shifted.setdefault(path, set()).update(units_in(row[row < 0]))

    def _join_states(self, path: str, arguments: tuple[object, ...]) -> None:
        states = [tensor for tensor in tensors_in(arguments) if tensor.is_floating_point()]
        for keys, state in zip(self.wiring.descriptions[path].states, states, strict=False):
            shadow = self.shadows.of(state)
            carries = shadow is not None and bool(are_units(distinct(shadow)[0]).any())
            if not carries or id(state) in self.kept:
                self._start(path, keys, state, carries)
            if shadow is None or not carries:
                continue
            if id(state) in self.states:
                self.passed.add(self.states[id(state)])
            else:
                self._read_states([state])
            rows = shadow.reshape(len(keys), -1, shadow.shape[-1])
            self.starts.add(path, list(self._state_units(path, keys)), rows)

    def _start(self, path: str, keys: tuple[str, ...], state: Tensor, carries: bool) -> None:
        """A module begins at zeros, a parameter, something from outside, or what an earlier call has left."""
        if self.shadows.parameters.of(state) is None:
            if carries or id(state) in self.outside:
                self.wiring.open.add(path)
            zero = carries or not bool(state.any())
            self.wiring.fed[path] = self.wiring.fed.get(path, True) and zero
            return
        self.shadows.parameters.leave(state, f"{path} begins with it")
        self.wiring.fed.setdefault(path, True)
        layers = state.detach().cpu().reshape(len(keys), -1, state.shape[-1]).ne(0).any(1)
        for key, begun in zip(keys, layers, strict=True):
            units = self.wiring.axes[path][key]
            self.wiring.started |= set(units[begun[: len(units)]].tolist())

    def _state_units(self, path: str, keys: tuple[str, ...]) -> Tensor:
        """Unit numbers of a state, narrower layers padded. [layers*directions hidden]"""
        rows = [self.wiring.axes[path][key] for key in keys]
        widest = max(map(len, rows))
        return torch.stack([torch.cat([row, row.new_full((widest - len(row),), OUTSIDE)]) for row in rows])

    def _follow_state(self, path: str, index: int, state: Tensor, stacked: bool) -> None:
        units = self._state_units(path, self.wiring.descriptions[path].states[index])
        units = F.pad(units, (0, state.shape[-1] - units.shape[-1]))
        if stacked:
            self.shadows.follow(state, units if state.dim() == 2 else units.unsqueeze(1))
        else:
            self.shadows.follow(state, units[0])
        self.states[id(state)] = (path, index)


def _reaches_over(name: str) -> UserError:
    what = f"the forward of a copy of the model uses {name} of the model itself, by a closure or a global name"
    return UserError(what, "a forward that reaches its layers through self", "refer to it as an attribute of the model")
