"""What a row's network does to its states before and after training, for the figures of a report."""

import copy
import json
from pathlib import Path

from torch import nn

from sparsernn import durable
from sparsernn.data.task import Loaded
from sparsernn.experiments.rows import Row
from sparsernn.measure.jacobian import connections, spectra
from sparsernn.methods.method import Method
from sparsernn.structure.masks import Masks
from sparsernn.training import objectives
from sparsernn.training.steps import Training

FILE = "spectra.json"
SEQUENCES = 4


def at_start(row: Row, loaded: Loaded, model: nn.Module, method: Method | None) -> dict[str, object]:
    """Spectra and connections of the network as training will find it: a copy of it is made sparse in the same way."""
    objective = objectives.find_objective(loaded.objective)
    training = Training(copy.deepcopy(model), loaded.train, None, objective, method, row.settings)
    masks = Masks({}) if training.sparsifier is None else training.sparsifier.masks
    return describe(loaded, training.model, masks)


def describe(loaded: Loaded, model: nn.Module, masks: Masks) -> dict[str, object]:
    """Spectra on test sequences, and connections."""
    objective = objectives.find_objective(loaded.objective)
    batch = objectives.to_device(next(iter(loaded.test.batches(SEQUENCES))), next(model.parameters()).device)
    arguments = objective.arguments(batch)
    values = spectra(model, lambda model: model(*arguments), sequences=SEQUENCES)
    return {"spectra": values, "connections": connections(model, masks)}


def write(folder: Path, start: dict[str, object], trained: dict[str, object]) -> None:
    """Leave both in the run folder."""
    durable.replace(folder / FILE, json.dumps({"start": start, "trained": trained}))
