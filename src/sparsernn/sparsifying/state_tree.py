"""Nested state (of optimizers, sparsifiers, generators) taken apart into named tensors and JSON values.

Every JSON object stands for one Python value and has a single key that says of which kind: "dict", "pairs" (a
dict whose keys are not all text), "tuple", "float" (not finite) or "tensor". So no pickle is needed.
"""

import math
from collections.abc import Mapping
from typing import Any, TypeVar, cast

import numpy as np
import torch
from torch import Tensor

from sparsernn.errors import UserError

State = dict[str, Any]  # nested: tensors, numbers, text, lists, tuples and dicts
Tree = TypeVar("Tree")


def split(state: object) -> tuple[dict[str, Tensor], object]:
    """The tensors of a nested state by path, and the rest as JSON values that refer to them."""
    tensors: dict[str, Tensor] = {}
    return tensors, _encoded(state, "", tensors)


def join(tensors: Mapping[str, Tensor], values: object) -> Any:
    """The nested state that `split` took apart.

    Raises: ValueError, TypeError or KeyError for values that `split` cannot have made.
    """
    if isinstance(values, list):
        return [join(tensors, value) for value in values]
    if not isinstance(values, dict):
        return values
    [(kind, content)] = values.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "float":
        return float(content)
    if kind == "tuple":
        return tuple(join(tensors, value) for value in content)
    if kind == "dict":
        return {key: join(tensors, value) for key, value in content.items()}
    if kind == "pairs":
        return {join(tensors, key): join(tensors, value) for key, value in content}
    raise ValueError(f"unknown kind of value {kind!r}")


def moved(state: Tree, device: torch.device) -> Tree:
    """The same nested state with every tensor on `device`."""
    return cast(Tree, _moved(state, device))


def _moved(state: object, device: torch.device) -> object:
    if isinstance(state, Tensor):
        return state.to(device)
    if isinstance(state, dict):
        return {key: _moved(value, device) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return type(state)(_moved(value, device) for value in state)
    return state


def shapes(state: object) -> object:
    """The same nested state with every tensor replaced by its type and shape."""
    if isinstance(state, Tensor):
        return str(state.dtype), tuple(state.shape)
    if isinstance(state, dict):
        return {key: shapes(value) for key, value in state.items()}
    if isinstance(state, (list, tuple)):
        return [shapes(value) for value in state]
    return type(state).__name__


def _encoded(value: object, path: str, tensors: dict[str, Tensor]) -> object:
    if isinstance(value, Tensor):
        name = f"{path}#{len(tensors)}" if path in tensors else path
        tensors[name] = value.detach()
        return {"tensor": name}
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": repr(value)}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    if isinstance(value, Mapping):
        return _encoded_mapping(value, path, tensors)
    if isinstance(value, (list, tuple)):
        items = [_encoded(item, f"{path}/{index}", tensors) for index, item in enumerate(value)]
        return {"tuple": items} if isinstance(value, tuple) else items
    raise UserError(
        f"{path} holds a {type(value).__name__}, which cannot be saved without pickle",
        "tensors, numbers, text, lists and dicts",
        "Keep only these in the state_dict",
    )


def _encoded_mapping(value: Mapping, path: str, tensors: dict[str, Tensor]) -> object:
    below = {key: _encoded(item, f"{path}/{key}", tensors) for key, item in value.items()}
    if all(isinstance(key, str) for key in below):
        return {"dict": below}
    return {"pairs": [[_encoded(key, path, tensors), item] for key, item in below.items()]}
