"""The first forward of a model, followed to find out which layers read which units; and what that changes."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.structure.groups import Groups
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.examples import Example
from sparsernn.tracing.recorder import Recorder
from sparsernn.tracing.recording import record


class FirstForward:
    """Records one forward of a model and hands over its complete wiring.

    A forward that raises or runs in inference mode is let pass; the next one is followed instead.

    Arguments:
        model: the unwrapped module.
        follow: called with the wiring.
    """

    def __init__(self, model: nn.Module, follow: Callable[[Wiring], None]):
        self.model, self.follow = model, follow
        self.recorder: Recorder | None = None

    def look_ahead(self, arguments: tuple[object, ...], keywords: Mapping[str, object]) -> None:
        """A forward begins: it is run once beforehand, in evaluation mode, to know who reads what before it counts."""
        wiring = Wiring.local(self.model)
        record(self.model, wiring, [Example(arguments, keywords)])
        self.follow(wiring)

    def begin(self, drawn: Mapping[str, Tensor]) -> bool:
        """A forward begins, with these weights in the place of parameters. Whether it is recorded."""
        if torch.is_inference_mode_enabled():
            return False
        self.recorder = Recorder(self.model, Wiring.local(self.model))
        stand_ins: dict[int, tuple[Any, str]] = {id(weight): (weight, name) for name, weight in drawn.items()}
        self.recorder.parameters |= stand_ins
        self.recorder.__enter__()
        return True

    def end(self, result: Any) -> bool:
        """The forward is over, or has raised. Whether all is known now."""
        recorder, self.recorder = self.recorder, None
        if recorder is None:
            return False
        recorder.__exit__(None, None, None)
        if result is None:
            return False
        recorder.finish(result)
        self.follow(recorder.wiring)
        return True


def carry_over(old: Groups, new: Groups, masks: Masks) -> Tensor:
    """Which of the new groups exist; the old ones are the same layers before their readers were known. [new.count]

    Raises: UserError if layers that turn out to share units have lost different ones.
    """
    kept = old.kept(masks)
    kept = torch.cat([kept, kept.new_ones(1)])
    gone, here = torch.zeros(2, new.count, dtype=torch.bool, device=kept.device)
    for piece in old.pieces:
        for other in new.pieces:
            if (
                piece.index is not None
                and other.index is not None
                and (piece.name, piece.index.shape) == (other.name, other.index.shape)
            ):
                gone[other.index[(piece.index >= 0) & ~kept[piece.index]]] = True
                here[other.index[(piece.index >= 0) & kept[piece.index]]] = True
    if bool((gone & here).any()):
        raise UserError(
            "the first forward shows that layers share units (by a residual sum, say) and have lost different ones",
            "the model's inputs when the Sparsifier is made",
            "pass example=(x,) to Sparsifier",
        )
    return ~gone


def numbers_before(old: Groups, new: Groups) -> Tensor | None:
    """Of each new group its number among the old ones; the smallest, where several turned out to be one. [new.count]

    None where groups are not of units: their numbers are as before.
    """
    if old.units is None or new.units is None or not bool((new.units >= 0).any()):
        return None
    numbers = torch.full((new.count,), old.count)
    for path, axes in new.wiring.axes.items():
        for key, units in axes.items() if path in old.wiring.axes else ():
            before, after = old.units[old.wiring.axes[path][key]], new.units[units]
            both = (before >= 0) & (after >= 0)
            numbers.scatter_reduce_(0, after[both], before[both], "amin")
    return numbers
