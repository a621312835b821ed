"""Embeddings of words."""

from collections.abc import Mapping

from torch import Tensor, nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, Part, Producer
from sparsernn.structure.neighbour import Neighbour
from sparsernn.structure.words import keep_words, map_size, rows_of


def _describe(module: nn.Embedding) -> Description | None:
    if module.max_norm is not None:
        return None
    part = Part("weight", Layout.parse("word -> unit"), {"word": ("word",), "unit": ("unit",)})
    words, width = module.weight.shape
    return Description(
        {"word": words, "unit": width},
        (part,),
        (Producer("unit", (("weight", None),), recurrent=False),),
        (),
        ("unit",),
        levels={"word": "word", "neuron": "unit"},
        # Gradients that are divided by how often a row was read would see dead words in the row that stands for them.
        numbered={} if module.scale_grad_by_freq else {"word": map_size(module)},
    )


def _resize(module: nn.Embedding) -> None:
    module.embedding_dim = module.weight.shape[1]


def _renumber(module: nn.Embedding, kept: Mapping[str, Tensor]) -> None:
    if len(kept["word"]) < rows_of(module):
        keep_words(module, kept["word"])


neighbour = Neighbour((nn.Embedding,), _describe, _resize, _renumber)
