"""Which strength of a regularising method leaves a network of a wanted size: one training after the other."""

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sparsernn import durable
from sparsernn.errors import UserError
from sparsernn.reading import content, parsed, readable
from sparsernn.training.run_folder import Json

STATE = "search.json"


class SearchGaveUp(UserError):
    """No strength left a network of the wanted size."""


@dataclass(frozen=True)
class Trial:
    """One training: the strength tried, the size it left, and what that meant ("small", "large" or "accepted")."""

    strength: float
    size: float
    verdict: str


@dataclass(frozen=True)
class TargetSearch:
    """A search by doubling and halving, with a factor that shrinks at every turn round.

    strength starts at `strength`; a network that is too small divides it by `rate`, one that is too large
    multiplies it; when the direction turns, rate becomes (rate + 1) / 2. The state is the list of trials.

    Arguments:
        goal: the wanted size; tolerance: |size - goal| that is accepted.
        strength: first strength; rate: first factor.
        least, most: strengths beyond which the search gives up.
        trials: largest number of trainings.
    Source: Dodge et al. 2019, the authors' structure search: 8e-6, factor 2, 25 trainings, 1e-9 to 1e2.
    """

    goal: float
    tolerance: float
    strength: float = 8e-6
    rate: float = 2.0
    least: float = 1e-9
    most: float = 1e2
    trials: int = 25

    def __post_init__(self) -> None:
        positive = self.goal > 0 and self.tolerance >= 0 and self.strength > 0
        if not positive or not self.rate > 1 or self.trials < 1:
            raise UserError(
                f"the search is {asdict(self)}",
                "a goal and strength above 0, a tolerance from 0, a rate above 1, at least one trial",
                "correct the option",
            )

    def verdict(self, size: float) -> str:
        """What a size means for the next strength."""
        if abs(size - self.goal) <= self.tolerance:
            return "accepted"
        return "small" if size < self.goal else "large"

    def following(self, tried: list[Trial]) -> float | None:
        """The next strength, or None after an accepted trial.

        Raises: SearchGaveUp, with the nearest size found.
        """
        strength, rate = self.strength, self.rate
        for before, trial in zip([None, *tried], tried, strict=False):
            if trial.verdict == "accepted":
                return None
            if before is not None and before.verdict != trial.verdict:
                rate = (rate + 1) / 2
            strength = trial.strength / rate if trial.verdict == "small" else trial.strength * rate
        if len(tried) >= self.trials or not self.least <= strength <= self.most:
            nearest = min(tried, key=lambda trial: abs(trial.size - self.goal))
            raise SearchGaveUp(
                f"no strength gave a size of {self.goal:g} within {self.tolerance:g} in {len(tried)} trainings; "
                f"the nearest was {nearest.size:g} at {nearest.strength:.3g}",
                "a size that this network can take",
                "widen the tolerance, allow more trials, or start nearer",
            )
        return strength


def find(
    search: TargetSearch,
    metric: str,
    folder: Path,
    train: Callable[[int, float], Json],
    say: Callable[[str], None] = lambda line: None,
) -> list[Trial]:
    """Train at one strength after the other until `metric` is near the goal; the trials, the last one accepted.

    Arguments:
        folder: holds the state, from which a search that was stopped goes on.
        train: from a trial's number (from 1) and strength to the figures of its result.
    Raises: UserError if the result has no such figure, the folder belongs to another search, or the search gives up.
    """
    tried = _read(folder / STATE, search)
    while (strength := search.following(tried)) is not None:
        size = _size(train(len(tried) + 1, strength), metric)
        tried.append(Trial(strength, size, search.verdict(size)))
        say(f"trial {len(tried)}: strength {strength:.3g}, {metric} {size:g} of {search.goal:g}: {tried[-1].verdict}")
        _write(folder / STATE, search, tried)
    return tried


def _size(metrics: Json, metric: str) -> float:
    value = metrics.get(metric)
    if isinstance(value, bool) or not isinstance(value, int | float):
        names = ", ".join(sorted(name for name, figure in metrics.items() if isinstance(figure, int | float)))
        raise UserError(f'the result has no figure "{metric}"', f"one of {names}", "choose one of these as the goal")
    return float(value)


def _read(path: Path, search: TargetSearch) -> list[Trial]:
    if not path.is_file():
        return []
    with readable(path, expected="the state of a search", do="start again in another folder"):
        saved = parsed(content(path))
        tried = [Trial(float(one["strength"]), float(one["size"]), str(one["verdict"])) for one in saved["tried"]]
    if saved.get("search") != asdict(search):
        raise UserError(
            f"{path} belongs to another search",
            "the same goal, tolerance and limits",
            "repeat them, or start in another folder",
        )
    return tried


def _write(path: Path, search: TargetSearch, tried: list[Trial]) -> None:
    state = {"search": asdict(search), "tried": [asdict(trial) for trial in tried]}
    durable.replace(path, json.dumps(state, indent=1))
