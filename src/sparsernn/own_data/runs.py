"""The runs that a training on a user's file leaves, and how their file was prepared."""

import json
from pathlib import Path

from sparsernn import durable
from sparsernn.data.preparation import Preparation
from sparsernn.errors import UserError
from sparsernn.reading import content, parsed, readable
from sparsernn.seals import opened_json, sealed_json

PREPARATION, ASKED = "preparation.json", "training.json"
NETWORK = "network.sparsernn"
"""The one file that predicts, in the folder of a training."""


def write_preparation(folder: Path, preparation: Preparation) -> None:
    """Leave the preparation in a run folder."""
    durable.replace(folder / PREPARATION, json.dumps(sealed_json(preparation.to_json())))


def read_preparation(folder: Path) -> Preparation:
    """The preparation in a run folder.

    Raises: UserError if the folder was not made by `sparsernn train`, or its file is damaged.
    """
    path = folder / PREPARATION
    with readable(path, expected="what `sparsernn train` wrote", do="give the folder printed at its end"):
        return Preparation.from_json(opened_json(parsed(content(path))))


def run_of(folder: Path) -> Path:
    """The sparse run in the folder of a training; any other folder itself."""
    return find_run(folder) if (folder / ASKED).is_file() else folder


def find_run(folder: Path) -> Path:
    """The sparse run in a folder of runs, or the folder itself if it is a run."""
    if (folder / PREPARATION).exists():
        return folder
    runs = sorted(folder.glob("sparse-seed*"))
    if not runs and (folder / ASKED).exists():
        raise UserError(
            f"{folder} has no sparse network yet",
            "a training that has come to its end",
            "Wait if it is still training, or run it again with --resume",
        )
    if not runs:
        raise UserError(
            f"{folder} is not the folder of a training",
            "a folder that `sparsernn train` wrote",
            "give the folder printed at the end of the training",
        )
    return runs[0]
