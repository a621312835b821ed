"""Values from a command line or a JSON file, checked against the types that the receiving class declares."""

import dataclasses
import functools
import inspect
import json
import math
import numbers
import re
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeVar, Union

from sparsernn.errors import UserError, nearest

Made = TypeVar("Made")
IF_GIVEN = {"written": "if given"}
"""Metadata of a field that is written down only where it has another value than by default."""
CONSTANTS = {"none": None, "true": True, "false": False}
BARE_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?", re.IGNORECASE)
"""What JSON does not take for a number is one here too: .05, 1., +2, 1.e-3."""


class Mismatch(ValueError):
    """A value that is not of the declared type."""


def unknown(what: str, name: str, names: Sequence[str], where: str) -> UserError:
    """The error for a name that is not among `names`, with the nearest one that is."""
    return UserError(
        f"{where}: there is no {what} {name!r}",
        "one of " + ", ".join(names) if names else f"no {what}, as there is none to give",
        nearest(name, names, "pick one of these" if names else "leave it out"),
    )


def choose(name: str, value: object, choices: Collection[object]) -> None:
    """Raises: UserError where the value of an option is not one of the choices."""
    if value not in choices:
        listed = ", ".join(map(repr, choices))
        raise UserError(f"{name} is {value!r}", f"one of {listed}", nearest(value, choices, "choose one of these"))


@functools.lru_cache(256)
def parameters(target: Callable[..., object]) -> Mapping[str, object]:
    """Names and declared types of what `target` (a class) takes; `object` where none is declared."""
    taken = [
        parameter.name
        for parameter in inspect.signature(target).parameters.values()
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
    ]
    hints = typing.get_type_hints(target if dataclasses.is_dataclass(target) else target.__init__)
    return types.MappingProxyType({name: hints.get(name, object) for name in taken})


def construct(target: Callable[..., Made], values: Mapping[str, object], where: str) -> Made:
    """`target(**values)` with every name and type checked first."""
    kinds = parameters(target)
    for name in values:
        if name not in kinds:
            raise unknown("field", name, list(kinds), where)
    return target(**{name: checked(value, kinds[name], f"{where}.{name}") for name, value in values.items()})


def checked(value: object, kind: object, where: str) -> object:
    """`value` as `kind`, or the error that says what `where` takes."""
    try:
        return convert_object(value, kind, where) if typing.is_typeddict(kind) else convert(value, kind)
    except Mismatch as error:
        raise wrong_type(where, value, kind) from error


def check_options(options: object) -> None:
    """Numbers of numpy become Python's. Raises: UserError for NaN or infinity in a field, or another type."""
    for name, kind in parameters(type(options)).items():
        value = getattr(options, name)
        if isinstance(value, numbers.Number) and (plain := getattr(value, "item", None)) is not None:
            value = plain()
            object.__setattr__(options, name, value)
        if typing.get_origin(kind) is Literal:
            choose(name, value, typing.get_args(kind))
        if not is_of(value, kind) or (isinstance(value, float) and not math.isfinite(value)):
            said = repr(value) if len(repr(value)) < 80 else f"a {type(value).__name__}"
            takes = describe(kind).replace("a number", "a finite number")
            raise UserError(f"{name} is {said}", takes, f"pass {type(options).__name__} such a {name}")
    check_choices(options)


def check_choices(options: object) -> None:
    """Raises: UserError for a field without one of the values that its class lists for it in `choices`."""
    for name, choices in getattr(type(options), "choices", {}).items():
        choose(name, getattr(options, name), choices)


def is_of(value: object, kind: object) -> bool:
    """Whether a value can serve as this type."""
    try:
        convert(value, kind)
    except Mismatch:
        return False
    return True


def parse(text: str, kind: object, where: str) -> object:
    """The value of type `kind` that `text` spells, as JSON or as a bare word."""
    candidates: list[object] = [CONSTANTS[text.lower()]] if text.lower() in CONSTANTS else []
    try:
        candidates.append(json.loads(text))
    except json.JSONDecodeError:
        if BARE_NUMBER.fullmatch(text):
            candidates.append(float(text))
    for candidate in (*candidates, text):
        try:
            return convert(candidate, kind)
        except Mismatch:
            continue
    raise wrong_type(where, text, kind)


def wrong_type(where: str, value: object, kind: object) -> UserError:
    """The error for a value that is not of its declared type."""
    return UserError(f"{where} cannot be {value!r}", describe(kind), f"Give {where} such a value")


def convert(value: object, kind: object) -> object:
    """`value` as `kind`: whole numbers serve as floats, lists as tuples, objects as dataclasses.

    Raises: Mismatch if it is of another type.
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if kind in (Any, object) or isinstance(kind, TypeVar):
        return value
    if origin in (Union, types.UnionType):
        return convert_union(value, arguments)
    if typing.is_typeddict(kind):
        return convert_object(value, kind, getattr(kind, "__name__", ""))
    if origin in (dict, Mapping) and len(arguments) == 2 and isinstance(value, Mapping):
        return {convert(name, arguments[0]): convert(part, arguments[1]) for name, part in value.items()}
    if origin is Literal:
        if any(value == choice and type(value) is type(choice) for choice in arguments):
            return value
    elif origin in (tuple, list):
        return convert_sequence(value, origin, arguments)
    elif kind in (None, types.NoneType):
        if value is None:
            return None
    elif kind is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif isinstance(kind, type) and dataclasses.is_dataclass(kind) and isinstance(value, Mapping):
        return construct(kind, value, kind.__name__)
    elif isinstance(value, bool):
        if kind is bool:
            return value
    elif isinstance(kind := origin or kind, type) and isinstance(value, kind):
        return value
    raise Mismatch


def convert_object(value: object, kind: Any, where: str) -> dict[str, object]:
    """`value` as a TypedDict: all that it requires, nothing that it does not name, everything of its type."""
    if not isinstance(value, Mapping):
        raise Mismatch
    kinds = typing.get_type_hints(kind)
    for name in value:
        if name not in kinds:
            raise unknown("field", str(name), list(kinds), where)
    missing = sorted(kind.__required_keys__ - set(value))
    if missing:
        raise UserError(f"{where} has no {', '.join(missing)}", "all of " + ", ".join(kinds), "Give what is missing")
    return {name: checked(part, kinds[name], f"{where}.{name}") for name, part in value.items()}


def convert_union(value: object, kinds: tuple[object, ...]) -> object:
    """`value` as the first of `kinds` that takes it; its own type is tried first, so that 1 stays whole."""
    for kind in sorted(kinds, key=lambda kind: kind is not type(value)):
        try:
            return convert(value, kind)
        except Mismatch:
            continue
    raise Mismatch


def convert_sequence(value: object, origin: type, kinds: tuple[object, ...]) -> object:
    """`value` as a tuple or list of `kinds`."""
    if not isinstance(value, (list, tuple)):
        raise Mismatch
    if origin is tuple and kinds and kinds[-1] is not Ellipsis:
        if len(kinds) != len(value):
            raise Mismatch
        return tuple(convert(item, kind) for item, kind in zip(value, kinds, strict=True))
    return origin(convert(item, kinds[0] if kinds else object) for item in value)


def describe(kind: object) -> str:
    """A type in words."""
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    words = {int: "a whole number", float: "a number", str: "text", bool: "true or false", types.NoneType: "none"}
    if kind in words:
        return words[kind]
    if origin in (Union, types.UnionType):
        return " or ".join(describe(argument) for argument in arguments)
    if origin is Literal:
        return "one of " + ", ".join(map(str, arguments))
    if origin in (dict, Mapping) or typing.is_typeddict(kind):
        return "an object"
    if origin in (tuple, list):
        return "a list such as [1, 2] of " + " and ".join(describe(a) for a in arguments if a is not Ellipsis)
    return getattr(kind, "__name__", str(kind))
