"""A network in one file, that runs with numpy and the extension alone."""

import json
import math
import warnings
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np

from sparsernn import durable, folders, native
from sparsernn.cells.cell import Cell
from sparsernn.errors import UserError, reason
from sparsernn.reading import DAMAGE, FREE_NUMBERS, NUMBERS_A_BYTE, check_room, parsed
from sparsernn.runtime.grams import GramNetwork, Grams, pack_places, unpack_places
from sparsernn.runtime.hashing import BITS
from sparsernn.runtime.kernel_head import KernelHead
from sparsernn.runtime.layers import checked_sizes, has_native_form
from sparsernn.runtime.layouts import FORMATS
from sparsernn.runtime.network import KINDS, POOLS, LayerSpec, Network, NetworkSpec
from sparsernn.runtime.packed_file import PackedFile, Typed, compressed, contents
from sparsernn.runtime.patterns import DamagedFile

FORMAT = "sparsernn-artifact-1"
"""Numbers that a file may hold however short it is, and further ones for each of its bytes."""
MOST_IN_OPTIONS = 1 << 20
"""What all whole numbers in the options of a cell may add up to."""
WHOLE = ("int8", "int16", "int32", "int64")
WHOLE_KERNELS = tuple(f"kernels.{name}" for name in ("distances", "shapes", "channels", "owners"))
PARTS = ("embedding", "rows", "head", "bias", "skip")
BYTES, FLOATS = ("uint8",), ("float32",)
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
        dtype: "float16", or "int8", "int6" or "int4" with a scale a row, stores matrices in that type; None keeps every
            bit.
    Returns: of each tensor that is not exact its largest error, divided by its largest number.
    Raises: UserError for a network of so few numbers beside its zeros that no reader would believe its size.
    """
    tensors, described = tensors_of(spec), described_of(spec)
    content, errors = _content(tensors, described, preparation, dtype)
    _write(path, content, tensors)
    return errors


def save_grams(path: Path | str, grams: Grams, spec: NetworkSpec | None = None, preparation: str = "") -> None:
    """Write what `GramNetwork` reads, in 8 bits.

    Arguments:
        spec: of the network that reads the words' vectors, or None.
        preparation: see `Artifact`.
    """
    tensors = {
        "grams.places": pack_places(grams.places),
        "grams.weights": grams.weights,
        "grams.bias": grams.bias,
        "grams.words": np.packbits(grams.words, bitorder="little"),
        "grams.vectors": grams.vectors,
    }
    about = {"count": len(grams.places), "bits": BITS, "length": grams.length, "labels": list(grams.labels)}
    described: dict[str, object] = {"grams": about}
    if spec is not None:
        tensors |= tensors_of(spec)
        described |= described_of(spec)
    content, _ = _content(tensors, described, preparation, "int8")
    _write(path, content, tensors)


def tensors_of(spec: NetworkSpec) -> dict[str, Array]:
    """The tensors of a network by name."""
    tensors: dict[str, Array] = {}
    for number, layer in enumerate(spec.layers):
        tensors |= {f"layers.{number}.{local}": weight for local, weight in layer.weights.items()}
    tied = is_tied(spec)
    for name in PARTS:
        if (tensor := getattr(spec, name)) is not None and not (tied and name == "head"):
            tensors[name] = tensor
    if spec.kernels is not None:
        tensors |= spec.kernels.tensors()
    return tensors


def described_of(spec: NetworkSpec) -> dict[str, object]:
    """What else is to be known of a network, as JSON values."""
    return {
        "kind": spec.kind,
        "directions": spec.directions,
        "pool": spec.pool,
        "residual": spec.residual,
        "at_once": spec.at_once,
        "several": spec.several,
        "kernel_steps": None if spec.kernels is None else spec.kernels.steps,
        "labels": list(spec.labels),
        "tied": is_tied(spec),
        "layers": [
            {"cell": _name_of(layer.cell), "options": _options(layer.cell), "format": layer.format}
            for layer in spec.layers
        ],
    }


def _content(
    tensors: Mapping[str, Array], described: Mapping[str, object], preparation: str, dtype: str | None
) -> tuple[bytes, dict[str, float]]:
    """The content of a file, and of each tensor that is not exact its error."""
    shapes = {name: [tensor.dtype.name, list(tensor.shape)] for name, tensor in tensors.items()}
    typed = {name: Typed(tensor, tensor.dtype.name) for name, tensor in tensors.items()}
    network = json.dumps({**described, "shapes": shapes})
    return contents(typed, {"format": FORMAT, "network": network, "preparation": preparation}, dtype)


def _write(path: Path | str, content: bytes, tensors: Mapping[str, Array]) -> None:
    """Raises: UserError if no reader would believe that so many numbers are in it."""
    numbers, shorter = sum(tensor.size for tensor in tensors.values()), compressed(content)
    if numbers <= _most_numbers(len(shorter)):
        content = shorter
    elif numbers > _most_numbers(len(content)):
        raise UserError(
            f"the network has {numbers} numbers, nearly all of them zero",
            f"at most {_most_numbers(len(content))} in a file of {len(content)} bytes",
            "cut units that do nothing first, by sparsernn.compact",
        )
    durable.replace(path, content)


def is_tied(spec: NetworkSpec) -> bool:
    """Whether the head's weight is the embedding, so that one of them is enough."""
    head, embedding = spec.head, spec.embedding
    return head is not None and embedding is not None and spec.rows is None and np.array_equal(head, embedding)


def _most_numbers(bytes: int) -> int:
    return FREE_NUMBERS + NUMBERS_A_BYTE * bytes


def load(path: Path | str) -> Artifact:
    """The network in a file that `sparsernn pack` or `save` wrote; see `load_any`.

    Raises: UserError for a file that is damaged or something else.
    """
    network = load_any(path)
    if isinstance(network, GramNetwork):
        raise UserError(f"{path} reads n-grams of texts", "a network of numbers or words", "call runtime.load_any")
    return network


def load_any(path: Path | str) -> Artifact | GramNetwork:
    """What is in a file that `sparsernn train`, `sparsernn pack`, `save` or `save_grams` wrote.

    Where the extension is absent, a warning says that numpy computes what it would.

    Raises: UserError for a file that is damaged or something else.
    """
    try:
        with PackedFile(path) as file:
            if file.header.get("format") != FORMAT:
                raise ValueError(f"its format is {file.header.get('format')!r}")
            described = parsed(file.header["network"])
            shapes = {name: _shape(name, *described["shapes"][name]) for name in file.names}
            check_room(sum(math.prod(shape) for _, shape in shapes.values()), path)
            tensors = {name: _read(file, name, *shapes[name]) for name in file.names}
            file.check()
            preparation = file.header.get("preparation", "")
            if "grams" in described:
                network = _gram_network(described, tensors, preparation)
            else:
                network = Artifact(_spec(described, tensors), preparation, file.errors)
    except DAMAGE as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} is not a readable network ({reason(error)})",
            f"a file that `sparsernn pack` wrote ({FORMAT})",
            "use another copy, or pack the run again",
        ) from error
    if (absent := native.why_absent()) and any(has_native_form(layer.cell) for layer in network.layers):
        warnings.warn(f"{path} runs by numpy, in float32 and slowly: {absent}", stacklevel=2)
    return network


def _gram_network(described: Mapping[str, Any], tensors: Mapping[str, Array], preparation: str) -> GramNetwork:
    """A linear layer over n-grams, and the network beside it where there is one."""
    about = described["grams"]
    count, words = about["count"], tensors["grams.words"]
    if type(count) is not int or about["bits"] != BITS or len(words) != -(-count // 8):
        raise DamagedFile("it does not say how many n-grams it has")
    if not all(isinstance(label, str) for label in about["labels"]):
        raise DamagedFile("its labels are not texts")
    grams = Grams(
        unpack_places(tensors["grams.places"], count),
        tensors["grams.weights"],
        tensors["grams.bias"],
        np.unpackbits(words, count=count, bitorder="little").astype(bool),
        tensors["grams.vectors"],
        about["length"],
        tuple(about["labels"]),
    )
    rest = {name: tensor for name, tensor in tensors.items() if not name.startswith("grams.")}
    network = Network(_spec(described, rest)) if "layers" in described else None
    return GramNetwork(grams, network, preparation)


def _shape(name: str, kind: str, shape: list[int]) -> tuple[str, tuple[int, ...]]:
    """The type and shape of a tensor, as the header has them."""
    kinds = BYTES if name in ("grams.places", "grams.words") else FLOATS
    kinds = WHOLE if name in ("rows", *WHOLE_KERNELS) else kinds
    if kind not in kinds or not all(type(size) is int and 0 <= size < 1 << 40 for size in shape):
        raise DamagedFile(f"{name} is {kind} of shape {shape}"[:200])
    return kind, tuple(shape)


def _read(file: PackedFile, name: str, kind: str, shape: tuple[int, ...]) -> Array:
    values = file.read(name, shape, kind, np.dtype(kind).itemsize)
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
        cell = _cell(number, about["cell"], about["options"])
        layers.append(LayerSpec(cell, weights, about["format"]))
    parts = {name: tensors.get(name) for name in PARTS}
    if described.get("tied") is True:
        if "head" in tensors or "embedding" not in tensors:
            raise DamagedFile("its head is to be its embedding")
        parts["head"] = parts["embedding"]
    options = {name: described[name] for name in ("kind", "directions", "pool", "residual", "labels")}
    options |= {name: described.get(name, 1) for name in ("at_once", "several")}
    kernels = KernelHead.of(tensors, described.get("kernel_steps"))
    spec = NetworkSpec(layers=layers, kernels=kernels, **options, **parts)  # type: ignore[arg-type]
    _check(spec)
    return spec


def _cell(number: int, name: str, options: Mapping[str, object]) -> Cell:
    """The cell of a layer with its options, none of which makes it larger than tensors can be."""
    declared = folders.find("cells", name)
    names = {one.name for one in fields(declared) if one.init}
    values = [part for value in options.values() for part in (value if isinstance(value, list) else [value])]
    total = sum(abs(value) for value in values if isinstance(value, int))
    if not set(options) <= names or total > MOST_IN_OPTIONS:
        raise DamagedFile(f"layer {number} has the options {dict(options)}"[:200])
    return declared(**_tuples(options))


def _check(spec: NetworkSpec) -> None:
    """Raises: DamagedFile unless the parts fit each other."""
    if spec.kind not in KINDS or spec.directions not in (1, 2) or spec.pool not in POOLS:
        raise DamagedFile("its network is of an unknown kind")
    if not spec.layers and spec.kernels is None or len(spec.layers) % spec.directions:
        raise DamagedFile("it has no layers, or one direction too few")
    if spec.kernels is not None and (spec.kind != "classification" or spec.embedding is not None):
        raise DamagedFile("its kernels read something else than series")
    if not all(isinstance(label, str) for label in spec.labels):
        raise DamagedFile("its labels are not texts")
    if spec.layers:
        _check_layers(spec)
    elif spec.head is not None or spec.bias is not None or spec.skip is not None:
        raise DamagedFile("it has a head without layers")


def _check_layers(spec: NetworkSpec) -> None:
    sizes = [checked_sizes(layer.cell, layer.weights) for layer in spec.layers]
    inputs, widths = (
        [one["input"] for one in sizes],
        [one[layer.cell.state_axes[0]] for one, layer in zip(sizes, spec.layers, strict=True)],
    )
    width = inputs[0]
    if spec.embedding is not None and (spec.embedding.ndim != 2 or spec.embedding.shape[1] != width):
        raise DamagedFile("its embedding does not fit its first layer")
    if spec.rows is not None and (
        spec.embedding is None
        or spec.rows.ndim != 1
        or (spec.rows.size and not (spec.rows.min() >= -1 and spec.rows.max() < len(spec.embedding)))
    ):
        raise DamagedFile("its words have rows that the embedding lacks")
    for first in range(0, len(sizes), spec.directions):
        pair = slice(first, first + spec.directions)
        if any(width != number for number in inputs[pair]):
            raise DamagedFile("its layers do not fit each other")
        width = sum(widths[pair])
    if spec.kind == "classification":
        width *= len(spec.pool.split("_"))
    if spec.head is not None and (spec.head.ndim != 2 or spec.head.shape[1] != width):
        raise DamagedFile("its head does not fit its last layer")
    if spec.bias is not None and (spec.head is None or spec.bias.shape != (len(spec.head),)):
        raise DamagedFile("its bias does not fit its head")
    if type(spec.at_once) is not int or not spec.at_once >= 1 or (
        spec.at_once > 1 and (spec.head is None or len(spec.head) % spec.at_once)
    ):  # fmt: skip
        raise DamagedFile("its head does not tell so many labels at once")
    _check_forecast(spec, inputs[0])


def _check_forecast(spec: NetworkSpec, inputs: int) -> None:
    if type(spec.several) is not int or not spec.several >= 1:
        raise DamagedFile("it forecasts no whole number of columns")
    if spec.kernels is not None and (
        spec.residual is not None or spec.head is None or len(spec.head) != len(spec.kernels.bias)
        or inputs != spec.kernels.inputs
    ):  # fmt: skip
        raise DamagedFile("its kernels do not fit its layers")
    if spec.residual is None and (spec.skip is not None or spec.several > 1):
        raise DamagedFile("it forecasts several columns, or by their windows, but none is said")
    if spec.residual is not None and not (
        type(spec.residual) is int and 0 <= spec.residual <= inputs - spec.several
    ):  # fmt: skip
        raise DamagedFile("it forecasts a column that its input lacks")
    if spec.several > 1 and (spec.head is None or len(spec.head) % spec.several):
        raise DamagedFile("its head does not fit the columns that it forecasts")
    if spec.skip is not None and (
        spec.embedding is not None
        or spec.head is None
        or spec.skip.ndim != 2
        or len(spec.skip) != len(spec.head)
        or not spec.skip.shape[1]
    ):
        raise DamagedFile("its skip does not fit its forecast")


def _name_of(cell: Cell) -> str:
    return type(cell).__module__.rpartition(".")[2]


def _options(cell: Cell) -> dict[str, object]:
    return {one.name: getattr(cell, one.name) for one in fields(cell) if one.init}


def _tuples(options: Mapping[str, object]) -> dict[str, object]:
    """Options as they were: what JSON has as lists were tuples."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in options.items()}
