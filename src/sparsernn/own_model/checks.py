"""What a shrinking is made from: is it what it should be?"""

import math
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.sparsifying.checks import check_tensors


def checked(model: nn.Module, data: Any, loss: object, quality: object, floor: object, how: object, kind: type) -> Any:
    """The data as batches, a tensor as one of them.

    Raises: UserError for a model that cannot be trained, data that can be read once, a loss or quality that is no
        function, a floor that is no number, or something else in the place of the kind that says how.
    """
    check_tensors(model)
    if not isinstance(how, kind):
        raise UserError(f"how is a {type(how).__name__}", f"a {kind.__name__}", f"pass {kind.__name__}(steps=100), say")
    if isinstance(data, Iterator):
        raise UserError("data can be read once", "a loader or a list, which is read anew in each round", "pass one")
    for name, function, expected in (
        ("quality", quality, "a function of the model, the higher the better"),
        ("loss", loss, "a function of model and batch that is to be minimised"),
    ):
        if not callable(function):
            raise UserError(f"{name} is {function!r}", expected, "pass one")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise UserError("every weight of the model is frozen", "some to train on", "set requires_grad_(True)")
    if floor is not None and not (isinstance(floor, int | float) and not math.isnan(floor)):
        raise UserError(f"floor is {floor!r}", "the lowest quality that is good enough", "pass a number, or None")
    return [data] if isinstance(data, Tensor) else data
