"""Which units stand in padded tensors."""

from torch import Tensor
from torch.nn import functional as F

from sparsernn.structure.axes import NOUGHT, OUTSIDE
from sparsernn.tracing.calls import Call
from sparsernn.tracing.numbers import collapsed, varying


def padded_shadow(call: Call, shadow: Tensor) -> Tensor:
    """The shadow of a padded tensor: padding along time belongs to the units there; elsewhere it is no unit."""
    sides, mode, value = call.argument(1, "pad"), call.argument(2, "mode", "constant"), call.argument(3, "value")
    if not isinstance(sides, list | tuple):
        raise TypeError("the widths of its padding are no list")
    dims = [shadow.dim() - 1 - place // 2 for place, side in enumerate(sides) if side]
    whole = collapsed(shadow)
    if not set(varying(whole)) & set(dims):
        return whole.expand(call.outputs[0].shape)
    if mode != "constant":
        raise ValueError("its padding repeats units")
    return F.pad(shadow, list(sides), value=OUTSIDE if value else NOUGHT)
