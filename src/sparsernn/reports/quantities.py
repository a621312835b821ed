"""Figures and tables as text: what a number is called, how it is written, which way is better."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sparsernn.reports import statistics
from sparsernn.reports.reading import Json, is_number


@dataclass(frozen=True)
class Table:
    """Texts in columns; the first column is the row's name.

    Arguments:
        columns: titles.
        rows: as many texts each.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def markdown(self) -> str:
        """The table for a Markdown file, numbers to the right."""
        rule = ("---", *("---:" for _ in self.columns[1:]))
        return "".join(_markdown_line(cells) for cells in (self.columns, rule, *self.rows))


def _markdown_line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(map(_markdown_cell, cells)) + " |\n"


def _markdown_cell(text: str) -> str:
    text = text.replace("\\", "\\\\").replace("|", "\\|").replace("\n", " ")
    return text.replace("&", "&amp;").replace("<", "&lt;")


def percent(value: float) -> str:
    """A fraction as a percentage that does not hide the last few weights."""
    digits = 1 if value >= 0.1 or value == 0 else 2
    return f"{100 * value:.{digits}f} %"


def whole(value: float) -> str:
    return f"{round(value):,}"


def size(value: float) -> str:
    """A number of bytes in kB or MB (powers of 1000)."""
    for limit, unit in ((1e9, "GB"), (1e6, "MB"), (1e3, "kB")):
        if value >= limit:
            return f"{significant(value / limit)} {unit}"
    return f"{round(value)} B"


def significant(value: float, digits: int = 3) -> str:
    """A number with three significant digits and no exponent."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    places = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return f"{value:,.{places}f}"


def times(value: float) -> str:
    return f"{value:.2f}×" if value < 10 else f"{significant(value)}×"


def score(value: float) -> str:
    """An accuracy as a percentage; given as a fraction, or as a percentage already."""
    return f"{100 * value if value <= 1 else value:.2f} %"


@dataclass(frozen=True)
class Quantity:
    """One number of a result file: what to call it, how to write it, which way is better.

    Arguments:
        key: its name in the metrics.
        title: its name for people.
        write: from the value to text.
        better: "higher", "lower" or "" where neither is.
    """

    key: str
    title: str
    write: Callable[[float], str] = significant
    better: str = ""


GOALS = (
    Quantity("accuracy", "accuracy", score, "higher"),
    Quantity("perplexity", "perplexity", lambda value: f"{value:.2f}", "lower"),
    Quantity("bits_per_character", "bits per character", lambda value: f"{value:.3f}", "lower"),
    Quantity("bits_per_token", "bits per token", lambda value: f"{value:.3f}", "lower"),
    Quantity("f1", "F1", score, "higher"),
    Quantity("rmse", "root mean squared error", lambda value: f"{value:.4f}", "lower"),
    Quantity("mse", "mean squared error", significant, "lower"),
    Quantity("mae", "mean absolute error", significant, "lower"),
    Quantity("loss", "loss", significant, "lower"),
)
COSTS = (
    Quantity("transitions", "transitions", whole, "lower"),
    Quantity("patterns", "patterns", whole, "lower"),
    Quantity("weights_kept", "weights kept", whole, "lower"),
    Quantity("sparsity", "sparsity", percent),
    Quantity("bytes", "bytes", size, "lower"),
    Quantity("macs_per_token", "multiply-adds per step", whole, "lower"),
    Quantity("ms_batch_1", "ms per sequence, batch 1", significant, "lower"),
    Quantity("speedup_batch_1", "against dense, batch 1", times, "higher"),
    Quantity("ms_batch_32", "ms per sequence, batch 32", significant, "lower"),
    Quantity("speedup_batch_32", "against dense, batch 32", times, "higher"),
)


SCORED = {"train": "training rows", "valid": "validation"}
"""What the rows are that figures without a prefix are of, where they are no test rows."""


def value_of(metrics: Mapping[str, object], quantity: Quantity) -> float | None:
    """A metric under its own name or with `test_` before it; None if absent or not a finite number."""
    for key in (f"test_{quantity.key}", quantity.key):
        value = metrics.get(key)
        if is_number(value):
            return float(value)
    return None


def goal(results: Iterable[Json], named: Iterable[str] = ()) -> Quantity | None:
    """The quantity that results compete on: the task's own, else a published one, else the first known one.

    Its title says so where the figures are of other rows than test rows.
    """
    results = list(results)
    candidates = [q for q in GOALS if _is_in(results, "metrics", q)]
    if any(q.key == "perplexity" for q in candidates):  # a language model's accuracy comes last
        candidates.sort(key=lambda q: q.key == "accuracy")
    preferred = [*named, *(q.key for q in candidates if _is_in(results, "published", q))]
    ranks = {key: rank for rank, key in reversed(list(enumerate(preferred)))}
    best = min(candidates, key=lambda q: ranks.get(q.key, len(preferred)), default=None)
    scored = {str(splits.get("scored", "test")) for result in results if (splits := result.get("splits"))}
    places = [SCORED[name] for name in sorted(scored & set(SCORED))]
    if best is None or not places:
        return best
    return replace(best, title=f"{best.title} on {' or '.join(places)}")


def _is_in(results: Iterable[Json], part: str, quantity: Quantity) -> bool:
    """Whether any of the results has a value of the quantity."""
    return any(value_of(result.get(part) or {}, quantity) is not None for result in results)


def in_one_unit(value: float, quantity: Quantity) -> float:
    """An accuracy given as a percentage as a fraction; any other value as it is."""
    return value / 100 if quantity.write is score and value > 1 else value


def mean(quantity: Quantity, values: Sequence[float]) -> str:
    """The mean, and the sample deviation where values differ."""
    return _text(quantity, values, "") if values else "–"


def difference(quantity: Quantity, values: Sequence[float]) -> str:
    """The mean of differences with its sign, and the sample deviation where they differ; accuracies in points."""
    if not values:
        return "–"
    middle = statistics.mean(values)
    return _text(quantity, [-value for value in values] if middle < 0 else values, "−" if middle < 0 else "+")


def _text(quantity: Quantity, values: Sequence[float], sign: str) -> str:
    values = [in_one_unit(value, quantity) for value in values]
    spread = statistics.sample_deviation(values)
    numbers = [quantity.write(value) for value in (statistics.mean(values), *([spread] if spread else []))]
    if sign and not any(digit in "123456789" for digit in numbers[0]):
        sign = ""
    unit = " %" if quantity.write is score else ""
    return sign + " ± ".join(number.removesuffix(unit) for number in numbers) + unit
