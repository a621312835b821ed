"""What one file takes: a network as large as its trained one will be, the largest that fits, and one made to fit."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import torch
from torch import nn

from sparsernn import runtime
from sparsernn.data.task import Loaded
from sparsernn.errors import UserError
from sparsernn.experiments import network
from sparsernn.experiments.compacted import arguments, cut
from sparsernn.experiments.rows import Row, Runs
from sparsernn.experiments.scoring import batch_of
from sparsernn.methods.magnitude import Magnitude
from sparsernn.runtime import artifact
from sparsernn.runtime.network import NetworkSpec
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.masks import Masks

UNITS = {"": 1, "b": 1, "byte": 1, "bytes": 1, "kb": 1000, "mb": 1000**2, "kib": 1024, "mib": 1024**2}
SIZE = re.compile(r"([0-9][0-9_,]*\.?[0-9]*) *([a-z]*)", re.IGNORECASE)
MARGIN, SPARE = 1.04, 96  # what training may change of a file's size
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.99)  # of the weights that go where a file is still too large

Option = TypeVar("Option")


class TooLarge(UserError):
    """A file that does not fit. least: bytes that would be enough."""

    def __init__(self, most: int, least: int):
        self.least = least
        super().__init__(
            f"no network for this file and these options fits in {most:,} bytes",
            f"at least --bytes {least}",
            "allow more, or leave out other options that make it large",
        )


def bytes_in(text: str | int) -> int:
    """A size such as "50kB", "1.5 MB", "64KiB" or 20000, in bytes.

    Raises: UserError for something else, or less than 1.
    """
    match = SIZE.fullmatch(str(text).strip())
    size = 0
    if match is not None and match[2].lower() in UNITS:
        size = int(float(re.sub("[_,]", "", match[1])) * UNITS[match[2].lower()])
    if size < 1:
        raise UserError(f"bytes is {text!r}", "a size such as 50kB, 1.5MB or 20000", "change --bytes")
    return size


def allowed_for(size: int) -> int:
    """The limit for a file that takes so many bytes before its network is trained."""
    return int(size * MARGIN) + SPARE


def largest(options: Sequence[Option], size_of: Callable[[Option], int], most: int) -> Option:
    """The first of some options, from large to small, whose file will fit.

    Raises: TooLarge if the last one will not.
    """
    least = allowed_for(size_of(options[-1]))
    if least > most:
        raise TooLarge(most, least)
    low, high = 0, len(options) - 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if allowed_for(size_of(options[middle])) <= most else (middle + 1, high)
    return options[low]


def untrained(row: Row, loaded: Loaded, seed: int) -> nn.Module:
    """A row's network with the zeros that it will have, made by chance, and cut."""
    generator = torch.Generator().manual_seed(seed)
    prepared = network.prepare(row.seeded(seed), loaded, network.describe(loaded), cast(Runs, None))
    model, method, batch = prepared.network, prepared.method, batch_of(loaded, 1)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1 and not weight.any():
                weight.normal_(generator=generator)
    masks = Masks({})
    if method is not None and method.target:
        at_once = Magnitude(method.target, granularity=str(getattr(method, "granularity", "weight")))
        masks = Sparsifier(model, at_once, where=row.settings.where, example=arguments(batch)).finalize()
    return cut(model, masks, batch).network


def keep_within(path: Path, most: int) -> None:
    """Make a file of a network take at most so many bytes, by leaving out its smallest weights; 0: any.

    Raises: TooLarge.
    """
    if not most or path.stat().st_size <= most:
        return
    whole = runtime.load(path)
    for share in SHARES:
        if path.stat().st_size <= most:
            return
        artifact.save(path, thinned(whole.spec, share), whole.preparation, "int8")
    if (size := path.stat().st_size) > most:
        raise TooLarge(most, size)


def thinned(spec: NetworkSpec, share: float) -> NetworkSpec:
    """The same without a share of the weights of each matrix that are not zero, the smallest."""

    def thin(matrix: np.ndarray) -> np.ndarray:
        if matrix.ndim < 2 or not matrix.any():
            return matrix
        living = np.abs(matrix[matrix != 0])
        return np.where(np.abs(matrix) <= np.quantile(living, share), 0, matrix).astype(matrix.dtype)

    layers = [replace(layer, weights={name: thin(one) for name, one in layer.weights.items()}) for layer in spec.layers]
    embedding = None if spec.embedding is None else thin(spec.embedding)
    head = embedding if artifact.is_tied(spec) else spec.head
    return replace(spec, layers=layers, embedding=embedding, head=head)
