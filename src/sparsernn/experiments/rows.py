"""Rows of a recipe, the sources from which they take what is not their own, and a row made ready to be trained."""

from __future__ import annotations

import abc
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar, Protocol

from torch import nn

from sparsernn import folders, typed
from sparsernn.data.task import Loaded, Task
from sparsernn.errors import UserError
from sparsernn.experiments.measure import Measure
from sparsernn.experiments.parts import Options, fields_to_json, name_of, part_from_json, part_to_json, plain
from sparsernn.experiments.seeds import Seeds
from sparsernn.experiments.size_search import SearchGaveUp
from sparsernn.methods.method import Method
from sparsernn.structure.masks import Masks
from sparsernn.training.objectives import Objective
from sparsernn.training.run_folder import Json
from sparsernn.training.settings import Settings

MOVED = {"start", "fresh", "match", "teacher", "search", "best_of", "exchange_gates", "compact", "resplit", "only_seed"}
SOURCES = "experiments.sources"


class Runs(Protocol):
    """What a source may ask of the rows run before its own, and let be run.

    Attributes:
        out: folder of all run folders.
        given_up: rows whose search found no strength, with the error that says so.
        say: told what happens, a line at a time.
    """

    out: Path
    given_up: dict[str, SearchGaveUp]
    say: Callable[[str], None]

    def row(self, name: str) -> Row:
        """A row of the same recipe."""
        ...

    def folder(self, name: str, seed: int) -> Path:
        """The run folder of a row."""
        ...

    def figures(self, name: str, seed: int | None = None) -> Json:
        """The metrics of a finished row; None: of the first seed that it is trained with."""
        ...

    def network(self, name: str, seed: int) -> tuple[nn.Module, Masks]:
        """The network of a finished row at its full size, and its masks."""
        ...

    def run_in(self, folder: Path, row: Row, seed: int) -> Json:
        """The result of a row, trained in a folder that is not its own."""
        ...


@dataclass(frozen=True)
class Prepared:
    """A row with all that its training needs; the network has its first weights.

    Arguments:
        row: as it is trained, its seed in its settings.
        loaded: the data; data: what a model and a report need to know of them.
        network: to be trained in place.
        method: what makes it sparse.
        objective: what is minimised.
    """

    row: Row
    loaded: Loaded
    data: Json
    network: nn.Module
    method: Method | None
    objective: Objective


class Source(abc.ABC):
    """What a row takes from elsewhere: a frozen dataclass that acts at one moment or more before the training.

    Its file name in `experiments/sources/` is its name in run folders and on the command line.

    Attributes:
        decides: what of a row it decides; a row has one source at most for each.
    """

    decides: ClassVar[str]

    @property
    def needs(self) -> tuple[str, ...]:
        """Rows that must be trained before."""
        return ()

    @property
    def rests_on(self) -> tuple[str, ...]:
        """Those of them without which the row cannot be trained, with the same seed."""
        return self.needs

    def check(self, row: Row) -> None:
        """Raises: UserError if this row cannot have the source."""
        return None

    def describe(self) -> str:
        """In a few words, for people; empty where it goes without saying."""
        return ""

    def resolve(self, row: Row, runs: Runs) -> Row:
        """The row that is trained, before its data are read."""
        return row

    def size(self, row: Row, data: Json, runs: Runs) -> Row:
        """The row with the sizes of its network, before that is built."""
        return row

    def prepare(self, prepared: Prepared, runs: Runs) -> Prepared:
        """Other first weights, another method or objective, before the training."""
        return prepared

    def figures(self, row: Row) -> dict[str, float]:
        """What it adds to the figures of the trained row."""
        return {}


@dataclass(frozen=True)
class RowSource(Source):
    """What a row takes from one other row.

    Arguments:
        row: its name.
    """

    row: str

    @property
    def needs(self) -> tuple[str, ...]:
        return (self.row,)


@dataclass(frozen=True)
class Row:
    """One line of a recipe's table: a network trained on a task, sparse or dense.

    Arguments:
        name: the row's name in files and on the command line.
        task: the data and its options.
        model: file name in `models/`.
        options: arguments of the model beyond the sizes that the data fix.
        method: what makes it sparse; None trains it dense.
        settings: how it is trained.
        sources: what it takes from other rows or elsewhere, in the order in which they act; see `experiments/sources/`.
        seeds: the seeds it is trained with, and what they draw.
        threads: threads of torch while training and scoring; small networks are slower with more than one, above all
            on a busy machine. None leaves torch's own number.
        measure: what is measured.
        published: figures of the source, by metric.
    Raises: UserError for fewer threads than one, or a source or seeds that this row cannot have.
    """

    name: str
    task: Task
    model: str = "classifier"
    options: Options = field(default_factory=dict)
    method: Method | None = None
    settings: Settings = field(default_factory=Settings)
    sources: tuple[Source, ...] = ()
    seeds: Seeds = Seeds()
    threads: int | None = None
    measure: Measure = Measure()
    published: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        check_threads(self.threads)
        self.seeds.check(self.name, self.task)
        for decided, count in Counter(source.decides for source in self.sources).items():
            if count > 1:
                rivals = " and ".join(name_of(source) for source in self.sources if source.decides == decided)
                raise UserError(
                    f"row {self.name!r} takes its {decided} from {rivals}", "one of them", "Leave out the others"
                )
        for source in self.sources:
            source.check(self)

    @property
    def rests_on(self) -> tuple[str, ...]:
        """Rows without which this one cannot be trained."""
        return tuple(dict.fromkeys(name for source in self.sources for name in source.rests_on))

    @property
    def needs(self) -> tuple[str, ...]:
        """Rows that must be trained before this one."""
        return tuple(dict.fromkeys(name for source in self.sources for name in source.needs))

    def without(self, kind: type[Source]) -> Row:
        """The row without its sources of a class."""
        return replace(self, sources=tuple(one for one in self.sources if not isinstance(one, kind)))

    def seeded(self, seed: int) -> Row:
        """The row as a seed runs it."""
        settings = replace(self.settings, seed=seed)
        return replace(self, task=self.seeds.task_at(self.task, seed), settings=settings)

    def resolved(self, runs: Runs) -> Row:
        """The row that is trained, by its sources."""
        row = self
        for source in self.sources:
            row = source.resolve(row, runs)
        return row

    def sized(self, data: Json, runs: Runs) -> Row:
        """The row with the sizes of its network, by its sources."""
        row = self
        for source in self.sources:
            row = source.size(row, data, runs)
        return row

    def describe(self) -> str:
        """The row in a line, for people."""
        how = "unpruned" if self.method is None else name_of(self.method)
        whence = [source.describe() for source in self.sources if source.describe()]
        options = ", ".join(f"{name} {value}" for name, value in self.options.items())
        return f"{', '.join([how, *whence])}; {self.model} {options}; {self.settings.epochs} epochs"

    def to_json(self) -> dict[str, object]:
        """The row as plain JSON values; task, method and sources by the names of their files."""
        return {
            "name": self.name,
            "task": part_to_json(self.task),
            "model": {"name": self.model, "options": plain(self.options)},
            "method": None if self.method is None else part_to_json(self.method),
            "settings": fields_to_json(self.settings),
            **{name_of(source): fields_to_json(source) for source in self.sources},
            "seeds": fields_to_json(self.seeds),
            "threads": self.threads,
            "measure": fields_to_json(self.measure),
            "published": plain(self.published),
        }

    @classmethod
    def from_json(cls, values: Json) -> Row:
        """The row that `to_json` wrote. Names resolve within their folders only."""
        values = translated(values)
        if "baseline" in values:
            raise UserError("the run is of a baseline", "a run with a network", "Choose a row with a network")
        try:
            names = [name for name in values if folders.has(SOURCES, name)]
            return cls(
                name=values["name"],
                task=part_from_json("data", values["task"]),
                model=values["model"]["name"],
                options=dict(values["model"]["options"]),
                method=None if values["method"] is None else part_from_json("methods", values["method"]),
                settings=typed.construct(Settings, values["settings"], "settings"),
                sources=tuple(typed.construct(folders.find(SOURCES, name), values[name], name) for name in names),
                seeds=typed.construct(Seeds, values["seeds"], "seeds"),
                threads=values["threads"],
                measure=typed.construct(Measure, values["measure"], "measure"),
                published=dict(values["published"]),
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise UserError(
                f"recipe.json does not describe a row: {error!r}",
                "the fields that `sparsernn run` writes",
                "Use a run folder written by this version",
            ) from error


def check_threads(threads: int | None) -> None:
    """Raises: UserError for fewer threads than one."""
    if threads is not None and threads < 1:
        raise UserError(f"threads is {threads}", "at least 1, or none", "Change threads")


def translated(values: Json) -> Json:
    """The row as this version writes it; one that is written so already is left as it is."""
    if "seeds" in values or not isinstance(values.get("measure"), Mapping):
        return dict(values)
    start, gates = values.get("start"), values.get("exchange_gates")
    sources = {
        "zeros" if values.get("fresh") else "start": {"row": start} if start else None,
        "exchange": {"gates": gates} if gates else None,
        "match": {"row": values["match"]} if values.get("match") else None,
        "best_of": {"rows": values["best_of"]} if values.get("best_of") else None,
        "search": values.get("search"),
        "teacher": values.get("teacher"),
    }
    unmoved = {name: value for name, value in values.items() if name not in MOVED and name != "baseline"}
    return {
        **unmoved,
        **{name: source for name, source in sources.items() if source},
        **({"baseline": values["baseline"]} if values.get("baseline") else {}),
        "seeds": {"only": values.get("only_seed"), "resplit": values.get("resplit", False)},
        "measure": {"compact": values.get("compact", True), **values["measure"]},
    }
