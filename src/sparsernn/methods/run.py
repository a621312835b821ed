"""What a method sees of a training, and may do in it."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor, nn

from sparsernn.structure.groups import Groups
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring

State = TypeVar("State", covariant=True)


class Run(Protocol[State]):
    """A training in progress, as a method knows it; the `Sparsifier` is one.

    Attributes:
        model: the unwrapped module; wiring: who reads which of its units.
        masks: which weights exist. Whoever changes them calls `changed`.
        state: the method's own, as `Method.initial_state` made it; saved and loaded with the run.
        owned: parameters that the method owns, by name.
        steps: of the whole training, 0 for a trained model that is not trained on; step_count: done so far;
            steps_seen: done so far, those behind a state that was gone back to included.
        generator: of everything random; the same on every rank.
        loss: returns the loss on one batch, if the user gave it.
        optimizer: the user's, whatever stands around it, or None.
    """

    @property
    def model(self) -> nn.Module: ...

    @property
    def wiring(self) -> Wiring: ...

    @property
    def masks(self) -> Masks: ...

    @property
    def state(self) -> State: ...

    @property
    def owned(self) -> Mapping[str, nn.Parameter]: ...

    @property
    def steps(self) -> int: ...

    @property
    def step_count(self) -> int: ...

    @property
    def steps_seen(self) -> int: ...

    @property
    def generator(self) -> torch.Generator: ...

    @property
    def device(self) -> torch.device: ...

    @property
    def loss(self) -> Callable[[], Tensor] | None: ...

    @property
    def optimizer(self) -> object: ...

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """Every known parameter of the model, by name."""
        ...

    @property
    def selected(self) -> list[str]:
        """Names of the tensors in which groups start."""
        ...

    def groups(self, level: str, per: str = "tensor") -> Groups:
        """The groups of a granularity that start in the selected tensors; masks cover all they touch."""
        ...

    def gradient(self, name: str) -> Tensor | None:
        """The latest gradient of a weight, of its absent places too, where `.grad` is zero; None if there is none."""

    def learning_rate(self, name: str) -> float:
        """The optimizer's present learning rate for a parameter."""
        ...

    def own(self, tensors: Mapping[str, Tensor], learning_rate: float, follows: bool = False) -> None:
        """Make parameters of the method's own out of tensors; Adam steps them. To be called in `prepare`.

        Arguments:
            follows: whether their learning rate falls and rises as the optimizer's does, from its present one on.
        """

    def remove(self, groups: Groups, kept: Tensor) -> dict[str, Tensor]:
        """Take groups out of the masks; what is absent already stays so. kept: [groups.count]. Returns the deaths."""
        ...

    def changed(
        self, kind: str, born: Mapping[str, Tensor] | None = None, died: Mapping[str, Tensor] | None = None
    ) -> None:
        """Masks were rewritten: all ranks agree, the optimizer forgets births and deaths, the event is noted."""

    def note(
        self,
        kind: str,
        born: int | None = None,
        died: int | None = None,
        step: int | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the zeros, and an event of a step: the last one done, if none is given."""

    def enforce(self) -> None:
        """Write exact zeros where weights are absent."""

    def forget(self, name: str, where: Tensor) -> None:
        """Empty the optimizer's memory of a weight at some positions."""

    def forget_all(self) -> None:
        """Give the optimizer the memory of a new one."""

    def agree_(self, flags: Tensor) -> Tensor:
        """Under data parallel every rank takes the flags of rank 0, in place."""
        ...

    def warn(self, message: str) -> None:
        """Tell the user of something that would otherwise go unseen."""
