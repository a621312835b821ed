"""Kill trainings at random moments, resume each, and compare with those that nobody killed.

Run as a script: `python tests/training/kill_and_resume.py KILLS SEED`. Each attempt is a forked process of
one that has torch loaded; SIGKILL comes after a random time, wherever the attempt then is. Prints a JSON object.
"""

from __future__ import annotations

import hashlib
import json
import os
import random
import select
import signal
import sys
import tempfile
import time
import traceback
from pathlib import Path

import numpy as np
import torch
from torch import nn

from sparsernn.data.splits import TensorSplit, TextSplit
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.rigl import RigL
from sparsernn.training.loop import fit
from sparsernn.training.run_folder import RunFolder
from sparsernn.training.settings import Settings

LONGEST_LIFE = 0.4  # of the time that the training takes when nobody kills it


class Classifier(nn.Module):
    def __init__(self):
        super().__init__()
        self.recurrent = nn.GRU(3, 6, batch_first=True)
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(6, 2)

    def forward(self, inputs, lengths=None):
        return self.head(self.dropout(self.recurrent(inputs)[0][:, -1]))


class LanguageModel(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(9, 5)
        self.recurrent = nn.LSTM(5, 5, num_layers=2, dropout=0.2)
        self.head = nn.Linear(5, 9)

    def forward(self, ids, state=None):
        output, state = self.recurrent(self.embedding(ids), state)
        return self.head(output), state


def splits_of(objective: str):
    generator = torch.Generator().manual_seed(0)
    if objective == "classification":
        inputs = torch.randn(64, 5, 3, generator=generator)
        split = TensorSplit(inputs, (inputs.sum((1, 2)) > 0).long())
    else:
        split = TextSplit(np.random.RandomState(0).randint(0, 9, 300), 6)
    return split, split


KINDS = (
    ("classification", None, {"optimizer": "adam"}),
    ("classification", Magnitude(0.5, granularity="neuron"), {"optimizer": "adamw", "schedule": "cosine"}),
    ("classification", GroupLasso(0.01), {"optimizer": "rmsprop", "clip": 1.0}),
    ("language_model", RigL(0.6, every=4), {"optimizer": "sgd", "momentum": 0.9, "schedule": "plateau"}),
)


def train(kind: int, seed: int, path: Path) -> None:
    """Begin or resume one training, with a checkpoint after every step."""
    objective, method, options = KINDS[kind]
    torch.manual_seed(seed)
    model = Classifier() if objective == "classification" else LanguageModel()
    settings = Settings(epochs=4, batch_size=8, learning_rate=0.02, seed=seed, checkpoint_seconds=0.0, **options)
    with RunFolder.create(path, {"kind": kind, "seed": seed}, resume=True) as run:
        fit(
            model,
            *splits_of(objective),
            objective=objective,
            method=method,
            settings=settings,
            run=run,
            resume=True,
            progress=False,
        )


def attempt(kind: int, seed: int, path: Path, life_ms: float | None) -> bool:
    """Train in a forked process that is killed after `life_ms`; True if it came to its end before."""
    process = os.fork()
    if process == 0:
        status = 1
        try:
            train(kind, seed, path)
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(status)
    status = status_of(process, life_ms)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status):
        raise SystemExit(f"a resumed training failed with status {os.WEXITSTATUS(status)}")
    return os.WIFEXITED(status)


def status_of(process: int, life_ms: float | None) -> int:
    """The status with which a child ends, which is killed after `life_ms`, or when its parent is interrupted."""
    descriptor = os.pidfd_open(process)
    ended, alive = select.poll(), True
    ended.register(descriptor, select.POLLIN)
    try:
        alive = not ended.poll(life_ms)
    finally:
        if alive:
            os.kill(process, signal.SIGKILL)
        os.close(descriptor)
        status = os.waitpid(process, 0)[1]
    return status


def outcome(path: Path) -> dict[str, object]:
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    return {
        "weights": hashlib.sha256((path / "weights.safetensors").read_bytes()).hexdigest(),
        "masks": hashlib.sha256((path / "masks.npz").read_bytes()).hexdigest(),
        "metrics": [{name: value for name, value in row.items() if name != "seconds"} for row in rows],
    }


def main(kills: int, seed: int) -> dict[str, int]:
    torch.set_num_threads(1)
    chance = random.Random(seed)
    done = {"kills": 0, "runs": 0, "identical": 0}
    with tempfile.TemporaryDirectory() as folder:
        for kind in range(len(KINDS)):
            train(kind, seed, Path(folder) / f"warm-{kind}")  # so that what is loaded on first use is loaded here
        while done["kills"] < kills:
            kind, number = done["runs"] % len(KINDS), done["runs"]
            whole, pieces = Path(folder) / f"whole-{number}", Path(folder) / f"pieces-{number}"
            started = time.perf_counter()
            attempt(kind, seed + number, whole, None)
            longest_ms = LONGEST_LIFE * 1000 * (time.perf_counter() - started)
            while not attempt(kind, seed + number, pieces, chance.uniform(0, longest_ms)):
                done["kills"] += 1
            done["runs"] += 1
            done["identical"] += outcome(whole) == outcome(pieces)
    return done


if __name__ == "__main__":
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
