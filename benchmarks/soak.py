"""Ten million streamed steps of one network in memory and time: no leak, no drift, and threads that get the same bits.

    python benchmarks/soak.py                # a few minutes: results/benchmarks/soak.json
    python benchmarks/soak.py --steps 100000

Frames repeat, and after each round of them the states are made zero: then the outputs have to be those of the first
round, bit for bit, to the last one. A second stream is never reset; it has to stay within what gates let through.
Resident memory is read all along; what the last half adds is a leak.
"""

from __future__ import annotations

import argparse
import json
import threading
import time
from pathlib import Path

import numpy as np

from sparsernn.cells.lstm import LSTM
from sparsernn.runtime.layers import RecurrentLayer

FOLDER = Path(__file__).parents[1] / "results" / "benchmarks"
ROUND, UNITS = 1000, 64


def made(format: str) -> RecurrentLayer:
    """A layer with one weight in ten."""
    generator, cell, weights = np.random.default_rng(0), LSTM(), {}
    for name in cell.axes:
        shape = cell.shape(name, cell.sizes(UNITS, UNITS))
        numbers = generator.standard_normal(shape) / np.sqrt(0.1 * UNITS)
        weights[name] = (numbers * (generator.random(shape) < 0.1)).astype(np.float32)
    return RecurrentLayer(cell, weights, format)


def resident() -> int:
    """Bytes of this process in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096


def soak(format: str, steps: int) -> dict[str, object]:
    """Steps of two streams of one layer. Raises: AssertionError if an output is another than it was."""
    layer, generator = made(format), np.random.default_rng(1)
    frames = list(generator.standard_normal((ROUND, 1, UNITS), dtype=np.float32))
    expected = b""
    stream, endless = layer.stream(), layer.stream()
    memory, started = [], time.perf_counter()
    for number in range(steps // (2 * ROUND)):
        for frame in frames:
            output = stream.step(frame)
            endless.step(frame)
        expected = expected or output.tobytes()
        if output.tobytes() != expected:
            raise AssertionError(f"round {number} ended with another output")
        stream.reset()
        memory.append(resident())
    state = np.concatenate([part.reshape(-1) for part in endless.state])
    half = memory[len(memory) // 2 :]
    return {
        "format": format,
        "steps": steps // (2 * ROUND) * 2 * ROUND,
        "seconds": round(time.perf_counter() - started, 1),
        "bytes_grown_in_last_half": half[-1] - half[0],
        "largest_of_endless_state": float(np.abs(state).max()),
    }


def share(format: str, threads: int) -> bool:
    """Whether so many threads with streams of their own get the bits that one gets."""
    layer = made(format)
    frames = list(np.random.default_rng(2).standard_normal((20 * ROUND, 1, UNITS), dtype=np.float32))

    def outputs() -> bytes:
        stream = layer.stream()
        return b"".join(stream.step(frame).tobytes() for frame in frames)

    expected, results = outputs(), []
    team = [threading.Thread(target=lambda: results.append(outputs())) for _ in range(threads)]
    for one in team:
        one.start()
    for one in team:
        one.join()
    return len(results) == threads and set(results) == {expected}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000_000)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    formats = ("int8_blocks", "rows")
    rows = [soak(format, options.steps // len(formats)) for format in formats]
    same = {format: share(format, options.threads) for format in formats}
    result = {"rows": rows, "threads": options.threads, "same_bits": same}
    print(json.dumps(result, indent=2))
    if not all(same.values()) or any(row["bytes_grown_in_last_half"] > 1 << 20 for row in rows):
        raise SystemExit("threads differ, or memory grows")
    if options.steps >= 10_000_000:
        FOLDER.mkdir(parents=True, exist_ok=True)
        (FOLDER / "soak.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
