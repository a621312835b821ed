"""The state of a `Sparsifier` beside a checkpoint, without pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from sparsernn.errors import UserError

NAME = "sparsifier.safetensors"


def write_state(folder: Path | str, state: dict[str, dict[str, Any]]) -> None:
    """Write what `Sparsifier.state_dict` returned into a checkpoint's folder."""
    tensors = {name: tensor.contiguous() for name, tensor in state["tensors"].items()}
    save_file(tensors, Path(folder) / NAME, metadata={"values": json.dumps(state["values"])})


def read_state(folder: Path | str) -> dict[str, dict[str, Any]]:
    """What `Sparsifier.load_state_dict` takes. Raises: UserError if it is not there, or damaged."""
    path = Path(folder) / NAME
    try:
        with safe_open(path, "pt") as file:
            values = json.loads(file.metadata()["values"])
            return {"tensors": {name: file.get_tensor(name) for name in file.keys()}, "values": values}
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} cannot be read ({error})",
            "a checkpoint that was written with the same callback",
            "resume from such a checkpoint, or start anew",
        ) from error
