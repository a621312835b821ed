"""Parts of a row as JSON values: tasks, methods and sources by the names of their files, and their fields."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sparsernn import folders
from sparsernn.experiments import typed


def name_of(part: object) -> str:
    """The name of a task, method or source: that of its file."""
    return type(part).__module__.rpartition(".")[2]


def with_field(part: Any, name: str, value: Any) -> Any:
    """A task, method or source with another value of one field."""
    return dataclasses.replace(part, **{name: value})


def part_to_json(part: Any) -> dict[str, Any]:
    """A task or method as {"name": its file's name, its fields...}."""
    return {"name": name_of(part), **fields_to_json(part)}


def part_from_json(folder: str, values: Mapping[str, Any]) -> Any:
    """The task or method that `part_to_json` wrote."""
    fields = dict(values)
    name = fields.pop("name")
    return typed.construct(folders.find(folder, name), fields, name)


def fields_to_json(value: Any) -> dict[str, Any]:
    """A dataclass's fields as plain JSON values; those marked as written if given only where they were."""
    return {
        field.name: plain(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if field.init and not (field.metadata.get("written") and getattr(value, field.name) == field.default)
    }


def plain(value: Any) -> Any:
    """`value` in JSON's types: dataclasses and mappings as objects, sequences as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return fields_to_json(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
