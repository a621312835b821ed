"""Which units stand where in a tensor, and how every torch function passes them on.

Every tensor that carries units gets a shadow: a tensor of unit numbers of the same shape (see `numbers`). What only
moves numbers about (indexing, cat, transpose, ...) is applied to the shadow too; what acts on each number by itself
passes it on; what adds over units leaves them to be cut where they are zero; what is unknown makes its units
external, with the reason kept.
"""

import string
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_map

from sparsernn.structure.axes import NOUGHT, OUTSIDE
from sparsernn.structure.wiring import Wiring
from sparsernn.tracing import tables
from sparsernn.tracing.calls import Call, tensors_in
from sparsernn.tracing.carriers import Carriers
from sparsernn.tracing.joining import Joining, Operand
from sparsernn.tracing.numbers import (
    added,
    at_rest,
    collapsed,
    distinct,
    multiplied,
    shifted,
    varying,
    without_padding,
)
from sparsernn.tracing.padding import padded_shadow
from sparsernn.tracing.parameters import LooseParameters, values_at
from sparsernn.tracing.products import Equation, equation_of, next_pair
from sparsernn.tracing.tensors import is_continuous

Tree = TypeVar("Tree")


class Shadows:
    """The unit numbers of the tensors of one forward.

    Arguments:
        model: the unwrapped model.
        wiring: where joins, and reasons why units are external, are written.
    """

    def __init__(self, model: nn.Module, wiring: Wiring):
        self.wiring, self.parameters, self.carriers = wiring, LooseParameters(model, wiring), Carriers(wiring)
        self.joining = Joining(wiring, self.parameters)

    def of(self, tensor: object) -> Tensor | None:
        """Unit numbers of a tensor, of its shape; None where it carries no unit, or was written in an unknown way."""
        return self.carriers.of(tensor)

    def follows(self, tensor: object) -> bool:
        """Whether the tensor carries units, or entries of a parameter that the forward reads itself."""
        return self.of(tensor) is not None or self.parameters.of(tensor) is not None

    def follow(self, tensor: Tensor, shadow: Tensor) -> None:
        """From now on the tensor carries these units."""
        self.carriers.follow(tensor, shadow)

    def behind(self, tensor: Tensor) -> list[Tensor]:
        """Followed tensors whose numbers one holds that no torch function made of them."""
        return [] if self.parameters.of(tensor) is not None else self.carriers.behind(tensor)

    def mark(self, tensors: Iterable[object], reason: str) -> None:
        """Something unknown reads these tensors: their units are never cut."""
        for tensor in tensors:
            self.parameters.leave(tensor, reason)
            shadow = self.of(tensor)
            if shadow is not None:
                self.wiring.mark(distinct(shadow)[0], reason)

    def followed(self, call: Call) -> list[Tensor]:
        """The arguments of a call that carry units, or are made of a parameter that the forward reads itself."""
        for tensor in call.inputs:
            if call.name == "__setitem__" or any(tensor is output for output in call.outputs):
                self.carriers.written(tensor)
        return [tensor for tensor in call.inputs if self.follows(tensor)]

    def explain(self, call: Call, followed: list[Tensor]) -> None:
        """Pass the units of `followed`, among a function's arguments, on to its result."""
        try:
            self._explain(call, followed)
        except Exception as error:
            self._give_up(call, followed, f"{call.name} could not be followed: {error}")

    def make_zeros(self, call: Call) -> None:
        """Zeros that the forward makes go with any unit."""
        for tensor in call.outputs if call.name in tables.MAKES_ZEROS else ():
            if is_continuous(tensor) and self.of(tensor) is None:
                self.follow(tensor, torch.full((), NOUGHT))

    def _explain(self, call: Call, followed: list[Tensor]) -> None:
        name, shadow = call.name, self.of(call.source if isinstance(call.source, Tensor) else followed[0])
        if name.startswith("new_") or (name in tables.COPIES_TYPE and not self.follows(call.source)):
            return
        if name == "__setitem__":
            self._write(call)
        elif not call.outputs:
            if name not in tables.READS_NO_VALUE:
                self.mark(followed, f"{name} looks at its values")
        elif call.keywords.get("out") is not None:
            self._give_up(call, followed, f"{name} writes it into a tensor that is there")
        elif name in tables.MOVES | {"__get__"} or (name in tables.SAME_VALUES and shadow is None):
            self._move(call)
        elif (equation := equation_of(call)) is not None:
            self._contract(call, equation)
        elif name in tables.COMBINES or (name in ("max", "min") and len(call.inputs) == 2):
            self._combine(call)
        elif shadow is not None and (rule := self._rule_of(name)) is not None:
            rule(call, shadow)
        else:
            self._give_up(call, followed, f"{name} reads it")

    def _give_up(self, call: Call, followed: list[Tensor], reason: str) -> None:
        self.mark(followed, reason)
        for tensor in call.outputs:
            self.carriers.forget(tensor)

    def _rule_of(self, name: str) -> Callable[[Call, Tensor], None] | None:
        """How the units of its first argument go through a function."""
        tables_and_rules = {
            self._pass: tables.KEEPS_ZERO | tables.MOVES_ZERO | tables.MAY_MOVE_ZERO,
            self._fill: tables.FILLS,
            self._reduce: tables.REDUCES,
            self._run_along: tables.ALONG,
            self._pool: tables.POOLS,
            self._normalise: {"normalize"},
            self._gate: {"glu"},
            self._attend: {"scaled_dot_product_attention"},
        }
        return next((rule for rule, names in tables_and_rules.items() if name in names), None)

    def among(self, tensor: Tensor) -> Tensor:
        """The shadow of a tensor among others; where it carries no unit, OUTSIDE, or the indices that it holds."""
        shadow = self.of(tensor)
        if shadow is not None:
            return shadow
        if self.parameters.of(tensor) is not None:
            for place in range(tensor.dim()):
                numbers = self.parameters.numbers(tensor, place) if tensor.numel() == tensor.shape[place] else None
                if numbers is not None:
                    return values_at(numbers, place, tensor.dim())
            self.parameters.leave(tensor, "it is moved together with something else")
        return torch.full(tensor.shape, OUTSIDE) if is_continuous(tensor) else tensor.cpu()

    def _shadowed(self, tree: Tree) -> Tree:
        """Nested containers with shadows in the place of tensors."""
        return tree_map(lambda leaf: self.among(leaf) if isinstance(leaf, Tensor) else leaf, tree)

    def _give(self, tensor: Tensor, shadow: Tensor | None) -> None:
        """The tensor carries the units of a shadow, if there are any."""
        if shadow is not None and bool((distinct(shadow)[0] != OUTSIDE).any()):
            self.follow(tensor, shadow)
        else:
            self.carriers.forget(tensor)

    def _move(self, call: Call) -> None:
        """Do to the shadows what was done to the tensors."""
        if not any(self.of(tensor) is not None for tensor in call.inputs):
            self._move_parameter(call)
            return
        moved = call.function(*self._shadowed(call.arguments), **self._shadowed(call.keywords))
        shadows = tensors_in(moved)
        if call.name in tables.CHOOSES and self._chooses(call, moved):
            self.mark([call.source], f"{call.name} chooses among its units by an index")
        for tensor, shadow in zip(call.outputs, shadows, strict=True):
            if is_continuous(tensor):
                self._give(tensor, shadow)
        if call.name in tables.SPLITS and isinstance(call.source, Tensor):
            self._split(self.among(call.source), shadows)

    def _chooses(self, call: Call, moved: object) -> bool:
        """Whether another index, of the same shape, would have brought other units."""
        source, place = call.inputs[0], None if call.name == "__getitem__" else call.argument(1, "dim")
        last = source.shape[place] - 1 if isinstance(place, int) and source.dim() and source.shape[place] else -1

        def choose(number: int) -> object:
            def chosen(leaf: object) -> object:
                if not isinstance(leaf, Tensor) or self.of(leaf) is not None or leaf is source:
                    return self.among(leaf) if isinstance(leaf, Tensor) else leaf
                return torch.full_like(leaf, number).cpu() if leaf.dtype in tables.INDICES else leaf.cpu()

            return call.function(*tree_map(chosen, call.arguments), **tree_map(chosen, call.keywords))

        return any(
            not torch.equal(left, right) for number in (0, last) for left, right in _pairs(choose(number), moved)
        )

    def _move_parameter(self, call: Call) -> None:
        """Entries of a parameter are moved about."""
        (name, entries), *others = [part for part in map(self.parameters.of, call.inputs) if part is not None]
        if others or call.name in tables.SAME_VALUES:
            moved = [entries] if not others and call.outputs[0].shape == entries.shape else []
        else:
            values = tree_map(lambda leaf: entries if self.parameters.of(leaf) is not None else leaf, call.arguments)
            moved = tensors_in(call.function(*values, **call.keywords))
        if not moved:
            self.mark(call.inputs, f"{call.name} reads it")
        for tensor, part in zip(call.outputs, moved, strict=False):
            self.parameters.follow(tensor, name, part)

    def _split(self, shadow: Tensor, parts: Sequence[Tensor]) -> None:
        """Units of one dimension that now stand in rows, or in several tensors, have to go evenly from all of them."""
        before = varying(collapsed(shadow))
        rows = torch.stack(list(parts)) if len({part.shape for part in parts}) == 1 else parts[0]
        rows = collapsed(rows)
        if len(before) == 1 and len(varying(rows)) > 1:
            self.joining.split_evenly(rows.reshape(-1, rows.shape[varying(rows)[-1]]))

    def _fill(self, call: Call, shadow: Tensor) -> None:
        """Padding and masked positions: along time they belong to the unit in whose column they stand."""
        name, filled = call.name, call.outputs[0]
        value = call.argument(2 if name.startswith("masked_fill") else 3, "value", 0)
        if name.startswith("masked_fill"):
            self.mark(tensors_in((call.arguments[1:], call.keywords)), f"{name} spreads it over others")
            shadow = shadow.expand(filled.shape)
        elif name == "pad":
            shadow = padded_shadow(call, shadow)
        else:
            blank_place = 2 if name == "pad_sequence" else 3
            value = call.argument(blank_place, "padding_value", 0)
            blank = [0 if place == blank_place else argument for place, argument in enumerate(call.arguments)]
            keywords = {key: argument for key, argument in call.keywords.items() if key != "padding_value"}
            moved = call.function(*self._shadowed(blank), **self._shadowed(keywords))
            shadow = without_padding(tensors_in(moved)[0])
        self._give(filled, shifted(shadow) if isinstance(value, Tensor) or value else shadow)

    def _write(self, call: Call) -> None:
        """buffer[index] = value; a buffer that is a view of another is not followed."""
        buffer, (_, index, value) = call.inputs[0], call.arguments
        shadow = self.among(buffer)
        if not isinstance(value, Tensor):
            self._give(buffer, shifted(shadow) if value else shadow)
        elif buffer._is_view():
            self._give_up(Call(call.function, (), {}, buffer), call.inputs, "it is written into a view")
        else:
            written = shadow.clone()
            call.function(written, self._shadowed(index), self.among(value))
            self._give(buffer, written)

    def _pass(self, call: Call, shadow: Tensor) -> None:
        name, moves = call.name, call.name in tables.MOVES_ZERO
        if name == "prelu" and call.inputs[1].numel() > 1:
            self.mark(call.inputs, "prelu reads it")
            return
        if name in tables.MAY_MOVE_ZERO:
            (zeros,) = tensors_in(call.function(torch.zeros_like(call.inputs[0]), *call.arguments[1:], **call.keywords))
            moves = bool(zeros.ne(0).any())
        shadow = at_rest(shadow) if name == "zeros_like" else shadow
        self._give(call.outputs[0], shifted(shadow) if moves else shadow)

    def _combine(self, call: Call) -> None:
        name, result = call.name, call.outputs[0]
        order, tensors = _letters(result.dim()), call.inputs
        if name == "where" and len(tensors) and tensors[0].dtype == torch.bool:
            tensors = [*tensors[1:], tensors[0]]
        operands = []
        for tensor in tensors:
            labels, counts = order[result.dim() - tensor.dim() :], tensor.dtype != torch.bool
            operands.append(Operand(tensor.shape, labels, self.of(tensor), tensor, counts))
        if name in tables.DIVIDES and len(tensors) > 1:
            self.mark(tensors[1:], f"{name} divides by it")
        shadow = self.joining.together(name, operands, order, multiplied if name in tables.SCALES else added)
        leaves = tree_flatten((call.arguments, call.keywords))[0]
        numbers = [leaf for leaf in leaves if isinstance(leaf, int | float) and leaf != 0]
        self._give(result, shifted(shadow) if numbers and name not in tables.SCALES else shadow)

    def _contract(self, call: Call, equation: Equation) -> None:
        name, result = call.name, equation.result
        operands = []
        for tensor, term in zip(equation.tensors, equation.terms, strict=True):
            operands.append(Operand(tensor.shape, term, self.of(tensor), tensor))
        while len(operands) > 2 and (pair := next_pair([one.labels for one in operands], result)) is not None:
            left, right, letters = operands[pair.left], operands[pair.right], pair.result
            shadow = self._product(name, [left, right], letters)
            sizes = [max(left.size(letter), right.size(letter)) for letter in letters]
            others = [one for one in operands if one is not left and one is not right]
            operands = [Operand(sizes, letters, None if shadow is None else shadow.expand(sizes)), *others]
        shadow = self._product(name, operands, result, added if equation.differences else multiplied)
        bias = equation.bias
        if bias is not None and shadow is not None:
            product = Operand(call.outputs[0].shape, result, shadow.expand(call.outputs[0].shape))
            addend = Operand(bias.shape, result[len(result) - bias.dim() :], self.of(bias), bias)
            shadow = self.joining.together(name, [product, addend], result, added)
        self._give(call.outputs[0], shadow)

    def _product(
        self, name: str, operands: list[Operand], result: str, rule: Callable[[Tensor], Tensor] = multiplied
    ) -> Tensor | None:
        """The shadow of a product of operands that is summed over the letters which its result lacks."""
        loose = [one for one in operands if one.shadow is None and self.parameters.is_matrix(one.tensor)]
        summed = dict.fromkeys(letter for one in operands for letter in one.labels if letter not in result)
        if loose and len(operands) == 2 and len(summed) == 1 and rule is multiplied:
            other = operands[0] if loose[0] is operands[1] else operands[1]
            return self.joining.read(name, loose[0], next(iter(summed)), other, result)
        order = result + "".join(summed)
        shadow = self.joining.together(name, operands, order, rule)
        shadow = self.joining.total(name, shadow, range(len(result), len(order)), "product")
        return None if shadow is None else shadow[(..., *[0] * len(summed))]

    def _reduce(self, call: Call, shadow: Tensor) -> None:
        name, dims = call.name, shadow.dim()
        place = 2 if "norm" in name else 1
        places = call.places(place, "dim")
        order = call.argument(1, "p", call.keywords.get("ord")) if "norm" in name else None
        if places is None and (call.argument(place, "dim") is not None or name in tables.JOINS_ONLY):
            self.mark(call.inputs, f"{name} reads it")
            return
        places = list(range(dims)) if places is None else places
        rule = "sum" if name in tables.TOTALS and not (isinstance(order, int | float) and order < 0) else "mean"
        if name not in tables.TOTALS | tables.JOINS_ONLY and set(varying(collapsed(shadow))) & set(places):
            self.mark([call.source], f"{name} runs over its units")
            return
        total = self.joining.total(name, shadow, places, rule)
        if total is None:
            return
        if call.outputs[0].dim() < dims:
            total = total[tuple(0 if at in places else slice(None) for at in range(dims))]
        self._give(call.outputs[0], total if name in tables.TOTALS | tables.JOINS_ONLY else shifted(total))

    def _run_along(self, call: Call, shadow: Tensor) -> None:
        """Functions along one dimension, along which units must not change."""
        places = call.places(tables.ALONG[call.name], "dim", -1)
        shadow = collapsed(shadow)
        if places is None or set(varying(shadow)) & set(places):
            self.mark([call.source], f"{call.name} runs over its units")
            return
        shadow = shadow.narrow(places[0], 0, 1)
        result = shadow.squeeze(places[0]) if call.outputs[0].dim() < shadow.dim() else shadow
        self._give(call.outputs[0], shifted(result) if "softmax" in call.name else result)

    def _pool(self, call: Call, shadow: Tensor) -> None:
        count = shadow.dim() - 2 if call.name == "interpolate" else tables.POOLS[call.name]
        shadow = collapsed(shadow)
        if [place for place in varying(shadow) if place >= shadow.dim() - count]:
            self.mark([call.source], f"{call.name} runs over its units")
            return
        self._give(call.outputs[0], shadow)

    def _normalise(self, call: Call, shadow: Tensor) -> None:
        places = call.places(2, "dim", 1)
        if places is None or self.joining.total(call.name, shadow, places, "product") is None:
            self.mark([call.source], f"{call.name} reads it")
            return
        self._give(call.outputs[0], shadow)

    def _gate(self, call: Call, shadow: Tensor) -> None:
        """glu: one half of the units multiplied by sigmoids of the other half."""
        (place,) = call.places(1, "dim", -1) or [-1]
        left, right = shadow.chunk(2, place)
        order = _letters(shadow.dim())
        self._split(shadow, [left, right])
        halves = [Operand(left.shape, order, left), Operand(right.shape, order, shifted(right))]
        self._give(call.outputs[0], self.joining.together("glu", halves, order, multiplied))

    def _attend(self, call: Call, shadow: Tensor) -> None:
        """Attention of torch: products of queries and keys over their width, and sums of values over time."""
        query, key, value = call.inputs[:3]
        batch = _letters(query.dim() - 2)
        shadows = [self.of(tensor) for tensor in (query, key)]
        if call.keywords.get("scale") is None:
            for part in shadows:
                if part is not None and (part := collapsed(part)).shape[-1] > 1:
                    self.wiring.mark(part, f"{call.name} divides by the root of its width (pass scale= to have it cut)")
        sides = [
            Operand(query.shape, batch + "yz", shadows[0], query),
            Operand(key.shape, batch + "xz", shadows[1], key),
        ]
        scores = self.joining.together(call.name, sides, batch + "yxz", multiplied)
        self.joining.total(call.name, scores, [len(batch) + 2], "product")
        self.mark(call.inputs[3:], f"{call.name} reads it")
        values = self.of(value)
        if values is not None:
            total = self.joining.total(call.name, values, [value.dim() - 2], "mean")
            self._give(call.outputs[0], total)


def _pairs(left: object, right: object) -> list[tuple[Tensor, Tensor]]:
    return list(zip(tensors_in(left), tensors_in(right), strict=True))


def _letters(count: int) -> str:
    return string.ascii_letters[:count]
