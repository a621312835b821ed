"""Texts as hashes of their words, of pairs of words, and of runs of characters."""

from __future__ import annotations

import json
from collections.abc import Callable
from zlib import crc32

import numpy as np

from sparsernn.data.text import CLEANINGS, Encoder
from sparsernn.errors import UserError

BITS = 22
SHORTEST, LONGEST = 3, 5  # runs of characters
BLANK = 32
# Odd numbers whose bits are well mixed, by which 32-bit hashes are multiplied.
WORD, PAIR, NEXT, RUN, LAST = (np.uint32(one) for one in (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1))
HALF, REST = np.uint32(15), np.uint32(32 - BITS)


class GramEncoder(Encoder):
    """A text as whole numbers: how many words it has, the places of the words, and those of its other n-grams.

    These are pairs of words, and runs of 3 to 5 characters of the words with a blank around each.

    Arguments:
        cleaning: a name in `CLEANINGS`.
        bits: of a place; there is no other number than 22 yet.
    """

    def __init__(self, cleaning: str, bits: int = BITS):
        if bits != BITS or cleaning not in CLEANINGS:
            raise UserError(f"n-grams of {cleaning} in {bits} bits", f"{BITS} bits", "use another copy of the file")
        self.cleaning, self.words = cleaning, []
        self._split: Callable[[str], list[str]] = CLEANINGS[cleaning]

    def ids(self, texts: list[str]) -> list[np.ndarray]:
        return [self._encoded(text) for text in texts]

    def word_places(self, words: list[str]) -> np.ndarray:
        """The places of words. Shapes: -> [word]."""
        return (hashed(words) * WORD >> REST).astype(np.int32)

    def _encoded(self, text: str) -> np.ndarray:
        words = self._split(text)
        codes = hashed(words)
        joined = f" {' '.join(words)} " if words else ""
        characters = np.frombuffer(joined.encode("utf-32-le", "surrogatepass"), np.uint32)
        parts = [codes * WORD, (codes[:-1] * PAIR ^ codes[1:] >> HALF) * NEXT + codes[1:] * LAST]
        runs = characters * WORD
        for length in range(2, LONGEST + 1):
            if len(characters) < length:
                break
            runs = (runs[:-1] ^ runs[:-1] >> HALF) * NEXT + characters[length - 1 :] * PAIR
            if length >= SHORTEST:
                parts.append((runs ^ runs >> HALF) * RUN)
        places = np.concatenate(parts) >> REST
        return np.concatenate([[len(words)], places]).astype(np.int32)

    def to_json(self) -> str:
        return json.dumps({"cleaning": self.cleaning, "bits": BITS})


def hashed(words: list[str]) -> np.ndarray:
    """A 32-bit hash of each word."""
    return np.array([crc32(word.encode("utf-8", "surrogatepass")) for word in words], np.uint32)
