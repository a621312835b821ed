"""`--set a.b=c`: one field of a recipe's rows changed from the command line."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from sparsernn.errors import UserError
from sparsernn.recipes import typed
from sparsernn.recipes.network import find_model
from sparsernn.recipes.recipe import Row

PARTS = ("settings", "method", "task", "measure", "model", "search")
OWN_FIELDS = ("compact", "threads")
FIXED_BY_DATA = ("inputs", "classes", "vocabulary", "horizon")


def override(rows: list[Row], assignments: list[str]) -> list[Row]:
    """`rows` with every `path=value` of `assignments` applied, in order.

    A path is `settings.epochs`, `method.sparsity`, `task.<field>`, `model.<argument>`, `measure.<field>`,
    `search.<field>`, `compact` or `threads` for all rows that have the field, and `rows.<row>.<the same>` for one row.
    A `method.strength` that is given takes the place of a row's search for one.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise UserError(f"--set {assignment!r} has no value", "path=value", "Write it as --set settings.epochs=3")
        rows = assign(rows, path.strip().split("."), text.strip())
    return rows


def assign(rows: list[Row], keys: list[str], text: str) -> list[Row]:
    """`rows` with the field at `keys` set to what `text` spells."""
    chosen, keys = choose(rows, keys)
    if keys[0] not in PARTS + OWN_FIELDS:
        raise typed.unknown("part", keys[0], ["rows", *PARTS, *OWN_FIELDS], "--set")
    if len(keys) != (1 if keys[0] in OWN_FIELDS else 2):
        raise UserError(
            f"--set {'.'.join(keys)} does not name one field", "part.field", "Write it as --set settings.epochs=3"
        )
    having = [row for row in chosen if keys[-1] in fields_of(row, keys[0])]
    if not having:
        known = sorted({name for row in chosen for name in fields_of(row, keys[0])})
        raise typed.unknown("field", keys[-1], known, f"--set {keys[0]}")
    names = {row.name for row in having}
    return [changed(row, keys, text) if row.name in names else row for row in rows]


def choose(rows: list[Row], keys: list[str]) -> tuple[list[Row], list[str]]:
    """The rows that a path is about, and the rest of the path."""
    if keys[0] != "rows":
        return rows, keys
    if len(keys) < 3:
        raise UserError(
            f"--set {'.'.join(keys)} does not name a row and a field",
            "rows.ROW.part.field",
            "Write it as --set rows.dense.settings.epochs=3",
        )
    chosen = [row for row in rows if row.name == keys[1]]
    if not chosen:
        raise typed.unknown("row", keys[1], [row.name for row in rows], "--set rows")
    return chosen, keys[2:]


def fields_of(row: Row, part: str) -> dict[str, Any]:
    """Fields of `part` in `row`, with their types."""
    if part in OWN_FIELDS:
        return {name: kind for name, kind in typed.parameters(Row).items() if name == part}
    if part == "model":
        taken = typed.parameters(find_model(row.model))
        return {name: kind for name, kind in taken.items() if name not in FIXED_BY_DATA or name in row.options}
    value = getattr(row, part)
    return {} if value is None else typed.parameters(type(value))


def changed(row: Row, keys: list[str], text: str) -> Row:
    """`row` with the field at `keys` set to what `text` spells."""
    part, field = keys[0], keys[-1]
    value = typed.parse(text, fields_of(row, part)[field], f"rows.{row.name}.{'.'.join(keys)}")
    if part in OWN_FIELDS:
        return dataclasses.replace(row, **{field: value})
    if part == "model":
        options: Mapping[str, Any] = {**row.options, field: value}
        return dataclasses.replace(row, options=options)
    replaced = {part: dataclasses.replace(getattr(row, part), **{field: value})}
    if (part, field) == ("method", "strength"):
        replaced["search"] = None
    return dataclasses.replace(row, **replaced)
