"""Deep copies of what users build: tensors of a past forward go in detached, what cannot be copied is shared."""

import copy
from collections import deque
from collections.abc import Iterator, Mapping
from functools import partial
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError, reason

Value = TypeVar("Value")
ATOMS = (int, float, complex, bool, str, bytes, type, FunctionType, BuiltinFunctionType, ModuleType, type(None))


def copy_of(value: Value) -> Value:
    """A deep copy that shares locks, open files, generators and whatever else refuses to be copied.

    Raises: UserError naming what its own `__deepcopy__` could not copy.
    """
    memo: dict[int, Any] = {}
    for part in parts_of(value):
        if isinstance(part, Tensor) and part.requires_grad and not part.is_leaf:
            memo[id(part)] = part.detach().clone()
        elif not isinstance(part, Tensor | nn.Module) and not _is_copied(part):
            memo[id(part)] = part
    try:
        return copy.deepcopy(value, memo)
    except Exception as error:
        raise UserError(
            f"{type(value).__name__} cannot be copied: {reason(error)}",
            "a model that copy.deepcopy can copy",
            "take what it cannot copy off the model, or give its class a __deepcopy__",
        ) from error


def parts_of(value: object) -> Iterator[object]:
    """Everything that a deep copy would copy: the value, and whatever it refers to."""
    waiting, seen = [value], {}
    while waiting:
        part = waiting.pop()
        if isinstance(part, ATOMS) or id(part) in seen:
            continue
        seen[id(part)] = part
        yield part
        waiting += contents_of(part)


def contents_of(part: object) -> list[object]:
    """What an object refers to."""
    if isinstance(part, Tensor):
        return [vars(part)] if getattr(part, "__dict__", None) else []
    if isinstance(part, Mapping):
        return [*part.keys(), *part.values(), *_attributes(part)]
    if isinstance(part, list | tuple | set | frozenset):
        return [*part, *_attributes(part)]
    if isinstance(part, MethodType):
        return [part.__self__]
    if isinstance(part, torch.jit.ScriptModule):
        return []
    if isinstance(part, deque):
        return [*part, *_attributes(part)]
    if isinstance(part, partial):
        return [part.func, part.args, part.keywords]
    return _attributes(part)


def _attributes(part: object) -> list[object]:
    members = list(vars(part).values()) if hasattr(part, "__dict__") else []
    for kind in type(part).__mro__:
        slots = vars(kind).get("__slots__", ())
        members += [getattr(part, name, None) for name in ((slots,) if isinstance(slots, str) else slots)]
    return members


def _is_copied(part: object) -> bool:
    """Whether an object by itself, whatever it refers to, lets itself be copied."""
    if hasattr(part, "__deepcopy__") or isinstance(part, Mapping | list | tuple | set | frozenset | MethodType):
        return True
    try:
        part.__reduce_ex__(4)
    except Exception:
        return False
    return True
