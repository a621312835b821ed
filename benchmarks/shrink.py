"""Two ordinary torch models made small by `shrink`: a GRU that hears spoken digits, a BiLSTM that reads reviews.

The floor is on validation; test figures are read once, of the model that was taken, beside the dense one's. The step of
the stream is timed in the runtime without torch, dense and small in turn, on one thread.

    python benchmarks/shrink.py spoken_digits --seeds 0,1,2,3,4 [--out FILE.json]
    python benchmarks/shrink.py imdb [--out FILE.json]
"""

from __future__ import annotations

import argparse
import copy
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence

from sparsernn import runtime, set_flush_denormal, shrink
from sparsernn.compaction.files import plain_size
from sparsernn.data.imdb import Imdb
from sparsernn.data.spoken_digits import SpokenDigits
from sparsernn.data.task import Split
from sparsernn.deploy.packing import pack
from sparsernn.own_model.shrinking import How

TASKS = ("spoken_digits", "imdb")


class Listener(nn.Module):
    """A GRU over log-mel frames; its last state says the digit."""

    def __init__(self, units: int = 128):
        super().__init__()
        self.gru, self.head = nn.GRU(40, units, batch_first=True), nn.Linear(units, 10)

    def forward(self, frames: Tensor, lengths: Tensor) -> Tensor:
        packed = pack_padded_sequence(frames, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return self.head(self.gru(packed)[1][-1])


class Reviewer(nn.Module):
    """A BiLSTM over words, and the mean of its outputs."""

    def __init__(self, words: int, width: int = 64, units: int = 64):
        super().__init__()
        self.embedding = nn.Embedding(words, width)
        self.lstm = nn.LSTM(width, units, batch_first=True, bidirectional=True)
        self.dropout, self.head = nn.Dropout(0.4), nn.Linear(2 * units, 2)
        nn.init.normal_(self.embedding.weight, std=0.1)

    def forward(self, ids: Tensor) -> Tensor:
        return self.head(self.dropout(self.lstm(self.embedding(ids))[0].mean(1)))


class Shuffled:
    """Batches of a split in another order each time."""

    def __init__(self, split: Split, size: int, keywords: bool):
        self.split, self.size, self.keywords, self.reads = split, size, keywords, 0

    def __iter__(self) -> Any:
        self.reads += 1
        for batch in self.split.batches(self.size, shuffle_seed=self.reads):
            yield inputs_of(batch, self.keywords), batch.targets


def inputs_of(batch: Any, lengths: bool) -> tuple[Tensor, ...]:
    return (batch.inputs, batch.lengths) if lengths else (batch.inputs,)


def loss(model: nn.Module, batch: tuple[tuple[Tensor, ...], Tensor]) -> Tensor:
    return F.cross_entropy(model(*batch[0]), batch[1])


def accuracy(model: nn.Module, split: Split, lengths: bool) -> float:
    training = model.training
    with torch.no_grad():
        model.eval()
        right = [(model(*inputs_of(b, lengths)).argmax(1) == b.targets).sum() for b in split.batches(250)]
    model.train(training)
    return int(sum(right)) / len(split)


def train(model: nn.Module, data: Shuffled, valid: Split, epochs: int, rate: float) -> nn.Module:
    """The model of the best epoch on validation."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    best, kept = -1.0, model
    for _ in range(epochs):
        for batch in data:
            optimizer.zero_grad()
            loss(model, batch).backward()
            nn.utils.clip_grad_norm_(model.parameters(), 5.0)
            optimizer.step()
        if (reached := accuracy(model, valid, data.keywords)) > best:
            best, kept = reached, copy.deepcopy(model)
    return kept


def step_of(model: Listener) -> Callable[[], object]:
    """A step of the stream that the recurrent layer is without torch."""
    with tempfile.TemporaryDirectory() as folder:
        pack(Path(folder) / "gru.sparsernn", model.gru, steps=1)
        stream = runtime.load(Path(folder) / "gru.sparsernn").stream()
    return partial(stream.step, np.random.default_rng(0).standard_normal((1, 40), dtype=np.float32))


def step_times(dense: nn.Module, small: nn.Module) -> tuple[float, float]:
    """Median microseconds of a step of a stream, dense and small in alternating rounds."""
    steps, rounds = (step_of(dense), step_of(small)), ([], [])
    for _ in range(60):
        for step, times in zip(steps, rounds, strict=True):
            started = time.perf_counter()
            for _ in range(200):
                step()
            times.append((time.perf_counter() - started) / 200 * 1e6)
    return statistics.median(rounds[0]), statistics.median(rounds[1])


def spoken_digits(seed: int, data: Path | None) -> dict[str, Any]:
    """A step of the stream 3.5 times as fast as dense, and no more than a point of validation below it."""
    loaded = SpokenDigits().load(data)
    torch.manual_seed(seed)
    batches = Shuffled(loaded.train, 32, True)
    dense = train(Listener(), batches, loaded.valid, epochs=15, rate=2e-3)
    floor = accuracy(dense, loaded.valid, True) - 0.01
    how = How(share=0.4, steps=4 * (len(loaded.train) // 32), learning_rate=2e-3, timed=step_of)
    quality = lambda model: accuracy(model, loaded.valid, True)  # noqa: E731
    shrunk = shrink(dense, batches, loss, quality, budget={"faster": 3.5}, floor=floor, how=how)
    small = shrunk.model
    dense_us, small_us = step_times(dense, small)
    row = compared(dense, shrunk, loaded.test, True)
    return {"seed": seed, **row, "units": small.gru.hidden_size, "step_us": [dense_us, small_us]}


def imdb(seed: int, data: Path | None) -> dict[str, Any]:
    """The usual call with a tenth of the file as its budget: words, components of the embedding and units go."""
    loaded = Imdb(length=150).load(data)
    torch.manual_seed(seed)
    batches = Shuffled(loaded.train, 64, False)
    dense = train(Reviewer(loaded.inputs), batches, loaded.valid, epochs=3, rate=2e-3)
    quality = lambda model: accuracy(model, loaded.valid, False)  # noqa: E731
    budget = {"bytes": plain_size(dense) // 10}
    shrunk = shrink(dense, batches, loss, quality, budget=budget, floor=quality(dense) - 0.005)
    return {"seed": seed, **compared(dense, shrunk, loaded.test, False)}


def compared(dense: nn.Module, shrunk: Any, test: Split, lengths: bool) -> dict[str, Any]:
    """Dense against what was taken: test accuracy, weights and bytes."""
    first, best = shrunk.points[0], shrunk.best or shrunk.points[0]
    return {
        "test": [accuracy(dense, test, lengths), accuracy(shrunk.model, test, lengths)],
        "valid": [first.quality, best.quality],
        "weights": [first.weights, best.weights],
        "bytes": [first.bytes, best.bytes],
        "points": shrunk.to_json()["points"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("task", choices=TASKS)
    parser.add_argument("--seeds", default="0")
    parser.add_argument("--data", type=Path, help="folder of the data; default: $SPARSERNN_DATA")
    parser.add_argument("--out", type=Path, help="write the figures as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    set_flush_denormal()
    rows = []
    for seed in map(int, arguments.seeds.split(",")):
        rows.append(globals()[arguments.task](seed, arguments.data))
        row = {name: value for name, value in rows[-1].items() if name != "points"}
        print(json.dumps(row), flush=True)
        if arguments.out:
            content = {
                "task": arguments.task,
                "rows": rows,
                "processor": processor(),
                "command": " ".join(["python", *sys.argv]),
            }
            arguments.out.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines() if sys.platform == "linux" else []
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


if __name__ == "__main__":
    main()
