"""The compacted network of a trained row: cut, compared with the uncut one, and saved."""

from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sparsernn import durable
from sparsernn.compaction.compact import compact
from sparsernn.compaction.files import file_of, plain_size
from sparsernn.data.task import Batch
from sparsernn.experiments import trained
from sparsernn.experiments.trained import COMPACT
from sparsernn.measure import cost
from sparsernn.structure.masks import Masks
from sparsernn.training.run_folder import RunFolder
from sparsernn.training.run_record import Json

LARGEST_DIFFERENCE = 1e-5


class Compacted(NamedTuple):
    """A cut network, its masks, and the largest difference of its outputs from the uncut one's (None: not cut)."""

    network: nn.Module
    masks: Masks
    difference: float | None


def compact_run(folder: Path) -> Json:
    """Cut the network in a run folder, check it on made-up inputs, save it; sizes before and after.

    "bytes" are those of a file of the dense network, "bytes_compacted" those of the file that was written.
    """
    whole = trained.read(folder)
    small = cut(whole.network, whole.masks, made_up_batch(whole.data))
    with RunFolder.open(folder):
        write_final(folder, small)
    before, after = cost.count(whole.network), cost.count(small.network, small.masks)
    return {
        "file": str(folder / COMPACT),
        "weights": before.weights + before.biases,
        "weights_compacted": after.weights + after.biases,
        "weights_kept": after.kept + after.biases,
        "bytes": plain_size(whole.network),
        "bytes_compacted": (folder / COMPACT).stat().st_size,
        "largest_difference": small.difference,
    }


def made_up_batch(data: Json, sequences: int = 2, steps: int = 5) -> Batch:
    """Random inputs of the shape that networks for this data take."""
    generator = torch.Generator().manual_seed(0)
    shape = (steps, sequences) if data["objective"] == "language_model" else (sequences, steps)
    if data["tokens"]:
        inputs = torch.randint(data["inputs"], shape, generator=generator)
    else:
        inputs = torch.randn(*shape, data["inputs"], generator=generator)
    return Batch(inputs, torch.zeros(sequences, dtype=torch.long))


def arguments(batch: Batch) -> tuple[Tensor, ...]:
    """What a model's forward takes of a batch."""
    return (batch.inputs,) if batch.lengths is None else (batch.inputs, batch.lengths)


@torch.no_grad()
def cut(network: nn.Module, masks: Masks, batch: Batch) -> Compacted:
    """The compacted network, its outputs compared with the uncut one's on `batch`."""
    network.eval()
    small, small_masks = compact(network, masks, example=arguments(batch), carried_states=carries(network))
    small.eval()
    expected, outputs = (output(model, batch) for model in (network, small))
    difference = float((expected - outputs).abs().max())
    if not difference <= LARGEST_DIFFERENCE * max(1.0, float(expected.abs().max())):
        raise RuntimeError(f"compaction changed the outputs by {difference:.3g}; please report this run's recipe.json")
    return Compacted(small, small_masks, difference)


def carries(network: nn.Module) -> bool:
    """Whether the states that a network returns are only handed to it again."""
    return getattr(network, "objective", "") == "language_model"


def output(model: nn.Module, batch: Batch) -> Tensor:
    """The model's predictions; a language model's state is left out."""
    outputs = model(*arguments(batch))
    return outputs[0] if isinstance(outputs, tuple) else outputs


def write_final(folder: Path, final: Compacted) -> None:
    """Leave the network that a run ended with in its folder, packed; one that was not cut has no cuts in its file."""
    content, _ = file_of(final.network, final.masks)
    durable.replace(folder / COMPACT, content)
