"""A pruned linear model of texts and a small recurrent network, in one file that answers for both."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from torch import nn

from sparsernn.data.grams import GramEncoder
from sparsernn.data.preparation import Preparation
from sparsernn.deploy.packing import spec_of
from sparsernn.durable import scratch
from sparsernn.own_data.pruned_linear import STEPS_OF_WEIGHTS, Parts, Ranked, rounded, scaled
from sparsernn.own_data.sizing import TooLarge
from sparsernn.runtime.artifact import save_grams
from sparsernn.runtime.grams import GramNetwork, Grams
from sparsernn.runtime.network import Network, NetworkSpec

GAINS = tuple(number / 8 for number in range(17))
SHARPNESSES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
FORMAT = "int8_dense"
"""How the recurrent layers lie in memory: the fastest for so few units."""
ROUNDS, CLOSE = 12, 0.9  # in which a size is looked for, and how much of the room is enough
Array = np.ndarray


@dataclass(frozen=True)
class Fused:
    """The parts of a file of texts. network: None if the linear part is enough."""

    grams: Grams
    network: NetworkSpec | None = None

    def model(self) -> GramNetwork:
        """What runs them."""
        return GramNetwork(self.grams, None if self.network is None else Network(self.network))

    def save(self, path: Path, preparation: Preparation, encoder: GramEncoder) -> None:
        """Write the file, from which another file of texts can be read as well."""
        described = replace(preparation, tokenizer=encoder.to_json(), length=0)
        save_grams(path, self.grams, self.network, json.dumps(described.to_json()))

    def size(self, preparation: Preparation, encoder: GramEncoder) -> int:
        """Bytes of the file."""
        with scratch() as folder:
            self.save(folder / "file", preparation, encoder)
            return (folder / "file").stat().st_size


def fuse(
    network: nn.Module, words: Sequence[str], encoder: GramEncoder, parts: Parts, *, kept: int, length: int
) -> Fused:
    """A network for texts with a linear part beside it, their shares and sharpness chosen by the loss on validation.

    Arguments:
        words: of its vocabulary, by their numbers. kept: n-grams of the linear part. length: words the network reads.
    """
    vectors = word_vectors(network, words, encoder)
    grams = Ranked.of(parts, kept, vectors.places).fit(kept)
    return grams_and_network(grams, spec_of(network), vectors, parts, length)


def fuse_within(
    network: nn.Module,
    words: Sequence[str],
    encoder: GramEncoder,
    parts: Parts,
    *,
    kept: int,
    length: int,
    room: Room,
) -> Fused:
    """As `fuse`, in the room that there is, or without the network where the n-grams that fit then do as well.

    Raises: TooLarge if nothing fits.
    """
    vectors = word_vectors(network, words, encoder)
    nothing = np.zeros(0, np.int64)
    alone, beside = (
        Ranked.of(parts, 1, nothing),
        Ranked.of(parts, 1, vectors.places),
    )
    spec = spec_of(network)
    without = room.filled(lambda count: sharpened(alone.fit(count), parts), kept)
    both = room.filled(lambda count: grams_and_network(beside.fit(count), spec, vectors, parts, length), kept)
    if without is None:
        raise TooLarge(room.most, room.size(sharpened(alone.fit(1), parts)))
    if both is None or both.network is None:
        return without
    losses = [
        parts.learned.losses(one.model().scores(parts.valid.encoded), parts.valid.targets) for one in (without, both)
    ]
    lower = losses[0] - losses[1]
    return both if lower.mean() >= lower.std() / np.sqrt(len(lower)) else without


class Room(NamedTuple):
    """Bytes that a file may take. size: those that it takes."""

    size: Callable[[Fused], int]
    most: int

    def filled(self, fused: Callable[[int], Fused], kept: int) -> Fused | None:
        """What has as many n-grams as fit, at most `kept`; None if not even one fits.

        The number is looked for between one that fits and one that does not, along the line through their sizes.
        """
        best = fused(kept)
        high, above = kept, self.size(best)
        if above <= self.most:
            return best
        best = fused(1)
        low, below = 1, self.size(best)
        if below > self.most:
            return None
        for _ in range(ROUNDS):
            if high - low <= 1 or below >= CLOSE * self.most:
                break
            middle = low + round(0.97 * (high - low) * (self.most - below) / max(1, above - below))
            middle = min(high - 1, max(low + 1, middle))
            one = fused(middle)
            if (taken := self.size(one)) <= self.most:
                best, low, below = one, middle, taken
            else:
                high, above = middle, taken
        return best


class WordVectors(NamedTuple):
    """Vectors of words by the places of these, which ascend. places [word], values [word unit]"""

    places: Array
    values: Array


def word_vectors(network: nn.Module, words: Sequence[str], encoder: GramEncoder) -> WordVectors:
    """The vectors of a network's words that are not zero; words: of its vocabulary, by their numbers."""
    numbers, vectors = living_vectors(spec_of(network))
    placed = encoder.word_places([str(words[int(number)]) for number in numbers])
    places, first = np.unique(placed, return_index=True)
    named = places >= 0
    return WordVectors(places[named], vectors[first[named]])


def network_alone(
    network: nn.Module, words: Sequence[str], encoder: GramEncoder, labels: Sequence[str], length: int
) -> Fused:
    """A network without a linear part, in the same form. labels: as `Grams` has them."""
    vectors = word_vectors(network, words, encoder)
    outputs = 1 if len(labels) == 2 else len(labels)
    nothing = np.zeros((outputs, len(vectors.places)), np.float32), np.zeros(outputs, np.float32)
    grams = Grams(vectors.places, *nothing, np.zeros(len(vectors.places), bool), np.zeros((0, 0)), 1, tuple(labels))
    return Fused(with_vectors(grams, vectors, length), reading(spec_of(network)))


def with_vectors(grams: Grams, vectors: WordVectors, length: int) -> Grams:
    """The same with vectors of some words."""
    values = rounded(vectors.values.T, STEPS_OF_WEIGHTS)
    return replace(grams, words=np.isin(grams.places, vectors.places), vectors=values, length=length)


def reading(spec: NetworkSpec) -> NetworkSpec:
    """The same network without its words, for one that reads their vectors."""
    layers = [replace(layer, format=FORMAT) for layer in spec.layers]
    return replace(spec, embedding=None, rows=None, layers=layers, labels=())


def grams_and_network(grams: Grams, spec: NetworkSpec, vectors: WordVectors, parts: Parts, length: int) -> Fused:
    """Both parts, as much of each as validation says; the network only if it lowers the loss by a standard error.

    Only shares at which it costs no accuracy count.

    Source: Breiman et al. 1984 (the rule of one standard error).
    """
    valid = parts.valid
    linear = GramNetwork(grams).scores(valid.encoded)
    with_words, recurrent = with_vectors(grams, vectors, length), reading(spec)
    both = Fused(with_words, recurrent)
    added = both.model().scores(valid.encoded) - linear
    alone = Mixture.of(0.0, linear, added, parts)
    kept = [Mixture.of(gain, linear, added, parts) for gain in GAINS]
    best = min((one for one in kept if one.accuracy >= alone.accuracy), key=lambda one: one.losses.mean())
    lower = alone.losses - best.losses
    if not best.gain or lower.mean() < lower.std() / np.sqrt(len(lower)):
        return Fused(scaled(grams, alone.sharpness))
    gain, sharpness = best.gain, best.sharpness
    head = None if spec.head is None else np.asarray(spec.head * gain * sharpness, np.float32)
    bias = None if spec.bias is None else np.asarray(spec.bias * gain * sharpness, np.float32)
    return Fused(scaled(with_words, sharpness), replace(recurrent, head=head, bias=bias))


@dataclass(frozen=True)
class Mixture:
    """A linear part and so much of a network on the validation texts, as sharp as suits them best. losses: [text]"""

    gain: float
    sharpness: float
    accuracy: float
    losses: Array

    @classmethod
    def of(cls, gain: float, linear: Array, added: Array, parts: Parts) -> Self:
        """The sharpness is chosen by the loss. Shapes: linear and added [text class]."""
        scores, targets, learned = linear + gain * added, parts.valid.targets, parts.learned
        losses = {sharpness: learned.losses(sharpness * scores, targets) for sharpness in SHARPNESSES}
        best = min(losses, key=lambda sharpness: losses[sharpness].mean())
        return cls(gain, best, learned.right(scores, targets), losses[best])


def linear_alone(fused: Fused, parts: Parts) -> Fused:
    """The linear part without a network, as sharp as validation says."""
    return sharpened(without_vectors(fused.grams), parts)


def without_vectors(grams: Grams) -> Grams:
    """The same n-grams, none of which is a word that a network reads."""
    return replace(grams, words=np.zeros(len(grams.places), bool), vectors=np.zeros((0, 0), np.float32))


def sharpened(grams: Grams, parts: Parts) -> Fused:
    """A linear part, as sharp as validation says."""
    scores = GramNetwork(grams).scores(parts.valid.encoded)
    return Fused(scaled(grams, Mixture.of(0.0, scores, np.zeros_like(scores), parts).sharpness))


def living_vectors(spec: NetworkSpec) -> tuple[Array, Array]:
    """Numbers of the words whose vectors are not zero, and the vectors. [word], [word unit]"""
    if spec.embedding is None:
        raise TypeError("a network that reads no words")
    rows = np.arange(len(spec.embedding)) if spec.rows is None else spec.rows
    numbers = np.flatnonzero(rows >= 0)
    numbers = numbers[numbers > 1]  # padding and unknown words
    vectors = spec.embedding[rows[numbers]]
    living = vectors.any(1)
    return numbers[living], vectors[living]
