"""The command line: one function a command, which parses, calls and prints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import click
import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table
from typer.core import TyperGroup

import sparsernn
from sparsernn import listing
from sparsernn.errors import UserError
from sparsernn.recipes.typed import unknown

WIDTH_WITHOUT_TERMINAL = 150


class Commands(TyperGroup):
    """Commands for which a wrong value is one message on the standard error stream and exit status 2."""

    def main(self, *args: Any, **options: Any) -> Any:
        try:
            return super().main(*args, **options)
        except UserError as error:
            typer.echo(f"Error: {error}", err=True)
            raise SystemExit(2) from None

    def resolve_command(self, context: click.Context, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            raise unknown("command", args[0], list(self.commands), "sparsernn")
        return super().resolve_command(context, args)


app = typer.Typer(cls=Commands, no_args_is_help=True, rich_markup_mode=None)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]


def main() -> None:
    """Run the command line."""
    app(prog_name="sparsernn")


def print_version(asked: bool) -> None:
    """Print the version and stop, if it was asked for."""
    if asked:
        typer.echo(f"sparsernn {sparsernn.__version__}")
        raise typer.Exit


@app.callback()
def begin(
    version: Annotated[
        bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Sparse recurrent networks: make them sparse, compact them, run them fast."""


@app.command("list")
def list_entries(
    kind: Annotated[str | None, typer.Argument(help="methods, cells, recipes, tasks or kernels; all if left out.")] = None,
    as_json: AsJson = False,
) -> None:
    """List methods, cells, recipes, tasks and kernels."""
    if kind is not None and kind not in listing.FOLDERS:
        raise unknown("kind", kind, list(listing.FOLDERS), "list")
    found = {name: listing.entries(name) for name in ([kind] if kind else listing.FOLDERS)}
    if as_json:
        typer.echo(json.dumps(found[kind] if kind else found, indent=1))
        return
    for name, entries in found.items():
        rows = [(entry["name"], entry.get("error") or entry["summary"], entry["source"]) for entry in entries]
        print_table((name, "what it is", "source"), rows)


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A name from `sparsernn list recipes`.")],
    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Change one field, as settings.epochs=3; may be repeated.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Folder of the runs; default: a free one under runs/.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with what the folder holds.")] = False,
    as_json: AsJson = False,
    size: Annotated[str | None, typer.Option(help="full, cpu or quick; default: the recipe's own.")] = None,
    rows: Annotated[str | None, typer.Option(help="Names of rows, separated by commas; default: all.")] = None,
    seeds: Annotated[str, typer.Option("--seed", "--seeds", help="Seeds, separated by commas.")] = "0",
    data: Annotated[Path | None, typer.Option(help="Folder of the data files; default: SPARSERNN_DATA.")] = None,
    results: Annotated[Path | None, typer.Option(help="A second folder for the result files.")] = None,
) -> None:
    """Run a recipe: train, compact, score and time its rows, and write a page about them."""
    from sparsernn.denormals import set_flush_denormal

    set_flush_denormal()
    from sparsernn.recipes.execution import Execution, Request
    from sparsernn.reports import page, reading, tables

    request = Request(
        recipe=recipe,
        size=size,
        rows=None if rows is None else tuple(name.strip() for name in rows.split(",")),
        seeds=whole_numbers(seeds, "--seed"),
        assignments=tuple(assignments or ()),
        out=out,
        data=data,
        results=results,
        resume=resume,
    )
    execution = Execution(request, lambda line: typer.echo(line, err=True))
    outcome = execution.run()
    written = page.write(outcome.run_folders, outcome.out / "report.html", title=execution.recipe.title)
    if as_json:
        typer.echo(json.dumps({"out": str(outcome.out), "page": str(written), "results": outcome.results}, indent=1))
        return
    table = tables.results(reading.read_runs(outcome.run_folders))
    print_table(table.columns, table.rows)
    typer.echo(written)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of them.")],
    out: Annotated[Path | None, typer.Option(help="The page's file; default: report.html beside the first run.")] = None,
) -> None:
    """Write one self-contained HTML page about some runs."""
    from sparsernn.reports import page

    beside = runs[0].parent if (runs[0] / "recipe.json").is_file() else runs[0]
    typer.echo(page.write(runs, out or beside / "report.html"))


@app.command()
def compact(
    folder: Annotated[Path, typer.Argument(help="The folder of one run.")],
    as_json: AsJson = False,
) -> None:
    """Cut a trained network to the units that are left, check it, and save it as compact.safetensors."""
    from sparsernn.denormals import set_flush_denormal

    set_flush_denormal()
    from sparsernn.recipes.trained import compact_run

    sizes = compact_run(folder)
    if as_json:
        typer.echo(json.dumps(sizes, indent=1))
    else:
        print_table(("", ""), [(name, str(value)) for name, value in sizes.items()])


def whole_numbers(text: str, where: str) -> tuple[int, ...]:
    """Whole numbers separated by commas."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise UserError(f"{where} is {text!r}", "whole numbers such as 0 or 0,1,2", f"Correct {where}") from error


def print_table(columns: tuple[str, ...], rows: Any) -> None:
    """Print rows of text, numbers to the right."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH_WITHOUT_TERMINAL)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for index, column in enumerate(columns):
        numbers = index > 0 and all(row[index][:1].isdigit() or row[index] in ("–", "") for row in rows)
        table.add_column(column, justify="right" if numbers else "left", overflow="fold")
    for row in rows:
        table.add_row(*map(escape, row))
    console.print(table)
