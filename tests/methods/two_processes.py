"""Two processes that train one model under DistributedDataParallel, each on its own batches."""

import os
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sparsernn import Sparsifier
from sparsernn.methods.method import Method
from tests.methods.networks import batch, network

STEPS = 6

# What one process does, told its rank and a folder for what it writes.
Work = Callable[[int, Path], None]


def side_by_side(work: Work, folder: Path) -> None:
    """Run it in two processes that are joined in one group."""
    torch.multiprocessing.spawn(_joined, args=(work, folder), nprocs=2)


def _joined(rank: int, work: Work, folder: Path) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=2)
    work(rank, folder)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
    # Threads of the group may still run, and an interpreter that ends beneath them is aborted now and then.
    os._exit(0)


def trained(method: Method, rank: int) -> dict[str, Tensor]:
    """Of one of the processes: the parameters of the model and of the method, and what is left of each weight."""
    model = network()
    parallel = DistributedDataParallel(model)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    sparsifier = Sparsifier(parallel, method, optimizer, steps=STEPS)
    for number in range(STEPS):
        inputs, labels = batch(2 * number + rank)
        optimizer.zero_grad()
        (nn.functional.cross_entropy(parallel(inputs), labels) + sparsifier.penalty()).backward()
        optimizer.step()
    owned = dict(sparsifier.owned)
    return owned | {f"kept.{name}": kept for name, kept in sparsifier.finalize().kept.items()} | model.state_dict()


def both(folder: Path, name: str = "") -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What the two have written."""
    return load_file(path_of(folder, 0, name)), load_file(path_of(folder, 1, name))


def write(tensors: dict[str, Tensor], folder: Path, rank: int, name: str = "") -> None:
    save_file(tensors, path_of(folder, rank, name))


def path_of(folder: Path, rank: int, name: str) -> Path:
    return folder / f"{name}-{rank}.safetensors"


def check_equal(first: dict[str, Tensor], second: dict[str, Tensor]) -> None:
    assert first.keys() == second.keys()
    assert all(torch.equal(tensor, second[name]) for name, tensor in first.items())
