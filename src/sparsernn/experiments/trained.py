"""A trained row: as its training left it, or read back from its run folder."""

import dataclasses
from pathlib import Path

from torch import nn

from sparsernn.errors import UserError
from sparsernn.experiments import spectra
from sparsernn.experiments.network import build
from sparsernn.experiments.rows import Prepared, Row
from sparsernn.structure.masks import Masks
from sparsernn.training.loop import fit
from sparsernn.training.run_folder import Json, RunFolder


@dataclasses.dataclass(frozen=True)
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


def train(prepared: Prepared, run: RunFolder, *, resume: bool, progress: bool) -> Trained:
    """Train a row's network in place, with everything that a run folder holds."""
    row, loaded, network = prepared.row, prepared.loaded, prepared.network
    start = spectra.at_start(row, loaded, network, prepared.method) if row.measure.spectra else None
    fitted = fit(
        network,
        loaded.train,
        loaded.valid,
        objective=prepared.objective,
        method=prepared.method,
        settings=row.settings,
        run=run,
        resume=resume,
        progress=progress,
    )
    return Trained(row, prepared.data, network, fitted.masks, fitted.seconds, start)


def read(folder: Path) -> Trained:
    """The trained row in a run folder.

    Raises: UserError if the folder is none, or its files do not fit each other.
    """
    row, data = described(folder)
    network = build(row, data)
    with RunFolder.open(folder) as run:
        run.load_weights(network)
        masks = run.load_masks()
    masks.apply_(network)
    return Trained(row, data, network, masks)


def described(folder: Path) -> tuple[Row, Json]:
    """The row in a run folder, and what its network needs to know of the data.

    Raises: UserError if the folder is none.
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
    return row, data
