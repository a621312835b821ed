"""Options that commands share or that belong together, each group a dataclass with an option a field."""

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_type_hints

import typer

from sparsernn.errors import UserError

Result = TypeVar("Result")
Keywords = dict[str, Any]

Recipe = Annotated[str, typer.Argument(help="A name from `sparsernn list recipes`.")]
RunFolder = Annotated[Path, typer.Argument(help="The folder of one run, or what `train` printed.")]
RunOrFile = Annotated[Path, typer.Argument(help="The folder of one run, or a file that `pack` wrote.")]
Batch = Annotated[int, typer.Option(help="Sequences side by side.")]
Resume = Annotated[bool, typer.Option("--resume", help="Go on with what the folder holds.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")]
Out = Annotated[Path | None, typer.Option(help="Folder of the runs; default: a free one under runs/.")]


@dataclass
class RequestOptions:
    """How a recipe is run."""

    assignments: Annotated[
        list[str] | None, typer.Option("--set", help="Change one field, as settings.epochs=3; may be repeated.")
    ] = None
    out: Out = None
    resume: Resume = False
    size: Annotated[str | None, typer.Option(help="full, cpu or quick; default: the recipe's own.")] = None
    data: Annotated[Path | None, typer.Option(help="Folder of the data files; default: SPARSERNN_DATA.")] = None

    @property
    def keywords(self) -> Keywords:
        """The same as arguments of a request."""
        return vars(self) | {"assignments": tuple(self.assignments or ())}


@dataclass
class SearchOptions:
    """How a strength is searched."""

    tolerance: Annotated[float, typer.Option(help="Largest accepted difference; default: a tenth of the goal.")] = -1.0
    strength: Annotated[float, typer.Option(help="First strength.")] = 8e-6
    trials: Annotated[int, typer.Option(help="Largest number of trainings.")] = 25


@dataclass
class FileOptions:
    """What a user's file is."""

    text: Annotated[str, typer.Option(help="Column of the texts.")] = ""
    label: Annotated[str, typer.Option(help="Column of the labels.")] = ""
    regression: Annotated[
        bool | None, typer.Option("--regression/--classes", help="Whether labels that are numbers are learned as such.")
    ] = None
    id: Annotated[str, typer.Option("--id", help="Column that tells series apart, or names rows.")] = ""
    time: Annotated[str, typer.Option(help="Column that orders the rows of a series, or two: DATE,TIME.")] = ""
    series: Annotated[str, typer.Option(help="Columns read at every step: A,B or A:Z; words are read too.")] = ""
    label_per: Annotated[str, typer.Option(help="step or series; default: as the labels vary.")] = "auto"
    series_columns: Annotated[str, typer.Option(help="Columns that are a row's steps: A:Z or A,B,C.")] = ""
    forecast: Annotated[str, typer.Option(help="Column to forecast, or several: A,B.")] = ""
    foreseen: Annotated[str, typer.Option("--known", help="Columns whose coming values are known at the forecast.")] = (
        ""
    )
    horizon: Annotated[int, typer.Option(help="Rows to forecast.")] = 1
    window: Annotated[int, typer.Option(help="Rows read before a forecast; 0 chooses.")] = 0
    language_model: Annotated[bool, typer.Option("--language-model", help="The file is running text.")] = False
    tokenizer: Annotated[str, typer.Option(help="words, bpe, blanks or characters.")] = "words"
    groups: Annotated[
        str, typer.Option("--group", "--groups", help="Column of persons, threads, ...: each is in one part alone.")
    ] = ""
    near_duplicates: Annotated[str, typer.Option(help="drop those of test texts from training, or keep.")] = "keep"
    missing: Annotated[
        str, typer.Option(help="What fills a gap: interpolate, forward, zero; drop leaves rows out; default: error.")
    ] = "error"
    encoding: Annotated[str, typer.Option(help="Of the text, such as cp1252; default: as seen.")] = ""
    delimiter: Annotated[str, typer.Option(help="Between fields; default: as seen.")] = ""
    quotes: Annotated[str, typer.Option(help="doubled, backslash, single or none; default: as seen.")] = ""
    no_header: Annotated[bool, typer.Option("--no-header", help="Columns have no names but 1, 2, 3, ...")] = False
    decimal: Annotated[str, typer.Option(help="Decimal mark, a point or a comma; default: as seen.")] = ""
    date_format: Annotated[str, typer.Option(help="As %d/%m/%Y, or dayfirst or monthfirst; default: as seen.")] = ""

    @property
    def keywords(self) -> Keywords:
        """The same as options of the task `table_file`."""
        values = dict(vars(self))
        for name in ("series", "foreseen"):
            values[name] = tuple(filter(None, map(str.strip, values[name].split(","))))
        labels = {None: "auto", True: "numbers", False: "classes"}[values.pop("regression")]
        return values | {"labels": labels, "header": not values.pop("no_header")}


@dataclass
class NetworkOptions:
    """What is trained on a user's file."""

    cell: Annotated[str, typer.Option(help="From `sparsernn list cells`; default: by the kind of file.")] = ""
    method: Annotated[str, typer.Option(help="From `sparsernn list methods`; default: by the kind.")] = ""
    sparsity: Annotated[
        float | None, typer.Option(help="Fraction of zeros of the recurrent weights, or of all of a language model.")
    ] = None
    granularity: Annotated[str, typer.Option(help="weight, neuron, gate, 16x1, ...; default: by the kind.")] = ""
    units: Annotated[int, typer.Option(help="Hidden units; 0 chooses.")] = 0
    epochs: Annotated[int, typer.Option(help="Passes over the file; 0 chooses by its size.")] = 0
    bytes: Annotated[
        str | None, typer.Option(help="Largest size of network.sparsernn, such as 50kB; what has to give way does.")
    ] = None
    quality: Annotated[
        float | None,
        typer.Option(help="Points (or % of an error or perplexity) behind dense; keeps the smallest of some tries."),
    ] = None
    seed: Annotated[int, typer.Option(help="Of splits, weights and order.")] = 0
    resume: Resume = False


def option_groups(command: Callable[..., Result]) -> Callable[..., Result]:
    """A command whose parameters that are dataclasses are given as one option for each field."""
    hints = get_type_hints(command, include_extras=True)
    groups = {name: kind for name, kind in hints.items() if isinstance(kind, type) and is_dataclass(kind)}
    parameters: list[inspect.Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name not in groups:
            parameters.append(parameter.replace(annotation=hints[name], kind=parameter.KEYWORD_ONLY))
            continue
        kinds = get_type_hints(groups[name], include_extras=True)
        for field in fields(groups[name]):
            option = inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default)
            parameters.append(option.replace(annotation=kinds[field.name]))

    @functools.wraps(command)
    def called(**values: object) -> Result:
        for name, kind in groups.items():
            values[name] = kind(**{field.name: values.pop(field.name) for field in fields(kind)})
        return command(**values)

    vars(called)["__signature__"] = inspect.Signature(parameters)
    called.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return called


def goal_of(text: str) -> tuple[str, float]:
    """The name and value in "name=value"."""
    name, _, value = text.partition("=")
    try:
        return name.strip(), float(value)
    except ValueError as error:
        raise UserError(f"--goal is {text!r}", "a figure and a number: weights_kept=5000", "Correct --goal") from error


def whole_numbers(text: str, where: str) -> tuple[int, ...]:
    """Whole numbers separated by commas."""
    try:
        return tuple(int(number) for number in text.split(","))
    except ValueError as error:
        raise UserError(f"{where} is {text!r}", "whole numbers such as 0 or 0,1,2", f"Correct {where}") from error
