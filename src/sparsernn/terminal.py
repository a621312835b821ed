"""The terminal: tables, a bar or lines while files are read, and what a wrong word or Ctrl-C says."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from time import monotonic

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table
from typer.core import TyperGroup

from sparsernn.errors import UserError, reason
from sparsernn.harmless import printable
from sparsernn.typed import unknown

WIDTH = 80
"""Columns of a terminal that does not say how many it has."""


def print_text(text: str) -> None:
    """Print a paragraph, broken between words where the terminal ends."""
    console().print(escape(printable(text)), highlight=False)


def print_remark(text: str) -> None:
    """Print a line on the error stream: between words broken on a terminal, and whole where a program may read it."""
    errors = Console(stderr=True)
    if errors.is_terminal:
        errors.print(escape(printable(text)), highlight=False)
    else:
        typer.echo(printable(text), err=True)


def console() -> Console:
    """Where output goes: as wide as the terminal, or without one as COLUMNS says, or 80 columns."""
    return Console() if Console().is_terminal or os.environ.get("COLUMNS") else Console(width=WIDTH)


def print_table(columns: tuple[str, ...], rows: Sequence[Sequence[str]]) -> None:
    """Print rows of text, numbers to the right."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(map(printable, columns)):
        numbers = index > 0 and all(row[index][:1].isdigit() or row[index] in ("–", "") for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*(escape(printable(text)) for text in row))
    console().print(table)


@contextmanager
def reading_progress() -> Iterator[Callable[[str, int, int], None]]:
    """Each pass over a file from its first byte on: a bar on a terminal, a line every ten seconds elsewhere."""
    from sparsernn.reports.quantities import size

    bars = Progress(*Progress.get_default_columns(), console=Console(stderr=True), transient=True)
    shown: dict[str, float] = {}

    def line(what: str, done: int, total: int) -> None:
        now = monotonic()
        if what not in shown or now - shown[what] >= 10:
            shown[what] = now
            typer.echo(f"{what}: {done / max(total, 1):.0%} of {size(total)}", err=True)

    def bar(what: str, done: int, total: int) -> None:
        if not bars.tasks or bars.tasks[0].description != what:
            for task in bars.task_ids:
                bars.remove_task(task)
            bars.add_task(what, total=total)
            bars.start()
        bars.update(bars.task_ids[0], completed=done)
        if done >= total:
            bars.stop()

    try:
        yield bar if bars.console.is_terminal else line
    finally:
        if bars.live.is_started:
            bars.stop()


INTERRUPTED = 130
"""The exit status after Ctrl-C, as of a shell's own commands."""


class Commands(TyperGroup):
    """Commands for which a wrong value, or a system that refuses, is one line on the error stream and exit status 2."""

    def invoke(self, context: typer.Context) -> object:
        try:
            return super().invoke(context)
        except UserError as error:
            message = str(error)
        except BrokenPipeError:
            raise  # somebody reads no further: typer ends quietly
        except KeyboardInterrupt:
            command = self.commands.get(context.invoked_subcommand or "")
            kept = command is not None and any(parameter.name == "resume" for parameter in command.params)
            typer.echo("Stopped." + (" The same command goes on with --resume." if kept else ""), err=True)
            raise SystemExit(INTERRUPTED) from None
        except (OSError, MemoryError) as error:
            where = f" ({error.filename})" if isinstance(error, OSError) and error.filename else ""
            message = f"The system refuses: {reason(error)}{where}. Expected room, rights and free descriptors."
        print_remark(f"Error: {message}")
        raise SystemExit(2)

    def resolve_command(self, context: typer.Context, args: list[str]) -> tuple:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise unknown("command", args[0], list(self.commands), "sparsernn")
        return super().resolve_command(context, args)
