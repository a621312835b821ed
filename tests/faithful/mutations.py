"""Faults of leakage and of baselines that survived all tests of 0.1, put into a copy of the package one by one.

As a program: `python -m tests.faithful.mutations [--together]` prints for each whether a test of the checkout that
holds the package notices, and ends with status 1 if one is not noticed. With `--together` all of them are in one copy,
and the tests that fail are printed: if none does, all survive.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import sparsernn

PACKAGE = Path(sparsernn.__file__).parent
CHECKOUT = PACKAGE.parents[1]
TESTS = ("tests/data/test_leakage.py", "tests/experiments/test_baselines.py"), ("tests/data", "tests/recipes")
"""The tests that are to notice: the first of these that the checkout has."""
ALONE = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if finder.__module__.startswith("_frozen")]
sys.path.insert(0, sys.argv[1])
import pytest
raise SystemExit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""
"""Runs tests with the package in a folder, whichever is installed."""


class Mutation(NamedTuple):
    """A fault: the files that may have the place, what stands there, and what stands there instead."""

    name: str
    files: tuple[str, ...]
    pattern: str
    fault: str

    def put(self, package: Path) -> None:
        """Write the fault into a copy of the package."""
        for path in (package / file for file in self.files):
            if path.is_file():
                text, count = re.subn(self.pattern, self.fault, path.read_text("utf8"), count=1)
                if count:
                    path.write_text(text, "utf8")
                    return
        raise SystemExit(f"{self.name}: there is no such place in {', '.join(self.files)}")


EVERY = r'moments(writer.array("\1"), np.arange(len(writer.array("\1"))))'
BASELINES = ("experiments/baselines.py", "recipes/baselines.py")
MUTATIONS = (
    Mutation(
        "words of a user's texts are those of all rows",
        ("data/table_text.py",),
        r"learned\[parts\[0\]\[.*\]\] = True",
        "learned[:] = True",
    ),
    Mutation(
        "words of a text task are those of all rows",
        ("data/text_classification.py",),
        r' if self.vectors else rows\["train"\]\)',
        ")",
    ),
    Mutation(
        "series are standardised by all",
        ("data/table_series.py",),
        r'moments\(writer.array\("(\w+)"\), (?:steps.order\[_ranges\(offsets, parts\[0\]\)\]|steps_of\(.*\))\)',
        EVERY,
    ),
    Mutation(
        "wide series are standardised by all",
        ("data/table_wide.py", "data/table_series.py"),
        r'moments\(writer.array\("(\w+)"\), (?:_ranges|steps_of)\(offsets, parts\[0\]\)\)',
        EVERY,
    ),
    Mutation(
        "forecasts are standardised by all rows",
        ("data/table_forecast.py", "data/table_series.py"),
        r'moments\(writer.array\("(\w+)"\), learned\)',
        EVERY,
    ),
    Mutation(
        "latent vectors are of all texts",
        ("experiments/sources/latent_vectors.py", "data/splits.py", "recipes/latent_vectors.py"),
        r"    split = (loaded\.train.*)\n",
        r"    from dataclasses import replace as other\n    split = \1\n    split = other(split, rows=None)\n",
    ),
    Mutation(
        "TF-IDF is tuned on the test",
        ("experiments/baselines.py", "experiments/bag_of_words.py", "recipes/bag_of_words.py"),
        r"key=lambda model: model.score\(counted\[1\], labels\[1\]\)",
        "key=lambda model: model.score(counted[2], labels[2])",
    ),
    Mutation("the seasonal naive forecast is doubled", BASELINES, r"difference = naive", "difference = 2 * naive"),
    Mutation("the perplexity of words is squared", BASELINES, r"np\.exp\(loss\)", "np.exp(2 * loss)"),
)


def noticed(mutations: Iterable[Mutation], *options: str) -> tuple[bool, str]:
    """Whether a test fails with these faults, and what the tests say."""
    tests = next(paths for paths in TESTS if all((CHECKOUT / path).exists() for path in paths))
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "src"
        shutil.copytree(PACKAGE, source / "sparsernn", ignore=shutil.ignore_patterns("__pycache__"))
        for mutation in mutations:
            mutation.put(source / "sparsernn")
        command = [sys.executable, "-c", ALONE, str(source), *options, *tests]
        ended = subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True)
    if ended.returncode not in (0, 1):
        raise SystemExit(ended.stdout + ended.stderr)
    return ended.returncode == 1, ended.stdout


def main(arguments: Sequence[str]) -> int:
    """Print what becomes of the faults; the exit status."""
    if arguments == ["--together"]:
        failed, told = noticed(MUTATIONS)
        print(*(line for line in told.splitlines() if line.startswith("FAILED") or " passed" in line), sep="\n")
        return int(not failed)
    survivors = 0
    for mutation in MUTATIONS:
        failed, _ = noticed([mutation], "-x")
        print(f"{mutation.name}: {'noticed' if failed else 'not noticed'}", flush=True)
        survivors += not failed
    return int(survivors > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
