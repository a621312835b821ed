"""State of every global generator that training may draw from."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seed Python, numpy and torch; processes of one training draw different numbers."""
    own = seed_of(seed, rank)
    random.seed(own)
    np.random.seed(own)
    torch.manual_seed(own)


def seed_of(*numbers: int) -> int:
    """One seed of 32 bits from several numbers, such as a seed and an epoch."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def random_state() -> dict[str, Any]:
    """Tensors and plain values that `set_random_state` takes."""
    version, numbers, following = random.getstate()
    name, keys, position, has_gauss, gauss = np.random.get_state()
    state = {
        "python": [version, torch.tensor(numbers, dtype=torch.int64), following],
        "numpy": [name, torch.from_numpy(np.asarray(keys).astype(np.int64)), position, has_gauss, gauss],
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        state["cuda"] = torch.cuda.get_rng_state()
    return state


def set_random_state(state: dict[str, Any]) -> None:
    """Put the generators back into a state that `random_state` gave."""
    version, numbers, following = state["python"]
    random.setstate((version, tuple(numbers.tolist()), following))
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
