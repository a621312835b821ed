"""`--set a.b=c`: one field of a recipe's rows changed from the command line."""

from __future__ import annotations

import dataclasses
import inspect
from typing import Any

from sparsernn import folders
from sparsernn.cells.cell import Cell
from sparsernn.errors import UserError
from sparsernn.models.layers import make_cell
from sparsernn.recipes import typed
from sparsernn.recipes.network import find_model
from sparsernn.recipes.recipe import Row

PARTS = ("settings", "method", "task", "measure", "model", "search")
OWN_FIELDS = ("compact", "threads")
FIXED_BY_DATA = ("inputs", "classes", "vocabulary", "horizon")
CELL = ("model", "cell_options")
FIXED_BY_MODEL = {"name", "inputs", "units", "layers", "input_size", "hidden_size", "num_layers", "batch_first",
                  "bidirectional", "dropout"}  # fmt: skip


def override(rows: list[Row], assignments: list[str]) -> list[Row]:
    """`rows` with every `path=value` of `assignments` applied, in order.

    A path is `settings.epochs`, `method.sparsity`, `task.<field>`, `model.<argument>`,
    `model.cell_options.<argument>`, `measure.<field>`, `search.<field>`, `compact` or `threads` for all rows that
    have the field, and `rows.<row>.<the same>` for one row.
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
    *part, field = keys
    if tuple(part) != CELL and len(part) != (0 if keys[0] in OWN_FIELDS else 1):
        raise UserError(
            f"--set {'.'.join(keys)} does not name one field", "part.field", "Write it as --set settings.epochs=3"
        )
    having = [row for row in chosen if field in fields_of(row, part)]
    if not having:
        known = sorted({name for row in chosen for name in fields_of(row, part)})
        raise typed.unknown("field", field, known, f"--set {'.'.join(part)}")
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


def fields_of(row: Row, part: list[str]) -> dict[str, Any]:
    """Fields of `part` in `row`, with their types."""
    if not part:
        return {name: kind for name, kind in typed.parameters(Row).items() if name in OWN_FIELDS}
    if tuple(part) == CELL:
        return cell_options(row)
    if part == ["model"]:
        taken = typed.parameters(find_model(row.model))
        return {name: kind for name, kind in taken.items() if name not in FIXED_BY_DATA or name in row.options}
    value = getattr(row, part[0])
    return {} if value is None else typed.parameters(type(value))


def cell_options(row: Row) -> dict[str, Any]:
    """What the cell of `row` takes beside what the model gives it, with types."""
    model = find_model(row.model)
    given = FIXED_BY_MODEL | {"recurrent_dropout"} & set(typed.parameters(model))
    cell = folders.find("cells", row.options.get("cell", inspect.signature(model).parameters["cell"].default))
    takers = [kind for kind in cell.__mro__ if issubclass(kind, Cell)]
    taken = [(name, kind) for taker in (make_cell, *takers) for name, kind in typed.parameters(taker).items()]
    return {name: kind for name, kind in reversed(taken) if name not in given}


def changed(row: Row, keys: list[str], text: str) -> Row:
    """`row` with the field at `keys` set to what `text` spells."""
    *part, field = keys
    where = f"rows.{row.name}.{'.'.join(keys)}"
    value = typed.parse(text, fields_of(row, part)[field], where)
    if not part:
        return dataclasses.replace(row, **{field: value})
    if tuple(part) == CELL:
        return with_cell_options(row, {**(row.options.get("cell_options") or {}), field: value}, where)
    if tuple(keys) == CELL:
        return with_cell_options(row, value, where)
    if part == ["model"]:
        return dataclasses.replace(row, options={**row.options, field: value})
    replaced = {part[0]: dataclasses.replace(getattr(row, part[0]), **{field: value})}
    if keys == ["method", "strength"]:
        replaced["search"] = None
    return dataclasses.replace(row, **replaced)


def with_cell_options(row: Row, options: dict[str, Any] | None, where: str) -> Row:
    """`row` with other options of its cell. Raises: UserError for one that the cell does not take."""
    known = cell_options(row)
    for name, value in (options or {}).items():
        if name not in known:
            raise typed.unknown("option", name, sorted(known), where)
        typed.checked(value, known[name], f"{where}.{name}")
    return dataclasses.replace(row, options={**row.options, "cell_options": options})
