"""Which units stand where in a tensor, and how every torch function passes them on.

Every tensor that carries units gets a shadow: a tensor of unit numbers of the same shape. What only moves
numbers about (indexing, cat, transpose, ...) is applied to the shadow too; what acts on each number by itself
passes it on; what is unknown makes its units external, with the reason kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from sparsernn.structure.axes import OUTSIDE
from sparsernn.structure.wiring import Wiring

MOVES = frozenset(
    """
    __getitem__ view reshape transpose permute squeeze unsqueeze flatten unflatten contiguous select narrow chunk
    split unbind expand expand_as repeat cat concat concatenate stack hstack clone flip index_select gather movedim
    swapaxes swapdims t take_along_dim tensor_split split_with_sizes hsplit repeat_interleave roll view_as
    reshape_as broadcast_to _pack_padded_sequence
    """.split()
)
KEEPS_ZERO = frozenset(
    """
    relu relu_ tanh tanh_ dropout dropout_ feature_dropout alpha_dropout gelu silu elu celu selu leaky_relu softsign
    hardswish mish log1p sqrt neg __neg__ abs __abs__ sign square detach detach_ to float double half bfloat16 type
    cpu cuda requires_grad_ erf sin type_as relu6 nan_to_num zeros_like
    """.split()
)
MOVES_ZERO = frozenset(
    """
    sigmoid sigmoid_ softplus exp log hardsigmoid cos rsqrt reciprocal logsigmoid ones_like full_like rand_like
    randn_like empty_like
    """.split()
)
MAY_MOVE_ZERO = {"hardtanh", "clamp", "clip", "pow", "__pow__", "threshold"}
FILLS = {"masked_fill": 2, "masked_fill_": 2, "pad": 3, "_pad_packed_sequence": 3}
SCALES = frozenset(
    """
    mul mul_ __mul__ __rmul__ __imul__ div div_ __truediv__ __itruediv__ true_divide
    """.split()
)
COMBINES = SCALES | frozenset(
    """
    add add_ __add__ __radd__ __iadd__ sub __sub__ __rsub__ __isub__ sub_ maximum minimum where lerp addcmul
    """.split()
)
REDUCES = {"sum", "mean", "amax", "amin", "max", "min", "logsumexp", "std", "var", "prod", "median", "norm"}
NORMALISES = {"softmax", "log_softmax", "cumsum"}
PRODUCTS = {"matmul", "__matmul__", "bmm"}
COPIES_TYPE = {"to", "type_as", "new_zeros", "new_ones", "new_full", "new_empty", "new_tensor"}
READS_NO_VALUE = frozenset(
    """
    __get__ size dim ndimension numel nelement element_size stride storage_offset is_contiguous is_floating_point
    is_complex is_signed is_same_size get_device data_ptr __len__ __hash__ __repr__ __format__ register_hook
    retain_grad is_inference is_shared is_pinned dense_dim sparse_dim
    """.split()
)


class Shadows:
    """The unit numbers of the tensors of one forward.

    Arguments:
        wiring: where joins, and reasons why units are external, are written.
    """

    def __init__(self, wiring: Wiring):
        self.wiring = wiring
        self._known: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, tensor: Any) -> Tensor | None:
        """Unit numbers of a tensor, of its shape; None where it carries no unit."""
        known = self._known.get(id(tensor))
        return known[1] if known is not None else None

    def follow(self, tensor: Tensor, shadow: Tensor) -> None:
        """From now on the tensor carries these units; the tensor is kept alive, so that its id stays its own."""
        self._known[id(tensor)] = (tensor, shadow.expand(tensor.shape))

    def mark(self, tensors: list[Tensor], reason: str) -> None:
        """Something unknown reads these tensors: their units are never cut."""
        for tensor in tensors:
            shadow = self.of(tensor)
            if shadow is not None:
                self.wiring.mark(distinct(shadow)[0], reason)

    def explain(self, function: Callable, arguments: Any, keywords: Any, result: Any, followed: list[Tensor]) -> None:
        """Pass the units of `followed`, among a function's arguments, on to its result."""
        name = name_of(function)
        try:
            self._explain(name, function, arguments, keywords, result, followed)
        except Exception as error:
            self.mark(followed, f"{name} could not be followed: {error}")

    def _explain(
        self, name: str, function: Callable, arguments: Any, keywords: Any, result: Any, followed: list[Tensor]
    ) -> None:
        first = arguments[0] if arguments else keywords.get("input")
        if name in COPIES_TYPE and self.of(first) is None or name.startswith("new_"):
            return
        if name == "__setitem__":
            self._write(function, arguments)
        elif not tensors_in(result):
            if name not in READS_NO_VALUE:
                self.mark(followed, f"{name} looks at its values")
        elif name in FILLS:
            self._fill(name, function, arguments, keywords, result)
        elif name in MOVES or name == "__get__":
            self._move(function, arguments, keywords, result)
        elif self.of(first) is not None and name in KEEPS_ZERO | MOVES_ZERO | MAY_MOVE_ZERO:
            self._pass(name, function, arguments, keywords, result)
        elif name in COMBINES:
            self._combine(name, arguments, keywords, result, followed)
        elif name in REDUCES:
            self._reduce(name, arguments, keywords, result, first)
        elif name in NORMALISES:
            self._normalise(name, arguments, keywords, result, first)
        elif name in PRODUCTS and self.of(arguments[1]) is not None:
            self._multiply(name, arguments, result)
        else:
            self.mark(followed, f"{name} reads it")

    def _to_shadow(self, value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        known = self.of(value)
        if known is not None:
            return known
        return torch.full(value.shape, OUTSIDE) if value.is_floating_point() else value.cpu()

    def _move(self, function: Callable, arguments: Any, keywords: Any, result: Any) -> list[Tensor]:
        """Do to the shadows what was done to the tensors."""
        moved = tensors_in(function(*tree_map(self._to_shadow, arguments), **tree_map(self._to_shadow, keywords)))
        for tensor, shadow in zip(tensors_in(result), moved, strict=True):
            if tensor.is_floating_point():
                self.follow(tensor, shadow)
        return moved

    def _fill(self, name: str, function: Callable, arguments: Any, keywords: Any, result: Any) -> None:
        """Padding and masked positions: along time they belong to the unit in whose column they stand."""
        place, called = FILLS[name], "padding_value" if name == "_pad_packed_sequence" else "value"
        value = keywords.get(called, arguments[place] if len(arguments) > place else None)
        if name.startswith("masked_fill"):
            self.mark(tensors_in((arguments[1:], keywords)), f"{name} spreads it over others")
            shadow = self._to_shadow(arguments[0]).expand(result.shape)
            self.follow(result, shadow)
        else:
            blank = [*arguments[:place], 0, *arguments[place + 1 :]] if len(arguments) > place else arguments
            self._move(function, blank, {key: given for key, given in keywords.items() if key != called}, result)
            filled = tensors_in(result)[0]
            shadow = _without_padding(self._to_shadow(filled))
            self.follow(filled, shadow)
        if isinstance(value, Tensor) or value:
            self._shift(shadow)

    def _write(self, function: Callable, arguments: Any) -> None:
        """buffer[index] = value; a buffer that is a view of another is not followed."""
        buffer, index, value = arguments
        if not isinstance(value, Tensor):
            if value:
                self._shift(self._to_shadow(buffer))
        elif buffer._is_view():
            self.mark(tensors_in(arguments), "it is written into a view")
        else:
            shadow = self._to_shadow(buffer).clone()
            function(shadow, tree_map(self._to_shadow, index), self._to_shadow(value))
            self.follow(buffer, shadow)

    def _pass(self, name: str, function: Callable, arguments: Any, keywords: Any, result: Tensor) -> None:
        shadow = self.of(arguments[0] if arguments else keywords["input"])
        moves = name in MOVES_ZERO
        if name in MAY_MOVE_ZERO:
            moves = bool(function(torch.zeros_like(arguments[0]), *arguments[1:], **keywords).ne(0).any())
        if moves:
            self._shift(shadow)
        self.follow(result, shadow)

    def _combine(self, name: str, arguments: Any, keywords: Any, result: Tensor, followed: list[Tensor]) -> None:
        self.mark([tensor for tensor in followed if _is_spread(tensor, result)], f"{name} spreads it over others")
        wide = [tensor for tensor in followed if not _is_spread(tensor, result)]
        if not wide:
            return
        shadows = [torch.broadcast_to(self._known[id(tensor)][1], result.shape) for tensor in wide]
        for other in shadows[1:]:
            _join_rows(self.wiring, shadows[0], other)
        others = [tensor for tensor in tensors_in((arguments, keywords)) if self.of(tensor) is None]
        if any(not _is_spread(tensor, result) for tensor in others):
            self.mark(followed, f"{name} combines it with a tensor of its own width from outside")
        numbers = [
            leaf for leaf in tree_flatten((arguments, keywords))[0] if isinstance(leaf, int | float) and leaf != 0
        ]
        valued = [tensor for tensor in others if tensor.dtype != torch.bool]
        if name not in SCALES and (numbers or valued):
            self._shift(shadows[0])
        self.follow(result, shadows[0])

    def _reduce(self, name: str, arguments: Any, keywords: Any, result: Any, source: Tensor) -> None:
        shadow = self.of(source)
        dims = keywords.get("dim", arguments[1] if len(arguments) > 1 else None)
        if shadow is None or dims is None or isinstance(dims, Tensor):
            self.mark(tensors_in((arguments, keywords)), f"{name} reads it")
            return
        keep = bool(keywords.get("keepdim", arguments[2] if len(arguments) > 2 else False))
        places = sorted(
            {place % source.dim() for place in (dims if isinstance(dims, tuple | list) else (dims,))}, reverse=True
        )
        for place in places:
            if not _is_constant(shadow, place):
                self.mark([source], f"{name} runs over its units")
                return
            shadow = shadow.narrow(place, 0, 1) if keep else shadow.select(place, 0)
        if name not in ("sum", "mean", "amax", "amin", "max", "min", "norm"):
            self._shift(shadow)
        self.follow(result if isinstance(result, Tensor) else result[0], shadow)

    def _normalise(self, name: str, arguments: Any, keywords: Any, result: Tensor, source: Tensor) -> None:
        shadow = self.of(source)
        place = keywords.get("dim", arguments[1] if len(arguments) > 1 else -1)
        if shadow is None or place is None or not _is_constant(shadow, place):
            self.mark([source], f"{name} runs over its units")
            return
        self._shift(shadow)
        self.follow(result, shadow)

    def _multiply(self, name: str, arguments: Any, result: Tensor) -> None:
        left, right = arguments
        shadow = self.of(right)
        self.mark([left], f"{name} sums over it")
        if shadow is None or shadow.dim() < 2 or not _is_constant(shadow, -2):
            self.mark([right], f"{name} sums over it")
            return
        self.follow(result, torch.broadcast_to(shadow.select(-2, 0).unsqueeze(-2), result.shape))

    def _shift(self, shadow: Tensor) -> None:
        self.wiring.shifted |= units_in(shadow)


def name_of(function: Callable) -> str:
    """ "cat", "__getitem__": the name under which the tables above list a torch function."""
    return getattr(function, "__name__", str(function))


def tensors_in(tree: Any) -> list[Tensor]:
    """Every tensor in nested containers, in order."""
    return [leaf for leaf in tree_flatten(tree)[0] if isinstance(leaf, Tensor)]


def distinct(*shadows: Tensor) -> list[Tensor]:
    """Shadows of one shape, each dimension along which all of them only repeat themselves cut to its first place."""
    for place in range(shadows[0].dim()):
        if shadows[0].shape[place] and all(shadow.stride(place) == 0 for shadow in shadows):
            shadows = tuple(shadow.narrow(place, 0, 1) for shadow in shadows)
    return list(shadows)


def units_in(shadow: Tensor) -> set[int]:
    """Every unit that stands in a shadow."""
    return set(distinct(shadow)[0].unique().tolist()) - {OUTSIDE}


def _is_constant(shadow: Tensor, dimension: int) -> bool:
    shadow = distinct(shadow)[0]
    return bool((shadow == shadow.narrow(dimension, 0, 1)).all())


def _is_spread(tensor: Tensor, result: Tensor) -> bool:
    """Whether broadcasting repeats the tensor along the last dimension."""
    return tensor.dim() == 0 or (tensor.shape[-1] == 1 and result.shape[-1] != 1)


def _without_padding(shadow: Tensor) -> Tensor:
    """Padding in time belongs to the unit in whose column it stands; padding that adds columns stays outside."""
    columns = shadow.reshape(-1, shadow.shape[-1]).amax(0)
    return columns.expand(shadow.shape) if bool(((shadow == columns) | (shadow == OUTSIDE)).all()) else shadow


def _join_rows(wiring: Wiring, left: Tensor, right: Tensor) -> None:
    left, right = distinct(left, right)
    pairs = torch.stack([left.reshape(-1), right.reshape(-1)], 1).unique(dim=0)
    wiring.join(pairs[:, 0], pairs[:, 1])
