"""Registry of kernels: each states what it refuses, and the first that does not is taken."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import cache, wraps
from typing import Any, ClassVar, Generic, Protocol, TypeVar

import torch
from torch import Tensor

from sparsernn import folders
from sparsernn.cells.cell import Cell
from sparsernn.errors import UserError
from sparsernn.kernels import patterns

State = tuple[Tensor, ...]
SequenceRun = Callable[["Problem"], tuple[Tensor, State]]
Factors = tuple[Tensor | None, Tensor | None]


class Call(Protocol):
    """What every kernel is handed: a problem of its operation."""

    op: ClassVar[str]


P = TypeVar("P", bound=Call)


@dataclass(frozen=True)
class Problem:
    """One recurrent layer in one direction over a whole sequence.

    Attributes:
        cell: what a step computes.
        weights: local name -> tensor; they need not be parameters.
        x: the layer's input. [time batch input]
        state: initial states. [batch unit] each
        lengths: after its length a sequence keeps its state and its output is zero. [batch] or None
        masks: local name -> which of its numbers exist; None where nobody says so.
        factors: local name -> what the vector that a weight multiplies, and the product without its bias, are
            multiplied with, sequence by sequence; either may be None. [batch column], [batch row]
        outgoing: what the output is multiplied with, sequence by sequence, wherever it is read: in the products of the
            next step and by whoever gets the output. A state that a step carries on by itself is not; where products
            alone read it (LSTM), it is part of the state, so that a starting state counts as multiplied. [batch unit]
        twice: whether the result will be differentiated twice.
    """

    op: ClassVar[str] = "sequence"
    cell: Cell
    weights: Mapping[str, Tensor]
    x: Tensor
    state: State
    lengths: Tensor | None = None
    masks: Mapping[str, Tensor] | None = None
    factors: Mapping[str, Factors] = field(default_factory=dict)
    outgoing: Tensor | None = None
    twice: bool = False
    _masks: dict[str, Tensor | None] = field(default_factory=dict, init=False, compare=False, repr=False)

    @property
    def is_scaled(self) -> bool:
        """Whether anything stands between its products and its gates."""
        return bool(self.factors) or self.outgoing is not None

    @property
    def device(self) -> str:
        """ "cpu", "cuda", ..."""
        return self.x.device.type

    @property
    def dtype(self) -> str:
        """ "float32", "float64", ..."""
        return str(self.x.dtype).removeprefix("torch.")

    def existing(self, local: str) -> Tensor | None:
        """The mask of a weight: the one handed in, or read off a weight that needs no gradient; None: all exist."""
        if local not in self._masks:  # reading a weight costs about as much as multiplying with it
            self._masks[local] = patterns.mask_of(self.weights[local], self.masks, local)
        return self._masks[local]

    def remembered(self, local: str) -> Tensor | None:
        """The mask of a weight as it was last read, to choose by: whoever multiplies takes `existing`."""
        return patterns.mask_of(self.weights[local], self.masks, local, anew=False)

    @property
    def density(self) -> float:
        """The share that exists of the densest weight that reads a state; 1 where nothing is known."""
        readers = [local for local in self.weights if patterns.reads_state(self.cell.axes[local])]
        return max((patterns.share(self.remembered(local)) for local in readers), default=1.0)


def in_one_precision(run: SequenceRun) -> SequenceRun:
    """The same for all vectors of the weights' type, which autocast does not change."""

    @wraps(run)
    def whole(problem: Problem) -> tuple[Tensor, State]:
        kind = next(weight.dtype for local, weight in problem.weights.items() if local.startswith("weight"))
        state = tuple(part.to(kind) for part in problem.state)
        with torch.autocast(problem.device, enabled=False):
            return run(replace(problem, x=problem.x.to(kind), state=state))

    return whole


def only_plain(problem: Problem) -> str | None:
    """What kernels cannot compute that know nothing but products and gates, over sequences of one length."""
    if problem.is_scaled:
        return "nothing can be put between its products and its gates"
    if problem.lengths is not None:
        return "all sequences of a batch have to end together"
    return "it can be differentiated once" if problem.twice else None


@dataclass(frozen=True)
class Kernel(Generic[P]):
    """One way to compute an operation.

    Attributes:
        op: the operation: "sequence", one recurrent layer in one direction over a whole sequence; "scan", the
            recurrence of one layer of weighted automata over a whole sequence.
        provider: its name.
        rank: smaller is tried first.
        refuses: a sentence why it cannot take a problem, or None.
        run: (output [time batch unit], final states) of a problem.
        source: where the equations or the code are from.
        plain: whether it does what torch's own module would do.
    """

    op: str
    provider: str
    rank: int
    refuses: Callable[[P], str | None]
    run: Callable[[P], Any]
    source: str = ""
    plain: bool = False


_forced: ContextVar[tuple[str, ...]] = ContextVar("forced", default=())


def candidates(problem: Call) -> Iterator[tuple[Kernel[Any], str | None]]:
    """Every kernel of the operation in the order tried, with its refusal or None; within `using`, those asked for."""
    kernels, forced = kernels_of(problem.op), _forced.get()
    for kernel in [kernel for kernel in kernels if kernel.provider in forced] or kernels:
        yield kernel, kernel.refuses(problem)


@cache
def kernels_of(op: str) -> tuple[Kernel[Any], ...]:
    """Every kernel of an operation in the order tried; the folder is read once, as each forward asks."""
    kernels = [entry for entry in folders.entries("kernels", inner=op).values() if entry.op == op]
    return tuple(sorted(kernels, key=lambda kernel: (kernel.rank, kernel.provider)))


def choose(problem: Call) -> Kernel[Any]:
    """The first kernel that does not refuse; within `using`, the one asked for.

    Raises: UserError if the one asked for refuses, or all do.
    """
    refusals = []
    for kernel, refusal in candidates(problem):
        if refusal is None:
            return kernel
        refusals.append(f"{kernel.provider}: {refusal}")
    raise UserError(
        f"no kernel takes this {problem.op} ({'; '.join(refusals) or 'none by that name'})",
        "a kernel that does not refuse",
        "use the reference: kernels.registry.using('reference')",
    )


def run(problem: Call) -> Any:
    """(output, final states) by the first kernel that does not refuse."""
    return choose(problem).run(problem)


def explain(problem: Call) -> str:
    """One line a kernel: taken, or why not."""
    taken = choose(problem)
    return "\n".join(
        f"{kernel.provider}: {refusal or ('taken' if kernel is taken else 'possible')}"
        for kernel, refusal in candidates(problem)
    )


@contextmanager
def using(*providers: str) -> Iterator[None]:
    """Within the block only kernels of these providers are taken, for every operation that has one; "" asks for none.

    Raises: UserError for a name that no kernel has.
    """
    providers = tuple(filter(None, providers))
    names = {entry.provider for entry in folders.entries("kernels").values() if isinstance(entry, Kernel)}
    if unknown := sorted(set(providers) - names):
        raise UserError(
            f"there is no kernel {unknown[0]!r}", f"one of {', '.join(sorted(names))}", "see `sparsernn list kernels`"
        )
    token = _forced.set(providers)
    try:
        yield
    finally:
        _forced.reset(token)
