"""A label for every sample of a phone's sensors by a network of about 560 bytes, as C on an Arduino Uno.

Five networks (FastGRNN with hard gates, int8 weights) are trained from different seeds and written as C; what is scored
is that C, compiled and run on this processor over the recordings of people whom training never saw. Its cycles on the
Uno are counted in simavr. The settings were chosen on the validation people.

    python benchmarks/activity.py [--units 13] [--seeds 5] [--out FILE.json]

The data are those of the task `activity_recognition` (`SPARSERNN_DATA`), every fourth sample: 25 a second.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.metrics import f1_score
from small_machines import MACHINES, STEPS, outputs_of_c, write_inputs
from torch import Tensor, nn

from sparsernn import export_c, set_flush_denormal
from sparsernn.data.activity_recognition import LABELS, SENSORS, ActivityRecognition
from sparsernn.data.splits import SequenceSplit
from sparsernn.deploy.eight_bits import eight_bits
from sparsernn.nn import FastGRNN

EVERY, WINDOW, BATCH, UPDATES, ROUNDED, RATE = 4, 128, 48, 700, 200, 2e-2
"""Of UPDATES updates the last ROUNDED see the rounding to 8 bits."""
ANGLE, SCALE, NOISE = 0.3, 0.15, 0.1
"""How windows are changed: deviations of a rotation in radians, of each sensor's scale, and of what is added."""
UNO = next(machine for machine in MACHINES if machine.name == "ATmega328P")
Recording = tuple[np.ndarray, np.ndarray]


class Labeller(nn.Module):
    """A recurrent layer and a linear one at every step."""

    def __init__(self, units: int):
        super().__init__()
        options = {"gate_activation": "hard_sigmoid", "activation": "hard_tanh", "zeta": 1.0, "nu": 0.0}
        self.layer = FastGRNN(len(SENSORS), units, batch_first=True, **options)
        self.head = nn.Linear(units, len(LABELS))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0])


def recordings(split: SequenceSplit) -> list[Recording]:
    """Sensors and labels of each recording."""
    places = [slice(split.offsets[row], split.offsets[row + 1]) for row in split.rows]
    return [(split.values[place], split.targets[place]) for place in places]


def train(train: Sequence[Recording], units: int, seed: int) -> Labeller:
    """A network that saw windows of recordings, which begin anywhere."""
    torch.manual_seed(seed)
    generator, model = np.random.default_rng(seed), Labeller(units)
    optimizer = torch.optim.AdamW(model.parameters(), RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=UPDATES, pct_start=0.1)
    for update in range(UPDATES):
        x, labels = windows(train, generator)
        with eight_bits(model) if update >= UPDATES - ROUNDED else torch.enable_grad():
            loss = nn.functional.cross_entropy(model(x).flatten(0, 1), labels.flatten(), label_smoothing=0.05)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def windows(recordings: Sequence[Recording], generator: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Shapes: [batch time sensor], [batch time]"""
    xs, labels = [], []
    for number in generator.integers(len(recordings), size=BATCH):
        x, label = recordings[number]
        first = generator.integers(len(x) - WINDOW)
        turned = x[first : first + WINDOW].reshape(WINDOW, 2, 3) @ turn(generator).T
        noise = generator.normal(0, NOISE, (WINDOW, 6))
        xs.append((turned.reshape(WINDOW, 6) * generator.normal(1, SCALE, 6) + noise).astype(np.float32))
        labels.append(label[first : first + WINDOW])
    return torch.from_numpy(np.stack(xs)), torch.from_numpy(np.stack(labels))


def turn(generator: np.random.Generator) -> np.ndarray:
    """A rotation by some tens of degrees, as another pocket makes it. [3 3]"""
    x, y, z = generator.normal(0, ANGLE, 3)
    skew = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.linalg.solve(np.eye(3) + skew / 2, np.eye(3) - skew / 2)


def score(labels: Sequence[np.ndarray], recordings: Sequence[Recording]) -> dict[str, float]:
    ours, expected = np.concatenate(labels), np.concatenate([label for _, label in recordings])
    return {"f1": float(f1_score(expected, ours, average="macro")), "accuracy": float((ours == expected).mean())}


def measured(model: Labeller, parts: dict[str, Sequence[Recording]]) -> dict[str, Any]:
    """Scores of one network as float32 in torch and as the C that is shipped, and what that takes."""
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        example = torch.from_numpy(next(iter(parts.values()))[0][0][:9]).unsqueeze(0)
        source = export_c(model, folder, "g", example=example, format="smallest", int8=True)
        figures["weights"] = source.constants
        for name, part in parts.items():
            figures[name] = score([one.argmax(-1) for one in outputs_of_c(source, [x for x, _ in part])], part)
            with torch.no_grad():
                exact = [model(torch.from_numpy(x).unsqueeze(0))[0].argmax(-1).numpy() for x, _ in part]
            figures[f"{name}, float32"] = score(exact, part)
        if not UNO.missing:
            write_inputs(Path(folder), example[0, :STEPS].numpy())
            on_uno = UNO.run(Path(folder), source)
            figures |= {} if on_uno is None else {"code": on_uno.code, "cycles": on_uno.count}
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--units", type=int, default=13)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--test", action="store_true", help="score the test people too")
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    set_flush_denormal(True)
    data = ActivityRecognition(every=EVERY).load()
    names = ("valid", "test") if arguments.test else ("valid",)
    parts = {name: recordings(getattr(data, name)) for name in names}
    lines = []
    for seed in range(arguments.seeds):
        lines.append({"seed": seed} | measured(train(recordings(data.train), arguments.units, seed), parts))
        print(json.dumps(lines[-1]), flush=True)
    for name in names:
        values = [line[name]["f1"] for line in lines]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(f"{name}: F1 {statistics.mean(values):.3f} +- {spread:.3f}", file=sys.stderr)
    if arguments.out:
        arguments.out.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
