"""A model's forward as a function of tensors that have names."""

import ast
import inspect
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree

from sparsernn.errors import UserError, reason

HALVES = (torch.float16, torch.bfloat16)
"""Types that stock runtimes do not compute recurrent layers in; one of them ends the process that tries."""


@dataclass(frozen=True)
class Forward:
    """A model and how it is called.

    Attributes:
        network: the model, in evaluation mode.
        tensors, names: of its inputs, in order.
        leaves, form: all arguments taken apart, tensors or not, and how they are put together.
        places: of the tensors among the leaves.
    """

    network: nn.Module
    tensors: list[Tensor]
    names: list[str]
    leaves: list[Any]
    form: Any
    places: list[int]

    def call(self, tensors: Sequence[Tensor]) -> Any:
        """What the forward returns; of a dataclass its fields by name."""
        leaves = list(self.leaves)
        for place, tensor in zip(self.places, tensors, strict=True):
            leaves[place] = tensor
        args, kwargs = tree.tree_unflatten(leaves, self.form)
        result = self.network(*args, **kwargs)
        if is_dataclass(result) and not isinstance(result, Mapping | type):
            return {one.name: getattr(result, one.name) for one in fields(result)}
        return result

    def outputs(self, tensors: Sequence[Tensor]) -> dict[str, Tensor]:
        """The tensors that the forward returns, by name.

        Raises: UserError where it returns none.
        """
        result = self.call(tensors)
        values = [value for value in tree.tree_leaves(result) if isinstance(value, Tensor)]
        if not values:
            raise UserError(
                f"the forward returns a {type(result).__name__}",
                "tensors, or tuples, lists, dictionaries and dataclasses of them",
                "return what is wanted in one of these",
            )
        names = _distinct(_output_names(self.network, result, len(values)), self.names)
        inputs = {id(tensor) for tensor in tensors}
        return {name: value * 1 if id(value) in inputs else value for name, value in zip(names, values, strict=True)}

    @torch.no_grad()
    def require_same_answer(self) -> None:
        """Raises: UserError for a forward that fails, or answers in another way when it is called again."""
        try:
            first = [value.clone() for value in self.outputs(self.tensors).values()]
            second = list(self.outputs(self.tensors).values())
        except UserError:
            raise
        except Exception as error:
            raise refused_example(error) from error
        if not all(torch.equal(old, new) or _same_nans(old, new) for old, new in zip(first, second, strict=True)):
            raise UserError(
                "the model answers in another way when it is called again: it keeps a state or draws random numbers",
                "states that go in and come out, as a file keeps none",
                "take the state as an argument and return it",
            )


def _same_nans(old: Tensor, new: Tensor) -> bool:
    return old.shape == new.shape and torch.allclose(old, new, rtol=0, atol=0, equal_nan=True)


def forward_of(network: nn.Module, example: Any) -> Forward:
    """How a model is called with an example.

    Raises: UserError for an example that does not fit the forward's signature, or has an empty tensor.
    """
    if example is None or (isinstance(example, tuple | list | Mapping) and not example):
        raise UserError("there is no example", "the forward's arguments", "pass example=(...) as in a call")
    if isinstance(example, Mapping):
        args, kwargs = (), dict(example)
    else:
        args, kwargs = tuple(example) if isinstance(example, tuple | list) else (example,), {}
    try:
        bound = inspect.signature(network.forward).bind(*args, **kwargs)
    except TypeError as error:
        raise UserError(f"the forward does not take the example: {error}", "its arguments", "pass them") from error
    leaves, form = tree.tree_flatten((bound.args, bound.kwargs))
    places = [place for place, leaf in enumerate(leaves) if isinstance(leaf, Tensor)]
    tensors = [leaves[place].detach() for place in places]
    names = _distinct(list(_input_names(bound)), ())
    if not tensors:
        raise UserError("the example has no tensor", "one at least", "pass example=(...) as in a call")
    for name, tensor in zip(names, tensors, strict=True):
        if tensor.dtype in HALVES or tensor.is_complex():
            kind = str(tensor.dtype).removeprefix("torch.")
            raise UserError(f"{name} of the example is {kind}", "float32 or whole numbers", "export model.float()")
        if not tensor.numel():
            raise UserError(
                f"{name} of the example has the shape {list(tensor.shape)}",
                "one sequence and one step at least",
                "pass a longer example",
            )
    return Forward(network, tensors, names, leaves, form, places)


def _input_names(bound: inspect.BoundArguments) -> Iterator[str]:
    """A name for every tensor among the arguments, in order."""
    keywords = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_KEYWORD
    parameters = bound.signature.parameters
    for last in (False, True):
        for name, value in bound.arguments.items():
            if (parameters[name].kind in keywords) is not last:
                continue
            if parameters[name].kind is inspect.Parameter.VAR_KEYWORD:
                for key, one in value.items():
                    yield from _numbered(key, one)
            else:
                yield from _numbered(name, value)


def _numbered(name: str, value: Any) -> Iterator[str]:
    if isinstance(value, Tensor):
        yield name
        return
    parts = [part for part in tree.tree_leaves(value) if isinstance(part, Tensor)]
    if isinstance(value, Mapping) and len(parts) == len(value):
        yield from (f"{name}_{key}" for key in value)
    else:
        yield from (f"{name}_{number}" for number in range(len(parts)))


def _output_names(network: nn.Module, result: Any, count: int) -> list[str]:
    """Names in the forward's last return statement; "output" for what has none."""
    if isinstance(result, Mapping):
        names = [name for key, value in result.items() for name in _numbered(str(key), value)]
    else:
        parts = list(result) if isinstance(result, tuple | list) else [result]
        returned = _returned_names(network)
        returned = returned if len(returned) == len(parts) else ["output"] * len(parts)
        names = [name for text, part in zip(returned, parts, strict=True) for name in _numbered(text, part)]
    return names if len(names) == count else ["output"] * count


def _returned_names(network: nn.Module) -> list[str]:
    if type(network).__module__.partition(".")[0] in ("torch", "sparsernn"):
        return []
    try:
        function = ast.parse(textwrap.dedent(inspect.getsource(type(network).forward))).body[0]
    except (OSError, TypeError, SyntaxError, IndexError):
        return []
    values = [node.value for node in ast.walk(function) if isinstance(node, ast.Return)]
    if not values or values[-1] is None:
        return []
    elements = values[-1].elts if isinstance(values[-1], ast.Tuple | ast.List) else [values[-1]]
    return [element.id if isinstance(element, ast.Name) else "output" for element in elements]


def _distinct(names: Sequence[str], taken: Sequence[str]) -> list[str]:
    """Names of which none is there twice."""
    used, results = set(taken), []
    for name in names:
        text, number = (f"{name}_out" if name in taken else name), 0
        candidate = text
        while candidate in used:
            number += 1
            candidate = f"{text}_{number}"
        used.add(candidate)
        results.append(candidate)
    return results


def refused_example(error: Exception) -> UserError:
    """What is said where a forward raises for an example."""
    return UserError(
        f"the model does not take the example ({reason(error)})",
        "arguments of its forward",
        "pass example=(...) as in a call",
    )
