"""A fixed sparse network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.parts.topology import Sparse
from sparsernn.sparsifying.sparsifier import Sparsifier


@dataclass(frozen=True)
class Static(Sparse):
    """A mask that never changes: random, or given, for example a connectome.

    Arguments: those of `Sparse`; here
        sparsity: fraction of zeros of a random mask, in [0, 1); or eps=.
        masks: instead of both: name -> bool tensor, True = the weight exists; tensors not named stay dense.
    Shapes: any weight; a given mask has its weight's shape.
    Raises: UserError for a mask whose name or shape does not fit the model.
    Source: Mocanu et al. 2018 (fixed Erdős–Rényi topology); the static baseline of Liu et al. 2021.
    Deviations: uniform masks have exact counts unless counts="bernoulli".
    """

    masks: Mapping[str, Tensor] | None = None
    granularities: ClassVar[tuple[str, ...]] = ("weight", "16x1")
    reads_dense_gradient: ClassVar[bool] = False

    def __post_init__(self) -> None:
        if self.masks is None:
            super().__post_init__()
        elif self.sparsity is not None or self.eps is not None:
            raise UserError(
                "masks are given, and a sparsity or eps", "one of the three", "leave sparsity and eps out: masks say it"
            )

    @property
    def target(self) -> float | None:
        return super().target if self.masks is None else None

    def prepare(self, run: Sparsifier) -> None:
        if self.masks is None:
            self.scatter(run)
            return
        if not self.masks:
            raise UserError(
                "masks is empty", "name -> bool tensor for at least one weight", "pass masks=None for a random mask"
            )
        known = run.weights
        for name, mask in self.masks.items():
            if name not in known:
                raise UserError(
                    f'a mask is given for "{name}"',
                    f"names of this model's weights: {', '.join(known)}",
                    "rename the mask",
                )
            mask = torch.as_tensor(mask)
            if mask.shape != known[name].shape:
                raise UserError(
                    f"the mask of {name} has shape {tuple(mask.shape)}",
                    f"{tuple(known[name].shape)}",
                    "give a mask of the weight's shape",
                )
            run.masks.kept[name] = mask.to(known[name].device, torch.bool).clone()
        run.masks.selected = set(self.masks)
        run.changed("start")
