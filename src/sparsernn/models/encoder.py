"""What classifier, tagger and forecaster have in common: (embedded) inputs, a stack of cells, dropout."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sparsernn.models.layers import CellOptions, ElementDropout, Noise, WordEmbedding, make_cell
from sparsernn.models.model import Model


@dataclass(frozen=True)
class EncoderOptions:
    """Options of an encoder; `Classifier` says what they mean."""

    cell: str = "gru"
    units: int = 64
    layers: int = 1
    bidirectional: bool = False
    dropout: float = 0.0
    vocabulary: int | None = None
    cell_options: CellOptions | None = None
    embedding_init: float | None = None
    embedding_dropout: float = 0.0
    embedding_frozen: bool = False
    noise: float = 0.0


@dataclass(frozen=True)
class _Sizes:
    inputs: int
    classes: int


@dataclass(frozen=True)
class LabelOptions(EncoderOptions, _Sizes):
    """The same after the sizes of what is read and of what is told apart."""


class Encoder(Model):
    """A recurrent encoder with an optional embedding before it. See the models built on it."""

    def __init__(self, inputs: int, options: EncoderOptions):
        super().__init__()
        self.embedding = _embedding(inputs, options.vocabulary, options) if options.vocabulary else None
        self.cell = make_cell(
            options.cell,
            inputs,
            options.units,
            options.layers,
            batch_first=True,
            bidirectional=options.bidirectional,
            dropout=options.dropout if options.layers > 1 else 0.0,
            **(options.cell_options or {}),
        )
        self.dropout, self.noise = ElementDropout(options.dropout), Noise(options.noise)
        self.directions = 2 if options.bidirectional else 1
        self.width = options.units * self.directions

    def encode(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Shapes: x [batch time inputs], or ids [batch time] -> [batch time width]."""
        output, _ = self.cell(self.embed(x), lengths=lengths)
        return self.dropout(output)

    @property
    def forward_units(self) -> int | None:
        """How many of the last layer's units read forward, where others read backward.

        Compacted directions may have different widths.
        """
        return None if self.directions == 1 else self.cell.projections[-2] or self.cell.widths[-2]

    def embed(self, x: Tensor) -> Tensor:
        """What the first layer reads. Shapes: x [batch time inputs], or ids [batch time] -> [batch time inputs]."""
        return self.noise(x) if self.embedding is None else self.dropout(self.embedding(x))


def _embedding(inputs: int, words: int, options: EncoderOptions) -> WordEmbedding:
    embedding = WordEmbedding(words, inputs, options.embedding_dropout, padding_idx=0)
    if options.embedding_init is not None:
        with torch.no_grad():
            embedding.weight[1:].uniform_(-options.embedding_init, options.embedding_init)
    embedding.weight.requires_grad_(not options.embedding_frozen)
    return embedding
