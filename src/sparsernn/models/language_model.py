"""The next token of a text."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.models.layers import ElementDropout, LockedDropout, WordEmbedding, make_cell


class LanguageModel(nn.Module):
    """Embedding, recurrent layers, a linear layer over the vocabulary; states are carried from batch to batch.

    Arguments:
        vocabulary: number of tokens.
        units: of each recurrent layer; embedding: width of the embedding, `units` by default.
        layers, cell, cell_options: the recurrent layers, by file name in `sparsernn.cells`.
        tied: whether the output layer is the embedding (needs embedding == units).
        dropout: rate after the embedding (unless `input_dropout` is given), between layers and before the output
            (unless `output_dropout` is given).
        dropout_kind: "element" (a mask per number and step) or "variational" (one mask a sequence, held over time).
        embedding_dropout: rate at which whole word types are dropped.
        recurrent_dropout: rate of dropping hidden units from the recurrent product, one mask a forward.
        init: weights and embedding ~ U(-init, init), output bias 0; None: embedding and output U(-0.1, 0.1),
            cells as torch.
        frozen_embedding: standard deviation of a normal embedding that is not trained; None trains it.
        zero_bias: with init, whether the cells' biases start at 0.
    Shapes: ids [time batch] -> logits [time batch vocabulary] and the states to be passed on.
    """

    objective: ClassVar[str] = "language_model"

    def __init__(
        self,
        vocabulary: int,
        units: int = 200,
        layers: int = 2,
        cell: str = "lstm",
        embedding: int | None = None,
        tied: bool = False,
        dropout: float = 0.0,
        dropout_kind: str = "element",
        input_dropout: float | None = None,
        output_dropout: float | None = None,
        embedding_dropout: float = 0.0,
        recurrent_dropout: float = 0.0,
        init: float | None = None,
        zero_bias: bool = True,
        frozen_embedding: float | None = None,
        cell_options: dict[str, Any] | None = None,
    ):
        super().__init__()
        width = embedding or units
        if tied and width != units:
            raise UserError(
                f"tied weights with an embedding of {width} and {units} units",
                "equal widths",
                "leave embedding out, or tied=False",
            )
        if dropout_kind not in ("element", "variational"):
            raise UserError(f'dropout_kind is "{dropout_kind}"', '"element" or "variational"', "choose one of them")
        if tied and frozen_embedding is not None:
            raise UserError("a frozen embedding that is the output layer", "one of the two", "leave out tied")
        make = ElementDropout if dropout_kind == "element" else LockedDropout
        self.embedding = WordEmbedding(vocabulary, width, embedding_dropout)
        self.cells = nn.ModuleList(
            make_cell(
                cell, width if layer == 0 else units, units, recurrent_dropout=recurrent_dropout, **(cell_options or {})
            )
            for layer in range(layers)
        )
        self.input_dropout = make(dropout if input_dropout is None else input_dropout)
        self.dropout = make(dropout)
        self.output_dropout = make(dropout if output_dropout is None else output_dropout)
        self.head = nn.Linear(units, vocabulary)
        if tied:
            self.head.weight = self.embedding.weight
        self._initialise(init, zero_bias)
        if frozen_embedding is not None:
            nn.init.normal_(self.embedding.weight, 0.0, frozen_embedding)
            self.embedding.weight.requires_grad_(False)

    @torch.no_grad()
    def _initialise(self, init: float | None, zero_bias: bool) -> None:
        bound = 0.1 if init is None else init
        nn.init.uniform_(self.embedding.weight, -bound, bound)
        nn.init.uniform_(self.head.weight, -bound, bound)
        nn.init.zeros_(self.head.bias)
        if init is None:
            return
        for name, parameter in self.cells.named_parameters():
            if "bias" in name and zero_bias:
                nn.init.zeros_(parameter)
            else:
                nn.init.uniform_(parameter, -bound, bound)

    def forward(self, ids: Tensor, state: tuple[Any, ...] | None = None) -> tuple[Tensor, tuple[Any, ...]]:
        x = self.input_dropout(self.embedding(ids))
        states = []
        for index, cell in enumerate(self.cells):
            x, after = cell(x if index == 0 else self.dropout(x), None if state is None else state[index])
            states.append(after)
        return self.head(self.output_dropout(x)), tuple(states)
