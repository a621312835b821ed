"""Code blocks of the pages, and running them as a reader would: in order, in an empty folder."""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from typer.testing import CliRunner

from sparsernn import folders
from sparsernn.cli import app
from sparsernn.kernels import product, registry

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
LANGUAGES = ("python", "sh", "text", "csv")
FENCE = re.compile(
    r"^(?P<marks>(?:<!-- [^\n]* -->\n)*)```(?P<language>\w*)\n(?P<text>.*?)^```$", re.DOTALL | re.MULTILINE
)
MARK = re.compile(r"^<!-- (continues|output|fails|not run|file)(?:: (.*?))? -->$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Arguments:
        marks: the comments above it: `continues` (uses the names of the blocks before), `file: NAME` (saved under that
            name; a file of the package becomes an entry), `output` (what the block before prints), `fails` (the command
            is to fail), `not run: WHY`.
    """

    page: Path
    line: int
    language: str
    text: str
    marks: dict[str, str]

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks_of(page: Path) -> list[Block]:
    """The blocks of a page in order."""
    text = page.read_text(encoding="utf-8")
    found = []
    for match in FENCE.finditer(text):
        marks = {name: value or "" for name, value in MARK.findall(match["marks"])}
        found.append(Block(page, text.count("\n", 0, match.start("text")), match["language"], match["text"], marks))
    return found


def stories() -> list[list[Block]]:
    """Blocks that are run together: one that starts anew, and those that continue it."""
    found: list[list[Block]] = []
    for page in PAGES:
        for number, block in enumerate(blocks_of(page)):
            follows = {"continues", "output"} & set(block.marks)
            if follows and number:
                found[-1].append(block)
            else:
                found.append([block])
    return found


def run(story: list[Block], folder: Path) -> dict[str, Any]:
    """Run the blocks in `folder`, which is the current one; the names they leave."""
    names: dict[str, Any] = {"__name__": "__main__"}
    printed = ""
    torch.manual_seed(0)
    for block in story:
        if "not run" in block.marks:
            check_only(block)
        elif "file" in block.marks:
            save(block, folder)
        elif "output" in block.marks:
            assert tidy(printed) == tidy(block.text), f"{block}: this was printed instead:\n{printed}"
        elif block.language == "python":
            printed = run_python(block, names)
        elif block.language == "sh":
            printed = run_commands(block)
        else:
            pytest.fail(f"{block}: a {block.language} block needs the mark `output`, `file` or `not run`")
    return names


def tidy(text: str) -> str:
    """Lines without the blanks at their ends."""
    return "\n".join(line.rstrip() for line in text.strip().splitlines())


def run_python(block: Block, names: dict[str, Any]) -> str:
    """What the block prints."""
    code = compile("\n" * block.line + block.text, str(block.page), "exec")
    with contextlib.redirect_stdout(io.StringIO()) as out:
        exec(code, names)
    return out.getvalue()


def commands(block: Block) -> list[list[str]]:
    """The words of each command of a block; a backslash at a line's end joins lines."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def run_commands(block: Block) -> str:
    """What the commands print; each is one of this package and succeeds, or fails where the block says so."""
    printed = ""
    for words in commands(block):
        assert words[0] == "sparsernn", f"{block}: {words[0]} cannot be run here; mark the block `not run: WHY`"
        result = CliRunner().invoke(app, words[1:])
        expected = 2 if "fails" in block.marks else 0
        assert result.exit_code == expected, f"{block}: {shlex.join(words)}\n{result.output}\n{result.exception!r}"
        printed += result.output
    return printed


def check_only(block: Block) -> None:
    """A block that is not run still has to be right: Python parses, commands and their options exist."""
    assert block.marks["not run"], f"{block}: say why it is not run"
    if block.language == "python":
        compile(block.text, str(block.page), "exec")
    for words in commands(block) if block.language == "sh" else []:
        words = [word for word in words if not re.fullmatch(r"[A-Z_]+=\S*", word)]
        if words and words[0].endswith("sparsernn"):
            parse(words[1:])
        if words and words[0] == "make":
            targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
            assert all(word in targets for word in words[1:] if "=" not in word), f"{block}: make has {targets}"


def parse(words: list[str]) -> None:
    """Parse a command line as the program would, without running it."""
    group = typer.main.get_command(app)
    command = group.commands[words[0]]
    command.make_context(words[0], list(words[1:]))
    if words[0] == "run":
        folders.find("recipes", words[1])


def save(block: Block, folder: Path) -> None:
    """Save a block under its name in `folder`; a file of the package is then found in its folder there."""
    path = folder / block.marks["file"]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(block.text, encoding="utf-8")
    inside = block.marks["file"].removeprefix("src/sparsernn/")
    if inside != block.marks["file"]:
        name = ".".join(["sparsernn", *Path(inside).parent.parts])
        package = importlib.import_module(name)
        if str(path.parent) not in package.__path__:
            package.__path__.append(str(path.parent))
        forget_entries()


@contextlib.contextmanager
def added_files(folder: Path) -> Iterator[None]:
    """Afterwards the package is as it was: files that blocks added are forgotten."""
    before = set(sys.modules)
    try:
        yield
    finally:
        for name, module in list(sys.modules.items()):
            if not name.startswith("sparsernn"):
                continue
            if hasattr(module, "__path__"):
                module.__path__[:] = [path for path in module.__path__ if not path.startswith(str(folder))]
            if name not in before and str(getattr(module, "__file__", "") or "").startswith(str(folder)):
                del sys.modules[name]
                parent, _, last = name.rpartition(".")
                vars(sys.modules[parent]).pop(last, None)
        forget_entries()


def forget_entries() -> None:
    """Folders are read once; now they are read again."""
    importlib.invalidate_caches()
    folders._folder.cache_clear()
    folders._entry.cache_clear()
    registry.kernels_of.cache_clear()
    product.products.cache_clear()
