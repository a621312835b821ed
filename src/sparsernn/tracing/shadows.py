"""Which units stand where in a tensor, and how every torch function passes them on.

Every tensor that carries units gets a shadow: a tensor of unit numbers of the same shape. What only moves
numbers about (indexing, cat, transpose, ...) is applied to the shadow too; what acts on each number by itself
passes it on; what is unknown makes its units external, with the reason kept.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map

from sparsernn.structure.axes import OUTSIDE
from sparsernn.structure.wiring import Wiring

Tree = TypeVar("Tree")

MOVES = frozenset(
    """
    __getitem__ view reshape transpose permute squeeze unsqueeze flatten unflatten contiguous select narrow chunk
    split unbind expand expand_as repeat cat concat concatenate stack hstack clone flip index_select gather movedim
    swapaxes swapdims t take_along_dim tensor_split split_with_sizes hsplit repeat_interleave roll view_as
    reshape_as broadcast_to _pack_padded_sequence
    """.split()
)
CHOOSES = frozenset({"__getitem__", "gather", "index_select", "take_along_dim"})
INDICES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
PLAIN = (int, float, str, torch.dtype, torch.device, type(None))
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


class Call:
    """One call of a torch function, and what it gave.

    Attributes:
        inputs, outputs: every tensor in arguments and result, in order.
    """

    def __init__(
        self,
        function: Callable[..., object],
        arguments: Sequence[object],
        keywords: Mapping[str, object],
        result: object,
    ):
        self.function, self.arguments, self.keywords, self.result = function, arguments, keywords, result
        self.inputs, self.outputs = tensors_in((arguments, keywords)), tensors_in(result)

    @property
    def name(self) -> str:
        """ "cat", "__getitem__": the name under which the tables above list the function."""
        return getattr(self.function, "__name__", str(self.function))

    @property
    def source(self) -> object:
        """The first argument."""
        return self.argument(0, "input")

    def argument(self, place: int, name: str, default: object = None) -> object:
        """An argument that may be given by its place or by its name."""
        return self.arguments[place] if len(self.arguments) > place else self.keywords.get(name, default)


class Shadows:
    """The unit numbers of the tensors of one forward.

    Arguments:
        wiring: where joins, and reasons why units are external, are written.
    """

    def __init__(self, wiring: Wiring):
        self.wiring = wiring
        self._by_id: dict[int, tuple[Tensor, Tensor]] = {}

    def of(self, tensor: object) -> Tensor | None:
        """Unit numbers of a tensor, of its shape; None where it carries no unit."""
        _, shadow = self._by_id.get(id(tensor), (None, None))
        return shadow

    def follow(self, tensor: Tensor, shadow: Tensor) -> None:
        """From now on the tensor carries these units; the tensor is kept alive, so that its id stays its own."""
        self._by_id[id(tensor)] = (tensor, shadow.expand(tensor.shape))

    def mark(self, tensors: Iterable[object], reason: str) -> None:
        """Something unknown reads these tensors: their units are never cut."""
        for tensor in tensors:
            shadow = self.of(tensor)
            if shadow is not None:
                self.wiring.mark(distinct(shadow)[0], reason)

    def explain(self, call: Call, followed: list[Tensor]) -> None:
        """Pass the units of `followed`, among a function's arguments, on to its result."""
        try:
            self._explain(call, followed)
        except Exception as error:
            self.mark(followed, f"{call.name} could not be followed: {error}")

    def _explain(self, call: Call, followed: list[Tensor]) -> None:
        name, shadow = call.name, self.of(call.source)
        if name in COPIES_TYPE and shadow is None or name.startswith("new_"):
            return
        if name == "__setitem__":
            self._write(call)
        elif not call.outputs:
            if name not in READS_NO_VALUE:
                self.mark(followed, f"{name} looks at its values")
        elif name in FILLS:
            self._fill(call)
        elif name in MOVES or name == "__get__":
            self._move(call)
        elif shadow is not None and name in KEEPS_ZERO | MOVES_ZERO | MAY_MOVE_ZERO:
            self._pass(call, shadow)
        elif name in COMBINES:
            self._combine(call, followed)
        elif name in REDUCES:
            self._reduce(call, shadow)
        elif name in NORMALISES:
            self._normalise(call, shadow)
        elif name in PRODUCTS and (right := self.of(call.arguments[1])) is not None:
            self._multiply(call, right)
        else:
            self.mark(followed, f"{name} reads it")

    def _shadow(self, tensor: Tensor) -> Tensor:
        """The shadow of a tensor among others; where it carries no unit, OUTSIDE, or the indices that it holds."""
        shadow = self.of(tensor)
        if shadow is not None:
            return shadow
        return torch.full(tensor.shape, OUTSIDE) if tensor.is_floating_point() else tensor.cpu()

    def _shadowed(self, tree: Tree) -> Tree:
        """Nested containers with shadows in the place of tensors."""
        return tree_map(lambda leaf: self._shadow(leaf) if isinstance(leaf, Tensor) else leaf, tree)

    def _move(self, call: Call) -> None:
        """Do to the shadows what was done to the tensors."""
        moved = call.function(*self._shadowed(call.arguments), **self._shadowed(call.keywords))
        if call.name in CHOOSES and self._chooses(call, moved):
            self.mark([call.source], f"{call.name} chooses among its units by an index")
        for tensor, shadow in zip(call.outputs, tensors_in(moved), strict=True):
            if tensor.is_floating_point():
                self.follow(tensor, shadow)

    def _chooses(self, call: Call, moved: object) -> bool:
        """Whether another index, of the same shape, would have brought other units."""
        source, place = call.inputs[0], call.argument(1, "dim")
        last = source.shape[place] - 1 if isinstance(place, int) and source.dim() and source.shape[place] else -1

        def choose(number: int) -> object:
            def chosen(leaf: object) -> object:
                if not isinstance(leaf, Tensor) or self.of(leaf) is not None or leaf is source:
                    return self._shadow(leaf) if isinstance(leaf, Tensor) else leaf
                return torch.full_like(leaf, number).cpu() if leaf.dtype in INDICES else leaf.cpu()

            return call.function(*tree_map(chosen, call.arguments), **tree_map(chosen, call.keywords))

        return any(
            not torch.equal(left, right) for number in (0, last) for left, right in _pairs(choose(number), moved)
        )

    def _fill(self, call: Call) -> None:
        """Padding and masked positions: along time they belong to the unit in whose column they stand."""
        place, filled = FILLS[call.name], call.outputs[0]
        name = "padding_value" if call.name == "_pad_packed_sequence" else "value"
        if call.name.startswith("masked_fill"):
            self.mark(tensors_in((call.arguments[1:], call.keywords)), f"{call.name} spreads it over others")
            shadow = self._shadow(call.inputs[0]).expand(filled.shape)
        else:
            blank = [0 if position == place else argument for position, argument in enumerate(call.arguments)]
            keywords = {key: argument for key, argument in call.keywords.items() if key != name}
            self._move(Call(call.function, blank, keywords, call.result))
            shadow = _without_padding(self._shadow(filled))
        self.follow(filled, shadow)
        value = call.argument(place, name)
        if isinstance(value, Tensor) or value:
            self._shift(shadow)

    def _write(self, call: Call) -> None:
        """buffer[index] = value; a buffer that is a view of another is not followed."""
        buffer, (_, index, value) = call.inputs[0], call.arguments
        if not isinstance(value, Tensor):
            if value:
                self._shift(self._shadow(buffer))
        elif buffer._is_view():
            self.mark(call.inputs, "it is written into a view")
        else:
            shadow = self._shadow(buffer).clone()
            call.function(shadow, self._shadowed(index), self._shadow(value))
            self.follow(buffer, shadow)

    def _pass(self, call: Call, shadow: Tensor) -> None:
        moves = call.name in MOVES_ZERO
        if call.name in MAY_MOVE_ZERO:
            (zeros,) = tensors_in(call.function(torch.zeros_like(call.inputs[0]), *call.arguments[1:], **call.keywords))
            moves = bool(zeros.ne(0).any())
        if moves:
            self._shift(shadow)
        self.follow(call.outputs[0], shadow)

    def _combine(self, call: Call, followed: list[Tensor]) -> None:
        name, result = call.name, call.outputs[0]
        self.mark([tensor for tensor in followed if _is_spread(tensor, result)], f"{name} spreads it over others")
        wide = [tensor for tensor in followed if not _is_spread(tensor, result)]
        if not wide:
            return
        shadows = [torch.broadcast_to(self._shadow(tensor), result.shape) for tensor in wide]
        for other in shadows[1:]:
            _join_rows(self.wiring, shadows[0], other)
        others = [tensor for tensor in call.inputs if self.of(tensor) is None]
        if any(not _is_spread(tensor, result) for tensor in others):
            self.mark(followed, f"{name} combines it with a tensor of its own width from outside")
        leaves = tree_flatten((call.arguments, call.keywords))[0]
        numbers = [leaf for leaf in leaves if isinstance(leaf, int | float) and leaf != 0]
        valued = [tensor for tensor in others if tensor.dtype != torch.bool]
        if name not in SCALES and (numbers or valued):
            self._shift(shadows[0])
        self.follow(result, shadows[0])

    def _reduce(self, call: Call, shadow: Tensor | None) -> None:
        dims = call.argument(1, "dim")
        dims = dims if isinstance(dims, tuple | list) else [dims]
        places = [place for place in dims if isinstance(place, int)]
        if shadow is None or len(places) < len(dims):
            self.mark(call.inputs, f"{call.name} reads it")
            return
        keep = bool(call.argument(2, "keepdim"))
        for place in sorted({place % shadow.dim() for place in places}, reverse=True):
            if not is_constant(shadow, place):
                self.mark([call.source], f"{call.name} runs over its units")
                return
            shadow = shadow.narrow(place, 0, 1) if keep else shadow.select(place, 0)
        if call.name not in ("sum", "mean", "amax", "amin", "max", "min", "norm"):
            self._shift(shadow)
        self.follow(call.outputs[0], shadow)

    def _normalise(self, call: Call, shadow: Tensor | None) -> None:
        place = call.argument(1, "dim", -1)
        if shadow is None or not isinstance(place, int) or not is_constant(shadow, place):
            self.mark([call.source], f"{call.name} runs over its units")
            return
        self._shift(shadow)
        self.follow(call.outputs[0], shadow)

    def _multiply(self, call: Call, shadow: Tensor) -> None:
        """A product from the left, shadow being that of the right factor."""
        left, right = call.arguments
        self.mark([left], f"{call.name} sums over it")
        if shadow.dim() < 2 or not is_constant(shadow, -2):
            self.mark([right], f"{call.name} sums over it")
            return
        result = call.outputs[0]
        self.follow(result, torch.broadcast_to(shadow.select(-2, 0).unsqueeze(-2), result.shape))

    def _shift(self, shadow: Tensor) -> None:
        self.wiring.shifted |= units_in(shadow)


def _pairs(left: object, right: object) -> list[tuple[Tensor, Tensor]]:
    return list(zip(tensors_in(left), tensors_in(right), strict=True))


def tensors_in(tree: Any) -> list[Tensor]:
    """Every tensor in nested containers, in order."""
    if isinstance(tree, Tensor):
        return [tree]
    if type(tree) in (tuple, list):
        return [tensor for part in tree if not isinstance(part, PLAIN) for tensor in tensors_in(part)]
    if type(tree) is dict:
        return tensors_in(list(tree.values())) if tree else []
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


def is_constant(shadow: Tensor, dimension: int) -> bool:
    """Whether the same units stand at every place along a dimension."""
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
