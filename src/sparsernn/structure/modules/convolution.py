"""Convolutions over time."""

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor, nn

from sparsernn.structure.axes import Layout
from sparsernn.structure.description import Description, Part, describe_product, describe_units
from sparsernn.structure.neighbour import Neighbour, whole_groups


def _describe(module: nn.Conv1d) -> Description | None:
    inputs, outputs, taps = module.in_channels, module.out_channels, module.kernel_size[0]
    if module.groups == 1:
        sizes = {"input": inputs, "output": outputs, "tap": taps}
        return describe_product("output <- input tap", sizes, module.bias is not None, fixed=("tap",), place=-2)
    return _describe_groups(module, inputs // module.groups, taps) if inputs == outputs else None


def _describe_groups(module: nn.Conv1d, size: int, taps: int) -> Description:
    """Groups of channels that turn into as many: what stands at the place of a unit is taken for that unit."""
    bias = [] if module.bias is None else ["bias"]
    whole, axes = {"unit": size}, {name: (name,) for name in ("unit", "inner", "tap")}
    about = describe_units(bias, module.in_channels, sums=size > 1, moves_zero=True, place=-2, whole=whole)
    weight = Part("weight", Layout.parse("unit inner tap"), axes)
    sizes = {**about.sizes, "inner": size, "tap": taps}
    return replace(about, sizes=sizes, parts=(weight, *about.parts), fixed=("inner", "tap"))


def _renumber(module: nn.Conv1d, kept: Mapping[str, Tensor]) -> None:
    if module.groups == 1:
        module.out_channels, module.in_channels, _ = module.weight.shape
        return
    module.groups = whole_groups(kept["unit"], module.in_channels // module.groups)
    module.in_channels = module.out_channels = len(kept["unit"])


neighbour = Neighbour((nn.Conv1d,), _describe, renumber=_renumber)
