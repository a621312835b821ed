"""Result files: one JSON object a row, written by the run that made the figures."""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import NotRequired, TypedDict, cast

from sparsernn import durable, typed
from sparsernn.errors import UserError
from sparsernn.reading import json_file
from sparsernn.training.run_folder import Json

RESULT = "result.json"
Result = Json
"""A result file's content, with the fields of `Content`."""


class Content(TypedDict):
    """A result file's fields, in their order; files of earlier versions lack the last two."""

    recipe: str
    row: str
    size: str
    seed: int
    metrics: Json
    published: Json
    command: str
    seconds: float
    environment: Json
    splits: NotRequired[Json]
    provenance: NotRequired[Json]


def run_folder(out: Path, row: str, seed: int) -> Path:
    """Where a row's run lies."""
    return out / f"{row}-seed{seed}"


def result_path(folder: Path, result: Json) -> Path:
    """Where a result lies in a folder of results."""
    return folder / result["recipe"] / f"{result['row']}-{result['size']}-seed{result['seed']}.json"


def read(path: Path) -> Result:
    """A result file's content.

    Raises: UserError if it is damaged.
    """
    return cast(Result, typed.checked(json_file(path, expected="what a run writes"), Content, str(path)))


def write(path: Path, result: Json) -> None:
    """Write a result file, whole or not at all."""
    ordered = {name: result[name] for name in Content.__annotations__ if name in result}
    content = json.dumps(ordered, indent=1, allow_nan=False) + "\n"
    with durable.one_clear_error("a result", path.parent, "the weights are kept in the run folder"):
        path.parent.mkdir(parents=True, exist_ok=True)
    durable.replace(path, content)


def command(recipe: str, size: str, row: str, seed: int, assignments: Sequence[str]) -> str:
    """The command that makes a row's figures again; folders, which differ between machines, are left out."""
    words = ["sparsernn", "run", recipe, "--size", size, "--rows", row, "--seed", str(seed)]
    return shlex.join([*words, *(word for assignment in assignments for word in ("--set", assignment))])


def output_folder(out: Path | None, recipe: str, resume: bool, parent: Path = Path("runs")) -> Path:
    """The folder for a recipe's runs: `out`, or the first free `runs/<recipe>`, or with `resume` the last used one.

    Raises: UserError if the folder holds something and `resume` was not asked for.
    """
    if out is None:
        number = 1
        while in_use(numbered(parent, recipe, number)):
            number += 1
        return numbered(parent, recipe, max(1, number - 1) if resume else number)
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file", "a folder, or a name that is free", "Choose another --out")
    if in_use(out) and not resume:
        raise UserError(
            f"the output folder {out} is in use: it holds files already",
            "an empty or new folder",
            "Pass --resume to go on with what is there, or choose another --out",
        )
    return out


def numbered(parent: Path, recipe: str, number: int) -> Path:
    """`parent/recipe`, `parent/recipe-2`, ..."""
    return parent / (recipe if number == 1 else f"{recipe}-{number}")


def in_use(folder: Path) -> bool:
    """Whether a folder holds anything."""
    return folder.exists() and (not folder.is_dir() or any(path.name != durable.LOCK for path in folder.iterdir()))
