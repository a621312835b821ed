"""From a row and the sizes of its data to a network: built, and sized to a number of bytes."""

import contextlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import NotRequired, TypedDict

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sparsernn import folders, typed
from sparsernn.compaction.files import plain_size
from sparsernn.data.task import Loaded
from sparsernn.errors import UserError
from sparsernn.experiments.rows import Prepared, Row, Runs
from sparsernn.models.model import Model
from sparsernn.reading import check_room
from sparsernn.training import objectives
from sparsernn.training.run_folder import Json

LARGEST_UNITS = 1 << 14
FILLING = ("normal_", "uniform_", "kaiming_uniform_", "trunc_normal_")
MOST_LAYERS = 64


class Described(TypedDict):
    """What a model and a report need to know of the data."""

    objective: str
    inputs: int
    tokens: bool
    outputs: int
    metric: str
    labels: NotRequired[list[str]]
    note: NotRequired[str]


def describe(loaded: Loaded) -> Json:
    """What a model and a report need to know of the data, as JSON values."""
    return {
        "objective": loaded.objective,
        "inputs": loaded.inputs,
        "tokens": loaded.tokens,
        "outputs": loaded.outputs,
        "metric": loaded.metric,
        "labels": list(loaded.labels),
        "note": loaded.note,
    }


def prepare(row: Row, loaded: Loaded, data: Json, runs: Runs) -> Prepared:
    """The row's network, method and objective, changed by its sources one after the other."""
    first = with_vectors(row, loaded, data, row.settings.seed)
    prepared = Prepared(row, loaded, data, first, row.method, objectives.find_objective(loaded.objective))
    for source in row.sources:
        prepared = source.prepare(prepared, runs)
    return prepared


def find_model(name: str) -> type[Model]:
    """The model in the file `name` of `models/`."""
    return folders.find("models", name)


class _Unfilled(TorchFunctionMode):
    """Leaves tensors as they are where they would get random numbers, for which torch loads its compiler on "meta"."""

    def __torch_function__(
        self,
        func: Callable[..., object],
        types: Iterable[type],
        args: tuple[object, ...] = (),
        kwargs: Mapping[str, object] | None = None,
    ) -> object:
        if func.__name__ in FILLING:
            return args[0] if args else (kwargs or {})["tensor"]
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def skeletons() -> Iterator[None]:
    """Models that are made here have shapes and no numbers: they are on the device "meta"."""
    with torch.device("meta"), _Unfilled():
        yield


def build(row: Row, data: Json, seed: int = 0) -> nn.Module:
    """The row's network for data of these sizes; the same seed gives the same weights."""
    model = find_model(row.model)
    task = "classification" if data["objective"] == "regression" else data["objective"]  # with one output
    if model.objective != task:
        raise UserError(
            f"row {row.name!r} puts the model {row.model!r}, made for {model.objective}, to {data['objective']}",
            "a model made for the task",
            "Choose another model or task",
        )
    options = {**sizes(data), **row.options}
    if isinstance(layers := options.get("layers", 1), int) and layers > MOST_LAYERS:
        raise UserError(f"the model has {layers} layers", f"at most {MOST_LAYERS}", "set model.layers to fewer")
    kinds = typed.parameters(model)
    for name in options:
        if name not in kinds:
            raise typed.unknown("argument", name, list(kinds), f"model {row.model}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model(**options)


def skeleton_for(file: Path, row: Row, data: Json) -> nn.Module:
    """The row's network without numbers, if a file is large enough for those; as far as the file holds none, with them.

    Raises: UserError, before memory is taken.
    """
    with skeletons():
        network = build(row, data)
    stored = network.state_dict()
    check_room(sum(tensor.numel() for tensor in stored.values()), file)
    return network if {name for name, _ in network.named_buffers()} <= set(stored) else build(row, data)


def with_vectors(row: Row, loaded: Loaded, data: Json, seed: int) -> nn.Module:
    """The row's network, its embedding beginning with the task's word vectors where it has some."""
    network = build(row, data, seed)
    if loaded.vectors is not None:
        give_vectors(network, loaded.vectors)
    return network


def give_vectors(model: nn.Module, vectors: Tensor) -> None:
    """Begin the model's embedding with word vectors.

    Raises: UserError if it has another shape, or the model none.
    """
    embedding = embedding_of(model)
    shapes = tuple(vectors.shape), tuple(embedding.weight.shape)
    if shapes[0] != shapes[1]:
        raise UserError(
            f"word vectors {shapes[0]} do not fit an embedding {shapes[1]}",
            f"a model with an embedding {vectors.shape[1]} wide",
            f"set model.inputs={vectors.shape[1]}",
        )
    with torch.no_grad():
        embedding.weight.copy_(vectors)


def embedding_of(model: nn.Module) -> nn.Embedding:
    """The model's word vectors. Raises: UserError if it has none."""
    embedding = getattr(model, "embedding", None)
    if not isinstance(embedding, nn.Embedding):
        raise UserError("the model has no embedding of words", "a model that reads words", "set model.inputs")
    return embedding


def sizes(data: Json) -> dict[str, int]:
    """The model arguments that the data fix."""
    if data["objective"] == "language_model":
        return {"vocabulary": data["inputs"]}
    made = {"horizon" if data["objective"] == "forecasting" else "classes": data["outputs"]}
    return {"vocabulary" if data["tokens"] else "inputs": data["inputs"], **made}


def units_for(row: Row, data: Json, limit_bytes: int) -> int:
    """The largest number of units with which the file of the row's dense network takes at most `limit_bytes`."""

    def size(units: int) -> int:
        with skeletons():
            model = find_model(row.model)
            return plain_size(model(**{**sizes(data), **row.options, "units": units}))

    low, high = 1, LARGEST_UNITS
    if size(low) > limit_bytes:
        raise UserError(
            f"row {row.name!r} does not fit in {limit_bytes} bytes even with one unit",
            f"at least {size(low)} bytes",
            "Match a larger row",
        )
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if size(middle) <= limit_bytes else (low, middle - 1)
    return low
