"""A network in one file, that runs with numpy and the extension alone."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

import numpy as np

from sparsernn import durable, folders
from sparsernn.cells.cell import Cell
from sparsernn.errors import UserError
from sparsernn.reading import DAMAGE, parsed
from sparsernn.runtime.layers import RecurrentLayer
from sparsernn.runtime.layouts import FORMATS
from sparsernn.runtime.network import KINDS, LayerSpec, Network, NetworkSpec
from sparsernn.runtime.packed_file import PackedFile, Typed, contents
from sparsernn.runtime.patterns import DamagedFile

FORMAT = "sparsernn-artifact-1"
LARGEST = 1 << 31  # numbers in one tensor
Array = np.ndarray


class Artifact(Network):
    """A network read from a file.

    Attributes:
        preparation: how a text or table becomes its input, as `sparsernn train` has it, or "".
        errors: of each tensor that is not stored exactly its largest error, divided by its largest number.
    """

    def __init__(self, spec: NetworkSpec, preparation: str = "", errors: Mapping[str, float] | None = None):
        super().__init__(spec)
        self.preparation, self.errors = preparation, dict(errors or {})


def save(path: Path | str, spec: NetworkSpec, preparation: str = "", dtype: str | None = None) -> dict[str, float]:
    """Write a network.

    Arguments:
        preparation: see `Artifact`.
        dtype: "float16" or "int8", with a scale a row, stores matrices in that type; None keeps every bit.
    Returns: of each tensor that is not exact its largest error, divided by its largest number.
    """
    tensors: dict[str, Array] = {}
    for number, layer in enumerate(spec.layers):
        tensors |= {f"layers.{number}.{local}": weight for local, weight in layer.weights.items()}
    for name in ("embedding", "rows", "head", "bias"):
        if (tensor := getattr(spec, name)) is not None:
            tensors[name] = tensor
    described = {
        "kind": spec.kind,
        "directions": spec.directions,
        "pool": spec.pool,
        "residual": spec.residual,
        "labels": list(spec.labels),
        "layers": [
            {"cell": _name_of(layer.cell), "options": _options(layer.cell), "format": layer.format}
            for layer in spec.layers
        ],
        "shapes": {name: [tensor.dtype.name, list(tensor.shape)] for name, tensor in tensors.items()},
    }
    typed = {name: Typed(tensor, tensor.dtype.name) for name, tensor in tensors.items()}
    header = {"format": FORMAT, "network": json.dumps(described), "preparation": preparation}
    content, errors = contents(typed, header, dtype)
    durable.replace(path, content)
    return errors


def load(path: Path | str) -> Artifact:
    """The network in a file that `sparsernn pack` or `save` wrote.

    Raises: UserError for a file that is damaged or something else.
    """
    try:
        with PackedFile(path) as file:
            if file.header.get("format") != FORMAT:
                raise ValueError(f"its format is {file.header.get('format')!r}")
            described = parsed(file.header["network"])
            tensors = {name: _read(file, name, described["shapes"]) for name in file.names}
            file.check()
            spec = _spec(described, tensors)
            return Artifact(spec, file.header.get("preparation", ""), file.errors)
    except DAMAGE as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} is not a readable network ({(str(error).strip() or type(error).__name__).splitlines()[0][:200]})",
            f"a file that `sparsernn pack` wrote ({FORMAT})",
            "use another copy, or pack the run again",
        ) from error


def _read(file: PackedFile, name: str, shapes: Mapping[str, tuple[str, list[int]]]) -> Array:
    kind, shape = shapes[name]
    if kind not in ("float32", "int8", "int16", "int32", "int64") or not all(
        isinstance(size, int) and size >= 0 for size in shape
    ):
        raise DamagedFile(f"{name} is {kind} of shape {shape}"[:200])
    if math.prod(shape) > LARGEST:
        raise DamagedFile(f"{name} has {math.prod(shape)} numbers")
    values = file.read(name, tuple(shape), kind, np.dtype(kind).itemsize)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DamagedFile(f"{name} has numbers that are not finite")
    return values


def _spec(described: Mapping[str, object], tensors: Mapping[str, Array]) -> NetworkSpec:
    """The parts of a network, checked against each other."""
    layers = []
    for number, about in enumerate(described["layers"]):  # type: ignore[arg-type]
        start = f"layers.{number}."
        weights = {name.removeprefix(start): tensor for name, tensor in tensors.items() if name.startswith(start)}
        if about["format"] not in FORMATS or about["cell"] not in folders.names("cells"):
            raise DamagedFile(f"layer {number} is a {about['cell']!r} as {about['format']!r}"[:200])
        cell = folders.find("cells", about["cell"])(**_tuples(about["options"]))
        layers.append(LayerSpec(cell, weights, about["format"]))
    parts = {name: tensors.get(name) for name in ("embedding", "rows", "head", "bias")}
    options = {name: described[name] for name in ("kind", "directions", "pool", "residual", "labels")}
    spec = NetworkSpec(layers=layers, **options, **parts)  # type: ignore[arg-type]
    _check(spec)
    return spec


def _check(spec: NetworkSpec) -> None:
    """Raises: DamagedFile unless the parts fit each other."""
    if spec.kind not in KINDS or spec.directions not in (1, 2) or spec.pool not in ("last", "mean", "max"):
        raise DamagedFile("its network is of an unknown kind")
    if not spec.layers or len(spec.layers) % spec.directions:
        raise DamagedFile("it has no layers, or one direction too few")
    built = [RecurrentLayer(layer.cell, layer.weights, "dense") for layer in spec.layers]
    width = built[0].inputs
    if spec.embedding is not None and (spec.embedding.ndim != 2 or spec.embedding.shape[1] != width):
        raise DamagedFile("its embedding does not fit its first layer")
    if spec.rows is not None and (
        spec.embedding is None
        or spec.rows.ndim != 1
        or (spec.rows.size and not (spec.rows.min() >= -1 and spec.rows.max() < len(spec.embedding)))
    ):
        raise DamagedFile("its words have rows that the embedding lacks")
    for first in range(0, len(built), spec.directions):
        pair = built[first : first + spec.directions]
        if any(layer.inputs != width for layer in pair):
            raise DamagedFile("its layers do not fit each other")
        width = sum(layer.hidden for layer in pair)
    if spec.head is not None and (spec.head.ndim != 2 or spec.head.shape[1] != width):
        raise DamagedFile("its head does not fit its last layer")
    if spec.bias is not None and (spec.head is None or spec.bias.shape != (len(spec.head),)):
        raise DamagedFile("its bias does not fit its head")
    if spec.residual is not None and spec.residual not in range(built[0].inputs):
        raise DamagedFile("it forecasts a column that its input lacks")


def _name_of(cell: Cell) -> str:
    return type(cell).__module__.rpartition(".")[2]


def _options(cell: Cell) -> dict[str, object]:
    return {one.name: getattr(cell, one.name) for one in fields(cell) if one.init}


def _tuples(options: Mapping[str, object]) -> dict[str, object]:
    """Options as they were: what JSON has as lists were tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
