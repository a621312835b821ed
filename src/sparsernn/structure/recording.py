"""Who reads what in a user's model: one real forward, followed tensor by tensor.

Every tensor that carries units gets a shadow: a tensor of unit numbers of the same shape. What only moves
numbers about (indexing, cat, transpose, ...) is applied to the shadow too; what acts on each number by itself
passes it on; what is unknown makes its units external, with the reason kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_flatten, tree_map

from sparsernn.structure.axes import OUTSIDE
from sparsernn.structure.wiring import Wiring

MOVES = {
    "__getitem__", "view", "reshape", "transpose", "permute", "squeeze", "unsqueeze", "flatten", "unflatten", "contiguous",
    "select", "narrow", "chunk", "split", "unbind", "expand", "expand_as", "repeat", "cat", "concat", "concatenate", "stack",
    "hstack", "clone", "flip", "index_select", "gather", "movedim", "swapaxes", "swapdims", "t", "take_along_dim", "tensor_split",
    "split_with_sizes", "hsplit", "repeat_interleave", "roll", "view_as", "reshape_as", "broadcast_to", "_pack_padded_sequence",
    "_pad_packed_sequence", "pad",
}
KEEPS_ZERO = {
    "relu", "relu_", "tanh", "tanh_", "dropout", "dropout_", "feature_dropout", "alpha_dropout", "gelu", "silu", "elu", "celu", "selu",
    "leaky_relu", "softsign", "hardswish", "mish", "log1p", "sqrt", "neg", "abs", "sign", "square", "detach", "detach_", "to", "float",
    "double", "half", "bfloat16", "type", "cpu", "cuda", "requires_grad_", "erf", "sin", "type_as", "relu6", "nan_to_num",
}
MOVES_ZERO = {"sigmoid", "sigmoid_", "softplus", "exp", "log", "hardsigmoid", "cos", "rsqrt", "reciprocal", "logsigmoid"}
MAY_MOVE_ZERO = {"hardtanh", "clamp", "clip", "pow", "__pow__", "masked_fill", "masked_fill_", "threshold"}
SCALES = {"mul", "mul_", "__mul__", "__rmul__", "__imul__", "div", "div_", "__truediv__", "true_divide"}
COMBINES = SCALES | {
    "add", "add_", "__add__", "__radd__", "__iadd__", "sub", "__sub__", "__rsub__", "sub_", "maximum", "minimum", "where", "lerp", "addcmul",
}
REDUCES = {"sum", "mean", "amax", "amin", "max", "min", "logsumexp", "std", "var", "prod", "median", "norm"}
NORMALISES = {"softmax", "log_softmax", "cumsum"}
PRODUCTS = {"matmul", "__matmul__", "bmm"}
PADS = {"_pad_packed_sequence", "pad"}
LOOKS = {"item", "tolist", "numpy", "__bool__", "__float__", "__int__"}


def record(model: nn.Module, wiring: Wiring, example: tuple[Any, ...]) -> None:
    """Run `model(*example)` once, in its current mode without gradients, and complete the wiring."""
    arguments = example if isinstance(example, tuple) else (example,)
    state = torch.random.get_rng_state()
    try:
        recorder = Recorder(model, wiring)
        with torch.no_grad(), recorder:
            result = model(*arguments)
        recorder.finish(result)
    finally:
        torch.random.set_rng_state(state)


class Recorder(TorchFunctionMode):
    """Keeps the shadows while a forward runs. See the module's text."""

    def __init__(self, model: nn.Module, wiring: Wiring):
        super().__init__()
        self.model, self.wiring = model, wiring
        self.shadows: dict[int, tuple[Tensor, Tensor]] = {}
        self.states: dict[int, str] = {}
        self.read: set[int] = set()
        self.paused = 0
        self.handles: list[Any] = []

    def __enter__(self):
        for path in self.wiring.descriptions:
            module = self.model.get_submodule(path)
            self.handles.append(module.register_forward_pre_hook(self._enter_module))
            self.handles.append(module.register_forward_hook(self._leave_module(path), with_kwargs=True, always_call=True))
        return super().__enter__()

    def __exit__(self, *details):
        for handle in self.handles:
            handle.remove()
        return super().__exit__(*details)

    def shadow(self, tensor: Any) -> Tensor | None:
        known = self.shadows.get(id(tensor))
        return known[1] if known is not None else None

    def follow(self, tensor: Tensor, shadow: Tensor) -> None:
        self.shadows[id(tensor)] = (tensor, shadow.expand(tensor.shape))

    def finish(self, result: Any) -> None:
        """The forward is over: what it returns is read by somebody unknown, states excepted."""
        for tensor in _tensors(result):
            shadow = self.shadow(tensor)
            if shadow is None:
                continue
            if (path := self.states.get(id(tensor))) is not None and id(tensor) not in self.read:
                self.wiring.returned |= set(shadow.unique().tolist()) - {OUTSIDE}
                self.wiring.handed_out.add(path)
            else:
                self.wiring.mark(shadow, "the model returns it")
        self.wiring.states_read |= {path for number, path in self.states.items() if number in self.read}
        self.wiring.recorded = True
        self.wiring.resolve()

    def _enter_module(self, module: nn.Module, arguments: Any) -> None:
        self.paused += 1

    def _leave_module(self, path: str) -> Callable:
        def leave(module: nn.Module, arguments: Any, keywords: dict[str, Any], result: Any) -> None:
            self.paused -= 1
            if result is not None and not self.paused:
                self._module_called(path, module, (*arguments, *keywords.values()), result)
        return leave

    def _module_called(self, path: str, module: nn.Module, arguments: tuple[Any, ...], result: Any) -> None:
        wiring, description = self.wiring, self.wiring.descriptions[path]
        self.read |= {id(tensor) for tensor in _tensors(arguments[:1])}
        if description.reads:
            self._join_input(path, arguments[0].data if isinstance(arguments[0], PackedSequence) else arguments[0])
        if description.states:
            self._join_states(path, arguments[1:])
        if description.mixes:
            wiring.mark(wiring.reads(path), description.mixes)
        output, states = (result, ()) if isinstance(result, Tensor) else _split_result(result, description)
        self.follow(output, wiring.writes(path))
        for keys, state in zip(description.states, states, strict=False):
            self._follow_state(path, keys, state)

    def _join_input(self, path: str, given: Tensor) -> None:
        shadow, own = self.shadow(given), self.wiring.reads(path)
        if shadow is None:
            self.wiring.mark(own, "it is the model's input")
            return
        for row in shadow.reshape(-1, shadow.shape[-1]).unique(dim=0):
            self.wiring.join(own, row)

    def _join_states(self, path: str, given: tuple[Any, ...]) -> None:
        states = [tensor for tensor in _tensors(given) if tensor.is_floating_point()]
        for keys, state in zip(self.wiring.descriptions[path].states, states, strict=False):
            shadow = self.shadow(state)
            if shadow is None:
                self.wiring.fed[path] = self.wiring.fed.get(path, True) and not bool(state.any())
                continue
            own = self._state_units(path, keys, state.dim() == 3)
            self.wiring.join(own.reshape(-1, own.shape[-1]).unsqueeze(1), shadow.reshape(len(keys), -1, shadow.shape[-1])[:, :1])

    def _state_units(self, path: str, keys: tuple[str, ...], stacked: bool) -> Tensor:
        rows = [self.wiring.axes[path][key] for key in keys]
        widest = max(map(len, rows))
        padded = torch.stack([torch.cat([row, row.new_full((widest - len(row),), OUTSIDE)]) for row in rows])
        return padded[:, None] if stacked else padded

    def _follow_state(self, path: str, keys: tuple[str, ...], state: Tensor) -> None:
        units = self._state_units(path, keys, state.dim() == 3)
        self.follow(state, units if len(keys) > 1 or state.dim() == 3 else units[0])
        if state.dim() == 3:
            self.states[id(state)] = path

    def __torch_function__(self, function, types, arguments=(), keywords=None):
        keywords = keywords or {}
        result = function(*arguments, **keywords)
        if self.paused:
            return result
        followed = [tensor for tensor in _tensors((arguments, keywords)) if self.shadow(tensor) is not None]
        if not followed:
            return result
        name = getattr(function, "__name__", str(function))
        if _tensors(result) and name not in ("detach", "detach_"):
            self.read |= {id(tensor) for tensor in followed}
        self.paused += 1
        try:
            self._explain(name, function, arguments, keywords, result, followed)
        except Exception as error:
            self._mark(followed, f"{name} could not be followed: {error}")
        finally:
            self.paused -= 1
        return result

    def _explain(self, name: str, function: Callable, arguments: Any, keywords: Any, result: Any, followed: list[Tensor]) -> None:
        if name in MOVES or (name == "__get__" and isinstance(result, Tensor)):
            self._move(function, arguments, keywords, result)
        elif not _tensors(result):
            if name in LOOKS:
                self._mark(followed, f"{name} looks at its values")
        elif name in KEEPS_ZERO | MOVES_ZERO | MAY_MOVE_ZERO:
            self._pass(name, function, arguments, keywords, result, followed[0])
        elif name in COMBINES:
            self._combine(name, arguments, keywords, result, followed)
        elif name in REDUCES:
            self._reduce(name, arguments, keywords, result, followed[0])
        elif name in NORMALISES:
            self._normalise(name, arguments, keywords, result, followed[0])
        elif name in PRODUCTS and self.shadow(arguments[1]) is not None:
            self._multiply(name, arguments, result)
        else:
            self._mark(followed, f"{name} reads it")

    def _move(self, function: Callable, arguments: Any, keywords: Any, result: Any) -> None:
        def to_shadow(value: Any) -> Any:
            if not isinstance(value, Tensor):
                return value
            known = self.shadow(value)
            if known is not None:
                return known
            return torch.zeros(value.shape, dtype=torch.long) if value.is_floating_point() else value
        moved = function(*tree_map(to_shadow, arguments), **tree_map(to_shadow, keywords))
        padded = getattr(function, "__name__", "") in PADS
        for tensor, shadow in zip(_tensors(result), _tensors(moved), strict=True):
            if tensor.is_floating_point():
                self.follow(tensor, _without_padding(shadow) if padded else shadow)

    def _pass(self, name: str, function: Callable, arguments: Any, keywords: Any, result: Tensor, followed: Tensor) -> None:
        shadow = self.shadow(followed)
        if shadow is None:
            return
        if name in MAY_MOVE_ZERO:
            swapped = [torch.zeros_like(followed) if value is followed else value for value in arguments]
            if bool(function(*swapped, **keywords).ne(0).any()):
                self._shift(shadow)
        elif name in MOVES_ZERO:
            self._shift(shadow)
        self.follow(result, shadow)
        if name in ("detach", "detach_") and id(followed) in self.states:
            self.states[id(result)] = self.states[id(followed)]

    def _combine(self, name: str, arguments: Any, keywords: Any, result: Tensor, followed: list[Tensor]) -> None:
        spread = [tensor for tensor in followed if _is_spread(tensor, result)]
        self._mark(spread, f"{name} spreads it over others")
        wide = [tensor for tensor in followed if not _is_spread(tensor, result)]
        if not wide:
            return
        shadows = [torch.broadcast_to(self.shadows[id(tensor)][1], result.shape) for tensor in wide]
        for other in shadows[1:]:
            _join_rows(self.wiring, shadows[0], other)
        others = [tensor for tensor in _tensors((arguments, keywords)) if self.shadow(tensor) is None]
        if any(not _is_spread(tensor, result) for tensor in others):
            self._mark(followed, f"{name} combines it with a tensor of its own width from outside")
        numbers = [leaf for leaf in tree_flatten((arguments, keywords))[0] if isinstance(leaf, int | float) and leaf != 0]
        valued = [tensor for tensor in others if tensor.dtype != torch.bool]
        if name not in SCALES and (numbers or valued):
            self._shift(shadows[0])
        self.follow(result, shadows[0])

    def _reduce(self, name: str, arguments: Any, keywords: Any, result: Any, followed: Tensor) -> None:
        shadow = self.shadow(followed)
        dims = keywords.get("dim", arguments[1] if len(arguments) > 1 else None)
        if shadow is None or dims is None:
            self._mark([followed], f"{name} reads it")
            return
        keep = bool(keywords.get("keepdim", arguments[2] if len(arguments) > 2 else False))
        places = sorted({place % followed.dim() for place in (dims if isinstance(dims, tuple | list) else (dims,))}, reverse=True)
        for place in places:
            if not _is_constant(shadow, place):
                self._mark([followed], f"{name} runs over its units")
                return
            shadow = shadow.narrow(place, 0, 1) if keep else shadow.select(place, 0)
        if name not in ("sum", "mean", "amax", "amin", "max", "min", "norm"):
            self._shift(shadow)
        self.follow(result if isinstance(result, Tensor) else result[0], shadow)

    def _normalise(self, name: str, arguments: Any, keywords: Any, result: Tensor, followed: Tensor) -> None:
        shadow = self.shadow(followed)
        place = keywords.get("dim", arguments[1] if len(arguments) > 1 else -1)
        if shadow is None or place is None or not _is_constant(shadow, place):
            self._mark([followed], f"{name} runs over its units")
            return
        self._shift(shadow)
        self.follow(result, shadow)

    def _multiply(self, name: str, arguments: Any, result: Tensor) -> None:
        left, right = arguments
        shadow = self.shadow(right)
        if self.shadow(left) is not None:
            self._mark([left], f"{name} sums over it")
        if shadow is None or shadow.dim() < 2 or not _is_constant(shadow, -2):
            self._mark([right], f"{name} sums over it")
            return
        self.follow(result, torch.broadcast_to(shadow.select(-2, 0).unsqueeze(-2), result.shape))

    def _mark(self, tensors: list[Tensor], reason: str) -> None:
        for tensor in tensors:
            shadow = self.shadow(tensor)
            if shadow is not None:
                self.wiring.mark(shadow, reason)

    def _shift(self, shadow: Tensor) -> None:
        self.wiring.shifted |= set(shadow.unique().tolist()) - {OUTSIDE}


def _tensors(tree: Any) -> list[Tensor]:
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def _is_constant(shadow: Tensor, dimension: int) -> bool:
    return bool((shadow == shadow.narrow(dimension, 0, 1)).all())


def _is_spread(tensor: Tensor, result: Tensor) -> bool:
    """Whether broadcasting repeats the tensor along the last dimension."""
    return tensor.dim() == 0 or (tensor.shape[-1] == 1 and result.shape[-1] != 1)


def _without_padding(shadow: Tensor) -> Tensor:
    """Padding in time belongs to the unit in whose column it stands; padding that adds columns stays outside."""
    columns = shadow.reshape(-1, shadow.shape[-1]).amax(0)
    return columns.expand(shadow.shape) if bool(((shadow == columns) | (shadow == OUTSIDE)).all()) else shadow


def _join_rows(wiring: Wiring, left: Tensor, right: Tensor) -> None:
    pairs = torch.stack([left.reshape(-1), right.reshape(-1)], 1).unique(dim=0)
    wiring.join(pairs[:, 0], pairs[:, 1])


def _split_result(result: Any, description: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
    """A recurrent module's result: its output (the data of a packed one) and its states in order."""
    if isinstance(result, PackedSequence):
        return result.data, ()
    if len(description.states[0]) == 1 and all(isinstance(value, Tensor) for value in result) and len(result) == len(description.states) > 1 \
            and result[0].shape == result[1].shape and result[0].dim() <= 2:
        return result[0], tuple(result)
    output, states = result
    output = output.data if isinstance(output, PackedSequence) else output
    return output, states if isinstance(states, tuple) else (states,)
