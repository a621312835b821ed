"""A linear layer over hashed n-grams of a text, and a recurrent network that reads vectors of some of its words.

A text comes as whole numbers: how many words it has, the places of the words in their order, and the places of all its
other n-grams. No string is stored: a place is a hash.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from sparsernn import native
from sparsernn.errors import UserError
from sparsernn.runtime.hashing import BITS
from sparsernn.runtime.network import Network
from sparsernn.runtime.patterns import DamagedFile

VALUE = "value"  # what the one output is called that is a number
AT_ONCE = 32
"""Places of which one number tells, in its lower half; its upper half counts the n-grams before them."""
Array = np.ndarray


@dataclass(frozen=True)
class Grams:
    """What is known of the n-grams of texts.

    Arguments:
        places: of the n-grams that count, ascending. [gram]
        weights: of these, for each output; one output tells two classes apart, the first being at 0. [output gram]
        bias: [output]
        words: which of them are words with a vector. [gram] boolean
        vectors: of these words, in the order of their places. [unit word]
        length: the network reads so many words, the last ones.
        labels: names of the classes, or one name for numbers.
    """

    places: Array
    weights: Array
    bias: Array
    words: Array
    vectors: Array
    length: int = 200
    labels: Sequence[str] = field(default_factory=tuple)

    def check(self) -> None:
        """Raises: DamagedFile unless the parts fit each other."""
        count = len(self.places)
        if self.places.ndim != 1 or (np.diff(self.places) <= 0).any() or not self._placed():
            raise DamagedFile("its n-grams are not in order")
        if self.weights.ndim != 2 or self.weights.shape[1] != count or self.bias.shape != (len(self.weights),):
            raise DamagedFile("its linear layer does not fit its n-grams")
        if self.words.shape != (count,) or self.vectors.ndim != 2:
            raise DamagedFile("its words are not among its n-grams")
        if self.vectors.shape[1] != np.count_nonzero(self.words) or type(self.length) is not int or self.length < 1:
            raise DamagedFile("its vectors are not those of its words")
        if len(self.bias) != (1 if len(self.labels) == 2 else len(self.labels)) or not self.labels:
            raise DamagedFile("its labels are not those of its linear layer")

    def _placed(self) -> bool:
        return not len(self.places) or bool(self.places[0] >= 0 and self.places[-1] < 1 << BITS)


class GramNetwork:
    """Scores of texts: those of a linear layer, and those of a recurrent network where there is one.

    It never changes, and threads may share it.

    Arguments:
        grams: see there. network: reads the words' vectors and has as many outputs as labels, or None.
        preparation: how a table becomes input, as `sparsernn train` has it, or "".
    Attributes:
        kind, labels, layers: as those of a `Network`.
    """

    kind = "classification"

    def __init__(self, grams: Grams, network: Network | None = None, preparation: str = ""):
        grams.check()
        self.grams, self.network, self.preparation = grams, network, preparation
        self.labels, self.layers = tuple(grams.labels), [] if network is None else network.layers
        self._weights = np.ascontiguousarray(grams.weights.T, np.float32)
        self._places = grams.places.astype(np.int32)
        entries = self._places // AT_ONCE
        counts = np.bincount(entries, minlength=(1 << BITS) // AT_ONCE)
        before = counts.cumsum()
        before -= counts
        before <<= AT_ONCE
        self._table = before.view(np.uint64)
        np.bitwise_or.at(self._table, entries, np.uint64(1) << (self._places % AT_ONCE).astype(np.uint64))
        self._rows = (np.cumsum(grams.words) * grams.words).astype(np.int32)
        blank = np.zeros((1, len(grams.vectors)), np.float32)
        self._vectors = np.concatenate([blank, grams.vectors.T]).astype(np.float32)
        if network is not None:
            spec, outputs = network.spec, len(self.labels)
            heads = 0 if spec.head is None else len(spec.head)
            if spec.kind != "classification" or spec.embedding is not None or heads != outputs:
                raise DamagedFile("its network is none for words and labels")
            if network.layers[0].inputs != len(grams.vectors):
                raise DamagedFile("its vectors do not fit its network")

    def run(self, x: Array, lengths: Array | None = None) -> Array:
        """Scores of texts, whose softmax are probabilities.

        Arguments:
            lengths: of each text's numbers; what stands behind it counts for nothing. [batch]
        Shapes: x whole numbers [batch number] -> [batch class].
        Raises: UserError for something else than texts in this form.
        """
        x = np.asarray(x)
        ends = np.full(len(x), x.shape[-1]) if lengths is None else np.asarray(lengths)
        if x.ndim != 2 or x.dtype.kind not in "iu" or ends.shape != x.shape[:1]:
            happened = f"the input is {x.dtype} of shape {list(x.shape)}"
            raise UserError(happened, "whole numbers, a row a text", "encode the texts first")
        return self.scores([row[:end] for row, end in zip(x, ends.tolist(), strict=True)])

    def scores(self, texts: Sequence[Array]) -> Array:
        """Scores of texts, each an array of its own. Shapes: [number] each -> [batch class]."""
        scores = np.empty((len(texts), len(self.grams.bias)), np.float32)
        words = []
        for number, text in enumerate(texts):
            scores[number], rows = self._linear(text)
            words.append(rows)
        if scores.shape[1] < len(self.labels):
            scores = np.concatenate([np.zeros_like(scores), scores], 1)
        if self.network is not None and len(texts):
            scores += self._recurrent(self.network, words)
        return scores

    def _linear(self, text: Array) -> tuple[Array, Array]:
        """What the n-grams of a text add up to, and the rows of its words' vectors. [output], [word]"""
        text = np.ascontiguousarray(text, np.int32)
        if not (len(text) and 0 <= text[0] < len(text)):
            raise UserError("a text without the number of its words", "what an encoder gives", "encode it first")
        if native.module is not None:
            sums = np.empty(self._weights.shape[1], np.float32)
            rows = np.empty(text[0], np.int32)
            try:
                native.module.gram_sums(text, self._table, self._weights, self._rows, sums, rows)
            except ValueError as error:
                raise _no_grams() from error
            return self.grams.bias + sums, rows
        grams = text[1:]
        if grams.min(initial=0) < 0 or grams.max(initial=0) >> BITS:
            raise _no_grams()
        at = self._places.searchsorted(grams)
        met = self._places[np.minimum(at, len(self._places) - 1)] == grams if len(self._places) else at < 0
        rows = np.zeros(text[0], np.int32)
        words = met[: text[0]]
        rows[words] = self._rows[at[: text[0]][words]]
        sums = self._weights[np.unique(at[met])].sum(0) / np.float32(max(1, len(grams)) ** 0.5)
        return self.grams.bias + sums, rows

    def _recurrent(self, network: Network, words: list[Array]) -> Array:
        words = [rows[-self.grams.length :] if len(rows) else np.zeros(1, np.int32) for rows in words]
        if len(words) == 1:
            return network.run(self._vectors[words[0]][None])
        lengths = np.array([len(rows) for rows in words], np.int64)
        padded = np.zeros((len(words), int(lengths.max())), np.int64)
        for number, rows in enumerate(words):
            padded[number, : len(rows)] = rows
        return network.run(self._vectors[padded], lengths)


def _no_grams() -> UserError:
    return UserError("a text holds numbers that are no n-grams", "what an encoder gives", "encode it first")


def pack_places(places: Array) -> Array:
    """Ascending whole numbers as the bytes of their gaps, seven bits a byte and the lowest first. [byte] uint8"""
    gaps = np.diff(places, prepend=0).astype(np.int64)
    pieces = np.stack([gaps >> shift & 127 for shift in (0, 7, 14, 21)], 1)
    lengths = 1 + (gaps[:, None] >> np.array([7, 14, 21]) > 0).sum(1)
    pieces |= 128 * (np.arange(4) < lengths[:, None] - 1)
    return pieces[np.arange(4) < lengths[:, None]].astype(np.uint8)


def unpack_places(data: Array, count: int) -> Array:
    """What `pack_places` packed. Raises: DamagedFile."""
    last = data < 128
    if data.ndim != 1 or data.dtype != np.uint8 or np.count_nonzero(last) != count or (count and not last[-1]):
        raise DamagedFile(f"its bytes do not hold {count} n-grams")
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])[:count]
    if (ends - starts >= 4).any():
        raise DamagedFile("a gap between its n-grams is too large")
    place = np.arange(len(data)) - np.repeat(starts, ends - starts + 1)
    gaps = np.add.reduceat((data & 127).astype(np.int64) << 7 * place, starts) if count else np.zeros(0, np.int64)
    return np.cumsum(gaps)
