"""Kill whole commands at random moments, give them again, and compare what they leave with what nobody killed leaves.

As a program: `python -m tests.trust.killed_commands KILLS SEED [COMMAND ...]` tells each kill on standard error as it
comes, what differed, and at its end, or when it is interrupted or terminated, a table by command. Each attempt is a
forked process of one that has torch loaded; SIGKILL comes wherever the command then is. Litter is a file that the
uninterrupted command does not leave, in its folder or in that for temporary files.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import os
import random
import re
import signal
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
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
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


def tell(*words: object) -> None:
    print(*words, file=sys.stderr, flush=True)


@dataclasses.dataclass
class Killing:
    """Runs of a command that are killed and given again, held against one that nobody killed."""

    base: Path
    name: str
    chance: random.Random
    counts: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)

    def temporary(self) -> set[str]:
        """What is in the folder for temporary files now."""
        return {str(path) for path in (self.base / "temporary").rglob("*")}

    def begin(self) -> None:
        """Run the command once to its end."""
        started = time.perf_counter()
        self.whole, _ = self.run(self.base / f"whole {self.name}", lives=())
        self.longest_ms = LONGEST_LIFE * 1000 * (time.perf_counter() - started)

    def run(self, place: Path, lives: Sequence[float]) -> tuple[dict[str, object], int]:
        """What the command leaves that is killed after each of these lives and then let go on, and how many did."""
        place.mkdir()
        kills = 0
        for life_ms in (*lives, None):
            if attempt([*COMMANDS[self.name], *(["--resume"] if lives else [])], place, life_ms):
                break
            kills += 1
            self.counts["kills"] += 1
            tell(f"{self.name}: killed after {life_ms:.0f} of {self.longest_ms:.0f} ms")
        return left(place), kills

    def again(self, number: int, most: int) -> int:
        """One more run with at most so many kills; how many they were."""
        lives = [self.chance.uniform(0, self.longest_ms) for _ in range(min(MOST_KILLS, most))]
        before = self.temporary()
        made, kills = self.run(self.base / f"pieces {number}", lives)
        differing = [path for path in sorted({*made, *self.whole}) if made.get(path, "-") != self.whole.get(path, "-")]
        temporary = sorted(self.temporary() - before)
        litter = [*sorted({*made} - {*self.whole}), *temporary]
        self.counts.update(runs=1, different=bool({*differing} - {*litter}), litter=len(litter))
        for path in differing:
            tell(f"{self.name}: {path}:", *apart(self.whole.get(path), made.get(path)))
        for path in temporary:
            tell(f"{self.name}: {path} was left")
        outcome = "DIFFERENT" if differing or litter else "the same"
        tell(f"{self.name}: run {number} ended after {kills} kills: {outcome}")
        return kills


def kill(kills: int, killings: Sequence[Killing]) -> None:
    """Kill until there are so many in all, or until it is stopped."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    number, left_to_kill = 0, kills
    try:
        for killing in killings:
            killing.begin()
        while left_to_kill > 0:
            left_to_kill -= killings[number % len(killings)].again(number, left_to_kill)
            number += 1
    except KeyboardInterrupt:
        tell(f"stopped, {left_to_kill} kills before the end")


def main(kills: int, seed: int, names: Sequence[str]) -> bool:
    """Kill and print the table; whether every run left what it should."""
    torch.set_num_threads(1)
    write_checkpoints_at_every_step()
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as scratch:
        base = Path(scratch)
        os.environ["SPARSERNN_CACHE"], tempfile.tempdir = str(base / "cache"), str(base / "temporary")
        (base / "temporary").mkdir()
        write_files(base)
        killings = [Killing(base, name, chance) for name in names]
        kill(kills, killings)
    for killing in killings:
        told = [f"{killing.counts[word]:4} {word}" for word in ("kills", "runs", "different", "litter")]
        print(f"{killing.name:20}", *told)
    return not any(killing.counts["different"] or killing.counts["litter"] for killing in killings)


if __name__ == "__main__":
    raise SystemExit(not main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or list(COMMANDS)))
