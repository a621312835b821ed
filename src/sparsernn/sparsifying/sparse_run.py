"""A training as its method sees it."""

import abc
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.sparsifying.checks import check_tensors, exchanged
from sparsernn.sparsifying.claims import Claims
from sparsernn.sparsifying.first_weights import FirstWeights
from sparsernn.sparsifying.history import History
from sparsernn.sparsifying.optimizers import Optimizer, Optimizers
from sparsernn.sparsifying.owned_parameters import OwnedParameters
from sparsernn.sparsifying.ranks import agree_
from sparsernn.structure.choice import count
from sparsernn.structure.groups import Groups, Where, select
from sparsernn.structure.masks import Masks, fitting
from sparsernn.structure.wiring import unwrap
from sparsernn.structure.zeroing import zero_absent_
from sparsernn.tracing.recording import trace

Loss = Callable[[], Tensor] | None
Place = Where | Masks | Mapping[str, Tensor]


class SparseRun(abc.ABC):
    """What `methods.run.Run` promises: masks, the optimizer's memory, events, and what the method itself remembers.

    Arguments: those of `Sparsifier`.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: Optimizer | None,
        steps: int,
        loss: Loss,
        where: Place,
        example: Any,
    ):
        self.model, self.method, self.optimizer = unwrap(model), method, optimizer
        self._optimizers = None if optimizer is None else Optimizers(optimizer)
        self.steps, self.loss = steps, loss
        self.step_count = self.steps_seen = 0
        self._ended = True
        self.generator = torch.Generator()
        self.state = method.initial_state()
        self._history, self._owned, self._first_weights = History(), OwnedParameters(), FirstWeights()
        self._groups: dict[tuple[str, str], Groups] = {}
        self._begun = False
        self._sentences: list[str] | None = None
        check_tensors(self.model)
        self.wiring = trace(self.model, example)
        where = Masks.of(where) if isinstance(where, Mapping) else where
        self.where: Where = sorted(where.selected) if isinstance(where, Masks) else where
        self.masks = Masks.full(self.wiring, self.model, set(select(self.wiring, self.model, self.where)))
        self._first_absent = fitting(where, self.weights) if isinstance(where, Masks) else {}
        self._claim([*self.selected, *self._first_absent])
        self._cover(list(self._first_absent))
        for name, kept in self._first_absent.items():
            self.masks.kept[name] &= kept

    @abc.abstractmethod
    def finalize(self) -> Masks:
        """The end of the run."""

    @abc.abstractmethod
    def gradient(self, name: str) -> Tensor | None:
        """The gradient of a weight, of its absent places too; None if there is none."""

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """Every known parameter of the model, by name. Raises: UserError if one is none any more."""
        try:
            return self.wiring.parameters(self.model)
        except AttributeError as error:
            raise exchanged(str(error)) from error

    @property
    def selected(self) -> list[str]:
        """Names of the tensors in which groups start."""
        return sorted(self.masks.selected)

    @property
    def events(self) -> list[dict[str, Any]]:
        return self._history.events

    @property
    def owned(self) -> Mapping[str, nn.Parameter]:
        return self._owned.parameters

    @property
    def device(self) -> torch.device:
        return next(iter(self.weights.values())).device

    def groups(self, level: str, per: str = "tensor") -> Groups:
        """The groups of a granularity that start in the selected tensors; masks cover all they touch."""
        if (level, per) not in self._groups:
            groups = Groups.of(self.wiring, self.model, level, self.where, per).to(self.device)
            self._groups[level, per] = groups
            self._cover(groups.names)
        return self._groups[level, per]

    def enforce(self) -> None:
        """Write exact zeros where weights are absent; until the first forward remember what the first masks zero."""
        for name, kept in self.masks.kept.items():
            parameter = self.model.get_parameter(name)
            if not self._begun and count(kept) < kept.numel():
                self._first_weights.remember(name, parameter)
            zero_absent_(parameter.data, kept)

    def own(self, tensors: Mapping[str, Tensor], learning_rate: float, follows: bool = False) -> None:
        """Make parameters of the method's own out of tensors; Adam steps them. To be called in `prepare`.

        Arguments:
            follows: whether their learning rate falls and rises as the optimizer's does, from its present one on.
        Raises: UserError without a training.
        """
        if not self.steps:
            raise UserError("steps is 0", "a training, in which the method learns", "pass optimizer= and steps=")
        self._owned.add(tensors, learning_rate, self._rate if follows else None)

    @property
    def _rate(self) -> float:
        """The optimizer's present learning rate, that of its first group."""
        return 0.0 if self._optimizers is None else self._optimizers.rate

    def remove(self, groups: Groups, kept: Tensor) -> dict[str, Tensor]:
        """Take groups out of the masks; what is absent already stays so. kept: [groups.count]. Returns the deaths."""
        before = {name: self.masks.kept[name].clone() for name in groups.names}
        groups.keep(self.masks, kept)
        for name, was in before.items():
            self.masks.kept[name] &= was
        return {name: was & ~self.masks.kept[name] for name, was in before.items()}

    def changed(
        self, kind: str, born: Mapping[str, Tensor] | None = None, died: Mapping[str, Tensor] | None = None
    ) -> None:
        """Masks were rewritten: all ranks agree, the optimizer forgets births and deaths, the event is noted.

        Arguments:
            born, died: name -> where weights came to exist or ceased to.
        """
        for kept in self.masks.kept.values():
            self.agree_(kept)
        for moved in (born or {}, died or {}) if self._begun else ():
            for name, where in moved.items():
                self.forget(name, where)
        counts = [None if moved is None else sum(map(count, moved.values())) for moved in (born, died)]
        self.note(kind, counts[0], counts[1])

    def note(
        self,
        kind: str,
        born: int | None = None,
        died: int | None = None,
        step: int | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        """Write the zeros, and an event: see `History`.

        Arguments:
            born, died: how many weights came and went, left out if None.
            step: that in which it happened; the last one done, if not given.
            more: what else there is to tell, as JSON values.
        """
        if kind == "start":
            self._history.begin(self.masks)
        self.enforce()
        moved = {"born": born, "died": died}
        self._history.add(self.step_count if step is None else step, kind, moved, self.masks, more)

    def forget(self, name: str, where: Tensor) -> None:
        """Empty the optimizer's memory (momentum, averages, whatever has the weight's shape) at some positions."""
        if self._optimizers is not None:
            self._optimizers.forget(self.model.get_parameter(name), where)

    def forget_all(self) -> None:
        """Give the optimizer the memory of a new one."""
        if self._optimizers is not None:
            self._optimizers.renew()

    def learning_rate(self, name: str) -> float:
        """The optimizer's present learning rate for a parameter."""
        return 0.0 if self._optimizers is None else self._optimizers.learning_rate(self.model.get_parameter(name))

    def agree_(self, flags: Tensor) -> Tensor:
        """Under data parallel every rank takes the flags of rank 0, in place."""
        return agree_(flags)

    def warn(self, message: str) -> None:
        """Tell the user of something that would otherwise go unseen; what comes up in `finalize` is one warning."""
        if self._sentences is None:
            warnings.warn(message, stacklevel=4)
        else:
            self._sentences.append(message)

    @abc.abstractmethod
    def _is_replaceable(self) -> bool:
        """Whether nothing has come of it yet, so that another run may take its place."""

    @abc.abstractmethod
    def detach(self) -> None:
        """Let go of model and optimizer."""

    def _claim(self, names: list[str]) -> None:
        """Weights belong to this run. Raises: UserError if they belong to another one that has begun."""
        parameters = [self.model.get_parameter(name) for name in names]
        while (other := CLAIMS.owner(parameters, other_than=self)) is not None:
            trains = other.optimizer is not None
            if trains and not other._is_replaceable():
                raise UserError(
                    "another Sparsifier is at work on these weights",
                    "one Sparsifier for a weight at a time",
                    "call finalize() or detach() on that one first; Sparsifier.of(model) is it",
                )
            other.detach()
            if not trains:  # it has done all its work already
                continue
            self.warn("a Sparsifier that was made before for these weights, and has not trained, is detached")
        CLAIMS.take(parameters, self)

    def _cover(self, names: list[str]) -> None:
        """Let masks be of these tensors too."""
        for name in names:
            if name not in self.masks.kept:
                self._claim([name])
                self.masks.kept[name] = torch.ones_like(self.model.get_parameter(name), dtype=torch.bool)


CLAIMS: Claims[SparseRun] = Claims()
