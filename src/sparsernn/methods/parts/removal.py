"""Groups that go once and for all, on several levels of structure together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.run import Run
from sparsernn.structure.families import Family


@dataclass
class RemovalState:
    """What is remembered: in which step groups were `removed`; None as long as all are there."""

    removed: int | None = None


def have_gone(run: Run[RemovalState]) -> bool:
    """Whether groups were removed, after which the rest is trained as it is."""
    return run.state.removed is not None


def levels_of(granularity: str | tuple[str, ...]) -> tuple[str, ...]:
    """The levels that an option names: one, or several."""
    return tuple(granularity) if isinstance(granularity, list | tuple) else (granularity,)


def check_granularity(granularity: str | tuple[str, ...]) -> None:
    """Raises: UserError for no level, or the same one twice."""
    levels = levels_of(granularity)
    if not levels or len(set(levels)) < len(levels):
        raise UserError(
            f"granularity is {', '.join(levels) or 'empty'}",
            "one level, or several different ones",
            'pass granularity="neuron", for example',
        )


def keep_best_(kept: Tensor, scores: Tensor, families: Sequence[Family]) -> list[str]:
    """Where nothing of a family stays its best group does, in place. Returns: the labels of such families."""
    dead = []
    for family in families:
        part = slice(family.start, family.stop)
        if family.stop > family.start and not bool(kept[part].any()):
            kept[family.start + int(scores[part].argmax())] = True
            dead.append(family.label)
    return dead


def told(run: Run[RemovalState], dead: Sequence[str]) -> None:
    """Say of what nothing was to stay."""
    if dead:
        labels = ", ".join(dict.fromkeys(dead))
        run.warn(f"nothing of {labels} was to stay; the best was kept of each")


def remove_all_but(run: Run[RemovalState], survivors: Mapping[str, Tensor]) -> None:
    """Remove groups, and remember when. survivors: by level, which groups stay. [groups.count]"""
    died: dict[str, Tensor] = {}
    for level, stay in survivors.items():
        for name, where in run.remove(run.groups(level), stay).items():
            died[name] = died[name] | where if name in died else where
    run.state.removed = run.step_count
    run.changed("remove", died=died)
