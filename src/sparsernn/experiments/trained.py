"""A trained row: as its training left it, or read back from its run folder."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import nn

from sparsernn import typed
from sparsernn.compaction.files import load_compact
from sparsernn.errors import UserError
from sparsernn.experiments.network import Described, build, skeleton_for, skeletons
from sparsernn.experiments.rows import Row
from sparsernn.reading import readable
from sparsernn.structure.masks import Masks
from sparsernn.training.run_record import RECIPE, Json, RunRecord

COMPACT = "compact.safetensors"


@dataclass(frozen=True)
class Trained:
    """A row with what its training left.

    Arguments:
        row, data: as they were prepared.
        network: at its full size, zeros written; masks: of it.
        seconds: of the training; 0 where it was read back.
        spectra: of the network before its training, where they are measured.
    """

    row: Row
    data: Json
    network: nn.Module
    masks: Masks
    seconds: float = 0.0
    spectra: dict[str, object] | None = None


def read(folder: Path) -> Trained:
    """The trained row in a run folder.

    Raises: UserError if the folder is none, or its files do not fit each other.
    """
    row, data = described(folder)
    run = RunRecord.read(folder)
    with readable(folder, expected="a network as its recipe describes it", do="Use another copy of the run"):
        with skeletons():
            run.check_weights(build(row, data))
        network, masks = build(row, data), run.load_masks()
        run.load_weights(network)
        masks.apply_(network)
    return Trained(row, data, network, masks)


def described(folder: Path) -> tuple[Row, Json]:
    """The row in a run folder, and what its network needs to know of the data.

    Raises: UserError if the folder is none.
    """
    recipe = RunRecord.read(folder).recipe
    if "data" not in recipe:
        raise UserError(
            f"{folder} does not say what data its network was made for",
            "a folder that `sparsernn run` wrote",
            "Give the folder of one row",
        )
    with readable(folder / RECIPE, expected="the row of a recipe and its data", do="Use another copy of the run"):
        return Row.from_json(recipe), cast(Json, typed.checked(recipe["data"], Described, "data"))


def read_final(folder: Path) -> nn.Module:
    """The network that a finished run ended with, cut where the run cut it; of a run folder its recipe and the
    packed file are enough."""
    return final_of(folder, *described(folder))


def final_of(folder: Path, row: Row, data: Json) -> nn.Module:
    """The same of a folder whose row and data were read."""
    path = folder / COMPACT
    if not os.path.lexists(path):  # a run that has not ended, or one of an earlier version that was not cut
        return read(folder).network
    with readable(path, expected="the network of the run's recipe", do="use another copy of the run"):
        return load_compact(path, skeleton_for(path, row, data))
