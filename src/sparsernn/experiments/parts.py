"""Parts of a row as JSON values: tasks, methods and sources by the names of their files, and their fields."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from sparsernn import folders, typed

Part = TypeVar("Part")
Options = Mapping[str, Any]  # arguments by name, which are checked by what takes them


def name_of(part: object) -> str:
    """The name of a task, method or source: that of its file."""
    return type(part).__module__.rpartition(".")[2]


def with_field(part: Part, name: str, value: object) -> Part:
    """A task, method or source with another value of one field."""
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        raise TypeError(f"{part!r} has no fields")
    return dataclasses.replace(part, **{name: value})


def part_to_json(part: object) -> dict[str, object]:
    """A task or method as {"name": its file's name, its fields...}."""
    return {"name": name_of(part), **fields_to_json(part)}


def part_from_json(folder: str, values: Options) -> folders.Entry:
    """The task or method that `part_to_json` wrote."""
    fields = dict(values)
    name = fields.pop("name")
    return typed.construct(folders.find(folder, name), fields, name)


def fields_to_json(value: object) -> dict[str, object]:
    """A dataclass's fields as plain JSON values; those marked as written if given only where they were."""
    if not dataclasses.is_dataclass(value):
        raise TypeError(f"{value!r} has no fields")
    values = {field: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
    return {
        field.name: plain(part)
        for field, part in values.items()
        if not (field.metadata.get("written") and part == field.default)
    }


def plain(value: object) -> object:
    """`value` in JSON's types: dataclasses and mappings as objects, sequences as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return fields_to_json(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
