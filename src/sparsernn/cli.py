"""The command line: one function a command, which parses, calls and prints."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Protocol

import typer

import sparsernn
from sparsernn import listing
from sparsernn.harmless import json_text
from sparsernn.options import (
    AsJson,
    Batch,
    FileOptions,
    NetworkOptions,
    Out,
    Recipe,
    RequestOptions,
    RunFolder,
    RunOrFile,
    SearchOptions,
    goal_of,
    option_groups,
    whole_numbers,
)
from sparsernn.terminal import Commands, print_remark, print_table, print_text, reading_progress
from sparsernn.typed import unknown


def prepare_process() -> None:
    """What every command that computes with networks does first."""
    from sparsernn.allocation import keep_freed_memory
    from sparsernn.denormals import set_flush_denormal

    keep_freed_memory()
    set_flush_denormal()


app = typer.Typer(cls=Commands, no_args_is_help=True, rich_markup_mode=None)


class Outcome(Protocol):
    """What runs left: their folders, the folder of these, and their results."""

    @property
    def out(self) -> Path: ...

    @property
    def run_folders(self) -> Sequence[Path]: ...

    @property
    def results(self) -> object: ...


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
    kind: Annotated[str | None, typer.Argument(help="One of methods, cells, recipes, tasks, kernels.")] = None,
    as_json: AsJson = False,
) -> None:
    """List methods, cells, recipes, tasks and kernels."""
    if kind is not None and kind not in listing.FOLDERS:
        raise unknown("kind", kind, list(listing.FOLDERS), "list")
    folders = {name: listing.entries(name) for name in ([kind] if kind else listing.FOLDERS)}
    if as_json:
        print_json(folders[kind] if kind else folders)
        return
    for name, entries in folders.items():
        rows = [(entry["name"], entry.get("error") or entry["summary"]) for entry in entries]
        print_table(
            (name, "what it is" + (f"; begin with {listing.FIRST[name]}" if name in listing.FIRST else "")), rows
        )


@app.command()
@option_groups
def run(
    recipe: Recipe,
    options: RequestOptions,
    as_json: AsJson = False,
    rows: Annotated[str | None, typer.Option(help="Names of rows, separated by commas; default: all.")] = None,
    seeds: Annotated[str, typer.Option("--seed", "--seeds", help="Seeds, separated by commas.")] = "0",
    results: Annotated[Path | None, typer.Option(help="A second folder for the result files.")] = None,
) -> None:
    """Run a recipe: train, compact, score and time its rows, and write a page about them."""
    prepare_process()
    from sparsernn.experiments import execution
    from sparsernn.experiments.experiment import Experiment, Request
    from sparsernn.experiments.jobs import Jobs

    names = None if rows is None else tuple(name.strip() for name in rows.split(","))
    numbers = whole_numbers(seeds, "--seed")
    request = Request(recipe, rows=names, seeds=numbers, results=results, **options.keywords)
    experiment = Experiment.of(request)
    outcome = execution.run(Jobs(experiment, print_remark))
    show(outcome, experiment.title, as_json)


@app.command()
@option_groups
def search(
    recipe: Recipe,
    row: Annotated[str, typer.Option(help="The row whose method's strength is searched.")],
    goal: Annotated[str, typer.Option(help="A figure of the result and its wanted value, as weights_kept=5000.")],
    bounds: SearchOptions,
    options: RequestOptions,
    seed: Annotated[int, typer.Option(help="Seed of every training.")] = 0,
    as_json: AsJson = False,
) -> None:
    """Find the strength of a regularising method that leaves a network of a wanted size."""
    prepare_process()
    from sparsernn.experiments import target_search
    from sparsernn.experiments.experiment import Request
    from sparsernn.experiments.size_search import TargetSearch

    metric, value = goal_of(goal)
    tolerance = value / 10 if bounds.tolerance < 0 else bounds.tolerance
    target = TargetSearch(value, tolerance, bounds.strength, trials=bounds.trials)
    request = Request(recipe, seeds=(seed,), **options.keywords)
    figures = target_search.run(target, request, row, metric, print_remark)
    show_figures(figures, as_json)


@app.command()
@option_groups
def train(
    file: Annotated[Path, typer.Argument(help="CSV, TSV, JSON lines or Parquet, or a text file; plain or packed.")],
    columns: FileOptions,
    network: NetworkOptions,
    out: Out = None,
    as_json: AsJson = False,
) -> None:
    """Train a small sparse network on a file of one's own, beside a dense one and a baseline."""
    prepare_process()
    from sparsernn.data.table_file import TableFile
    from sparsernn.own_data import training

    task = TableFile(path=str(file), seed=network.seed, **columns.keywords)
    command = shlex.join(["sparsernn", *sys.argv[1:]])
    asked = training.Training(task, **vars(network), out=out, command=command)
    with reading_progress() as progress:
        outcome = training.train(asked, print_remark, progress)
    title, verdict = f"Own data: {file.name}", outcome.verdict
    if as_json:
        show(outcome, title, as_json, verdict=verdict.to_json())
        return
    written = write_page(outcome, title)
    print_table(*verdict.table())
    typer.echo()
    for sentence in verdict.says:
        print_text(sentence)
    typer.echo(f"\n{written}")


@app.command()
def predict(
    folder: Annotated[Path, typer.Argument(help="What `sparsernn train` printed, or a file that `pack` wrote.")],
    file: Annotated[Path | None, typer.Argument(help="A file like the one trained on; labels may be absent.")] = None,
    texts: Annotated[list[str] | None, typer.Option("--text", help="A text, and no file; may be repeated.")] = None,
    as_json: AsJson = False,
    out: Annotated[Path | None, typer.Option(help="Write the predictions into this CSV file.")] = None,
) -> None:
    """Apply a trained network to another file, row by row."""
    from sparsernn.own_data import prediction
    from sparsernn.own_data.answers import check_apart

    if out is not None:
        check_apart(out, file, folder)
    with reading_progress() as progress:
        outcome = prediction.predict(folder, file, progress, texts or ())
    for remark in outcome.get("remarks", ()):
        print_remark(remark)
    if out is not None:
        prediction.write_csv(outcome["predictions"], out)
    if as_json or out is None:
        typer.echo(json_text(outcome, indent=None if as_json else 1))
    else:
        typer.echo(out)


@app.command()
def explain(
    folder: Annotated[Path, typer.Argument(help="A finished run with a rational cell, or what `train` printed.")],
    text: Annotated[str | None, typer.Option(help="A text: where each pattern matches, and what it adds.")] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder of the data files, or a file whose texts are ranked; default: training.")
    ] = None,
    top: Annotated[int, typer.Option(help="Phrases and words in a list.")] = 4,
    one_sided: Annotated[bool, typer.Option("--one-sided", help="The authors' search, which is not exact.")] = False,
    out: Annotated[Path, typer.Option(help="Folder of the page; the run's: all its reports show it.")] = Path(),
    as_json: AsJson = False,
) -> None:
    """Show what a classifier of automata looks for: phrases, words and weights of each pattern."""
    prepare_process()
    from sparsernn.explain import explanation
    from sparsernn.reports import automata, page, reading

    kept = None if out == Path() else out
    content = explanation.explain(folder, data, text, most=top, one_sided=one_sided, out=kept)
    if as_json:
        typer.echo(json_text(content, indent=1))
        return
    run = Path(content["folder"])
    shown = replace(reading.read_run(run), explanation=content)
    written = page.save([shown], out / "explanation.html", title=f"What {run.name} looks for")
    typer.echo(automata.summary(content))
    for table in (automata.phrase_table(content), automata.word_table(content)):
        print_table(table.columns, table.rows)
    if about := automata.document(content):
        typer.echo(f"{about.text}: {about.answer}")
        print_table(about.table.columns, about.table.rows)
    typer.echo(written)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of them.")],
    out: Annotated[Path, typer.Option(help="The page.")] = Path("report.html"),
) -> None:
    """Write one self-contained HTML page about some runs."""
    from sparsernn.reports import page

    typer.echo(page.write(runs, out))


@app.command()
def compact(
    folder: RunFolder,
    as_json: AsJson = False,
) -> None:
    """Cut a trained network to the units that are left, check it, and save it as compact.safetensors."""
    prepare_process()
    from sparsernn.experiments.compacted import compact_run
    from sparsernn.own_data.runs import run_of

    sizes = compact_run(run_of(folder))
    show_figures(sizes, as_json)


@app.command()
def pack(
    folder: RunFolder,
    out: Annotated[Path, typer.Option(help="The file to write.")],
    steps: Annotated[int, typer.Option(help="Steps of a sequence; 1 for streams, one step a call.")] = 100,
    batch: Batch = 1,
    int8: Annotated[bool, typer.Option("--int8", help="Also try formats that round to 8 bits.")] = False,
    dtype: Annotated[
        str | None, typer.Option(help="Store matrices as float16, int8, int6 or int4; default: exactly.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Write the network of a run as one file that runs without torch (`sparsernn.runtime.load`)."""
    prepare_process()
    from sparsernn.experiments.packing import pack_run
    from sparsernn.own_data.runs import run_of
    from sparsernn.reports.quantities import size

    choices = pack_run(run_of(folder), out, steps, batch, int8, dtype)
    written = out.stat().st_size
    if as_json:
        print_json({"file": str(out), "bytes": written, "formats": [vars(one) for one in choices]})
        return
    rows = [
        (str(one.layer), one.format, f"{one.us:.2f}", size(one.bytes), "taken" if one.taken else "") for one in choices
    ]
    print_table(("layer", "format", "us a step", "read a step", ""), rows)
    typer.echo(f"{out}: {size(written)}")


@app.command()
def export(
    target: RunOrFile,
    to: Annotated[str, typer.Option(help="onnx, c99 or rtneural.")],
    out: Annotated[Path, typer.Option(help="The file to write; for c99 the folder of NAME.c and NAME.h.")],
    name: Annotated[str, typer.Option(help="Of files and functions in C.")] = "network",
    int8: Annotated[bool, typer.Option("--int8", help="Round matrices to 8 bits.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the network of a run, or of a packed file, as ONNX, as C99 or for RTNeural."""
    prepare_process()
    from sparsernn.experiments import exporting
    from sparsernn.own_data.runs import run_of

    written = exporting.export(target if target.is_file() else run_of(target), to, out, name, int8)
    show_figures(written, as_json)


@app.command()
def bench(
    target: RunOrFile,
    steps: Annotated[int, typer.Option(help="Steps of a sequence.")] = 100,
    batch: Batch = 1,
    as_json: AsJson = False,
) -> None:
    """Time the network of a run, or one in a file, on one thread of this machine."""
    prepare_process()
    from sparsernn.experiments import packing
    from sparsernn.own_data.runs import run_of
    from sparsernn.reports.quantities import size

    timed = packing.bench(target if target.is_file() else run_of(target), steps, batch)
    if as_json:
        rows = [{"network": name, "us_per_step": us, "bytes": written} for name, us, written in timed]
        print_json(rows)
        return
    slowest = max(us for _, us, _ in timed)
    lines = [(name, f"{us:.2f}", f"{slowest / us:.2f}×") for name, us, _ in timed]
    print_table(("network", "us a step", "faster than the slowest"), lines)
    typer.echo(f"packed: {size(timed[-1][2])}")


@app.command()
def analyse(
    factory: Annotated[
        str, typer.Argument(help="module:function, which returns (model, data) or (model, data, loss).")
    ],
    out: Annotated[Path | None, typer.Option(help="Write a picture into this SVG file.")] = None,
    batches: Annotated[int, typer.Option(help="How many batches are looked at, at most.")] = 8,
    as_json: AsJson = False,
) -> None:
    """Show what each recurrent layer, gate and unit of a model of one's own does on some data."""
    prepare_process()
    from sparsernn.own_model.analysis import analyse as analyse_model
    from sparsernn.own_model.factories import made_by

    analysis = analyse_model(*made_by(factory), batches=batches)
    if out is not None:
        analysis.picture(out)
    if as_json:
        print_json(analysis.to_json())
        return
    print_table(*analysis.rows())
    if out is not None:
        typer.echo(out)


def print_json(values: object) -> None:
    """Print values as JSON."""
    typer.echo(json.dumps(values, indent=1))


def show_figures(figures: Mapping[str, object], as_json: bool) -> None:
    """Print figures with their names, as a table or as JSON."""
    if as_json:
        print_json(figures)
    else:
        print_table(("", ""), [(name, str(value)) for name, value in figures.items()])


def show(outcome: Outcome, title: str, as_json: bool, **more: object) -> None:
    """Write the page about some runs; print their table and the page's path, or everything as JSON."""
    from sparsernn.reports import reading, tables

    written = write_page(outcome, title)
    if as_json:
        described = {"out": str(outcome.out), "page": str(written), "results": outcome.results, **more}
        print_json(described)
        return
    table = tables.brief(reading.read_runs(outcome.run_folders))
    print_table(table.columns, table.rows)
    typer.echo(written)


def write_page(outcome: Outcome, title: str) -> Path:
    """The page about some runs, in their folder."""
    from sparsernn.reports import page

    return page.write(outcome.run_folders, outcome.out / "report.html", title=title)
