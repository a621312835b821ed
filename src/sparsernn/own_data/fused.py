"""A pruned linear classifier of texts and a small recurrent network, in one file that answers for both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
from torch import nn

from sparsernn.data.grams import GramEncoder
from sparsernn.data.preparation import Preparation
from sparsernn.deploy.packing import spec_of
from sparsernn.own_data.pruned_linear import STEPS_OF_WEIGHTS, Texts, fit, rounded, row_losses, scaled
from sparsernn.runtime.artifact import save_grams
from sparsernn.runtime.grams import GramNetwork, Grams
from sparsernn.runtime.network import Network, NetworkSpec

GAINS = tuple(number / 8 for number in range(17))
SHARPNESSES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
FORMAT = "int8_dense"
"""How the recurrent layers lie in memory: the fastest for so few units."""
Array = np.ndarray


class Parts(NamedTuple):
    """Encoded texts of a split of a file."""

    train: Texts
    valid: Texts


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


def fuse(
    network: nn.Module,
    words: Sequence[str],
    encoder: GramEncoder,
    parts: Parts,
    labels: Sequence[str],
    *,
    kept: int,
    length: int,
) -> Fused:
    """A network for texts with a linear part beside it, their shares and sharpness chosen by the loss on validation.

    Arguments:
        words: of its vocabulary, by their numbers. kept: n-grams of the linear part. length: words the network reads.
    """
    vectors = word_vectors(network, words, encoder)
    grams = fit(parts.train, parts.valid, labels, kept, vectors.places)
    return grams_and_network(grams, spec_of(network), vectors, parts.valid, length)


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
    """A network without a linear part, in the same form."""
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


def grams_and_network(grams: Grams, spec: NetworkSpec, vectors: WordVectors, valid: Texts, length: int) -> Fused:
    """Both parts, as much of each as validation says; the network only if it lowers the loss by a standard error.

    Only shares at which it costs no accuracy count.

    Source: Breiman et al. 1984 (the rule of one standard error).
    """
    linear = GramNetwork(grams).scores(valid.encoded)
    with_words, recurrent = with_vectors(grams, vectors, length), reading(spec)
    both = Fused(with_words, recurrent)
    added = both.model().scores(valid.encoded) - linear
    alone = Mixture.of(0.0, linear, added, valid)
    kept = [Mixture.of(gain, linear, added, valid) for gain in GAINS]
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
    def of(cls, gain: float, linear: Array, added: Array, valid: Texts) -> Self:
        """The sharpness is chosen by the loss. Shapes: linear and added [text class]."""
        scores = linear + gain * added
        losses = {sharpness: row_losses(sharpness * scores, valid.targets) for sharpness in SHARPNESSES}
        best = min(losses, key=lambda sharpness: losses[sharpness].mean())
        return cls(gain, best, float((scores.argmax(1) == valid.targets).mean()), losses[best])


def linear_alone(fused: Fused, valid: Texts) -> Fused:
    """The linear part without a network, as sharp as validation says."""
    grams = replace(fused.grams, words=np.zeros(len(fused.grams.places), bool), vectors=np.zeros((0, 0), np.float32))
    scores = GramNetwork(grams).scores(valid.encoded)
    return Fused(scaled(grams, Mixture.of(0.0, scores, np.zeros_like(scores), valid).sharpness))


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
