"""The first forward of a model, followed to find out which layers read which units; and what that changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.structure.groups import Groups
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.recording import Recorder


class FirstForward:
    """Two hooks that record one forward of a model, hand over its complete wiring, and are gone.

    A forward that raises, is being compiled or runs in inference mode is let pass; the next one is followed instead.

    Arguments:
        model: the unwrapped module.
        found: called with the wiring.
    """

    def __init__(self, model: nn.Module, found: Callable[[Wiring], None]):
        self.model, self.found = model, found
        self.recorder: Recorder | None = None
        self.handles = [
            model.register_forward_pre_hook(Hook(self, "begin"), prepend=True),
            model.register_forward_hook(Hook(self, "end"), always_call=True),
        ]

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()

    def begin(self, *_: Any) -> None:
        if self.recorder is None and not torch.compiler.is_compiling() and not torch.is_inference_mode_enabled():
            self.recorder = Recorder(self.model, Wiring.local(self.model))
            self.recorder.__enter__()
            # Where the model is itself a recurrent layer, the recorder's hooks on it have to come first.
            self.model._forward_hooks.move_to_end(self.handles[1].id)

    def end(self, arguments: Any, result: Any) -> None:
        recorder, self.recorder = self.recorder, None
        if recorder is None:
            return
        recorder.__exit__(None, None, None)
        if result is not None:
            self.remove()
            recorder.finish(result)
            self.found(recorder.wiring)


class Hook:
    """One hook that calls its owner. In a copy of the model it leads nowhere and takes itself off when called."""

    def __init__(self, owner: FirstForward | None = None, name: str = ""):
        self.owner, self.name = owner, name

    def __call__(self, module: nn.Module, *arguments: Any) -> None:
        if self.owner is not None and module is self.owner.model:
            getattr(self.owner, self.name)(*arguments)
            return
        for hooks in (module._forward_pre_hooks, module._forward_hooks):
            for key in [key for key, hook in hooks.items() if hook is self]:
                del hooks[key]

    def __reduce__(self) -> tuple[type[Hook], tuple[()]]:
        return Hook, ()


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
