"""Recipes: experiments written down as rows, each a task, a model, a method and the settings of its training."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

from sparsernn import folders
from sparsernn.data.task import Task
from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.recipes import baselines, typed
from sparsernn.recipes.size_search import RowSearch
from sparsernn.training import distillation
from sparsernn.training.settings import Settings

Size = Literal["full", "cpu", "quick"]
SIZES: tuple[Size, ...] = get_args(Size)


@dataclasses.dataclass(frozen=True)
class Measure:
    """What is measured on a trained row.

    Arguments:
        test_batch_size: sequences scored at once; 1 for a language model read in one piece.
        latency_batches: batch sizes timed against the recipe's first row; empty times nothing.
        latency_seconds: upper bound on the time spent timing, all rows together.
        spectra: write the step Jacobians' spectra and the connections by gate, before and after training, to
            `spectra.json` in the run folder.
    """

    test_batch_size: int = 250
    latency_batches: tuple[int, ...] = (1, 32)
    latency_seconds: float = 20.0
    spectra: bool = False


@dataclasses.dataclass(frozen=True)
class Teacher:
    """Another row whose trained network teaches this one; see `training.distillation`.

    Arguments:
        row: its name.
        share: of the teacher in the loss, in [0, 1].
        temperature: at which both distributions are compared.
    Raises: UserError for a value out of range.
    """

    row: str
    share: float = 0.8
    temperature: float = 2.0

    def __post_init__(self) -> None:
        distillation.check(self.share, self.temperature)


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of a recipe's table: a network trained on a task, sparse or dense, or a baseline without a network.

    Arguments:
        name: the row's name in files and on the command line.
        task: the data and its options.
        model: file name in `models/`.
        options: arguments of the model beyond the sizes that the data fix.
        method: what makes it sparse; None trains it dense.
        settings: how it is trained.
        start: row whose trained weights, and zeros, this one begins with.
        match: row whose compacted bytes this one may use; `units` is set to the largest number that fits.
        compact: cut the network after training and score what is left.
        threads: threads of torch while training and scoring; small networks are slower with more than one, above all
            on a busy machine. None leaves torch's own number.
        measure: what is measured.
        published: figures of the source, by metric.
        baseline: name in `baselines.KNOWN` of what is fitted in the network's place; None trains the network.
        resplit: let the run's seed also draw the splits (the task's `seed`), where there is no official split; rows
            of the same seed then see the same examples.
        exchange_gates: two gates that exchange weights and masks after the first masks are made: what a source computes
            that scores a cell in one place and trains it wired otherwise. Empty for none.
        teacher: a row that must be trained before, from whose outputs this one learns too.
        search: the size at which the method's strength is to leave the network; see `size_search`.
        fresh: take only the zeros of the row `start`, with new first weights, other than those that it began with.
        best_of: for each of some rows the row whose options, method and settings this one takes if that one is the
            best on validation; of a row that searches, the strength that it found.
        only_seed: train with this seed alone, whichever are asked for: a row that tries hyper-parameters for others.
    Raises: UserError for fewer threads than one, an unknown baseline, one with a method, a task that is not drawn, a
        search without a strength, zeros of no row, or a search of a row that takes another's.
    """

    name: str
    task: Task
    model: str = "classifier"
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    method: Method | None = None
    settings: Settings = dataclasses.field(default_factory=Settings)
    start: str | None = None
    match: str | None = None
    compact: bool = True
    threads: int | None = None
    measure: Measure = dataclasses.field(default_factory=Measure)
    published: Mapping[str, float] = dataclasses.field(default_factory=dict)
    baseline: str | None = None
    resplit: bool = False
    exchange_gates: tuple[str, ...] = ()
    teacher: Teacher | None = None
    search: RowSearch | None = None
    fresh: bool = False
    best_of: Mapping[str, str] = dataclasses.field(default_factory=dict)
    only_seed: int | None = None

    def __post_init__(self) -> None:
        if self.threads is not None and self.threads < 1:
            raise UserError(f"threads is {self.threads}", "at least 1, or none", "Change threads")
        if self.baseline is not None and self.baseline not in baselines.KNOWN:
            raise typed.unknown("baseline", self.baseline, list(baselines.KNOWN), "baseline")
        if self.baseline is not None and (self.method or self.needs):
            raise UserError(
                f"row {self.name!r} is a baseline with a method, a start, a match or a teacher",
                "one or the other",
                "Leave out baseline to train a network",
            )
        if self.exchange_gates and (self.method is None or self.start or len(self.exchange_gates) != 2):
            raise UserError(
                f"row {self.name!r} exchanges the gates {self.exchange_gates}",
                "two gates of a row with a method and new weights",
                "Leave out exchange_gates",
            )
        if self.resplit and not hasattr(self.task, "seed"):
            raise UserError(
                f"row {self.name!r} draws its splits, but its task has no seed",
                "a task with a seed",
                "Set resplit to false",
            )
        if self.search is not None and not hasattr(self.method, "strength"):
            raise UserError(
                f"row {self.name!r} searches for a strength, but its method has none",
                "a method that regularises, such as group lasso",
                "Leave out search",
            )
        if self.fresh and (self.start is None or self.method is not None):
            raise UserError(
                f"row {self.name!r} begins with new weights and the zeros of {self.start or 'no row'}",
                "a row in start, whose zeros are kept, and no method of its own",
                "Leave out fresh",
            )

        if self.best_of and self.search is not None:
            raise UserError(
                f"row {self.name!r} takes its strength from another row and searches for one",
                "one or the other",
                "Leave out search",
            )

    @property
    def rests_on(self) -> tuple[str, ...]:
        """Rows without which this one cannot be trained."""
        teacher = None if self.teacher is None else self.teacher.row
        return tuple(dict.fromkeys(name for name in (self.start, self.match, teacher) if name is not None))

    @property
    def needs(self) -> tuple[str, ...]:
        """Rows that must be trained before this one."""
        return tuple(dict.fromkeys((*self.rests_on, *self.best_of, *self.best_of.values())))

    def describe(self) -> str:
        """The row in a line, for people."""
        if self.baseline is not None:
            return f"{self.baseline}, no network"
        how = "dense" if self.method is None else type(self.method).__module__.rpartition(".")[2]
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        start = f", from {'the zeros of ' if self.fresh else ''}{self.start}" if self.start else ""
        start += f", taught by {self.teacher.row}" if self.teacher else ""
        return f"{how}{start}; {self.model} {options}; {self.settings.epochs} epochs"

    def to_json(self) -> dict[str, Any]:
        """The row as plain JSON values; task and method by the name of their file."""
        return {
            "name": self.name,
            "task": part_to_json(self.task),
            "model": {"name": self.model, "options": plain(self.options)},
            "method": None if self.method is None else part_to_json(self.method),
            "settings": fields_to_json(self.settings),
            "start": self.start,
            "match": self.match,
            "compact": self.compact,
            "threads": self.threads,
            "measure": fields_to_json(self.measure),
            "published": plain(self.published),
            "baseline": self.baseline,
            "resplit": self.resplit,
            "exchange_gates": list(self.exchange_gates),
            "teacher": plain(self.teacher),
            **({} if self.search is None else {"search": plain(self.search)}),
            **({"fresh": True} if self.fresh else {}),
            **({"best_of": dict(self.best_of)} if self.best_of else {}),
            **({} if self.only_seed is None else {"only_seed": self.only_seed}),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> Row:
        """The row that `to_json` wrote. Names resolve within their folders only."""
        try:
            return cls(
                name=values["name"],
                task=part_from_json("data", values["task"]),
                model=values["model"]["name"],
                options=dict(values["model"]["options"]),
                method=None if values["method"] is None else part_from_json("methods", values["method"]),
                settings=typed.construct(Settings, values["settings"], "settings"),
                start=values["start"],
                match=values["match"],
                compact=values["compact"],
                threads=values["threads"],
                measure=typed.construct(Measure, values["measure"], "measure"),
                published=dict(values["published"]),
                baseline=values.get("baseline"),
                resplit=values.get("resplit", False),
                exchange_gates=tuple(values.get("exchange_gates", ())),
                teacher=typed.construct(Teacher, values["teacher"], "teacher") if values.get("teacher") else None,
                search=typed.construct(RowSearch, values["search"], "search") if values.get("search") else None,
                fresh=values.get("fresh", False),
                best_of=dict(values.get("best_of", {})),
                only_seed=values.get("only_seed"),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"recipe.json does not describe a row: {error!r}",
                "the fields that `sparsernn run` writes",
                "Use a run folder written by this version",
            ) from error


@dataclasses.dataclass(frozen=True)
class Recipe:
    """An experiment: rows that share a table. Its name is the name of its file.

    Arguments:
        title: one line for lists and pages.
        source: where the figures it compares with come from.
        rows: the rows at a size: "full" is the source's own, "cpu" fits two cores, "quick" takes seconds.
        default_size: the size that runs when none is asked for.
    """

    title: str
    source: str
    rows: Callable[[Size], list[Row]]
    default_size: Size = "cpu"

    def at(self, size: Size) -> list[Row]:
        """Rows at `size`, checked: names are distinct and every row needs only rows of the same list."""
        if size not in SIZES:
            raise UserError(f"{size!r} is not a size", "one of " + ", ".join(SIZES), "Pass --size with one of them")
        rows = self.rows(size)
        names = [row.name for row in rows]
        repeated = sorted({name for name in names if names.count(name) > 1})
        missing = sorted({need for row in rows for need in row.needs} - set(names))
        if repeated or missing:
            raise UserError(
                f"the recipe repeats rows {repeated} and refers to unknown rows {missing}",
                "distinct names, and only rows of the same recipe in start, match and teacher",
                "Correct the recipe's file",
            )
        return rows


def select(rows: list[Row], names: list[str] | None) -> list[Row]:
    """The rows named, with those they need, in an order in which each comes after what it needs."""
    known = {row.name: row for row in rows}
    ordered: dict[str, Row] = {}

    def add(name: str, waiting: tuple[str, ...]) -> None:
        if name not in known:
            raise typed.unknown("row", name, list(known), "--rows")
        if name in waiting:
            raise UserError(
                f"row {name!r} needs itself, by way of {', '.join(waiting)}", "no circles", "Correct the recipe's file"
            )
        for need in known[name].needs:
            add(need, (*waiting, name))
        ordered.setdefault(name, known[name])

    for name in names or list(known):
        add(name, ())
    return list(ordered.values())


def part_to_json(part: Any) -> dict[str, Any]:
    """A task or method as {"name": its file's name, its fields...}."""
    return {"name": type(part).__module__.rpartition(".")[2], **fields_to_json(part)}


def part_from_json(folder: str, values: Mapping[str, Any]) -> Any:
    """The task or method that `part_to_json` wrote."""
    fields = dict(values)
    name = fields.pop("name")
    return typed.construct(folders.find(folder, name), fields, name)


def fields_to_json(value: Any) -> dict[str, Any]:
    """A dataclass's fields as plain JSON values; those marked as written if given only where they were."""
    return {
        field.name: plain(getattr(value, field.name))
        for field in dataclasses.fields(value)
        if field.init and not (field.metadata.get("written") and getattr(value, field.name) == field.default)
    }


def plain(value: Any) -> Any:
    """`value` in JSON's types: dataclasses and mappings as objects, sequences as lists."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return fields_to_json(value)
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    return value
