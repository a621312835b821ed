"""Places of the n-grams of a text: its words, pairs of words, and runs of characters.

A place is the upper bits of a hash, so that no string is stored. Where there is the extension, it computes the same
numbers.
"""

import numpy as np

from sparsernn import native

BITS = 22
"""Of a place."""
SHORTEST, LONGEST = 3, 5
"""Characters of a run."""
BLANK = 32
Array = np.ndarray

# Odd numbers of well mixed bits, by which 32-bit hashes are multiplied.
WORD, PAIR, NEXT, RUN, LAST = (np.uint32(one) for one in (0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1))
HALF, REST = np.uint32(15), np.uint32(32 - BITS)


def text_grams(text: str) -> Array:
    """How many words a text has, the places of the words, and those of its other n-grams. [number] int32

    Arguments:
        text: words with a blank before and after each.
    """
    characters = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
    if native.module is not None:
        return native.module.text_grams(characters, BITS)
    words = word_hashes(characters)
    pairs = (words[:-1] * PAIR ^ words[1:] >> HALF) * NEXT + words[1:] * LAST
    parts, runs = [words * WORD, pairs], characters * WORD
    for length in range(2, min(LONGEST, len(characters)) + 1):
        runs = folded(runs[: len(characters) - length + 1]) * NEXT + characters[length - 1 :] * PAIR
        if length >= SHORTEST:
            parts.append(folded(runs) * RUN)
    places = (np.concatenate(parts) >> REST).astype(np.int32)
    return np.concatenate([np.array([len(words)], np.int32), places])


def ascii_grams(text: str) -> Array | None:
    """The same of a text of ASCII as it is: in lower case, words and runs of other marks apart. None: no extension."""
    if native.module is None:
        return None
    return native.module.ascii_grams(np.frombuffer(text.encode("ascii"), np.uint8), BITS)


def word_hashes(characters: Array) -> Array:
    """A hash of each run of characters between blanks: a polynomial in their places within it. [word] uint32"""
    inside = characters != BLANK
    starts = np.flatnonzero(inside & np.concatenate([[True], ~inside[:-1]])[: len(inside)])
    if not len(starts):
        return np.zeros(0, np.uint32)
    first = np.zeros(len(characters), np.int64)
    first[starts] = starts
    within = np.arange(len(characters)) - np.maximum.accumulate(first)
    powers = np.cumprod(np.full(len(characters), WORD), dtype=np.uint32)
    terms = np.where(inside, characters * powers[within], np.uint32(0))
    return folded(np.add.reduceat(terms, starts, dtype=np.uint32)) * RUN


def folded(codes: Array) -> Array:
    """The upper bits brought into the lower ones."""
    return codes ^ codes >> HALF
