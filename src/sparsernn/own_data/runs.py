"""The runs that a training on a user's file leaves, and how their file was prepared."""

import json
from pathlib import Path

from sparsernn.data.preparation import Preparation
from sparsernn.errors import UserError
from sparsernn.training import durable

PREPARATION = "preparation.json"


def write_preparation(folder: Path, preparation: Preparation) -> None:
    """Leave the preparation in a run folder."""
    durable.replace(folder / PREPARATION, lambda aside: aside.write_text(json.dumps(preparation.to_json())))


def read_preparation(folder: Path) -> Preparation:
    """The preparation in a run folder.

    Raises: UserError if the folder was not made by `sparsernn train`, or its file is damaged.
    """
    try:
        return Preparation.from_json(json.loads((folder / PREPARATION).read_text(encoding="utf-8")))
    except UserError:
        raise
    except (OSError, ValueError) as error:
        raise UserError(
            f"{folder} holds no readable {PREPARATION}",
            "a folder that `sparsernn train` wrote",
            "give the folder printed at the end of the training",
        ) from error


def find_run(folder: Path) -> Path:
    """The sparse run in a folder of runs, or the folder itself if it is a run."""
    if (folder / PREPARATION).is_file():
        return folder
    runs = sorted(folder.glob("sparse-seed*"))
    if not runs:
        raise UserError(
            f"{folder} is not the folder of a training",
            "a folder that `sparsernn train` wrote",
            "give the folder printed at the end of the training",
        )
    return runs[0]
