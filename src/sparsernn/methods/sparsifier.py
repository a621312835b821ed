"""The seam between a method and any training loop: hooks on the optimizer, and all state in one place."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.structure.groups import Groups, Where, select
from sparsernn.structure.masks import Masks
from sparsernn.structure.recording import Recorder
from sparsernn.structure.wiring import Wiring, unwrap


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

    def __init__(self, model: nn.Module, method: Method, optimizer: torch.optim.Optimizer | None = None, *, steps: int = 0,
                 loss: Any = None, where: Where = None, seed: int = 0, example: Any = None):
        if not isinstance(method, Method):
            raise UserError(f"the method is {method!r}", "an object such as RigL(sparsity=0.9)", "import one from sparsernn.methods")
        if isinstance(steps, bool) or not isinstance(steps, int) or steps < (1 if optimizer is not None else 0):
            raise UserError(f"steps is {steps!r}", "the number of optimizer steps of the whole training", "pass steps=epochs * batches")
        self.model, self.method, self.optimizer = unwrap(model), method, optimizer
        self.steps, self.loss, self.where, self.seed = steps, loss, where, seed
        self.step_count = 0
        self.generator = torch.Generator().manual_seed(seed)
        self.memory: dict[str, Any] = {}
        self.events: list[dict[str, Any]] = []
        self._hidden: dict[nn.Parameter, Tensor] = {}
        self._handles: list[Any] = []
        self._recording: Recorder | None = None
        self._groups: dict[tuple[str, str], Groups] = {}
        arguments = None if example is None else example if isinstance(example, tuple) else (example,)
        self.wiring = Wiring.of(self.model, arguments)
        selected = select(self.wiring, self.model, where)
        self.masks = Masks.full(self.wiring, self.model, set(selected))
        self._attach()
        try:
            method.prepare(self)
        except Exception:
            self._detach()
            raise
        self.enforce()

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
            self._groups[level, per] = groups = Groups.of(self.wiring, self.model, level, self.where, per).to(self._device)
            for name in groups.names:
                if name not in self.masks.kept:
                    self.masks.kept[name] = torch.ones_like(self.model.get_parameter(name), dtype=torch.bool)
        return self._groups[level, per]

    def penalty(self) -> Tensor:
        """What to add to the loss; a zero without gradient for methods that have none. []"""
        found = self.method.penalty(self)
        return found if found is not None else torch.zeros((), device=self._device)

    def step(self) -> None:
        """The same as `optimizer.step()`."""
        if self.optimizer is not None:
            self.optimizer.step()

    def finalize(self) -> Masks:
        """End sparse training: the model keeps plain parameters with exact zeros. Returns the final masks."""
        self.method.finalize(self)
        self.enforce()
        self._detach()
        self.masks.constant_gates = self.masks.find_constant_gates(self.wiring)
        return self.masks

    def enforce(self) -> None:
        """Write exact zeros where weights are absent."""
        self.masks.apply_(self.model)

    def changed(self, kind: str, born: dict[str, Tensor] | None = None, died: dict[str, Tensor] | None = None) -> None:
        """A method has rewritten masks: make all ranks agree, forget optimizer state of births and deaths, note the event."""
        self._agree()
        for moved in (born or {}, died or {}):
            for name, where in moved.items():
                self.forget(name, where)
        self.enforce()
        note = {"step": self.step_count, "event": kind, "sparsity": self.masks.sparsity()}
        if born is not None:
            note["born"] = sum(int(where.sum()) for where in born.values())
        if died is not None:
            note["died"] = sum(int(where.sum()) for where in died.values())
        self.events.append(note)

    def forget(self, name: str, where: Tensor) -> None:
        """Zero the optimizer's memory (momentum, averages, whatever has the weight's shape) at some positions."""
        if self.optimizer is None:
            return
        parameter = self.model.get_parameter(name)
        for value in self.optimizer.state.get(parameter, {}).values():
            if isinstance(value, Tensor) and value.shape == parameter.shape:
                value.masked_fill_(where.to(value.device), 0)

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Everything that a resumed run needs: {"tensors": name -> tensor, "values": JSON-able}."""
        tensors = {f"kept.{name}": kept.clone() for name, kept in self.masks.kept.items()}
        tensors["generator"] = self.generator.get_state()
        tensors |= {f"memory.{key}": value.clone() for key, value in self.memory.items() if isinstance(value, Tensor)}
        values = {"step_count": self.step_count, "events": self.events,
                  "memory": {key: value for key, value in self.memory.items() if not isinstance(value, Tensor)}}
        return {"tensors": tensors, "values": values}

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Raises: UserError if the state belongs to another model."""
        tensors, values = state["tensors"], state["values"]
        for name in (key.removeprefix("kept.") for key in tensors if key.startswith("kept.")):
            if name not in self.masks.kept and name in self.wiring.weights:
                self.masks.kept[name] = torch.ones_like(self.model.get_parameter(name), dtype=torch.bool)
        self.masks.load_state_dict({key.removeprefix("kept."): value for key, value in tensors.items() if key.startswith("kept.")})
        self.generator.set_state(tensors["generator"].cpu())
        self.step_count, self.events = int(values["step_count"]), list(values["events"])
        memory = {key.removeprefix("memory."): value.clone() for key, value in tensors.items() if key.startswith("memory.")}
        self.memory = memory | dict(values["memory"])
        self.enforce()

    squash_mask = finalize

    def warn(self, message: str) -> None:
        warnings.warn(message, stacklevel=3)

    @property
    def _device(self) -> torch.device:
        return next(iter(self.weights.values())).device

    def _attach(self) -> None:
        if self.optimizer is not None:
            known = {id(parameter) for group in self.optimizer.param_groups for parameter in group["params"]}
            missing = [name for name in self.masks.selected if id(self.model.get_parameter(name)) not in known]
            if missing:
                raise UserError(f"the optimizer does not hold {missing[0]}", "an optimizer over this model's parameters",
                                "build it from model.parameters() of the same model")
            self._handles.append(self.optimizer.register_step_pre_hook(lambda *_: self._before_step()))
            self._handles.append(self.optimizer.register_step_post_hook(lambda *_: self._after_step()))
        if not self.wiring.recorded:
            self._handles.append(self.model.register_forward_pre_hook(_FirstForward(self, "_start_recording"), prepend=True))
            self._handles.append(self.model.register_forward_hook(_FirstForward(self, "_stop_recording"), always_call=True))

    def _detach(self) -> None:
        for handle in self._handles:
            handle.remove()
        self._handles = []

    def _start_recording(self, *_: Any) -> None:
        if self._recording is None and not self.wiring.recorded and not torch.compiler.is_compiling():
            recorder = Recorder(self.model, Wiring.local(self.model))
            recorder.__enter__()
            self._recording = recorder

    def _stop_recording(self, arguments: Any, result: Any) -> None:
        recorder, self._recording = self._recording, None
        if recorder is None:
            return
        recorder.__exit__(None, None, None)
        if result is not None:
            recorder.finish(result)
            self._rewire(recorder.wiring)

    def _rewire(self, wiring: Wiring) -> None:
        """Readers are known now: removed groups take their pieces there along (at the next step's end)."""
        before = {key: groups.kept(self.masks) for key, groups in self._groups.items()}
        self.wiring, self._groups = wiring, {}
        for (level, per), kept in before.items():
            groups = self.groups(level, per)
            if groups.count == len(kept):
                groups.keep(self.masks, kept)

    def _before_step(self) -> None:
        proceed = self.method.before_step(self)
        for name, kept in self.masks.kept.items():
            parameter = self.model.get_parameter(name)
            if parameter.grad is not None:
                parameter.grad.masked_fill_(~kept, 0)
        if not proceed and self.optimizer is not None:
            for group in self.optimizer.param_groups:
                for parameter in group["params"]:
                    if parameter.grad is not None:
                        self._hidden[parameter], parameter.grad = parameter.grad, None

    def _after_step(self) -> None:
        for parameter, gradient in self._hidden.items():
            parameter.grad = gradient
        self._hidden.clear()
        self.step_count += 1
        self.method.after_step(self)
        self.enforce()

    def _agree(self) -> None:
        """Under data parallel every rank takes the masks of rank 0."""
        if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_world_size() > 1:
            for kept in self.masks.kept.values():
                bits = kept.to(torch.uint8)
                torch.distributed.broadcast(bits, 0)
                kept.copy_(bits.bool())


class _FirstForward:
    """A forward hook that leads back to the sparsifier from its own model only, never from a copy of it."""

    def __init__(self, sparsifier: Sparsifier, name: str):
        self.sparsifier, self.name = sparsifier, name

    def __call__(self, module: nn.Module, *arguments: Any) -> None:
        if module is self.sparsifier.model:
            getattr(self.sparsifier, self.name)(*arguments)

    def __deepcopy__(self, memo: dict[int, Any]) -> _FirstForward:
        return self

    def __reduce__(self) -> tuple[Any, tuple[()]]:
        return _nothing, ()


def _nothing() -> Any:
    return _ignore


def _ignore(*_: Any) -> None:
    return None


def sparsify(model: nn.Module, method: Method, optimizer: torch.optim.Optimizer | None = None, *, steps: int = 0, loss: Any = None,
             where: Where = None, seed: int = 0, example: Any = None) -> Any:
    """One call: without an optimizer the model is made sparse now and its masks are returned; with one, a `Sparsifier`."""
    run = Sparsifier(model, method, optimizer, steps=steps, loss=loss, where=where, seed=seed, example=example)
    return run if optimizer is not None else run.finalize()
