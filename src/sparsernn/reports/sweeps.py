"""What a figure does as one setting of a recipe varies over several runs."""

import json
from collections.abc import Mapping, Sequence

from sparsernn.reports import axes as scales
from sparsernn.reports import figures, quantities, statistics, tables
from sparsernn.reports.figures import Picture
from sparsernn.reports.reading import Json, Run, is_number

PARTS = ("task", "model", "method", "settings")
LEAST = 3
SEEDS = ("settings.seed", "task.seed")

Line = dict[float, list[float]]
Fields = dict[str, object]


def sweeps(runs: Sequence[Run]) -> list[Picture]:
    """A picture for every number that takes three values or more in runs that are otherwise alike, save for seeds."""
    main = tables.goal_of(runs)
    scored = [(run, y) for run in runs if main and (y := quantities.value_of(run.metrics, main)) is not None]
    described = [(fields(run.recipe), quantities.in_one_unit(y, main)) for run, y in scored if main]
    names = dict.fromkeys(name for values, _ in described for name, value in values.items() if is_number(value))
    pictures = []
    for name in names:
        lines = {key: line for key, line in _lines(described, name).items() if len(line) >= LEAST}
        if lines and main and name not in SEEDS:
            pictures.append(_picture(name, list(lines.values()), _labels(list(lines)), main))
    return pictures


def fields(recipe: Json) -> Fields:
    """Everything that a row says of itself, flat: "method.rate" -> 0.5."""
    flat: Fields = {}

    def add(path: str, value: object) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                add(f"{path}.{key}", inner)
        else:
            flat[path] = value

    for part in PARTS:
        add(part, recipe.get(part))
    return flat


def _lines(described: Sequence[tuple[Fields, float]], name: str) -> dict[str, Line]:
    """Runs that differ in this field and their seeds alone: value -> figures, by what they have in common."""
    lines: dict[str, Line] = {}
    for values, y in described:
        value = values.get(name)
        if is_number(value):
            rest = {key: other for key, other in values.items() if key != name and key not in SEEDS}
            lines.setdefault(json.dumps(rest, sort_keys=True), {}).setdefault(float(value), []).append(y)
    return lines


def _labels(keys: Sequence[str]) -> list[str]:
    """What sets each line apart from the others: the method's name, and further fields where that is not enough."""
    described = [json.loads(key) for key in keys]
    named = [str(each.get("method.name") or "dense") for each in described]
    if len(set(named)) == len(named):
        return named
    differing = [name for name in described[0] if name != "method.name" and _differs(name, described)][:3]
    return [
        ", ".join([label, *(f"{_words(name)} {each.get(name)}" for name in differing)])
        for label, each in zip(named, described, strict=True)
    ]


def _differs(name: str, described: Sequence[Fields]) -> bool:
    return len({json.dumps(each.get(name)) for each in described}) > 1


def _words(name: str) -> str:
    return name.rpartition(".")[2].replace("_", " ")


def _picture(name: str, lines: Sequence[Line], labels: Sequence[str], main: quantities.Quantity) -> Picture:
    setting = f"{name.partition('.')[0]}'s {name.partition('.')[2].replace('.', ' ').replace('_', ' ')}"
    with figures.canvas() as (figure, axes):
        for number, (line, label) in enumerate(zip(lines, labels, strict=True)):
            x = sorted(line)
            y = [statistics.mean(line[value]) for value in x]
            spread = [statistics.sample_deviation(line[value]) for value in x]
            bars = spread if any(spread) else None
            axes.errorbar(x, y, yerr=bars, marker="o", color=figures.colour(number), lw=1.8, label=label)
        axes.set_xlabel(setting)
        axes.set_ylabel(main.title)
        if main.write is quantities.score:
            scales.show_percent(axes)
        caption = f"{main.better.capitalize()} is better." if main.better else ""
        if any(len(values) > 1 for line in lines for values in line.values()):
            caption += " Bars are sample deviations over seeds."
        title = f"{main.title[:1].upper()}{main.title[1:]} over the {setting}"
        return figures.finished(figure, title, caption, legend=len(lines) > 1)
