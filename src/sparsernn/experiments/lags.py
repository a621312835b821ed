"""How far back a row's network is trained: gradients of a loss at the last step by lag, for a report."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsernn import durable
from sparsernn.data.task import Batch, Loaded
from sparsernn.measure.gate_maps import GateMap
from sparsernn.measure.gradient_by_lag import gradient_by_lag
from sparsernn.structure.wiring import Wiring
from sparsernn.training import objectives

FILE = "lags.json"
SEQUENCES = 32
STEPS = 100


def write(folder: Path, loaded: Loaded, network: nn.Module, living: Mapping[str, Any]) -> None:
    """Leave the norms in the run folder, with the number of units behind each; only of cells that read their state.

    Arguments:
        living: what `compaction.remains` says of the network.
    """
    if not all(layer.cell.reads_state for layer in Wiring.local(network).layers) or not living["layers"]:
        return
    kinds, counts = {}, {}
    for one in map(GateMap.from_json, living["layers"]):
        kinds[one.label] = {", ".join(kind) or "none": units for kind, units in one.kinds().items()}
        counts[one.label] = {"all": one.living} | {kind: len(units) for kind, units in kinds[one.label].items()}
    batch = objectives.to_device(at_the_end(loaded), next(network.parameters()).device)
    objective = objectives.find_objective(loaded.objective)
    norms = gradient_by_lag(network.eval(), lambda: objective.loss(network, batch)[0], kinds, batch.lengths)
    layers = {label: {**layer, "units": counts[label]} for label, layer in norms.items() if label in counts}
    durable.replace(folder / FILE, json.dumps({"layers": layers}))


def at_the_end(loaded: Loaded) -> Batch:
    """Test sequences of which the last step alone is scored; a text is read on for `STEPS` steps."""
    batches = iter(loaded.test.batches(SEQUENCES))
    batch = next(batches)
    if loaded.objective == "language_model":
        while loaded.test.carries_state and len(batch.inputs) < STEPS and (more := next(batches, None)) is not None:
            if more.inputs.shape[1:] != batch.inputs.shape[1:]:
                break
            joined = zip(batch[:2], more[:2], strict=True)
            batch = Batch(*(torch.cat(parts) for parts in joined))
        targets = torch.full_like(batch.targets, objectives.IGNORED)
        targets[-1] = batch.targets[-1]
        return batch._replace(targets=targets)
    if loaded.objective != "tagging":
        return batch
    rows = torch.arange(len(batch.targets))
    last = batch.targets.shape[1] - 1 if batch.lengths is None else batch.lengths - 1
    targets = torch.full_like(batch.targets, objectives.IGNORED)
    targets[rows, last] = batch.targets[rows, last]
    return batch._replace(targets=targets)
