"""`--set a.b=c`: one field of a recipe's rows changed from the command line."""

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sparsernn import folders, typed
from sparsernn.errors import UserError
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.network import find_model
from sparsernn.experiments.parts import name_of, with_field
from sparsernn.experiments.rows import SOURCES, Row
from sparsernn.experiments.sources.search import Search
from sparsernn.models.layers import make_cell
from sparsernn.running.modules import Shape

PARTS = ("settings", "method", "task", "measure", "model")
ROW_FIELDS = ("threads",)
MOVED = {"compact": "measure.compact"}
FIXED_BY_DATA = ("inputs", "classes", "vocabulary", "horizon")
CELL = ("model", "cell_options")
FIXED_BY_MODEL = {"name", "inputs", "units", "layers", "input_size", "hidden_size", "num_layers", "batch_first",
                  "bidirectional", "dropout"}  # fmt: skip


def override(rows: Sequence[AnyRow], assignments: Sequence[str]) -> list[AnyRow]:
    """`rows` with every `path=value` of `assignments` applied, in order.

    A path is `settings.epochs`, `method.sparsity`, `task.<field>`, `model.<argument>`,
    `model.cell_options.<argument>`, `measure.<field>`, `<source>.<field>` (`search.goal`, `teacher.share`, ...) or
    `threads` for all rows that have the field, and `rows.<row>.<the same>` for one row.
    A `method.strength` that is given takes the place of a row's search for one.
    """
    for assignment in assignments:
        path, equals, text = assignment.partition("=")
        if not equals or not path:
            raise UserError(f"--set {assignment!r} has no value", "path=value", "Write it as --set settings.epochs=3")
        rows = assign(rows, path.strip().split("."), text.strip())
    return list(rows)


def assign(rows: Sequence[AnyRow], keys: list[str], text: str) -> list[AnyRow]:
    """`rows` with the field at `keys` set to what `text` spells."""
    addressed, keys = choose(rows, keys)
    check_path(keys)
    *part, field = keys
    having = [row for row in addressed if field in fields_of(row, part)]
    if not having:
        names = sorted({name for row in addressed for name in fields_of(row, part)})
        raise typed.unknown("field", field, names, f"--set {'.'.join(part)}")
    names = {row.name for row in having}
    return [changed(row, keys, text) if row.name in names else row for row in rows]


def check_path(keys: list[str]) -> None:
    """Raises: UserError if a path without its row does not name one field of a part that a row can have."""
    sources = folders.names(SOURCES)
    if keys[0] in MOVED:
        new = MOVED[keys[0]]
        raise UserError(f"--set {keys[0]} has another name", new, f"Write it as --set {new}=...")
    if keys[0] not in (*PARTS, *sources, *ROW_FIELDS):
        raise typed.unknown("part", keys[0], ["rows", *PARTS, *sources, *ROW_FIELDS], "--set")
    if tuple(keys[:-1]) != CELL and len(keys) != (1 if keys[0] in ROW_FIELDS else 2):
        raise UserError(
            f"--set {'.'.join(keys)} does not name one field", "part.field", "Write it as --set settings.epochs=3"
        )


def choose(rows: Sequence[AnyRow], keys: list[str]) -> tuple[Sequence[AnyRow], list[str]]:
    """The rows that a path is about, and the rest of the path."""
    if keys[0] != "rows":
        return rows, keys
    if len(keys) < 3:
        raise UserError(
            f"--set {'.'.join(keys)} does not name a row and a field",
            "rows.ROW.part.field",
            "Write it as --set rows.dense.settings.epochs=3",
        )
    named = [row for row in rows if row.name == keys[1]]
    if not named:
        raise typed.unknown("row", keys[1], [row.name for row in rows], "--set rows")
    return named, keys[2:]


def parts_of(row: AnyRow) -> Mapping[str, object]:
    """The parts of `row` that have fields, by name: its own and its sources."""
    parts = {name: getattr(row, name, None) for name in PARTS if name != "model"}
    return parts | {name_of(source): source for source in row.sources}


def fields_of(row: AnyRow, part: list[str]) -> Mapping[str, object]:
    """Fields of `part` in `row`, with their types."""
    if not part:
        return {name: kind for name, kind in typed.parameters(type(row)).items() if name in ROW_FIELDS}
    if part[0] != "model":
        value = parts_of(row).get(part[0])
        return {} if value is None else typed.parameters(type(value))
    if not isinstance(row, Row):
        return {}
    if tuple(part) == CELL:
        return cell_options(row)
    arguments = typed.parameters(find_model(row.model))
    return {name: kind for name, kind in arguments.items() if name not in FIXED_BY_DATA or name in row.options}


def cell_options(row: Row) -> dict[str, object]:
    """What the cell of `row` takes beside what the model gives it, with types."""
    model = find_model(row.model)
    fixed = FIXED_BY_MODEL | {"recurrent_dropout"} & set(typed.parameters(model))
    cell = folders.find("cells", row.options.get("cell", inspect.signature(model).parameters["cell"].default))
    options = [item for taker in (make_cell, Shape, cell) for item in typed.parameters(taker).items()]
    return {name: kind for name, kind in reversed(options) if name not in fixed}


def changed(row: AnyRow, keys: list[str], text: str) -> AnyRow:
    """`row` with the field at `keys` set to what `text` spells."""
    *part, field = keys
    where = f"rows.{row.name}.{'.'.join(keys)}"
    value = typed.parse(text, fields_of(row, part)[field], where)
    if not part:
        return replace(row, **{field: value})
    if isinstance(row, Row) and part[0] == "model":
        return with_argument(row, part, field, value, where)
    changed_part = with_field(parts_of(row)[part[0]], field, value)
    if part[0] not in PARTS:
        sources = [changed_part if name_of(source) == part[0] else source for source in row.sources]
        return replace(row, sources=tuple(sources))
    if isinstance(row, Row) and keys == ["method", "strength"]:
        row = row.without(Search)
    return replace(row, **{part[0]: changed_part})


def with_argument(row: Row, part: list[str], field: str, value: object, where: str) -> Row:
    """`row` with another argument of its model, or of its model's cell."""
    if tuple(part) == CELL:
        return with_cell_options(row, {**(row.options.get("cell_options") or {}), field: value}, where)
    if (*part, field) == CELL:
        return with_cell_options(row, value if isinstance(value, dict) else None, where)
    return replace(row, options={**row.options, field: value})


def with_cell_options(row: Row, options: dict[str, object] | None, where: str) -> Row:
    """`row` with other options of its cell. Raises: UserError for one that the cell does not take."""
    kinds = cell_options(row)
    for name, value in (options or {}).items():
        if name not in kinds:
            raise typed.unknown("option", name, sorted(kinds), where)
        typed.checked(value, kinds[name], f"{where}.{name}")
    return replace(row, options={**row.options, "cell_options": options})
