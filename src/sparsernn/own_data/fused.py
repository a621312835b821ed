"""A pruned linear classifier of texts and a small recurrent network, in one file that answers for both."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from torch import nn

from sparsernn.data.grams import GramEncoder
from sparsernn.data.preparation import Preparation
from sparsernn.deploy.packing import spec_of
from sparsernn.own_data.pruned_linear import STEPS_OF_WEIGHTS, Texts, fit, loss, rounded, scaled
from sparsernn.runtime.artifact import save_grams
from sparsernn.runtime.grams import GramNetwork, Grams
from sparsernn.runtime.network import Network, NetworkSpec

GAINS = tuple(np.arange(0, 2.01, 0.125))
SHARPNESSES = (0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0)
FORMAT = "dense"
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
    spec = spec_of(network, labels)
    numbers, vectors = living_vectors(spec)
    places, first = np.unique(encoder.word_places([words[number] for number in numbers]), return_index=True)
    grams = fit(parts.train, parts.valid, labels, kept, places.astype(np.int64))
    return grams_and_network(grams, spec, places, vectors[first], parts.valid, length)


def grams_and_network(
    grams: Grams, spec: NetworkSpec, places: Array, vectors: Array, valid: Texts, length: int
) -> Fused:
    """Both parts, as much of each as validation says. Shapes: places [word], vectors [word unit]."""
    linear = GramNetwork(grams).scores(valid.encoded)
    with_words = replace(
        grams,
        words=np.isin(grams.places, places),
        vectors=rounded(vectors.T, STEPS_OF_WEIGHTS),
        length=length,
    )
    layers = [replace(layer, format=FORMAT) for layer in spec.layers]
    recurrent = replace(spec, embedding=None, rows=None, layers=layers, labels=())
    both = Fused(with_words, recurrent)
    added = both.model().scores(valid.encoded) - linear
    losses = {
        (gain, sharpness): loss(sharpness * (linear + gain * added), valid.targets)
        for gain, sharpness in itertools.product(GAINS, SHARPNESSES)
    }
    gain, sharpness = min(losses, key=lambda pair: (losses[pair], pair))
    if gain == 0:
        return Fused(scaled(grams, sharpness))
    head = None if spec.head is None else np.asarray(spec.head * gain * sharpness, np.float32)
    bias = None if spec.bias is None else np.asarray(spec.bias * gain * sharpness, np.float32)
    return Fused(scaled(with_words, sharpness), replace(recurrent, head=head, bias=bias))


def linear_alone(fused: Fused, valid: Texts) -> Fused:
    """The linear part without a network, as sharp as validation says."""
    grams = replace(fused.grams, words=np.zeros(len(fused.grams.places), bool), vectors=np.zeros((0, 0), np.float32))
    scores = GramNetwork(grams).scores(valid.encoded)
    best = min(SHARPNESSES, key=lambda sharpness: loss(sharpness * scores, valid.targets))
    return Fused(scaled(grams, best))


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
