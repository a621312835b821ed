"""Many processes and threads that predict from one trained network at once: all right, and none the slower for it.

    python benchmarks/predict_at_once.py RUN FILE [--json]

RUN is what `sparsernn train` left, which may be read-only, and FILE one that it predicts. Sixteen processes of eight
threads each predict it and have to agree with one that is alone. Then two processes and eight predict as often as they
can, in turns, and their predictions in a second are compared, beside those of plain Python that shares nothing: what
is lost there the machine loses to changing between processes. Nothing that RUN holds may change. Each process keeps
its memory as the command does.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from multiprocessing.synchronize import Barrier
from pathlib import Path

from sparsernn.cli import prepare_process
from sparsernn.own_data import prediction

PROCESSES, THREADS, FEW, MANY = 16, 8, 2, 8


def agree(run: Path, file: Path, expected: object) -> bool:
    """Whether eight threads of this process predict what is expected."""
    with ThreadPoolExecutor(THREADS) as pool:
        return all(one == expected for one in pool.map(lambda _: prediction.predict(run, file), range(THREADS)))


def count(call: Callable[[], object], seconds: float, together: Barrier) -> tuple[int, float]:
    """Calls that this process makes from when all are ready, and the seconds that they took."""
    prepare_process()
    call()
    together.wait()
    started, made = time.perf_counter(), 0
    while time.perf_counter() - started < seconds:
        call()
        made += 1
    return made, time.perf_counter() - started


def throughput(processes: int, call: Callable[[], object], seconds: float) -> float:
    """Calls in a second by so many processes."""
    with multiprocessing.Manager() as manager, multiprocessing.Pool(processes) as pool:
        together = manager.Barrier(processes)
        done = pool.starmap(count, [(call, seconds, together)] * processes, chunksize=1)
    return sum(made / taken for made, taken in done)


def plain_python() -> object:
    """Some milliseconds of a program that reads no file and shares nothing: JSON and dictionaries."""
    rows = json.loads(json.dumps([{"number": number, "words": [str(number)] * 5} for number in range(3000)]))
    return sorted({f"{word} {row['number']}": word for row in rows for word in row["words"]})


def states(run: Path) -> list[tuple[str, int, int]]:
    """Every path in a folder with its size and time."""
    return [(str(path), path.lstat().st_size, path.lstat().st_mtime_ns) for path in sorted(run.rglob("*"))]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("file", type=Path)
    parser.add_argument("--seconds", type=float, default=2.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    before, expected = states(asked.run), prediction.predict(asked.run, asked.file)
    with multiprocessing.Pool(PROCESSES) as pool:
        right = pool.starmap(agree, [(asked.run, asked.file, expected)] * PROCESSES, chunksize=1)
    calls = {"predict": partial(prediction.predict, asked.run, asked.file), "plain_python": plain_python}
    rates = [
        {name: [throughput(number, call, asked.seconds) for number in (FEW, MANY)] for name, call in calls.items()}
        for _ in range(asked.rounds)
    ]
    ratio, plain = (statistics.median(one[name][1] / one[name][0] for one in rates) for name in calls)
    unchanged = states(asked.run) == before
    figures = {
        "right": sum(right), "of": PROCESSES, "ratio": ratio, "plain_python": plain, "unchanged": unchanged,
        "rates": rates,
    }  # fmt: skip
    if asked.json:
        print(json.dumps(figures))
        return
    print(f"{sum(right)} of {PROCESSES} processes of {THREADS} threads were right")
    print(
        f"{MANY} processes make {ratio:.2f} of the predictions in a second that {FEW} make; of plain Python {plain:.2f}"
    )
    print("what was read is as it was" if unchanged else "WHAT WAS READ HAS CHANGED")


if __name__ == "__main__":
    main()
