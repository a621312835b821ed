"""A trained row: as its training left it, or read back from its run folder."""

import dataclasses
from pathlib import Path
from typing import cast

from torch import nn

from sparsernn import typed
from sparsernn.errors import UserError
from sparsernn.experiments import spectra
from sparsernn.experiments.network import Described, build, skeletons
from sparsernn.experiments.rows import Prepared, Row
from sparsernn.reading import readable
from sparsernn.structure.masks import Masks
from sparsernn.training.loop import fit
from sparsernn.training.run_folder import RunFolder
from sparsernn.training.run_record import RECIPE, Json, RunRecord


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
