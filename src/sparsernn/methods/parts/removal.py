"""Groups that go once and for all, on several levels of structure together."""

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor

from sparsernn.methods.run import Run


@dataclass
class RemovalState:
    """What is remembered: in which step groups were `removed`; None as long as all are there."""

    removed: int | None = None


def levels_of(granularity: str | tuple[str, ...]) -> tuple[str, ...]:
    """The levels that an option names: one, or several."""
    return (granularity,) if isinstance(granularity, str) else tuple(granularity)


def remove_all_but(run: Run[RemovalState], survivors: Mapping[str, Tensor]) -> None:
    """Remove groups, and remember when. survivors: by level, which groups stay. [groups.count]"""
    died: dict[str, Tensor] = {}
    for level, stay in survivors.items():
        for name, where in run.remove(run.groups(level), stay).items():
            died[name] = died[name] | where if name in died else where
    run.state.removed = run.step_count
    run.changed("remove", died=died)
