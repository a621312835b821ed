"""Groups that go once and for all, on several levels of structure together."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sparsernn.methods.run import Run
from sparsernn.structure.budget import check_fraction


@dataclass
class RemovalState:
    """What is remembered: in which step groups were `removed`; None as long as all are there."""

    removed: int | None = None


def check_stop(stop: float | None) -> None:
    """Raises: UserError for what is no fraction of training."""
    if stop is not None:
        check_fraction(stop, "stop")


def is_time(stop: float | None, run: Run[RemovalState]) -> bool:
    """Whether groups go after this step, at the fraction `stop` of training; None: when training has ended."""
    return stop is not None and run.step_count == max(1, round(stop * run.steps))


def have_gone(run: Run[RemovalState]) -> bool:
    """Whether groups were removed, after which the rest is trained as it is."""
    return run.state.removed is not None


def levels_of(granularity: str | tuple[str, ...]) -> tuple[str, ...]:
    """The levels that an option names: one, or several."""
    return tuple(granularity) if isinstance(granularity, list | tuple) else (granularity,)


def remove_all_but(run: Run[RemovalState], survivors: Mapping[str, Tensor]) -> None:
    """Remove groups, and remember when. survivors: by level, which groups stay. [groups.count]"""
    died: dict[str, Tensor] = {}
    for level, stay in survivors.items():
        for name, where in run.remove(run.groups(level), stay).items():
            died[name] = died[name] | where if name in died else where
    run.state.removed = run.step_count
    run.changed("remove", died=died)
