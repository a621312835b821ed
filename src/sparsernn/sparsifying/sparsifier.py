"""The seam between a method and any training loop: hooks on the optimizer, and all state in one place."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.sparsifying.first_forward import FirstForward, Hook, carry_over
from sparsernn.sparsifying.optimizer_memory import forget, renew
from sparsernn.structure import presence
from sparsernn.structure.choice import count
from sparsernn.structure.groups import Groups, Where, select
from sparsernn.structure.masks import Masks
from sparsernn.structure.movement import describe, pack
from sparsernn.structure.wiring import Wiring, unwrap
from sparsernn.structure.zeroing import zero_absent_


class Sparsifier:
    """Makes a model sparse while it is trained by a loop of one's own.

    The optimizer's own `step` drives it: masks, schedules and counters follow, and after every step absent
    weights are exactly zero. Steps that the optimizer skips (overflow, accumulation) do not count. Add
    `penalty()` to the loss and call `finalize()` at the end. All names are those of the unwrapped model.

    Arguments:
        model: any module with recurrent layers of torch or of this package.
        method: what decides, e.g. ``RigL(sparsity=0.9)``.
        optimizer: any torch optimizer that takes dense gradients; None for a trained model that is not trained on.
        steps: how many optimizer steps the training will have; schedules are fractions of it.
        loss: a zero-argument callable that returns the loss on one batch, for methods that ask for it.
        where: the tensors in which groups start: a glob, several, a predicate on names, or (module type, suffix);
            default: the weight matrices of recurrent layers.
        seed: of everything random; the same on every rank.
        example: positional inputs of the model. Without it the first forward of the model is followed instead, to
            find out which layers read which units.
    Attributes:
        masks: `masks.kept` maps names to bool tensors, True = the weight exists.
        events: what the masks did, one JSON-able dict each.
    Raises: UserError for a selection that matches nothing or a schedule that cannot fire within `steps`.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        steps: int = 0,
        loss: Any = None,
        where: Where = None,
        seed: int = 0,
        example: Any = None,
    ):
        _check(method, steps, at_least=0 if optimizer is None else 1)
        self.model, self.method, self.optimizer = unwrap(model), method, optimizer
        self.steps, self.loss, self.where, self.seed = steps, loss, where, seed
        self.step_count = 0
        self.generator = torch.Generator().manual_seed(seed)
        self.memory: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self._hidden: dict[nn.Parameter, Tensor] = {}
        self._begun = self._overflows = False
        self._handles: list[Any] = []
        self._groups: dict[tuple[str, str], Groups] = {}
        arguments = None if example is None else example if isinstance(example, tuple) else (example,)
        self.wiring = Wiring.of(self.model, arguments)
        self.masks = Masks.full(self.wiring, self.model, set(select(self.wiring, self.model, where)))
        self._unmasked: dict[str, Tensor] = {}
        self._rescaled: dict[str, Tensor] = {}
        self._attach()
        self._prepare()

    @property
    def weights(self) -> dict[str, nn.Parameter]:
        """Every known parameter of the model, by name."""
        return self.wiring.parameters(self.model)

    @property
    def selected(self) -> list[str]:
        return sorted(self.masks.selected)

    @property
    def settled(self) -> bool:
        """Whether the masks have reached their final size."""
        return self.method.settled(self)

    def groups(self, level: str, per: str = "tensor") -> Groups:
        """The groups of a granularity that start in the selected tensors; masks cover all they touch."""
        if (level, per) not in self._groups:
            groups = Groups.of(self.wiring, self.model, level, self.where, per).to(self.device)
            self._groups[level, per] = groups
            for name in groups.names:
                if name not in self.masks.kept:
                    self.masks.kept[name] = torch.ones_like(self.model.get_parameter(name), dtype=torch.bool)
        return self._groups[level, per]

    def penalty(self) -> Tensor:
        """What to add to the loss; a zero without gradient for methods that have none. []"""
        found = self.method.penalty(self)
        return found if found is not None else torch.zeros((), device=self.device)

    def step(self) -> None:
        """The same as `optimizer.step()`."""
        if self.optimizer is not None:
            self.optimizer.step()

    def finalize(self) -> Masks:
        """End sparse training: the model keeps plain parameters with exact zeros. Returns the final masks."""
        self.method.finalize(self)
        self.masks.apply_(self.model)
        self._detach()
        self.masks.constant_gates = self.masks.find_constant_gates(self.wiring, self.model)
        return self.masks

    def enforce(self) -> None:
        """Write exact zeros where weights are absent; until the first forward remember what the first masks zero."""
        for name, kept in self.masks.kept.items():
            parameter = self.model.get_parameter(name)
            if not self._begun and name not in self._unmasked and count(kept) < kept.numel():
                self._unmasked[name] = parameter.detach().clone()
            zero_absent_(parameter.data, kept)

    def remove(self, groups: Groups, kept: Tensor) -> dict[str, Tensor]:
        """Take groups out of the masks; what is absent already stays so. kept: [groups.count]. Returns the deaths."""
        before = {name: self.masks.kept[name].clone() for name in groups.names}
        groups.keep(self.masks, kept)
        for name, was in before.items():
            self.masks.kept[name] &= was
        return {name: was & ~self.masks.kept[name] for name, was in before.items()}

    def changed(
        self,
        kind: str,
        born: dict[str, Tensor] | None = None,
        died: dict[str, Tensor] | None = None,
        step: int | None = None,
    ) -> None:
        """A method has rewritten masks: all ranks agree, the optimizer forgets births and deaths, the event is noted.

        Arguments:
            born, died: name -> where weights came to exist or ceased to.
            step: the step that the event belongs to; the last one done, if not given.
        """
        for kept in self.masks.kept.values():
            self.agree_(kept)
        for moved in (born or {}, died or {}) if self._begun else ():
            for name, where in moved.items():
                self.forget(name, where)
        counts = [None if moved is None else sum(map(count, moved.values())) for moved in (born, died)]
        self.note(kind, *counts, step)

    def note(self, kind: str, born: int | None = None, died: int | None = None, step: int | None = None) -> None:
        """Write the zeros, and an event with what `movement.describe` finds.

        An event is {"step", "event": kind, "born", "died"} and the keys told there. The step is that in which it
        happened, counted from 1; 0 is before training. born, died: how many weights came and went, left out if None.
        """
        if kind == "start":
            self.memory |= {f"first.{name}": pack(self.masks.kept[name]) for name in self.masks.selected}
        self.enforce()
        first = {key.removeprefix("first."): bits for key, bits in self.memory.items() if key.startswith("first.")}
        moved = {"born": born, "died": died}
        self.events.append(
            {"step": self.step_count if step is None else step, "event": kind}
            | {name: number for name, number in moved.items() if number is not None}
            | describe(self.masks, first)
        )

    def forget(self, name: str, where: Tensor) -> None:
        """Empty the optimizer's memory (momentum, averages, whatever has the weight's shape) at some positions."""
        if self.optimizer is not None:
            forget(self.optimizer, self.model.get_parameter(name), where)

    def learning_rate(self, name: str) -> float:
        """The optimizer's present learning rate for a parameter."""
        parameter = self.model.get_parameter(name)
        groups = [] if self.optimizer is None else self.optimizer.param_groups
        return next((float(group["lr"]) for group in groups if any(own is parameter for own in group["params"])), 0.0)

    def forget_all(self) -> None:
        """Give the optimizer the memory of a new one."""
        if self.optimizer is not None:
            renew(self.optimizer)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Everything that a resumed run needs: {"tensors": name -> tensor, "values": JSON-able}."""
        tensors = {f"kept.{name}": kept.clone() for name, kept in self.masks.kept.items()}
        tensors["generator"] = self.generator.get_state()
        tensors |= {f"memory.{key}": value.clone() for key, value in self.memory.items() if isinstance(value, Tensor)}
        values = {
            "step_count": self.step_count,
            "events": [dict(event) for event in self.events],
            "memory": {key: value for key, value in self.memory.items() if not isinstance(value, Tensor)},
        }
        return {"tensors": tensors, "values": values}

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Continue from `state_dict`; the model's weights may be loaded before or after the `Sparsifier` is made.

        Raises: UserError if the state belongs to another model.
        """
        tensors, values = state["tensors"], state["values"]
        first = {name: self.masks.kept[name].clone() for name in self._unmasked}
        for name in (key.removeprefix("kept.") for key in tensors if key.startswith("kept.")):
            if name not in self.masks.kept and name in self.wiring.weights:
                self.masks.kept[name] = torch.ones_like(self.model.get_parameter(name), dtype=torch.bool)
        self.masks.load_state_dict(
            {key.removeprefix("kept."): value for key, value in tensors.items() if key.startswith("kept.")}
        )
        self._unmask(first)
        self.generator.set_state(tensors["generator"].cpu())
        self.step_count, self.events = int(values["step_count"]), [dict(event) for event in values["events"]]
        memory = {
            key.removeprefix("memory."): value.clone() for key, value in tensors.items() if key.startswith("memory.")
        }
        self.memory = memory | dict(values["memory"])
        self.enforce()

    squash_mask = finalize

    def warn(self, message: str) -> None:
        warnings.warn(message, stacklevel=4)

    @property
    def device(self) -> torch.device:
        return next(iter(self.weights.values())).device

    def _attach(self) -> None:
        if self.optimizer is not None:
            known = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
            missing = [name for name in self.masks.selected if id(self.model.get_parameter(name)) not in known]
            if missing:
                raise UserError(
                    f"the optimizer does not hold {missing[0]}",
                    "an optimizer over this model's parameters",
                    "build it from model.parameters() of the same model",
                )
            self._handles.append(self.optimizer.register_step_pre_hook(self._before_step))
            self._handles.append(self.optimizer.register_step_post_hook(self._after_step))
        if not self.wiring.recorded:
            self._handles.append(FirstForward(self.model, self._rewire))

    def _prepare(self) -> None:
        """The first masks."""
        try:
            self.method.prepare(self)
        except Exception:
            self._detach()
            raise
        self.enforce()
        self._begun = True
        if not self.method.reads_dense_gradient:
            for name in self.masks.kept:
                presence.follow(self.model.get_parameter(name), self.masks, name)
        self._rescaled = {
            name: self.model.get_parameter(name).detach().clone()
            for name, before in self._unmasked.items()
            if not torch.equal(self.model.get_parameter(name), before.masked_fill(~self.masks.kept[name], 0))
        }
        if self._unmasked and self.optimizer is not None:
            self._handles.append(self.model.register_forward_pre_hook(Hook(self, "_trains")))

    def _trains(self, *_: Any) -> None:
        """The first forward of training: what the first masks have zeroed is of no more use, and is in the way."""
        if self.model.training and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            self._unmasked, self._rescaled = {}, {}
            self._handles.pop().remove()

    def _detach(self) -> None:
        for name in self.masks.kept:
            presence.forget(self.model.get_parameter(name))
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _rewire(self, wiring: Wiring) -> None:
        """Readers are known now: absent groups take their pieces there along."""
        before, self._groups, self.wiring = self._groups, {}, wiring
        for (level, per), old in before.items():
            groups = self.groups(level, per)
            if any(piece.index is not None for piece in groups.pieces):
                self.remove(groups, carry_over(old, groups, self.masks))
        self.enforce()

    @torch.no_grad()
    def _unmask(self, first: dict[str, Tensor]) -> None:
        """Bring back what only `prepare` has zeroed or rescaled: weights loaded before the `Sparsifier` was made."""
        for name, before in self._unmasked.items():
            parameter = self.model.get_parameter(name)
            left = self._rescaled[name] if name in self._rescaled else before.masked_fill(~first[name], 0)
            if torch.equal(parameter, left):
                parameter.copy_(before)
        self._unmasked, self._rescaled = {}, {}

    def _before_step(self, optimizer: torch.optim.Optimizer, arguments: tuple, keywords: dict[str, Any]) -> Any:
        # GradScaler leaves found_inf on optimizers that skip an overflow by themselves.
        found = getattr(optimizer, "found_inf", None)
        self._overflows = found is not None and bool(found)
        closure = keywords.get("closure", arguments[1] if len(arguments) > 1 else None)
        if self._overflows:
            return None
        if closure is None:
            self._gradients_ready()
            return None
        if "closure" in keywords:
            return arguments, keywords | {"closure": self._following(closure)}
        return (arguments[0], self._following(closure), *arguments[2:]), keywords

    def _following(self, closure: Callable[[], Any]) -> Callable[[], Any]:
        """A closure that masks the gradients it makes; only its first call counts as this step's gradient."""
        calls = 0

        def masked() -> Any:
            nonlocal calls
            loss, calls = closure(), calls + 1
            self._gradients_ready() if calls == 1 else self._mask_gradients()
            return loss

        return masked

    @torch.no_grad()
    def _gradients_ready(self) -> None:
        proceed = self.method.before_step(self)
        self._mask_gradients()
        if not proceed and self.optimizer is not None:
            for group in self.optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._hidden[parameter], parameter.grad = parameter.grad, None

    @torch.no_grad()
    def _mask_gradients(self) -> None:
        for name, kept in self.masks.kept.items():
            parameter = self.model.get_parameter(name)
            if parameter.grad is not None:
                zero_absent_(parameter.grad, kept)

    @torch.no_grad()
    def _after_step(self, *_: Any) -> None:
        for parameter, gradient in self._hidden.items():
            parameter.grad = gradient
        self._hidden.clear()
        if self._overflows:
            return
        self._unmasked, self._rescaled = {}, {}
        self.step_count += 1
        self.method.after_step(self)
        self.enforce()

    def agree_(self, flags: Tensor) -> Tensor:
        """Under data parallel every rank takes the flags of rank 0, in place."""
        if (
            torch.distributed.is_available()
            and torch.distributed.is_initialized()
            and torch.distributed.get_world_size() > 1
        ):
            torch.distributed.broadcast(flags.view(torch.uint8), 0)
        return flags


def _check(method: Any, steps: Any, at_least: int) -> None:
    if not isinstance(method, Method):
        raise UserError(
            f"the method is {method!r}", "an object such as RigL(sparsity=0.9)", "import one from sparsernn.methods"
        )
    if isinstance(steps, bool) or not isinstance(steps, int) or steps < at_least:
        raise UserError(
            f"steps is {steps!r}", "the number of optimizer steps of the whole training", "pass steps=epochs * batches"
        )


def sparsify(
    model: nn.Module,
    method: Method,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    steps: int = 0,
    loss: Any = None,
    where: Where = None,
    seed: int = 0,
    example: Any = None,
) -> Any:
    """One call: with an optimizer a `Sparsifier`; without one the model is made sparse now, and its masks come back."""
    run = Sparsifier(model, method, optimizer, steps=steps, loss=loss, where=where, seed=seed, example=example)
    return run if optimizer is not None else run.finalize()
