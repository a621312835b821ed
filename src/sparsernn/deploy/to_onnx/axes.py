"""Which axes of a model's inputs are batch and time, found by running it with longer ones."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import combinations
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from sparsernn.deploy.to_onnx.calls import Forward
from sparsernn.deploy.to_onnx.functions import intercepted
from sparsernn.kernels.registry import Problem, State
from sparsernn.running.modules import RecurrentStep
from sparsernn.running.runner import Place, running_by

NAMES = ("batch", "time")
MOST_TRIES = 400
Call = Callable[[Sequence[Tensor]], object]


class Axis(NamedTuple):
    """One dimension of one input."""

    input: int
    dimension: int


class Sizes(NamedTuple):
    """What a recurrent layer was called with; None where it has no such axis."""

    batch: int | None
    time: int | None


Axes = Mapping[str, tuple[Axis, ...]]


def find_axes(forward: Forward, model: nn.Module) -> Axes:
    """For "batch" and "time", those that exist, the axes that can only change together.

    Further axes that are a batch or time of their own have the name of their input behind it, such as "time_target".

    An axis is batch or time by what the recurrent layers see of it: one that changes the steps of some layer is time,
    whatever it does to how many sequences another one reads. Where they see nothing, the first axis of an input is the
    batch, and the second is time.
    """
    call, tensors = forward.call, forward.tensors
    before = _seen(call, tensors, model) or []
    groups: dict[str, list[tuple[Axis, ...]]] = {name: [] for name in NAMES}
    unseen: list[tuple[Axis, ...]] = []
    for group, seen in _groups(call, tensors, model, groups):
        changed = [name for name in NAMES if _changes(name, before, seen)]
        if changed:
            groups[changed[-1]].append(group)
        else:
            unseen.append(group)
    axes = _with_names(groups, forward.names)
    left = [group for group in unseen if not any(set(group) & set(taken) for taken in axes.values())]
    for dimension, name in enumerate(NAMES):
        others = {axis.input for group in axes.values() for axis in group}
        likely = [group for group in left if group[0].dimension == dimension or group[0].input in others]
        if name not in axes and likely:
            axes[name] = likely[0]
            left = [group for group in left if not set(group) & set(likely[0])]
    return _joined(axes, left, call, tensors, model)


def _with_names(groups: Mapping[str, Sequence[tuple[Axis, ...]]], inputs: Sequence[str]) -> dict[str, tuple[Axis, ...]]:
    """The first input's batch and time have these names, others those of their inputs as well."""
    axes: dict[str, tuple[Axis, ...]] = {}
    for name, several in groups.items():
        for group in sorted(several):
            text = f"{name}_{inputs[group[0].input]}" if name in axes else name
            axes[text if text not in axes else f"{text}_{group[0].dimension}"] = group
    return axes


def resized(tensors: Sequence[Tensor], axes: Mapping[Axis, int]) -> list[Tensor]:
    """Tensors with other sizes along some axes: what they hold, some of it twice or left out, in the same order."""
    results = list(tensors)
    for axis, size in axes.items():
        tensor = results[axis.input]
        places = torch.arange(size) * tensor.shape[axis.dimension] // size
        results[axis.input] = tensor.index_select(axis.dimension, places)
    return results


def with_noise(tensor: Tensor, generator: torch.Generator) -> Tensor:
    """Other numbers of the same kind: none is negative where none was, whole ones stay as they are."""
    if not tensor.is_floating_point():
        return tensor
    noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float32).to(tensor)
    noisy = tensor + noise * (0.1 + tensor.abs().mean())
    return noisy.abs() if (tensor >= 0).all() and tensor.any() else noisy


def _groups(
    call: Call, tensors: Sequence[Tensor], model: nn.Module, groups: Mapping[str, Sequence[tuple[Axis, ...]]]
) -> Iterator[tuple[tuple[Axis, ...], list[Sizes]]]:
    """Sets of axes that may change together, the smallest first, and what the layers see then; until all are named."""
    every = [Axis(number, dimension) for number, tensor in enumerate(tensors) for dimension in range(tensor.dim())]
    tries = 0
    for count in range(1, len(every) + 1):
        if count > 2 and all(groups.values()):
            return
        for group in combinations(every, count):
            sizes = {tensors[axis.input].shape[axis.dimension] for axis in group}
            taken = any(set(group) & set(others) for several in groups.values() for others in several)
            if len(sizes) > 1 or taken:
                continue
            tries += 1
            if tries > MOST_TRIES:
                return
            (size,) = sizes
            for larger in (2 * size + 3, size + 1):
                seen = _seen(call, resized(tensors, dict.fromkeys(group, larger)), model)
                if seen is not None:
                    yield group, seen
                    break


def _joined(
    axes: Axes, left: Sequence[tuple[Axis, ...]], call: Call, tensors: Sequence[Tensor], model: nn.Module
) -> Axes:
    """Axes of further inputs that can change with batch or time: those that also can alone, as a mask's, and others.

    Numbers of steps that are gathered may be fewer than sequences, so that sequences alone can change.
    """
    joined = dict(axes)
    every = [(Axis(number, dimension),) for number, tensor in enumerate(tensors) for dimension in range(tensor.dim())]
    for group in (*left, *every):
        size = tensors[group[0].input].shape[group[0].dimension]
        for name, others in joined.items():
            together = (*others, *group)
            same = size == tensors[others[0].input].shape[others[0].dimension]
            inputs = {axis.input for axis in others}
            taken = any(set(group) & set(several) for several in joined.values())
            if same and not taken and inputs.isdisjoint(axis.input for axis in group):
                if _seen(call, resized(tensors, dict.fromkeys(together, 2 * size + 3)), model) is not None:
                    joined[name] = together
                    break
    return joined


def _changes(name: str, before: Sequence[Sizes], after: Sequence[Sizes]) -> bool:
    if name == "time" and _steps(before) != _steps(after):  # a loop over a cell goes on for longer
        return True
    pairs = zip(before, after, strict=False)
    return any(getattr(old, name) != getattr(new, name) for old, new in pairs)


def _steps(seen: Sequence[Sizes]) -> int:
    """How many calls of cells there were, which read a step each."""
    return sum(sizes.time is None for sizes in seen)


@torch.no_grad()
def _seen(call: Call, tensors: Sequence[Tensor], model: nn.Module) -> list[Sizes] | None:
    """What each recurrent layer was called with, or None if the model does not take these inputs.

    Layers only look at shapes: torch's own do not check all of them before they read.
    """
    seen: list[Sizes] = []

    def look(place: Place, problem: Problem) -> tuple[Tensor, State]:
        time, batch = problem.x.shape[:2]
        if any(len(part) != batch for part in problem.state):
            raise ValueError(f"states of {len(problem.state[0])} sequences for {batch}")
        seen.append(Sizes(batch, None if isinstance(place.module, RecurrentStep) else time))
        return problem.x.new_zeros(time, batch, problem.state[0].shape[-1]), problem.state

    with _watched(model, seen), intercepted(look), running_by(look):
        try:
            call(tensors)
        except Exception:  # whatever a forward raises for a shape that it does not take
            return None
    return seen


@contextmanager
def _watched(model: nn.Module, seen: list[Sizes]) -> Iterator[None]:
    """Note how torch's own steps are called."""

    def note(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        x = args[0] if args else kwargs["input"]
        seen.append(Sizes(len(x) if x.dim() > 1 else None, None))

    modules = [module for module in model.modules() if isinstance(module, nn.RNNCellBase)]
    hooks = [module.register_forward_pre_hook(note, with_kwargs=True) for module in modules]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
