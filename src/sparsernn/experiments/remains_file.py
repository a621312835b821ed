"""File of a run folder that says which units, gates and words of its network live, for the maps of a report."""

import json
from pathlib import Path

from torch import nn

from sparsernn import durable
from sparsernn.compaction.remains import remains
from sparsernn.data.task import Batch, Loaded
from sparsernn.experiments.compacted import arguments, carries
from sparsernn.structure.masks import Masks

FILE = "structure.json"


def write(folder: Path, loaded: Loaded, network: nn.Module, masks: Masks, example: Batch) -> dict[str, object]:
    """Leave what lives of a network in the run folder, unless it has no recurrent layer; and return it."""
    living = remains(network, masks, arguments(example), loaded.vocabulary if loaded.tokens else (), carries(network))
    if living["layers"]:
        durable.replace(folder / FILE, json.dumps(living))
    return living
