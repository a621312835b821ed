"""How sparse weights lie in memory and on disk: packing and unpacking, with numpy and the compiled extension.

Each function has one meaning and two ways: the extension where it is there, numpy otherwise, equal bit for bit.
"""

import math

import numpy as np

from sparsernn import native
from sparsernn.errors import UserError


def pack_mask(mask: np.ndarray) -> np.ndarray:
    """A boolean array as bits: element i in C order is bit i % 8 of byte i // 8, lowest first, the rest 0.

    Shapes: any -> [bytes] of uint8.
    """
    if mask.dtype != np.bool_:
        raise UserError(f"a mask of {mask.dtype} cannot be packed", "booleans", "compare it first: weights != 0")
    flags = np.ascontiguousarray(mask).reshape(-1).view(np.uint8)
    if native.module is None:
        return np.packbits(flags, bitorder="little")
    return native.module.pack_bits(flags)


def unpack_mask(bits: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """The mask of this shape that `pack_mask` turned into these bits.

    Shapes: [bytes] of uint8 -> shape, boolean.
    Raises: UserError if bits and shape do not belong together.
    """
    count = math.prod(shape)
    needed = packed_bytes(shape)
    if bits.dtype != np.uint8 or bits.shape != (needed,):
        raise UserError(
            f"bits of shape {list(bits.shape)} and type {bits.dtype} are no mask of shape {list(shape)}",
            f"{needed} bytes of uint8",
            "check that the file is whole and belongs to this model",
        )
    if count % 8 and bits[-1] >> (count % 8):
        raise UserError(
            f"the last byte of a mask of shape {list(shape)} holds bits beyond its {count} elements",
            "zeros there",
            "check that the file is whole and belongs to this model",
        )
    if native.module is None:
        flags = np.unpackbits(bits, count=count, bitorder="little")
    else:
        flags = native.module.unpack_bits(np.ascontiguousarray(bits), count)
    return flags.view(np.bool_).reshape(shape)


def packed_bytes(shape: tuple[int, ...]) -> int:
    """Bytes that a packed mask of this shape takes."""
    return -(-math.prod(shape) // 8)
