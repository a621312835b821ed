"""The state of a `Sparsifier` beside a checkpoint, without pickle."""

import json
from pathlib import Path
from typing import Any

from safetensors.torch import save

from sparsernn import durable
from sparsernn.reading import parsed_as, readable, tensors

NAME = "sparsifier.safetensors"


def write_state(folder: Path | str, state: dict[str, dict[str, Any]]) -> None:
    """Write what `Sparsifier.state_dict` returned into a checkpoint's folder."""
    contiguous = {name: tensor.contiguous() for name, tensor in state["tensors"].items()}
    durable.replace(Path(folder) / NAME, save(contiguous, {"values": json.dumps(state["values"])}))


def read_state(folder: Path | str) -> dict[str, dict[str, Any]]:
    """What `Sparsifier.load_state_dict` takes. Raises: UserError if it is not there, or damaged."""
    path, expected = Path(folder) / NAME, "a checkpoint that was written with the same callback"
    with readable(path, expected=expected, do="resume from such a checkpoint, or start anew"):
        header, parts = tensors(path)
        return {"tensors": parts, "values": parsed_as(header["values"], dict)}
