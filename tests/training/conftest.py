"""Small runs: a network, data and settings that train in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from sparsernn.data.splits import TensorSplit, TextSplit
from sparsernn.data.task import Split
from sparsernn.training.loop import Fitted, fit
from sparsernn.training.run_folder import RunFolder
from sparsernn.training.settings import Settings


class Network(nn.Module):
    """A recurrent network with dropout whose last layer reads the last step or every step."""

    def __init__(self, inputs: int, outputs: int, *, every_step: bool = False, dropout: float = 0.3, units: int = 6):
        super().__init__()
        self.recurrent = nn.GRU(inputs, units, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(units, outputs)
        self.every_step = every_step

    def forward(self, inputs: Tensor, lengths: Tensor | None = None) -> Tensor:
        output, _ = self.recurrent(inputs)
        return self.head(self.dropout(output if self.every_step else output[:, -1]))


class TextNetwork(nn.Module):
    """A language model with dropout and a tied last layer."""

    def __init__(self, vocabulary: int, units: int = 5):
        super().__init__()
        self.embedding = nn.Embedding(vocabulary, units)
        self.recurrent = nn.LSTM(units, units, num_layers=2, dropout=0.2)
        self.head = nn.Linear(units, vocabulary)
        self.head.weight = self.embedding.weight

    def forward(self, ids: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        output, state = self.recurrent(self.embedding(ids), state)
        return self.head(output), state


@dataclass
class Case:
    """A kind of training: how its network is made, and on what it is trained."""

    objective: str
    network: Callable[[], nn.Module]
    train: Split
    valid: Split
    settings: dict[str, Any] = field(default_factory=dict)

    def model(self) -> nn.Module:
        torch.manual_seed(7)
        return self.network()

    def fit(self, **more: Any) -> tuple[nn.Module, Fitted]:
        """Train a new network; `more` holds arguments of fit and, for all other names, of Settings."""
        names = ("train", "valid", "method", "run", "resume", "progress")
        arguments = {"train": self.train, "valid": self.valid, "progress": False}
        arguments |= {name: more.pop(name) for name in names if name in more}
        model = more.pop("model", None) or self.model()
        settings = Settings(
            **{"epochs": 3, "batch_size": 8, "learning_rate": 0.02, "loggers": ()} | self.settings | more
        )
        return model, fit(model, objective=self.objective, settings=settings, **arguments)


def _random_split(targets: Callable[[Tensor], Tensor], count: int, seed: int) -> TensorSplit:
    inputs = torch.randn(count, 5, 3, generator=torch.Generator().manual_seed(seed))
    return TensorSplit(inputs, targets(inputs))


def _text(length: int, seed: int) -> np.ndarray:
    return np.random.RandomState(seed).randint(0, 9, length)


def _sign_of_sum(inputs: Tensor) -> Tensor:
    return (inputs.sum((1, 2)) > 0).long()


def _sign_of_steps(inputs: Tensor) -> Tensor:
    return (inputs.cumsum(1).sum(2) > 0).long()


def _means(inputs: Tensor) -> Tensor:
    return inputs.mean(1)[:, :2]


CASES = {
    "classification": Case(
        "classification", lambda: Network(3, 2), _random_split(_sign_of_sum, 44, 0), _random_split(_sign_of_sum, 20, 1)
    ),
    "tagging": Case(
        "tagging",
        lambda: Network(3, 2, every_step=True),
        _random_split(_sign_of_steps, 30, 0),
        _random_split(_sign_of_steps, 20, 1),
    ),
    "forecasting": Case(
        "forecasting", lambda: Network(3, 2), _random_split(_means, 30, 0), _random_split(_means, 20, 1)
    ),
    "language_model": Case(
        "language_model",
        lambda: TextNetwork(9),
        TextSplit(_text(300, 0), 7),
        TextSplit(_text(90, 1), 7),
        {"batch_size": 6},
    ),
}


@pytest.fixture
def cases() -> dict[str, Case]:
    return CASES


@pytest.fixture
def classification() -> Case:
    return CASES["classification"]


class Stopped(Exception):
    """Raised by a split that stops a training as an interrupt would."""


@dataclass(frozen=True)
class StoppingSplit(Split):
    """A split that raises once so many batches have been read in all epochs together."""

    split: Split
    left: list[int]

    @property
    def carries_state(self) -> bool:  # type: ignore[override]
        return self.split.carries_state

    def __len__(self) -> int:
        return len(self.split)

    def number_of_batches(self, size: int) -> int:
        return self.split.number_of_batches(size)

    def batches(self, size: int, *, shuffle_seed: int | None = None) -> Iterator[Any]:
        for batch in self.split.batches(size, shuffle_seed=shuffle_seed):
            if not self.left[0]:
                raise Stopped
            self.left[0] -= 1
            yield batch


@dataclass
class Outcome:
    """What a run left in its folder, as bytes and rows."""

    weights: bytes
    masks: bytes
    metrics: list[dict[str, Any]]


def outcome_of(folder: Path) -> Outcome:
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    metrics = [{name: value for name, value in row.items() if name != "seconds"} for row in rows]
    return Outcome((folder / "weights.safetensors").read_bytes(), (folder / "masks.npz").read_bytes(), metrics)


@pytest.fixture
def run_whole(tmp_path: Path) -> Callable[..., Outcome]:
    def run(case: Case, **more: Any) -> Outcome:
        with RunFolder.create(tmp_path / "whole", {"name": "whole"}) as folder:
            case.fit(run=folder, **more)
        return outcome_of(tmp_path / "whole")

    return run


@pytest.fixture
def run_in_pieces(tmp_path: Path) -> Callable[..., Outcome]:
    """A run that is stopped after each of `pieces` batches and resumed, with a checkpoint after every step."""

    def run(case: Case, pieces: list[int], **more: Any) -> Outcome:
        RunFolder.create(tmp_path / "pieces", {"name": "pieces"}).close()
        for piece in pieces:
            with RunFolder.open(tmp_path / "pieces") as folder, pytest.raises(Stopped):
                case.fit(
                    run=folder, resume=True, train=StoppingSplit(case.train, [piece]), checkpoint_seconds=0.0, **more
                )
        with RunFolder.open(tmp_path / "pieces") as folder:
            case.fit(run=folder, resume=True, checkpoint_seconds=0.0, **more)
        return outcome_of(tmp_path / "pieces")

    return run
