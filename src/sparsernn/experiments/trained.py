"""A trained row read back from its run folder, and its compacted network."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparsernn.compaction.compact import compact, load_compact, save_compact
from sparsernn.data.task import Batch
from sparsernn.errors import UserError
from sparsernn.measure import cost
from sparsernn.recipes.network import build, stored_bytes
from sparsernn.recipes.recipe import Row
from sparsernn.structure.masks import Masks
from sparsernn.training.run_folder import RunFolder

COMPACT = "compact.safetensors"
LARGEST_DIFFERENCE = 1e-5


class Trained(NamedTuple):
    """A row with what its training left: the network at its full size, zeros written, and the masks."""

    row: Row
    data: dict[str, Any]
    network: nn.Module
    masks: Masks


class Compacted(NamedTuple):
    """A cut network, its masks, and the largest difference of its outputs from the uncut one's (None: not cut)."""

    network: nn.Module
    masks: Masks
    difference: float | None


def read(folder: Path) -> Trained:
    """The trained row in a run folder.

    Raises: UserError if the folder is none, or its files do not fit each other.
    """
    with RunFolder.open(folder) as run:
        recipe = run.recipe
    row, data = Row.from_json(recipe), recipe.get("data")
    if not isinstance(data, dict):
        raise UserError(
            f"{folder} does not say what data its network was made for",
            "a folder that `sparsernn run` wrote",
            "Give the folder of one row",
        )
    network = build(row, data)
    with RunFolder.open(folder) as run:
        run.load_weights(network)
        masks = run.load_masks()
    masks.apply_(network)
    return Trained(row, data, network, masks)


def compact_run(folder: Path) -> dict[str, Any]:
    """Cut the network in a run folder, check it on made-up inputs, save it; sizes before and after."""
    found = read(folder)
    batch = made_up_batch(found.data)
    small = cut(found.network, found.masks, batch)
    save_compact(folder / COMPACT, small.network)
    before, after = cost.count(found.network), cost.count(small.network, small.masks)
    return {
        "file": str(folder / COMPACT),
        "weights": before.weights + before.biases,
        "weights_compacted": after.weights + after.biases,
        "weights_kept": after.kept + after.biases,
        "bytes": stored_bytes(found.network),
        "bytes_compacted": stored_bytes(small.network),
        "largest_difference": small.difference,
    }


def made_up_batch(data: dict[str, Any], sequences: int = 2, steps: int = 5) -> Batch:
    """Random inputs of the shape that networks for this data take."""
    generator = torch.Generator().manual_seed(0)
    shape = (steps, sequences) if data["objective"] == "language_model" else (sequences, steps)
    if data["tokens"]:
        inputs = torch.randint(data["inputs"], shape, generator=generator)
    else:
        inputs = torch.randn(*shape, data["inputs"], generator=generator)
    return Batch(inputs, torch.zeros(sequences, dtype=torch.long))


def check_fits(start: nn.Module, model: nn.Module, start_name: str, name: str) -> None:
    """Raise a UserError where the weights of `start` have other names or shapes than the model's."""
    shapes = [{key: tuple(value.shape) for key, value in net.state_dict().items()} for net in (start, model)]
    differing = [key for key in sorted(shapes[0].keys() | shapes[1].keys()) if shapes[0].get(key) != shapes[1].get(key)]
    if differing:
        raise UserError(
            f"row {name!r} starts from row {start_name!r}, whose network differs at {', '.join(differing[:5])}",
            "the same model with the same sizes",
            "Give both rows the same model and options",
        )


def arguments(batch: Batch) -> tuple[Tensor, ...]:
    """What a model's forward takes of a batch."""
    return (batch.inputs,) if batch.lengths is None else (batch.inputs, batch.lengths)


@torch.no_grad()
def cut(network: nn.Module, masks: Masks, batch: Batch) -> Compacted:
    """The compacted network, its outputs compared with the uncut one's on `batch`."""
    network.eval()
    small, small_masks = compact(network, masks, example=arguments(batch))
    small.eval()
    expected, found = (output(model, batch) for model in (network, small))
    difference = float((expected - found).abs().max())
    if not difference <= LARGEST_DIFFERENCE * max(1.0, float(expected.abs().max())):
        raise RuntimeError(f"compaction changed the outputs by {difference:.3g}; please report this run's recipe.json")
    return Compacted(small, small_masks, difference)


def output(model: nn.Module, batch: Batch) -> Tensor:
    """The model's predictions; a language model's state is left out."""
    found = model(*arguments(batch))
    return found[0] if isinstance(found, tuple) else found


def read_final(folder: Path) -> nn.Module:
    """The network that a finished run ended with, cut where the run cut it."""
    found = read(folder)
    path = folder / COMPACT
    return load_compact(path, found.network) if path.is_file() else found.network
