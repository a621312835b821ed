"""Embeddings that hold the vectors of their living words alone, and take the ids of all words as before."""

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

ROW_OF_WORD = "row_of_word"
ROW_TYPES = (torch.int8, torch.int16, torch.int32, torch.int64)


class LivingWords(nn.Embedding):
    """What an embedding becomes when rows of it are cut; a dead word's vector is zero.

    `num_embeddings` and `padding_idx` stay what a caller's ids mean: the number of words, and the padding's id.

    Attributes:
        row_of_word: the row of every id, -1 for a dead word; a buffer. [word]
        padding_row: the row whose gradient is zero, if the padding is alive.
        kind: the class that the embedding had.
    """

    behaves_as = nn.Embedding
    kind: type[nn.Embedding]
    row_of_word: Tensor
    padding_row: int | None

    def forward(self, *arguments: Any, **keywords: Any) -> Tensor:
        """As before the cut: ids come first, or under whichever name the class has for them."""
        if arguments:
            rows = self._rows(arguments[0])
            vectors = self._look_up(rows.clamp(min=0), *arguments[1:], **keywords)
        else:
            name, *_ = keywords
            rows = self._rows(keywords.pop(name))
            vectors = self._look_up(rows.clamp(min=0), **keywords)
        return vectors.masked_fill((rows < 0).unsqueeze(-1), 0)

    def _rows(self, ids: Tensor) -> Tensor:
        """-1 for dead words. Raises: IndexError for an id that is none, as every embedding does."""
        return self.row_of_word.index_select(0, ids.reshape(-1)).view(ids.shape).to(ids.dtype)

    def _look_up(self, rows: Tensor, *arguments: Any, **keywords: Any) -> Tensor:
        if self.kind.forward is nn.Embedding.forward:
            return F.embedding(rows, self.weight, self.padding_row, sparse=self.sparse)
        # A forward of one's own may read the size and the padding, which to it are those of the rows that are left.
        inner = self.kind.__new__(self.kind)
        vars(inner).update(vars(self), num_embeddings=len(self.weight), padding_idx=self.padding_row)
        return self.kind.forward(inner, rows, *arguments, **keywords)

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, rows={len(self.weight)}"

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        return _blank, (self.kind,), vars(self)


@cache
def _living(kind: type[nn.Embedding]) -> type[LivingWords]:
    """A class of embeddings with living words only, derived from a user's own."""
    members = {"__doc__": LivingWords.__doc__, "__module__": kind.__module__, "kind": kind}
    return type(kind.__name__, (LivingWords, kind), members)


def _blank(kind: type[nn.Embedding]) -> LivingWords:
    living = _living(kind)
    return living.__new__(living)


def rows_of(embedding: nn.Embedding) -> int:
    """How many rows an embedding has, as far as its ids say."""
    return int(embedding.row_of_word.max()) + 1 if isinstance(embedding, LivingWords) else embedding.num_embeddings


def map_size(embedding: nn.Embedding) -> int:
    """The memory that a map from ids to rows takes, in numbers as large as a weight; 0 where there is one already."""
    if isinstance(embedding, LivingWords):
        return 0
    words = embedding.num_embeddings
    return words * (2 if words <= torch.iinfo(torch.int16).max else 4) // embedding.weight.element_size()


def keep_words(embedding: nn.Embedding, kept: Tensor) -> None:
    """Let an embedding whose rows were cut take the ids that it took before, in place.

    Arguments:
        kept: numbers of the rows that stayed, among those before. [row]
    """
    # The last place is that of the dead words, whose row is -1.
    position = torch.full((rows_of(embedding) + 1,), -1)
    position[kept] = torch.arange(len(kept))
    if isinstance(embedding, LivingWords):
        before = embedding.row_of_word.long().cpu()
    else:
        before = torch.arange(embedding.num_embeddings)
        embedding.__class__ = _living(type(embedding))
    smallest = next(kind for kind in ROW_TYPES if len(kept) - 1 <= torch.iinfo(kind).max)
    row_of_word = position[before]
    device = torch.device("cpu") if embedding.weight.is_meta else embedding.weight.device
    embedding.register_buffer(ROW_OF_WORD, row_of_word.to(device, smallest))
    padding = embedding.padding_idx
    row = -1 if padding is None else int(row_of_word[padding])
    vars(embedding)["padding_row"] = row if row >= 0 else None
