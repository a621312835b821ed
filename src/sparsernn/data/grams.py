"""Texts as hashes of their words, of pairs of words, and of runs of characters."""

import json
from collections.abc import Callable, Sequence

import numpy as np

from sparsernn.data.text import CLEANINGS, Encoder, words_and_marks
from sparsernn.errors import UserError
from sparsernn.runtime.hashing import BITS, ascii_grams, text_grams


class GramEncoder(Encoder):
    """A text as whole numbers: how many words it has, the places of the words, and those of its other n-grams.

    These are pairs of words, and runs of 3 to 5 characters of the words with a blank around each.

    Arguments:
        cleaning: a name in `CLEANINGS`.
        bits: of a place; there is no other number than 22 yet.
    Raises: UserError for another one.
    """

    def __init__(self, cleaning: str, bits: int = BITS):
        if bits != BITS or cleaning not in CLEANINGS:
            raise UserError(f"n-grams of {cleaning!r} in {bits} bits", f"{BITS} bits", "use another copy of the file")
        self.cleaning, self.words = cleaning, []
        self._split: Callable[[str], list[str]] = CLEANINGS[cleaning]

    def ids(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [self._grams(text) for text in texts]

    def _grams(self, text: str) -> np.ndarray:
        grams = ascii_grams(text) if self._split is words_and_marks and text.isascii() else None
        return text_grams(f" {' '.join(self._split(text))} ") if grams is None else grams

    def word_places(self, words: Sequence[str]) -> np.ndarray:
        """The places of words, -1 of one that is blank. Shapes: -> [word]."""
        encoded = [text_grams(f" {word} ") for word in words]
        return np.array([text[1] if text[0] == 1 else -1 for text in encoded], np.int64)

    def to_json(self) -> str:
        return json.dumps({"cleaning": self.cleaning, "bits": BITS})
