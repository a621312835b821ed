"""Kill whole commands at random moments, give them again, and compare what they leave with what nobody killed leaves.

As a program: `python -m tests.trust.killed_commands KILLS SEED [COMMAND ...]` prints a table by command, and what
differed. Each attempt is a forked process of one that has torch loaded; SIGKILL comes wherever the command then is.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import torch

from sparsernn import cli
from sparsernn.training.settings import Settings
from tests.training.kill_and_resume import status_of

LONGEST_LIFE = 1.0  # of the time that the command takes when nobody kills it
MOST_KILLS = 8  # of one run
RUN = ["run", "quickstart", "--size", "quick", "--rows", "dense,st_rnn,group_lasso", "--results", "results"]
SEARCH = ["search", "quickstart", "--size", "quick", "--row", "group_lasso", "--set", "method.threshold=0.12"]
GOAL = ["--goal", "weights_kept=1300", "--tolerance", "400", "--trials", "4", "--strength", "0.02"]
TEXTS = ["train", "../texts.csv", "--text", "text", "--label", "label", "--units", "3", "--epochs", "2"]
SERIES = ["train", "../series.csv", "--id", "id", "--time", "time", "--series", "x"]
COMMANDS = {
    "run": [*RUN, "--out", "out"],
    "search": [*SEARCH, *GOAL, "--out", "out"],
    "train, texts": [*TEXTS, "--out", "out"],
    "train, series": [*SERIES, "--label", "label", "--units", "4", "--epochs", "3", "--out", "out"],
    "train, forecast": [*SERIES, "--forecast", "x", "--horizon", "1", "--units", "4", "--epochs", "3", "--out", "out"],
}
TIMES = re.compile(
    r"seconds|^ms_|^us$|_us$|microseconds|speedup|latency|environment|says|sentences|command|processor|commit|sha256"
)
"""JSON keys whose value is a time, tells one, or depends on one."""
UNCOMPARED = (".html", ".log", "metrics.csv")
"""Pages show times."""


def attempt(words: Sequence[str], folder: Path, life_ms: float | None) -> bool:
    """Give the command in a forked process that is killed after `life_ms`; True if it came to its end before."""
    process = os.fork()
    if process == 0:
        os.chdir(folder)
        silent = os.open(folder.parent / "said.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(silent, 1)
        os.dup2(silent, 2)
        status = 1
        try:
            cli.app(list(words), standalone_mode=False)
            status = 0
        except SystemExit as ending:
            status = int(ending.code or 0)
        finally:
            os._exit(status)
    status = status_of(process, life_ms)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"{' '.join(words)}: {(folder.parent / 'said.txt').read_text()}")
    return os.WIFEXITED(status)


def timeless(value: object) -> object:
    """JSON values without the times in them."""
    if isinstance(value, dict):
        return {name: timeless(part) for name, part in value.items() if not TIMES.search(name)}
    return [timeless(part) for part in value] if isinstance(value, list) else value


def content(path: Path) -> object:
    if path.suffix == ".json":
        return timeless(json.loads(path.read_text()))
    if path.suffix == ".jsonl":
        return [timeless(json.loads(line)) for line in path.read_text().splitlines()]
    return None if path.name.endswith(UNCOMPARED) else path.read_bytes()


def left(folder: Path) -> dict[str, object]:
    """What a command left, by path; of the checkpoints, which only resuming reads, that they are there."""
    paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {
        str(path.relative_to(folder)): content(path) if "checkpoint" not in path.parts else None
        for path in paths
        if path.name != "manifest.json" or "checkpoint" not in path.parts
    }


def apart(before: object, after: object) -> list[object]:
    """Where two values differ, in few words."""
    if isinstance(before, dict) and isinstance(after, dict):
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        return [[name, *apart(before.get(name), after.get(name))] for name in names]
    return [str(before)[:60], str(after)[:60]]


def write_files(folder: Path) -> None:
    words = ("great", "good", "fine", "dull", "poor", "bad")
    rows = [f"a {words[row % 6]} day {row % 7},{'well' if row % 6 < 3 else 'ill'}\n" for row in range(300)]
    (folder / "texts.csv").write_text("text,label\n" + "".join(rows))
    steps = [
        f"{row // 8},{row % 8},{(row * 37 % 11) / 11 + row // 8 % 2:.3f},{'ab'[row // 8 % 2]}\n" for row in range(800)
    ]
    (folder / "series.csv").write_text("id,time,x,label\n" + "".join(steps))


def write_checkpoints_at_every_step() -> None:
    names, defaults = [field.name for field in dataclasses.fields(Settings)], list(Settings.__init__.__defaults__)
    defaults[names.index("checkpoint_seconds") - len(names)] = 0.0
    Settings.__init__.__defaults__ = tuple(defaults)


def main(kills: int, seed: int, names: Sequence[str]) -> dict[str, collections.Counter[str]]:
    """Kill until there are so many in all; by command: kills, runs, identical ones. Prints what differed."""
    torch.set_num_threads(1)
    write_checkpoints_at_every_step()
    chance, counts = random.Random(seed), {name: collections.Counter[str]() for name in names}
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        os.environ["SPARSERNN_CACHE"] = str(base / "cache")
        write_files(base)
        whole, longest_ms = {}, {}
        for name in names:
            place = base / f"whole {name}"
            place.mkdir()
            started = time.perf_counter()
            attempt(COMMANDS[name], place, None)
            longest_ms[name] = LONGEST_LIFE * 1000 * (time.perf_counter() - started)
            whole[name] = left(place)
        for number in range(kills):
            left_to_kill = kills - sum(count["kills"] for count in counts.values())
            if left_to_kill <= 0:
                break
            name = names[number % len(names)]
            place = base / f"pieces {number}"
            place.mkdir()
            words = [*COMMANDS[name], "--resume"]
            lives = [chance.uniform(0, longest_ms[name]) for _ in range(min(MOST_KILLS, left_to_kill))]
            for life_ms in (*lives, None):
                if attempt(words, place, life_ms):
                    break
                counts[name]["kills"] += 1
            made = left(place)
            differing = [
                path for path in sorted({*made, *whole[name]}) if made.get(path, "-") != whole[name].get(path, "-")
            ]
            counts[name]["runs"] += 1
            counts[name]["identical"] += not differing
            if differing:
                print(name, [(path, *apart(whole[name].get(path), made.get(path))) for path in differing], flush=True)
    return counts


if __name__ == "__main__":
    told = main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or list(COMMANDS))
    for command, count in told.items():
        print(f"{command:20} {count['kills']:4} kills {count['runs']:4} runs {count['identical']:4} identical")
    raise SystemExit(any(count["runs"] != count["identical"] for count in told.values()))
