"""GRUs in the layout of RNNoise and LPCNet, which store blocks of eight units by four sources."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sparsernn.cells.gru import GRU
from sparsernn.deploy.parts import parts_of_network, reordered
from sparsernn.errors import UserError
from sparsernn.runtime.layouts import quantised

UNITS, SOURCES = 8, 4
ORDER = tuple(map(GRU.gates.index, ("update", "reset", "candidate")))
"""Of the gates in these programs: the number of each in the cell. It is its own inverse."""
DENSITIES = {"reset": 0.3, "update": 0.2, "candidate": 0.5}
"""What RNNoise keeps of each gate, of the inputs and of the state alike."""
SPARSITIES = {gate: 1 - density for gate, density in DENSITIES.items()}
"""The option `gates` of `Magnitude(sparsity, granularity="8x4", per="gate", gates=SPARSITIES)`, which reaches them."""


def write_gru(model_or_artifact: Any, example: Any = None) -> dict[str, np.ndarray]:
    """One GRU layer as arrays of the names that RNNoise's C has.

    `input_weights_idx` has for every eight units how many blocks they have, and the first source of each;
    `input_weights_float` has of each block the eight numbers of every source, `input_weights_int8` the four of every
    unit, rounded with a scale for each unit, `input_scale`. So have `recurrent_...`; `..._bias` are float32. Gates come
    as update, reset, candidate.

    Raises: UserError for a network that is no single GRU layer with the reset gate after the product, or whose sizes
        are not made of blocks.
    """
    layers = parts_of_network(model_or_artifact, example).layers
    if len(layers) != 1 or layers[0].cell != GRU():
        kinds = ", ".join(type(layer.cell).__name__ for layer in layers)
        raise UserError(f"the network is made of {kinds}", "one GRU layer as torch has it", "export that layer alone")
    weights, arrays = layers[0].weights, {}
    for name, local in (("input", "ih"), ("recurrent", "hh")):
        matrix = reordered(weights[f"weight_{local}"], ORDER)
        rounded, scales = quantised(matrix)
        index, floats = blocks_of(matrix)
        bias = weights.get(f"bias_{local}", np.zeros(len(matrix), np.float32))
        arrays |= {
            f"{name}_weights_idx": index,
            f"{name}_weights_float": floats.ravel(),
            f"{name}_weights_int8": _tiles(rounded)[_tiles(matrix).any((2, 3))].ravel(),
            f"{name}_scale": scales,
            f"{name}_bias": reordered(bias, ORDER),
        }
    return arrays


def read_gru(arrays: Mapping[str, np.ndarray], inputs: int, units: int) -> dict[str, np.ndarray]:
    """Weights by torch's local names, from arrays as `write_gru` or RNNoise's own program writes them.

    What each unit gets from itself, `recurrent_weights_diag`, is added where it is there. Without float32 numbers those
    in 8 bits are taken with their scales.

    Raises: UserError for arrays that do not fit the sizes.
    """
    weights = {}
    for name, local, columns in (("input", "ih", inputs), ("recurrent", "hh", units)):
        index = np.asarray(arrays[f"{name}_weights_idx"])
        if f"{name}_weights_float" in arrays:
            blocks = np.asarray(arrays[f"{name}_weights_float"], np.float32).reshape(-1, SOURCES, UNITS).swapaxes(1, 2)
            matrix = matrix_of(index, blocks, 3 * units, columns)
        else:
            blocks = np.asarray(arrays[f"{name}_weights_int8"], np.float32).reshape(-1, UNITS, SOURCES)
            matrix = matrix_of(index, blocks, 3 * units, columns) * np.asarray(arrays[f"{name}_scale"])[:, None]
        if name == "recurrent" and "recurrent_weights_diag" in arrays:
            rows = np.arange(3 * units)
            matrix[rows, rows % units] += arrays["recurrent_weights_diag"]
        weights[f"weight_{local}"] = reordered(matrix.astype(np.float32), ORDER)
        weights[f"bias_{local}"] = reordered(np.asarray(arrays[f"{name}_bias"], np.float32), ORDER)
    return weights


def blocks_of(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which blocks of a matrix hold numbers, and these.

    Shapes: [unit source] -> [count and places of every eight units] int32, [block 4 8]
    Raises: UserError unless units come in eights and sources in fours.
    """
    tiles = _tiles(matrix)
    present = np.asarray(tiles.any((2, 3)))
    index: list[int] = []
    for row in np.atleast_2d(present):
        places = np.flatnonzero(row) * SOURCES
        index += [len(places), *places.tolist()]
    return np.array(index, np.int32), tiles[present].swapaxes(1, 2).astype(np.float32)


def matrix_of(index: np.ndarray, blocks: np.ndarray, units: int, sources: int) -> np.ndarray:
    """The inverse of `blocks_of`, but for the order within a block.

    Shapes: [count and places], [block 8 4] -> [unit source]
    Raises: UserError for places that are no blocks of such a matrix, or another number of them than of blocks.
    """
    matrix, at, taken = np.zeros((units, sources), np.float32), 0, 0
    for first in range(0, units, UNITS):
        count = int(index[at]) if at < len(index) else -1
        places = np.asarray(index[at + 1 : at + 1 + max(count, 0)])
        fits = len(places) == count and taken + count <= len(blocks)
        if not fits or not all(0 <= place <= sources - SOURCES and place % SOURCES == 0 for place in places):
            raise _no_blocks(units, sources)
        for number, place in enumerate(places):
            matrix[first : first + UNITS, place : place + SOURCES] = blocks[taken + number]
        at, taken = at + 1 + count, taken + count
    if at != len(index) or taken != len(blocks) or units % UNITS:
        raise _no_blocks(units, sources)
    return matrix


def _no_blocks(units: int, sources: int) -> UserError:
    return UserError(
        f"the blocks are not those of {units} rows and {sources} columns",
        "for every eight rows a count, and as many columns that are multiples of four",
        "give the sizes of the layer that was written",
    )


def _tiles(matrix: np.ndarray) -> np.ndarray:
    """Shapes: [unit source] -> [eights fours 8 4]"""
    rows, columns = matrix.shape
    if rows % (3 * UNITS) or columns % SOURCES:
        raise UserError(
            f"the layer has {rows // 3} units and reads {columns} numbers",
            f"units in multiples of {UNITS} and sources in multiples of {SOURCES}",
            "make it wider, by units or inputs that are zero",
        )
    return matrix.reshape(rows // UNITS, UNITS, columns // SOURCES, SOURCES).swapaxes(1, 2)
