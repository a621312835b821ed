"""What the masks did, and how much of the first ones is left."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sparsernn.structure.masks import Masks
from sparsernn.structure.movement import describe, pack


class History:
    """Events in order.

    Attributes:
        events: {"step", "event": kind, "born", "died"}, the keys that `movement.describe` tells, and what the method
            adds. The step is that in which it happened, counted from 1; 0 is before training.
        first_masks: parameter name -> its first mask, packed; empty where a method does not begin with one.
    """

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.first_masks: dict[str, Tensor] = {}

    def begin(self, masks: Masks) -> None:
        """These are the first masks."""
        self.first_masks = {name: pack(masks.kept[name]) for name in masks.selected}

    def add(
        self, step: int, kind: str, moved: Mapping[str, int | None], masks: Masks, more: Mapping[str, Any] | None
    ) -> None:
        """An event, with how many weights have `moved` in which way; None is left out."""
        numbers = {name: number for name, number in moved.items() if number is not None}
        described = describe(masks, self.first_masks)
        self.events.append({"step": step, "event": kind, **numbers, **described, **(more or {})})
