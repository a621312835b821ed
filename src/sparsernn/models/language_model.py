"""The next token of a text."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.models.constructor import taking
from sparsernn.models.layers import CellOptions, ElementDropout, LockedDropout, WordEmbedding, make_cell
from sparsernn.models.model import Model

ADDED_BIASES = ("lstm", "rnn")
"""Cells of torch with two biases that are only added."""
States = tuple[Tensor | tuple[Tensor, ...], ...]
"""Of each layer, as its module gives them."""


@dataclass(frozen=True)
class LanguageModelOptions:
    """Arguments of a language model.

    Raises: UserError for those that exclude each other, or an unknown kind of dropout.
    """

    vocabulary: int
    units: int = 200
    layers: int = 2
    cell: str = "lstm"
    embedding: int | None = None
    tied: bool = False
    dropout: float = 0.0
    dropout_kind: str = "element"
    input_dropout: float | None = None
    output_dropout: float | None = None
    embedding_dropout: float = 0.0
    recurrent_dropout: float = 0.0
    init: float | None = None
    zero_bias: bool = True
    one_bias: bool = False
    frozen_embedding: float | None = None
    cell_options: CellOptions | None = None

    def __post_init__(self) -> None:
        if self.tied and self.width != self.units:
            raise UserError(
                f"tied weights with an embedding of {self.width} and {self.units} units",
                "equal widths",
                "leave embedding out, or tied=False",
            )
        if self.dropout_kind not in ("element", "variational"):
            raise UserError(
                f'dropout_kind is "{self.dropout_kind}"', '"element" or "variational"', "choose one of them"
            )
        if self.one_bias and self.cell not in ADDED_BIASES:
            raise UserError(
                f"one_bias with the cell {self.cell}",
                f"a cell that only adds its two biases: {', '.join(ADDED_BIASES)}",
                "leave out one_bias",
            )
        if self.tied and self.frozen_embedding is not None:
            raise UserError("a frozen embedding that is the output layer", "one of the two", "leave out tied")

    @property
    def width(self) -> int:
        """Of the embedding."""
        return self.embedding or self.units


class LanguageModel(Model):
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
        one_bias: whether a gate has one bias, as elsewhere: torch's second one stays at 0. Two of them, of equal
            gradients, learn a bias at twice the rate.
    Shapes: ids [time batch] -> logits [time batch vocabulary] and the states to be passed on.
    """

    objective: ClassVar[str] = "language_model"

    @taking(LanguageModelOptions)
    def __init__(self, options: LanguageModelOptions):
        super().__init__()
        units, dropout, cell_options = options.units, options.dropout, options.cell_options or {}
        make = ElementDropout if options.dropout_kind == "element" else LockedDropout
        self.embedding = WordEmbedding(options.vocabulary, options.width, options.embedding_dropout)
        self.cells = nn.ModuleList(
            make_cell(options.cell, inputs, units, recurrent_dropout=options.recurrent_dropout, **cell_options)
            for inputs in (options.width if layer == 0 else units for layer in range(options.layers))
        )
        self.input_dropout = make(dropout if options.input_dropout is None else options.input_dropout)
        self.dropout = make(dropout)
        self.output_dropout = make(dropout if options.output_dropout is None else options.output_dropout)
        self.head = nn.Linear(units, options.vocabulary)
        if options.tied:
            self.head.weight = self.embedding.weight
        self._initialise(options)

    @torch.no_grad()
    def _initialise(self, options: LanguageModelOptions) -> None:
        bound = 0.1 if options.init is None else options.init
        nn.init.uniform_(self.embedding.weight, -bound, bound)
        nn.init.uniform_(self.head.weight, -bound, bound)
        nn.init.zeros_(self.head.bias)
        for name, parameter in self.cells.named_parameters() if options.init is not None else ():
            if "bias" in name and options.zero_bias:
                nn.init.zeros_(parameter)
            else:
                nn.init.uniform_(parameter, -bound, bound)
        for name, parameter in self.cells.named_parameters() if options.one_bias else ():
            if "bias_hh" in name:
                nn.init.zeros_(parameter).requires_grad_(False)
        if options.frozen_embedding is not None:
            nn.init.normal_(self.embedding.weight, 0.0, options.frozen_embedding)
            self.embedding.weight.requires_grad_(False)

    def forward(self, ids: Tensor, state: States | None = None) -> tuple[Tensor, States]:
        x = self.input_dropout(self.embedding(ids))
        states = []
        for index, cell in enumerate(self.cells):
            x, after = cell(x if index == 0 else self.dropout(x), None if state is None else state[index])
            states.append(after)
        return self.head(self.output_dropout(x)), tuple(states)
