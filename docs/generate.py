"""The parts of README.md and docs/ that are made from the code and from results/.

    python docs/generate.py            rewrite them
    python docs/generate.py --check    change nothing; exit 1 if one is out of date

It is also the hook of mkdocs that writes the reference out of the docstrings.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import sparsernn
from sparsernn import folders, listing
from sparsernn.experiments.baseline_row import AnyRow
from sparsernn.experiments.deviations import Difference, scalings, written
from sparsernn.experiments.recipe import Recipe, Size, size_of
from sparsernn.reports import tables

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "results"
LISTED = re.compile(r"^<!-- list: (?P<kind>\w+) -->\n.*?^<!-- end list -->$", re.DOTALL | re.MULTILINE)
REFERENCE = re.compile(r"^<!-- reference: (?P<name>[\w.*]+) -->$", re.MULTILINE)
MOST_FIELDS = 12
SLOT = re.compile(r"^(Arguments|Attributes|Shapes|Returns|Raises|Source|Deviations):[ ]?(.*)$")
ITEM = re.compile(r"^([\w*]+(?:, [\w*]+)*): (.*)$", re.DOTALL)


def pages() -> list[Path]:
    """Every page with generated parts."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def fill(text: str) -> str:
    """A page's text with its lists and tables as they should be."""
    text = LISTED.sub(lambda found: f"<!-- list: {found['kind']} -->\n{listed(found['kind'])}<!-- end list -->", text)
    return tables.fill(text, RESULTS, published)


@functools.cache
def rows_of(recipe: str, size: Size) -> dict[str, AnyRow]:
    """The rows of a recipe by name."""
    return {row.name: row for row in folders.find("recipes", recipe).at(size)}


def published(result: Mapping[str, Any]) -> Mapping[str, float]:
    """The figures of a row's paper, as the recipe has them."""
    if result["recipe"] not in folders.names("recipes"):
        return tables.as_run(result)
    row = rows_of(result["recipe"], size_of(result["size"])).get(result["row"])
    return row.published if row else tables.as_run(result)


def listed(kind: str) -> str:
    """A Markdown table of everything `sparsernn list KIND` knows, or one of the page of deviations."""
    if kind in PAGE_OF_DEVIATIONS:
        titles, lines = PAGE_OF_DEVIATIONS[kind]
        return table_of([titles, *together(line for name in folders.names("recipes") for line in lines(name))])
    columns, rows = ["name", "what it is"], []
    for entry in listing.entries(kind):
        row = [f"`{entry['name']}`", entry["summary"]]
        if kind == "methods":
            row.append(", ".join(folders.find("methods", entry["name"]).granularities))
        rows.append([*row, entry["source"].rstrip(".")])
    columns += ["granularities"] if kind == "methods" else []
    return table_of([[*columns, "source"], *rows])


def table_of(lines: Sequence[Sequence[str]]) -> str:
    """A Markdown table of these lines, the first its titles."""
    titles, *rows = lines
    table = [titles, ["---"] * len(titles), *rows]
    return "".join("| " + " | ".join(escape(cell).replace("|", "\\|") for cell in row) + " |\n" for row in table)


def deviations(name: str) -> Iterator[list[str]]:
    """How the rows of a recipe differ from their paper."""
    paper = folders.find("recipes", name).paper
    for one in paper.deviations if paper else ():
        values = written(one.published), written(one.ours)
        yield [where(name, one.rows), paper.name, coded(one.field), *values, one.why]


def scaled(name: str) -> Iterator[list[str]]:
    """What the rows of a recipe at "cpu" have otherwise than at "full"."""
    recipe: Recipe = folders.find("recipes", name)
    differences = scalings(*([*rows_of(name, size).values()] for size in ("full", "cpu")))
    for one in recipe.scaled:
        covered = [difference for difference in differences if one.covers(difference)]
        fields = list(dict.fromkeys(difference.field for difference in covered))
        if len(fields) > MOST_FIELDS:
            yield [where(name, one.rows), coded(one.field), f"{len(fields)} fields", one.why]
            continue
        for field in fields:
            changes = [change_of(difference) for difference in covered if difference.field == field]
            yield [where(name, one.rows), coded(field), "; ".join(shortened(changes)), one.why]


def together(lines: Iterable[list[str]]) -> list[list[str]]:
    """Lines that differ only in where they hold, as one."""
    places: dict[tuple[str, ...], list[str]] = {}
    for place, *rest in lines:
        places.setdefault(tuple(rest), []).append(place)
    return [[", ".join(dict.fromkeys(names)), *rest] for rest, names in places.items()]


def where(recipe: str, rows: str) -> str:
    """The rows of a recipe of which something is said."""
    return f"`{recipe}`" if rows == "*" else f"`{recipe}` (`{rows}`)"


def change_of(difference: Difference) -> str:
    """From the value at "full" to the one at "cpu"."""
    return f"{written(difference.published)} → {written(difference.ours)}"


def shortened(changes: Sequence[str], most: int = 3) -> list[str]:
    """The first few different ones."""
    distinct = list(dict.fromkeys(changes))
    return distinct if len(distinct) <= most else [*distinct[:most], f"and {len(distinct) - most} more"]


def changed(name: str) -> Iterator[list[str]]:
    """Settings with which results of a recipe were run in the place of the rows' own."""
    rows: dict[str, set[str]] = {}
    for path in sorted((RESULTS / name).glob("*.json")):
        result = json.loads(path.read_text(encoding="utf-8"))
        for setting in re.findall(r"--set (\S+)", result["command"]):
            rows.setdefault(setting, set()).add(result["row"])
    for setting, names in sorted(rows.items()):
        yield [f"`{name}`", f"`{setting}`", ", ".join(f"`{row}`" for row in sorted(names))]


def coded(field: str) -> str:
    """A field as code, words as they are."""
    return f"`{field}`" if "." in field else field


PAGE_OF_DEVIATIONS = {
    "deviations": (("recipe (rows)", "paper", "field", "published", "ours", "why"), deviations),
    "scaled": (("recipe (rows)", "field", "full → cpu", "why"), scaled),
    "changed": (("recipe", "set to", "rows"), changed),
}


def escape(text: str) -> str:
    """Text that Markdown shows as it is, outside backticks."""
    parts = re.split(r"(``.*?``|`[^`]*`)", text)
    return "".join(part if part.startswith("`") else re.sub(r"([*<])", r"\\\1", part) for part in parts)


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Called by mkdocs: the reference in the place of its markers."""
    return REFERENCE.sub(lambda found: reference(found["name"]), markdown)


def reference(name: str) -> str:
    """One public name of the package, or everything in a folder of entries (`methods.*`)."""
    if name.endswith(".*"):
        folder = name.removesuffix(".*")
        entries = folders.entries(folder).items()
        return "\n".join(described(key, entry, f"{folder}.{key}", members=False) for key, entry in entries)
    home, _, last = name.rpartition(".")
    return described(name, getattr(importlib.import_module(home), last), home)


def described(title: str, value: Any, module: str, members: bool = True) -> str:
    """Heading, signature and docstring of a class, a function, or an object that a file defines.

    Arguments:
        members: whether methods that a class defines itself follow; the entries of a folder all have the same.
    """
    lines = [f"### `{title}`", ""]
    if isinstance(value, str):
        return "\n".join([*lines, f"`{value!r}`", ""])
    if not callable(value):
        full = f"{sparsernn.__name__}.{module}"
        about = getattr(value, "title", "")
        text = slots(inspect.getdoc(sys.modules[full]) or "")
        return "\n".join([*lines, f"`{full}`", "", escape(about), "", text, *declared(title, value)])
    lines += ["```python", f"from {value.__module__} import {value.__name__}", *call_of(value), "```", ""]
    lines += [slots(inspect.getdoc(value) or "")]
    for key, member in public_members(value) if members else ():
        lines += [
            f"#### `{value.__name__}.{key}`",
            "",
            "```python",
            signature(member, key),
            "```",
            "",
            slots(inspect.getdoc(member) or ""),
        ]
    return "\n".join(lines)


def declared(name: str, value: Any) -> list[str]:
    """What a recipe declares: how its rows differ from the paper, and from each other at "full" and "cpu"."""
    paper = value.paper if isinstance(value, Recipe) else None
    lines = [f"**Compared with:** {escape(paper.source)}.", ""] if paper else []
    for kind, title in {"deviations": "Deviations", "scaled": "Scaled"}.items() if isinstance(value, Recipe) else ():
        titles, make = PAGE_OF_DEVIATIONS[kind]
        rows = list(make(name))
        lines += [f"**{title}:**", "", table_of([titles, *rows])] if rows else []
    return lines


def call_of(value: Any) -> list[str]:
    """How a class or a function is called, as a line; a protocol only if it is about a call."""
    if not getattr(value, "_is_protocol", False):
        return [signature(value)]
    return [signature(vars(value)["__call__"], value.__name__)] if "__call__" in vars(value) else []


def public_members(value: Any) -> list[tuple[str, Any]]:
    """Documented methods that a class defines itself."""
    if not inspect.isclass(value):
        return []
    own = {key: member.__func__ if isinstance(member, classmethod) else member for key, member in vars(value).items()}
    return [
        (key, member)
        for key, member in own.items()
        if inspect.isfunction(member) and not key.startswith("_") and member.__doc__
    ]


def signature(value: Any, name: str = "") -> str:
    """The call as Python writes it, short enough to read."""
    parameters = inspect.signature(value).parameters.values()
    shown = [
        str(parameter.replace(annotation=parameter.empty))
        for parameter in parameters
        if parameter.name not in ("self", "cls")
    ]
    if any(parameter.kind is parameter.KEYWORD_ONLY for parameter in parameters):
        first = next(parameter for parameter in parameters if parameter.kind is parameter.KEYWORD_ONLY)
        if not any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
            shown.insert(shown.index(str(first.replace(annotation=first.empty))), "*")
    text = f"{name or value.__name__}({', '.join(shown)})"
    return text if len(text) <= 100 else f"{name or value.__name__}(\n    " + ",\n    ".join(shown) + ",\n)"


def slots(text: str) -> str:
    """A docstring as Markdown: its slots in bold, its arguments as a list."""
    lines: list[str] = []
    for block in re.split(r"\n(?=\S)", text):
        head, _, rest = block.partition("\n")
        found = SLOT.match(head)
        if found is None:
            lines += map(escape, block.split("\n"))
            continue
        lines += ["", f"**{found[1]}:** {escape(found[2])}".rstrip()]
        lines += continued(inspect.cleandoc(rest)) if rest.strip() else []
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip() + "\n"


def continued(text: str) -> list[str]:
    """The indented lines of a slot: a list where they read `name: ...`, else text."""
    items = [ITEM.match(" ".join(item.split())) for item in re.split(r"\n(?=\S)", text)]
    if not all(items):
        return [*map(escape, text.splitlines())]
    return ["", *(f"- `{item[1]}`: {escape(item[2])}" for item in items if item)]


def outdated() -> list[Path]:
    """Pages whose generated parts are not what they would be now."""
    return [page for page in pages() if fill(page.read_text(encoding="utf-8")) != page.read_text(encoding="utf-8")]


def main() -> None:
    found = outdated()
    for page in found:
        if "--check" not in sys.argv:
            page.write_text(fill(page.read_text(encoding="utf-8")), encoding="utf-8")
        print(page.relative_to(ROOT))
    if "--check" in sys.argv and found:
        sys.exit("these pages are out of date: run python docs/generate.py")


if __name__ == "__main__":
    main()
