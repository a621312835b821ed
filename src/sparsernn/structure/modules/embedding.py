"""Embeddings of words."""

from __future__ import annotations

from torch import nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, Part, Producer
from sparsernn.structure.neighbour import Neighbour


def _describe(module: nn.Embedding) -> Description | None:
    if module.max_norm is not None:
        return None
    part = Part("weight", Layout.parse("word -> unit"), {"word": ("word",), "unit": ("unit",)})
    return Description(
        {"word": module.num_embeddings, "unit": module.embedding_dim},
        (part,),
        (Producer("unit", (("weight", None),), recurrent=False),),
        (),
        ("unit",),
        levels={"word": "word", "neuron": "unit"},
    )


def _resize(module: nn.Embedding) -> None:
    module.num_embeddings, module.embedding_dim = module.weight.shape


neighbour = Neighbour((nn.Embedding,), _describe, _resize)
