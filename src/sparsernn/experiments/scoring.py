"""What is measured on a trained row: quality on the test split, size and work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsernn.compaction.compact import save_compact
from sparsernn.data.task import Batch, Loaded
from sparsernn.measure import cost
from sparsernn.measure.confusion import confusion
from sparsernn.recipes import trained
from sparsernn.recipes.recipe import Row
from sparsernn.structure.masks import Masks
from sparsernn.training import durable, objectives


def score(row: Row, loaded: Loaded, model: nn.Module, masks: Masks, folder: Path) -> dict[str, Any]:
    """Cut the trained network where the row says so, and measure what is left on the test split.

    `weights` and `bytes_dense` are of the network as it was built. `bytes` are what the final network takes when each
    matrix is stored as its kept values and one bit a weight, or plainly where that is smaller.
    """
    example = objectives.to_device(batch_of(loaded, 1), next(model.parameters()).device)
    final = trained.cut(model, masks, example) if row.compact else trained.Compacted(model, masks, None)
    if row.compact:
        save_compact(folder / trained.COMPACT, final.network)
    valid_batch_size = row.settings.valid_batch_size or row.settings.batch_size
    valid = objectives.evaluate(final.network, loaded.valid, loaded.objective, valid_batch_size)
    test = objectives.evaluate(final.network, loaded.test, loaded.objective, row.measure.test_batch_size)
    if loaded.labels and loaded.objective in ("classification", "tagging"):
        write_confusion(folder, confusion(final.network, loaded.test, loaded.labels))
    before = cost.count(model)
    left = cost.count(final.network, final.masks, example=trained.arguments(example))
    return {
        **test,
        **{f"valid_{name}": value for name, value in valid.items()},
        "sparsity": masks.sparsity(),
        "weights": before.weights + before.biases,
        "weights_kept": left.kept + left.biases,
        "bytes_dense": before.dense_bytes,
        "bytes": left.packed_bytes,
        "macs_per_token": left.macs(),
        **cost.own_figures(final.network),
        **({} if row.search is None else {"strength": row.method.strength}),
        **({} if final.difference is None else {"compaction_difference": final.difference}),
    }


def write_confusion(folder: Path, found: dict[str, Any]) -> None:
    """Write how often each label was taken for each other."""
    durable.replace(folder / "confusion.json", lambda aside: aside.write_text(json.dumps(found)))


def batch_of(loaded: Loaded, size: int) -> Batch:
    """A batch of exactly `size` test sequences, repeated where the split is shorter."""
    batch = next(loaded.test.batches(size))
    axis = objectives.find_objective(loaded.objective).batch_axis
    rows = torch.arange(size) % batch.inputs.shape[axis]
    lengths = None if batch.lengths is None else batch.lengths[rows]
    targets = batch.targets.index_select(axis if batch.targets.dim() > axis else 0, rows)
    return Batch(batch.inputs.index_select(axis, rows), targets, lengths)
