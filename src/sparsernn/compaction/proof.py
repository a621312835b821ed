"""Proof of a cut: the compacted model repeats the masked one, on the examples and on what derives from them."""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from sparsernn.compaction.variations import OTHER_NUMBERS, STATE, Trial, Variations
from sparsernn.errors import UserError, reason
from sparsernn.structure.modes import eagerly
from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.calls import Call
from sparsernn.tracing.copying import copy_of
from sparsernn.tracing.examples import TORCH, Example, does_not_run, place_of
from sparsernn.tracing.recording import CALLS
from sparsernn.tracing.surroundings import Surroundings, undisturbed
from sparsernn.tracing.tensors import is_continuous, tensors_of, values_of

ROUNDING, NOISE, DRAWS = 64, 16, 2


@dataclass
class Outcome:
    """What a model did with an example.

    Attributes:
        values: of each call what it returned.
        drew: whether it drew random numbers.
        begun: of the modules that ran and were watched, the states that they first began in.
        places: where in the code torch functions were called.
        error: what it raised.
    """

    values: list[list[Tensor]] = field(default_factory=list)
    drew: bool = False
    begun: dict[str, list[Tensor]] = field(default_factory=dict)
    places: set[tuple[object, int]] = field(default_factory=set)
    error: Exception | None = None


class Coverage(TorchFunctionMode):
    """Notes from which instructions outside torch its functions are called."""

    def __init__(self, places: set[tuple[object, int]]):
        super().__init__()
        self.places = places

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        arguments: Sequence[object] = (),
        keywords: Mapping[str, object] | None = None,
    ) -> object:
        frame = sys._getframe(1)
        while frame.f_back is not None and frame.f_code.co_filename.startswith(TORCH):
            frame = frame.f_back
        self.places.add((frame.f_code, frame.f_lasti))
        return function(*arguments, **(keywords or {}))


class LabelsExist(TorchFunctionMode):
    """Raises an error for labels that are no class where torch would read memory that belongs to something else."""

    def __torch_function__(
        self,
        function: Callable[..., object],
        types: Sequence[type],
        arguments: Sequence[object] = (),
        keywords: Mapping[str, object] | None = None,
    ) -> object:
        call = Call(function, arguments, keywords or {}, None)
        labels = call.argument(1, "targets") if call.name == "ctc_loss" else None
        if isinstance(labels, Tensor) and not bool(((labels >= 0) & (labels < call.inputs[0].shape[-1])).all()):
            raise IndexError("a label is no class")
        return function(*arguments, **(keywords or {}))


class Runner:
    """Runs of one model, of which nothing is changed by them.

    Arguments:
        watched: names of modules of which it is noted how they begin, and from where torch functions are called.
    """

    def __init__(self, model: nn.Module, watched: Collection[str] = ()):
        self.model, self.watched = model, watched
        self.surroundings = Surroundings(model)

    def run(self, example: Example, calls: int = 0) -> Outcome:
        """What the model does. calls: how often, one after the other; 0: again if it keeps anything for its next."""
        result = Outcome()
        with undisturbed(self.model, self.surroundings), eagerly(), ExitStack() as hooks:
            for path in self.watched:
                watch = partial(_note, result.begun, path)
                module = self.model.get_submodule(path)
                hooks.enter_context(module.register_forward_pre_hook(watch, with_kwargs=True))
            if self.watched:
                hooks.enter_context(Coverage(result.places))
            before = torch.get_rng_state()
            try:
                for _ in range(calls or CALLS):
                    result.values.append(values_of(example.call(self.model)))
                    if not calls and not self.surroundings.changed():
                        break
            except Exception as error:
                result.error = error
            result.drew = not torch.equal(before, torch.get_rng_state())
        return result


def _note(begun: dict[str, list[Tensor]], path: str, module: nn.Module, arguments: object, keywords: object) -> None:
    states = [tensor for tensor in tensors_of((arguments, keywords))[1:] if tensor.is_floating_point()]
    begun.setdefault(path, [state.detach().clone() for state in states])


class Proof:
    """What the masked model does with every trial, for any number of compacted ones to repeat.

    Arguments:
        masked: a copy of the model, masked; original: the model.
        examples: with which it can be run.
        carried_states: whether states that it returns are only handed to it again; then no others come in.
    Raises: UserError if the model cannot be run with an example, or does not repeat itself.
    """

    def __init__(self, masked: nn.Module, original: nn.Module, examples: Sequence[Example], carried_states: bool):
        self.masked, self.original = masked, original
        self.originals = [Trial("", example, exact=True) for example in examples]
        self.runner = Runner(masked, Wiring.local(masked).descriptions)
        self.before = [self.runner.run(example) for example in examples]
        for trial, first in zip(self.originals, self.before, strict=True):
            if first.error is not None:
                with undisturbed(original):
                    runs = Runner(original).run(trial.example).error is None
                raise (_not_a_copy() if runs else does_not_run(first.error)) from first.error
            _repeats(first, self.runner.run(trial.example, len(first.values)), trial.example.training and first.drew)
        self.trials = list(self.originals)
        self.carried_states = carried_states

    def derive(self, wiring: Wiring, state_shapes: Mapping[str, list[tuple[int, ...]]]) -> list[Example]:
        """Add what the masked model does with variations of the examples.

        Returns: those that ran a module or a line which no other did: who reads what has to be seen there too (of
            sequences without a step only where the outcome differs: most of them end in a line of their own).
        """
        seen, telling = set().union(*(first.places | set(first.begun) for first in self.before)), []
        variations = Variations(self.masked, wiring, state_shapes)
        for example, shown in list(zip(self.originals, self.before, strict=True)):
            for trial in variations.of(example.example):
                if trial.label == STATE and self.carried_states:
                    continue
                with LabelsExist():
                    first = self.runner.run(trial.example)
                if first.error is not None or (trial.label == STATE and not _begins_elsewhere(shown, first)):
                    continue
                self.trials.append(trial)
                self.before.append(first)
                if trial.followed and (first.places | set(first.begun)) - seen:
                    seen |= first.places | set(first.begun)
                    telling.append(trial.example)
        return telling

    def check_copy(self) -> None:
        """Compare the model with a copy of it, on the examples and on other numbers.

        Raises: UserError if they differ: then something in it refers to the model that it was copied from.
        """
        runners = [Runner(one) for one in (self.original, copy_of(self.original))]
        for trial in [*self.originals, *(trial for trial in self.trials if trial.label == OTHER_NUMBERS)]:
            with undisturbed(self.original):
                first, again, copied = (runner.run(trial.example) for runner in (runners[0], *runners))
            ran = not any(one.error for one in (first, again, copied)) and not (trial.example.training and first.drew)
            if ran and not _differ(first, again) and _differ(first, copied):
                raise _not_a_copy()

    def failures(self, small: nn.Module, left_out: Collection[int]) -> list[tuple[Trial, UserError]]:
        """Trials on which the compacted model differs. left_out: places in the results where it may."""
        failures, runner = [], Runner(small)
        for trial, before in zip(self.trials, self.before, strict=True):
            after = runner.run(trial.example, len(before.values))
            if after.error is not None:
                failures.append((trial, _does_not_run(trial, after.error)))
            elif (how := self._difference(trial, before, after, left_out)) is not None:
                failures.append((trial, _differs(how, trial)))
        return failures

    def _difference(self, trial: Trial, before: Outcome, after: Outcome, left_out: Collection[int]) -> str | None:
        shapes = [[[tuple(tensor.shape) for tensor in call] for call in one.values] for one in (before, after)]
        if shapes[0] != shapes[1]:
            return f"shapes {shapes[1][-1]} instead of {shapes[0][-1]}"
        if trial.example.training and before.drew:
            return None
        distances = _distances(before, after, left_out)
        if all(distance <= bound for distance, bound in distances):
            return None
        noise = [max(column) for column in zip(*self._noise(trial, before, left_out), strict=True)]
        for (distance, bound), heard in zip(distances, noise, strict=True):
            if distance > max(bound, NOISE * heard):
                return f"values that differ by {distance:.3g}"
        return None

    def _noise(self, trial: Trial, before: Outcome, left_out: Collection[int]) -> list[list[float]]:
        """How far the masked model's own results move when its weights are changed by their last bit."""
        moved = []
        for seed in range(DRAWS):
            neighbour = copy_of(self.masked)
            generator = torch.Generator().manual_seed(seed)
            for parameter in neighbour.parameters():
                if is_continuous(parameter):
                    signs = torch.randint(-1, 2, parameter.shape, generator=generator).to(parameter)
                    parameter.data.mul_(1 + signs * torch.finfo(parameter.dtype).eps)
            after = Runner(neighbour).run(trial.example, len(before.values))
            same = after.error is None
            moved.append([distance for distance, _ in _distances(before, after, left_out)] if same else [0.0])
        return moved


def _begins_elsewhere(shown: Outcome, first: Outcome) -> bool:
    """Whether some layer began in another state."""
    for path, states in first.begun.items():
        before = shown.begun.get(path, [])
        if len(before) != len(states) or not all(map(torch.equal, before, states)):
            return True
    return False


def _distances(before: Outcome, after: Outcome, left_out: Collection[int]) -> list[tuple[float, float]]:
    """Of each tensor how far apart two results are, and how far rounding may take them; of the scale of the tensor."""
    distances = []
    for old_call, new_call in zip(before.values, after.values, strict=True):
        for place, (old, new) in enumerate(zip(old_call, new_call, strict=True)):
            if place in left_out or not old.numel():
                continue
            exactness = torch.finfo(old.dtype).eps if is_continuous(old) else 0.0
            old, new = (_real(tensor) for tensor in (old, new))
            same = (old == new) | (old.isnan() & new.isnan())
            gaps = torch.where(same, 0.0, (old - new).abs()).nan_to_num(float("inf"), float("inf"))
            scale = float(torch.where(old.isfinite(), old, 0.0).abs().amax())
            distances.append((float(gaps.amax()), ROUNDING * exactness * scale))
    return distances


def _differ(first: Outcome, again: Outcome) -> bool:
    """Whether two runs that should give the same do not."""
    shapes = [[[tensor.shape for tensor in call] for call in one.values] for one in (first, again)]
    return shapes[0] != shapes[1] or any(distance > bound for distance, bound in _distances(first, again, ()))


def _real(tensor: Tensor) -> Tensor:
    tensor = torch.view_as_real(tensor) if tensor.is_complex() else tensor
    return tensor.detach().double().cpu()


def _repeats(first: Outcome, again: Outcome, random: bool) -> None:
    """Raises: UserError unless two runs on one input give the same."""
    if random or again.error is not None:
        return
    if _differ(first, again):
        raise UserError(
            "the model does not repeat itself: two runs on the same example give different values",
            "a forward that depends on its inputs, its weights and the generators of Python, numpy and torch alone",
            "take the chance out of it for the example; generators, buffers and attributes were put back in between",
        )


def _not_a_copy() -> UserError:
    return UserError(
        "a copy of the model does something else than the model: it refers to the model that it was copied from",
        "a model that copy.deepcopy can copy",
        "let hooks be methods or objects of their own, not functions that use the model by its name",
    )


def _does_not_run(trial: Trial, error: Exception) -> UserError:
    return UserError(
        f"the compacted model does not run on the example{_labelled(trial)}: {reason(error)} (at {place_of(error)})",
        "a forward that takes widths from its tensors, not from numbers fixed before",
        "change that line, or leave this layer out with where=; the model itself is unchanged",
    )


def _differs(how: str, trial: Trial) -> UserError:
    return UserError(
        f"the compacted model returns {how} on the example{_labelled(trial)}",
        "the result of the masked model",
        "look for a forward that splits units by fixed numbers (chunk, output[..., :n]) or computes with a width, and "
        "take widths from the layers, or leave this layer out with where=; the model itself is unchanged",
    )


def _labelled(trial: Trial) -> str:
    return f" {trial.label}" if trial.label else ""
