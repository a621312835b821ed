"""State of every global generator that training may draw from."""

import random

import numpy as np
import torch

from sparsernn.sparsifying.state_tree import State


def seed_everything(seed: int, rank: int = 0) -> None:
    """Seed Python, numpy and torch; processes of one training draw different numbers."""
    number = seed_of(seed, rank)
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)


def seed_of(*numbers: int) -> int:
    """One seed of 32 bits from several numbers, such as a seed and an epoch."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0])


def random_state() -> State:
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


def set_random_state(state: State) -> None:
    """Put the generators back into a state that `random_state` gave."""
    version, numbers, following = state["python"]
    random.setstate((version, tuple(numbers.tolist()), following))
    name, keys, position, has_gauss, gauss = state["numpy"]
    np.random.set_state((name, keys.numpy().astype(np.uint32), position, has_gauss, gauss))
    torch.set_rng_state(state["torch"].cpu())
    if "cuda" in state and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"].cpu())
