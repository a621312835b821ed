"""Faults of version 0.1 against the papers, each shown by one command that fails where it is present.

As a program: `python -m tests.faithful.faults [NAME ...]` prints a line for each, of whichever sparsernn is imported,
and ends with status 1 if any of them is wrong. The oracle of each is an equation, a count or a setting of the paper,
written here; where a name has moved since 0.1 both are tried.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch

ENTRIES = ("of_methods", "of_recipes", "of_evidence", "of_data")
"""Modules beside this one that hold the faults."""


class Outcome(NamedTuple):
    """What was to be expected and what was measured, in the words that are printed."""

    expected: object
    measured: object
    right: bool


FAULTS: dict[str, Callable[[], Outcome]] = {}


def fault(function: Callable[[], Outcome]) -> Callable[[], Outcome]:
    """Enter a fault under the function's name; what it says is the fault in one sentence."""
    FAULTS[function.__name__] = function
    return function


def equal(expected: object, measured: object) -> Outcome:
    """Right if both are the same."""
    return Outcome(expected, measured, expected == measured)


def near(expected: float, measured: float, tolerance: float) -> Outcome:
    """Right if they differ by no more than a share of what was expected."""
    return Outcome(f"{expected:.6g}", f"{measured:.6g}", abs(measured - expected) <= tolerance * abs(expected))


def first_of(*places: str) -> Any:
    """The first "module:name" that exists."""
    for place in places:
        module, _, name = place.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError):
            continue
    raise ImportError(" or ".join(places))


def load() -> None:
    """Read the modules that hold faults."""
    for name in ENTRIES:
        importlib.import_module(f"tests.faithful.{name}")


def outcomes(names: Sequence[str] = ()) -> Iterable[tuple[str, Outcome]]:
    """The faults with these names, or all of them, one after the other."""
    load()
    for name in names or FAULTS:
        yield name, FAULTS[name]()


def main(names: Sequence[str]) -> int:
    """Print a line for each fault; the exit status."""
    torch.set_num_threads(1)
    wrong = 0
    for name, outcome in outcomes(names):
        judgement = "right" if outcome.right else "wrong"
        print(f"{name}: expected {outcome.expected}, measured {outcome.measured}, {judgement}", flush=True)
        wrong += not outcome.right
    return int(wrong > 0)


if __name__ == "__main__":
    from tests.faithful import faults  # the entries enter their faults there, not in __main__

    raise SystemExit(faults.main(sys.argv[1:]))
