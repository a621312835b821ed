"""Two processes train one network: the same weights and masks in both, and those of one process up to rounding."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from sparsernn.data.task import Batch
from sparsernn.training.objectives import OBJECTIVES
from sparsernn.training.placement import Placement

SCRIPT = Path(__file__).with_name("two_processes.py")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def launched(folder: Path, processes: int) -> list[dict]:
    shared = os.environ | {"OMP_NUM_THREADS": "1", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    running = []
    for rank in range(processes):
        ranks = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(processes)} if processes > 1 else {}
        arguments = [sys.executable, str(SCRIPT), str(folder), str(folder / f"rank-{rank}.json")]
        running.append(subprocess.Popen(arguments, env=shared | ranks, stderr=subprocess.PIPE, text=True))
    for process in running:
        errors = process.communicate()[1]
        assert process.returncode == 0, errors
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in range(processes)]


def test_two_processes_train_as_one_does_and_resume_to_the_same_bits(tmp_path):
    (tmp_path / "two").mkdir()
    (tmp_path / "one").mkdir()
    first, second = launched(tmp_path / "two", 2)
    assert first == second
    for kind in ("weights", "masks", "rows"):
        whole, resumed = first[kind]
        assert whole == resumed
    [alone] = launched(tmp_path / "one", 1)
    assert alone["masks"][0] == first["masks"][0]
    for one, two in zip(alone["weights"][0], first["weights"][0], strict=True):
        assert torch.allclose(torch.tensor(one), torch.tensor(two), atol=1e-5)
    assert [row["train_loss"] for row in alone["rows"][0]] == pytest.approx(
        [row["train_loss"] for row in first["rows"][0]], abs=1e-5
    )


@pytest.mark.parametrize("name", ["classification", "tagging", "language_model"])
@pytest.mark.parametrize("examples", [1, 2, 3, 7])
def test_the_weighted_mean_over_processes_is_that_over_the_batch(name, examples):
    objective = OBJECTIVES[name]
    torch.manual_seed(examples)
    logits = torch.randn(5, examples, 4) if name == "language_model" else torch.randn(examples, 5, 4)
    lengths = torch.randint(1, 6, (examples,)) if name == "tagging" else None
    targets = torch.randint(0, 4, logits.shape[:2])
    if name == "classification":
        logits, targets = logits[:, 0], targets[:, 0]

    def model(inputs, *_, **__):
        return (inputs, None) if name == "language_model" else inputs

    batch = Batch(logits, targets, lengths)
    expected, sums, _ = objective.loss(model, batch)
    mean, total, count = 0.0, 0.0, 0.0
    for rank in range(3):
        placement = Placement()
        placement.rank, placement.processes = rank, 3
        part = placement.part(batch, objective)
        loss, own, _ = objective.loss(model, part.batch)
        mean += loss.item() * part.loss_weight / 3
        total += own["loss"][0] * part.sums_weight
        count += own["loss"][1] * part.sums_weight
    assert mean == pytest.approx(expected.item(), rel=1e-5)
    assert (total, count) == pytest.approx(sums["loss"], rel=1e-5)
