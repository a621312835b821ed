"""What a sparsity method is: hyperparameters, and the moments at which it may act."""

import abc
import inspect
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import Field
from typing import ClassVar, Generic, TypeVar

from torch import Tensor

from sparsernn.methods.draw import Draw
from sparsernn.methods.run import Run
from sparsernn.typed import check_options

State = TypeVar("State")
ARGUMENTS = re.compile(r"^Arguments:\n((?:    .*\n)+)", re.MULTILINE)
ARGUMENT = re.compile(r"^    (\w[\w, ]*): .*\n(?:        .*\n)*", re.MULTILINE)


class Method(abc.ABC, Generic[State]):
    """A frozen dataclass of hyperparameters. What changes while it works is in the state that it declares.

    Its file name in this folder is its name everywhere. Its docstring need not repeat what the docstring of its engine
    says of an option: it is completed by that, and by `explained_by`.

    Attributes:
        granularities: the levels at which it can work ("weight", "gate", "neuron", "16x1", ...).
        known_as: other names of the method.
        explained_by: dataclasses that are made of its options, and whose docstrings explain these.
        choices: option -> the values that it may have.
        layers_only: whether it takes weights of recurrent layers alone, as no other module has a step.
    """

    granularities: ClassVar[tuple[str, ...]] = ("weight",)
    known_as: ClassVar[tuple[str, ...]] = ()
    explained_by: ClassVar[tuple[type, ...]] = ()
    choices: ClassVar[Mapping[str, Collection[object]]] = {}
    layers_only: ClassVar[bool] = False

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        explain_inherited(cls, cls.explained_by)

    def __post_init__(self) -> None:
        """Raises: UserError for an option of another type or value than the method declares."""
        check_options(self)

    @property
    def target(self) -> float | None:
        """The fraction of groups that will be absent at the end, where the method knows it beforehand."""
        return None

    @property
    def reads_dense_gradient(self) -> bool:
        """Whether it looks at the gradient of absent weights; for a method that does not kernels may leave it out."""
        return True

    @property
    def needs_readers(self) -> bool:
        """Whether it draws by who reads which unit; the first forward is then run twice, once only to find that out."""
        return False

    def reads_next_gradient(self, run: Run[State]) -> bool:
        """Whether it will look at `run.gradient` of absent weights in the step to come."""
        return self.reads_dense_gradient

    @abc.abstractmethod
    def initial_state(self) -> State:
        """A dataclass of what a resumed run has to know beside the masks, as it is before `prepare`; None for nothing.

        Its fields hold tensors, numbers, text, and lists and dictionaries of these.
        """

    @abc.abstractmethod
    def prepare(self, run: Run[State]) -> None:
        """Check that the method can do its work in `run.steps`; make the first masks and the parameters it owns."""

    def before_forward(self, run: Run[State]) -> Mapping[str, Tensor] | Draw | None:
        """A forward of training begins: weights that stand in for the model's own during it, by name, or None.

        A `Draw` has factors of each sequence and changed outputs of modules beside the weights.

        They are drawn with `run.generator` and differentiable back to the model's parameters and those that the
        method owns. Where a weight is absent they are made zero. A part that is computed again in the backward pass
        (activation checkpointing) does not see them.
        """
        return None

    def before_evaluation(self, run: Run[State]) -> Mapping[str, Tensor] | None:
        """A forward in evaluation mode begins: as `before_forward`; asked again only when parameters have changed."""
        return None

    def penalty(self, run: Run[State]) -> Tensor | None:
        """A term to be added to the loss, or None."""
        return None

    def before_step(self, run: Run[State]) -> bool:
        """Gradients are ready. Return False to leave this update out."""
        return True

    def after_step(self, run: Run[State]) -> None:
        """Weights have moved; run.step_count counts this step."""
        return None

    def finalize(self, run: Run[State]) -> None:
        """Leave plain parameters and final masks."""
        return None

    def settled(self, run: Run[State]) -> bool:
        """Whether the masks have reached their final size."""
        return True


def explain_inherited(kind: type, more: Sequence[type]) -> None:
    """Complete the arguments in the docstring of a class by those that only classes above it, or some more, explain."""
    text, *above = [inspect.cleandoc(other.__doc__ or "") + "\n" for other in (*kind.__mro__, *more)]
    slot, *others = [ARGUMENTS.search(doc) for doc in (text, *reversed(above))]
    if slot is None:
        return
    said = {line[1]: line[0] for line in ARGUMENT.finditer(slot[1])}
    inherited = {line[1]: line[0] for other in others if other for line in ARGUMENT.finditer(other[1])}
    fixed = {name for name, value in vars(kind).items() if isinstance(value, Field) and not value.init}
    if inherited.keys() - said.keys() - fixed:
        lines = [line for name, line in (inherited | said).items() if name not in fixed]
        kind.__doc__ = text[: slot.start(1)] + "".join(lines) + text[slot.end(1) :]
