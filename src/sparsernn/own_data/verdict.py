"""The verdict on a user's file: networks beside the baseline and the majority, in figures and in words."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from sparsernn import durable
from sparsernn.own_data.scored import Scored

VERDICT = "verdict.json"
DRAWS = 2_000
LEAST_UNITS = 5  # fewer tell nothing of what others would give
MOST_UNITS = 2_000  # of more, some are drawn together
IMBALANCED = 0.8  # share of the largest class from which on accuracy alone tells little
MOST_NAMED = 8  # columns
RARE = 0.5  # a recall below this is named


@dataclass(frozen=True)
class Answers:
    """The right answers for the test rows, and how far others are off.

    Arguments:
        metric: "accuracy", "rmse" or "perplexity".
        targets: class numbers [rows], or values in the unit of the file [rows] or [windows horizon], or tokens.
        labels: names of the classes.
        units: a number for each row; rows of one number are not independent (a series, a stretch of time).
        columns: those that are forecast, where they are several; the values of one follow those of another.
    """

    metric: str
    targets: np.ndarray
    labels: Sequence[str] = ()
    units: np.ndarray | None = None
    columns: Sequence[str] = ()

    @property
    def higher(self) -> bool:
        """Whether a larger figure is better."""
        return self.metric == "accuracy"

    def by_column(self) -> list[tuple[str, slice]]:
        """The columns that are forecast, where they are several, and where their values stand."""
        ahead = self.targets.shape[-1] // max(1, len(self.columns))
        return [(name, slice(number * ahead, (number + 1) * ahead)) for number, name in enumerate(self.columns)]

    def losses(self, outputs: np.ndarray) -> np.ndarray:
        """What each row adds to the mean of which `figure` is made. [rows]"""
        if self.metric == "accuracy":
            return (outputs.argmax(-1) == self.targets).astype(float)
        if self.metric == "perplexity":
            return -outputs.astype(float)
        squares = (outputs.astype(float) - self.targets) ** 2
        return squares.reshape(len(squares), -1).mean(1)

    def figure(self, mean: np.ndarray | float) -> np.ndarray | float:
        """The figure of a mean of `losses`: in per cent, in the unit of the file, or a perplexity."""
        return {"accuracy": lambda: 100 * mean, "rmse": lambda: np.sqrt(mean), "perplexity": lambda: np.exp(mean)}[
            self.metric
        ]()

    def of(self, scored: Scored) -> float:
        """The figure of one that answered."""
        return float(self.figure(self.losses(scored.outputs).mean()))


@dataclass(frozen=True)
class Difference:
    """The first's figure less the second's, with the 95 % interval of a paired bootstrap over so many units."""

    points: float
    low: float
    high: float
    units: int = MOST_UNITS

    @property
    def sure(self) -> bool:
        """Whether the interval leaves out 0; of few units none tells anything."""
        return self.units >= LEAST_UNITS and (self.low > 0 or self.high < 0)


def difference(answers: Answers, first: Scored, second: Scored) -> Difference:
    """How two differ on the same rows.

    Source: Efron & Tibshirani 1993, An Introduction to the Bootstrap, chapter 13 (percentile interval); rows of a unit
    are drawn together.
    """
    both = np.stack([answers.losses(first.outputs), answers.losses(second.outputs)], 1)
    units = np.arange(len(both)) if answers.units is None else answers.units
    numbers = np.unique(units, return_inverse=True)[1] % MOST_UNITS
    sums = np.stack([np.bincount(numbers, column) for column in both.T], 1)
    counts = np.bincount(numbers)
    generator = np.random.default_rng(0)
    weights = generator.multinomial(len(counts), np.full(len(counts), 1 / len(counts)), DRAWS)
    drawn = np.asarray(answers.figure((weights @ sums) / (weights @ counts)[:, None]))
    first_figure, second_figure = np.asarray(answers.figure(both.mean(0)))
    low, high = np.quantile(drawn[:, 0] - drawn[:, 1], [0.025, 0.975])
    return Difference(float(first_figure - second_figure), float(low), float(high), len(counts))


@dataclass(frozen=True)
class Tried:
    """A sparsity that was tried to reach a quality.

    Arguments:
        bytes: of its file. valid, dense: figures on the validation rows, its own and the dense network's.
        reached: whether it is good enough. saved: whether it is the one that stays.
    """

    sparsity: float
    bytes: int
    valid: float
    dense: float
    reached: bool
    saved: bool = False


@dataclass(frozen=True)
class Verdict:
    """What came of a training.

    Arguments:
        tried: sparsities, where a quality was asked for.
        figures: by name of those who answered. saved: the name of the one that is in the file.
        says: sentences for people.
    """

    metric: str
    test_rows: int
    saved: str
    figures: dict[str, float]
    bytes: dict[str, int]
    us: dict[str, float]
    differences: dict[str, Difference]
    recalls: dict[str, float]
    says: tuple[str, ...]
    tried: tuple[Tried, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Plain values: "network", "baseline" and "majority" are figures on the test rows, in the verdict's metric."""
        return {
            "metric": self.metric,
            "network": self.figures[self.saved],
            "baseline": self.figures["baseline"],
            "majority": self.figures["majority"],
            "test_rows": self.test_rows,
            "file_bytes": self.bytes[self.saved],
            "baseline_bytes": self.bytes["baseline"],
            "says": " ".join(self.says),
            "sentences": list(self.says),
            "saved": self.saved,
            "figures": self.figures,
            "bytes": self.bytes,
            "microseconds": self.us,
            "differences": {name: asdict(one) for name, one in self.differences.items()},
            "recalls": self.recalls,
            **({"tried": [asdict(one) for one in self.tried]} if self.tried else {}),
        }

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Column titles and rows: what everybody who answered reached, and costs."""
        title = {"accuracy": "accuracy", "rmse": "error (rmse)", "perplexity": "perplexity"}[self.metric]
        rows = [
            (
                name.replace("_", " "),
                written(self.metric, figure),
                bytes_of(self.bytes[name]) if self.bytes[name] else "–",
                time_of(self.us[name]) if self.us[name] else "–",
            )
            for name, figure in self.figures.items()
        ]
        return ("", title, "file", "one call"), rows

    def write(self, folder: Path, evidence: Mapping[str, object]) -> Path:
        """Leave it in the folder of the training, with what pictures of it show."""
        durable.replace(folder / VERDICT, json.dumps(self.to_json() | {"evidence": evidence}, indent=1) + "\n")
        return folder / VERDICT


def judge(answers: Answers, scored: Sequence[Scored]) -> Verdict:
    """The verdict on those who answered.

    Arguments:
        scored: among them "majority", "baseline" and "sparse", which was saved; "dense" and "small_dense" if trained.
    """
    by_name = {one.name: one for one in scored}
    ours = by_name["sparse"]
    others = [name for name in ("baseline", "majority", "dense", "small_dense") if name in by_name]
    differences = {name: difference(answers, ours, by_name[name]) for name in others}
    recalls = recalls_of(answers, ours)
    says = [
        conclusion(answers, by_name, differences, ours),
        opening(answers, by_name, ours),
        *(compared(answers, name, by_name[name], differences[name]) for name in others if name != "majority"),
        *cost(ours, by_name["baseline"], "the baseline"),
        *(cost(ours, by_name["dense"], "the dense network") if "dense" in by_name else ()),
        *imbalance(answers, recalls),
        *of_columns(answers, ours, by_name["baseline"]),
    ]
    return Verdict(
        answers.metric,
        len(answers.targets),
        "sparse",
        {one.name: answers.of(one) for one in scored},
        {one.name: one.bytes for one in scored},
        {one.name: one.us for one in scored},
        differences,
        recalls,
        tuple(filter(None, says)),
    )


def written(metric: str, figure: float) -> str:
    """A figure in words: 81.2 %, or a number with four figures."""
    return f"{figure:.1f} %" if metric == "accuracy" else f"{figure:.4g}"


def time_of(us: float) -> str:
    """A time for people."""
    return f"{us / 1e3:.1f} ms" if us >= 1e3 else f"{us:.0f} us"


METRICS = {"accuracy": "right", "rmse": "root mean squared error", "perplexity": "perplexity"}


def opening(answers: Answers, by_name: dict[str, Scored], ours: Scored) -> str:
    """The figure of what was saved, and that of doing nothing."""
    rows = {"accuracy": "test rows", "rmse": "test rows", "perplexity": "test tokens"}[answers.metric]
    majority = written(answers.metric, answers.of(by_name["majority"]))
    return (
        f"On {len(answers.targets):,} {rows}, {ours.about}: {written(answers.metric, answers.of(ours))}"
        f" {METRICS[answers.metric]} ({by_name['majority'].about}: {majority})."
    )


def of_columns(answers: Answers, ours: Scored, baseline: Scored) -> list[str]:
    """The errors of each column, where several are forecast, whose units may differ."""
    parts = []
    for name, place in answers.by_column()[:MOST_NAMED]:
        one = Answers(answers.metric, answers.targets[:, place])
        figures = [
            written(answers.metric, float(one.figure(one.losses(who.outputs[:, place]).mean())))
            for who in (ours, baseline)
        ]
        parts.append(f"{name} {figures[0]} (the baseline {figures[1]})")
    return [f"The figures above mix the units of all columns; each by itself: {', '.join(parts)}."] if parts else []


NAMES = {"baseline": "the baseline", "dense": "the dense network", "small_dense": "a dense network of the same bytes"}


def compared(answers: Answers, name: str, other: Scored, off: Difference) -> str:
    """One sentence about what was saved beside another."""
    title = f"{NAMES[name]} ({other.about})" if name == "baseline" else NAMES[name]
    better = off.points > 0 if answers.higher else off.points < 0
    unit = " points" if answers.metric == "accuracy" else ""
    interval = f"({off.points:+.3g}{unit}, 95 % interval {off.low:+.3g} to {off.high:+.3g})"
    if off.units < LEAST_UNITS:
        return f"It is {off.points:+.3g}{unit} from {title} here; so few test rows do not tell which is better."
    if not off.sure:
        return f"It is level with {title} {interval}: the test rows cannot tell them apart."
    return f"It is {'better' if better else 'worse'} than {title} {interval}."


def cost(ours: Scored, other: Scored, name: str) -> list[str]:
    """How much smaller the file is and how much faster one call, where both are known."""
    parts = []
    if ours.bytes and other.bytes:
        parts.append(f"its file of {bytes_of(ours.bytes)} is {ratio(other.bytes / ours.bytes, 'smaller', 'larger')}")
    if ours.us and other.us:
        parts.append(f"one call is {ratio(other.us / ours.us, 'faster', 'slower')}")
    return [f"Beside {name}, {' and '.join(parts)}."] if parts else []


def ratio(times: float, more: str, less: str) -> str:
    """3.0 times smaller, or 2.0 times larger."""
    return f"{times:.1f} times {more}" if times >= 1 else f"{1 / times:.1f} times {less}"


def bytes_of(count: int) -> str:
    """A size for people."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"


def recalls_of(answers: Answers, ours: Scored) -> dict[str, float]:
    """Of each class that occurs in the test rows the share that was recognised."""
    if answers.metric != "accuracy":
        return {}
    right = answers.losses(ours.outputs)
    classes = np.unique(answers.targets)
    return {str(answers.labels[one]): float(right[answers.targets == one].mean()) for one in classes}


def imbalance(answers: Answers, recalls: dict[str, float]) -> list[str]:
    """What accuracy hides where one class is most of the rows."""
    if not recalls or np.bincount(answers.targets).max() < IMBALANCED * len(answers.targets):
        return []
    balanced = 100 * float(np.mean(list(recalls.values())))
    missed = [f"{name!r} {100 * recall:.0f} %" for name, recall in recalls.items() if recall < RARE]
    unseen = [repr(name) for name in answers.labels if name not in recalls]
    says = f"One class is most of the rows, so look at each class: balanced accuracy is {balanced:.1f} %"
    says += f"; of these little is recognised: {', '.join(missed[:5])}." if missed else "."
    if unseen:
        says += f" No test row is of {', '.join(unseen[:5])}: nothing is known of how well these are recognised."
    return [says]


def conclusion(answers: Answers, by_name: dict[str, Scored], differences: dict[str, Difference], ours: Scored) -> str:
    """What to do."""
    gains = {name: one.points if answers.higher else -one.points for name, one in differences.items()}
    nothing = differences["majority"]
    if gains["majority"] <= 0 or (nothing.units >= LEAST_UNITS and not nothing.sure):
        other = difference(answers, by_name["baseline"], by_name["majority"])
        if (other.points if answers.higher else -other.points) > 0 and (other.sure or other.units < LEAST_UNITS):
            few = "" if other.sure else " (though the test rows are too few to be sure)"
            return f"Use the baseline{few}. What was saved has not learned more than doing nothing: do not use it."
        return "It has not learned more than doing nothing: do not use it; give more rows, or ask if they can tell."
    if gains["baseline"] < 0:
        sure = "" if differences["baseline"].sure else " (though the test rows are too few to be sure)"
        return f"Use the baseline{sure}."
    if not differences["baseline"].sure and by_name["baseline"].bytes < ours.bytes:
        return "Use the baseline: the test rows do not tell them apart, and it is smaller."
    other = by_name.get("other_baseline")
    if other and 0 < other.bytes < ours.bytes and answers.of(other) == answers.of(ours):
        return "Use the other baseline: it is as good on the test rows, and smaller."
    return ours.conclusion or "Use the network."
