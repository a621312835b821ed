"""What classifier, tagger and forecaster have in common: (embedded) inputs, a stack of cells, dropout."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.models.layers import ElementDropout, WordEmbedding, make_cell


class Encoder(nn.Module):
    """A recurrent encoder with an optional embedding before it. See the models built on it."""

    def __init__(
        self,
        inputs: int,
        cell: str,
        units: int,
        layers: int,
        bidirectional: bool,
        dropout: float,
        vocabulary: int | None,
        cell_options: dict[str, Any] | None,
        embedding_init: float | None = None,
        embedding_dropout: float = 0.0,
        embedding_frozen: bool = False,
    ):
        super().__init__()
        self.embedding = WordEmbedding(vocabulary, inputs, embedding_dropout, padding_idx=0) if vocabulary else None
        if self.embedding is not None and embedding_init is not None:
            with torch.no_grad():
                self.embedding.weight[1:].uniform_(-embedding_init, embedding_init)
        if self.embedding is not None:
            self.embedding.weight.requires_grad_(not embedding_frozen)
        self.cell = make_cell(
            cell,
            inputs,
            units,
            layers,
            batch_first=True,
            bidirectional=bidirectional,
            dropout=dropout if layers > 1 else 0.0,
            **(cell_options or {}),
        )
        self.dropout = ElementDropout(dropout)
        self.directions = 2 if bidirectional else 1
        self.width = units * self.directions

    def encode(self, x: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Shapes: x [batch time inputs], or ids [batch time] -> [batch time width]."""
        if self.embedding is not None:
            x = self.dropout(self.embedding(x))
        output, _ = self.cell(x, lengths=lengths)
        return self.dropout(output)
