"""Attention with several heads: a unit that is zero in a query, a key or a value adds nothing to any head."""

from collections.abc import Mapping

from torch import Tensor, nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, Part
from sparsernn.structure.filled_inputs import INPUTS, take_fewer, units_of
from sparsernn.structure.neighbour import Neighbour


def _describe(module: nn.MultiheadAttention) -> Description:
    """The heads share the width of the query, so that the weights stay, and units that go are filled in."""
    sizes = {name: len(units) for name, units in units_of(module).items()}
    sizes |= {"inner": module.embed_dim, "output": module.embed_dim}
    parts = [Part("out_proj.weight", Layout.parse("output <- inner"), {"output": ("output",), "inner": ("inner",)})]
    if module.out_proj.bias is not None:
        parts.append(Part("out_proj.bias", Layout.parse("output"), {"output": ("output",)}))
    levels, fixed = {"neuron": "output", "input": "inner"}, ("inner", "output")
    return Description(sizes, tuple(parts), (), INPUTS, (), levels=levels, sums=True, fixed=fixed, separate=True)


def _renumber(module: nn.MultiheadAttention, kept: Mapping[str, Tensor]) -> None:
    take_fewer(module, kept)


neighbour = Neighbour((nn.MultiheadAttention,), _describe, renumber=_renumber)
