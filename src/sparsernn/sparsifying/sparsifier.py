"""The seam between a method and any training loop: it drives the method, and holds all that changes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.running.torch_layers import hand_over, take_back
from sparsernn.sparsifying import state_tree
from sparsernn.sparsifying.checks import check_arguments, check_holds
from sparsernn.sparsifying.drawing import Drawing
from sparsernn.sparsifying.first_forward import FirstForward, carry_over, numbers_before
from sparsernn.sparsifying.forward_hooks import ForwardHooks
from sparsernn.sparsifying.gradients import Gradients
from sparsernn.sparsifying.saved_state import fields_of, with_fields
from sparsernn.sparsifying.sparse_run import Loss, SparseRun
from sparsernn.sparsifying.step_hooks import StepHooks
from sparsernn.structure.groups import Where
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring

HOOKS = ("_forwards", "_optimizer_steps", "_gradients")


class Sparsifier(SparseRun):
    """Makes a model sparse while it is trained by a loop of one's own.

    The optimizer's own `step` drives it: masks, schedules and counters follow, and after every step absent
    weights are exactly zero, as their gradients are after every backward pass, so that clipping counts what exists.
    Steps that the optimizer skips (overflow, accumulation) do not count. Add `penalty()` to the loss and call
    `finalize()` at the end. All names are those of the unwrapped model. Copied together with model and optimizer, by
    `copy.deepcopy((model, optimizer, sparsifier))`, it goes on by itself.

    Arguments:
        model: any module with recurrent layers of torch or of this package.
        method: what decides, e.g. ``RigL(sparsity=0.9)``.
        optimizer: any torch optimizer that takes dense gradients; None for a trained model that is not trained on.
        steps: how many optimizer steps the training will have; schedules are fractions of it.
        loss: a zero-argument callable that returns the loss on one batch, for methods that ask for it.
        where: the tensors in which groups start: a glob, several, a predicate on names, or (module type, suffix);
            default: the weight matrices of recurrent layers.
        seed: of everything random; the same on every rank.
        example: what the model is called with: a tensor, a tuple, a dict of keywords, a (tuple, dict) pair, or a list
            of tuples and dicts. Without it the first forward of the model is followed instead, to find out which
            layers read which units.
    Attributes:
        masks: `masks.kept` maps names to bool tensors, True = the weight exists.
        events: what the masks did, one JSON-able dict each.
        state: what the method remembers.
        owned: parameters that the method owns, by name; they are in none of the model's own lists.
    Raises: UserError for a selection that matches nothing or a schedule that cannot fire within `steps`.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: torch.optim.Optimizer | None = None,
        *,
        steps: int = 0,
        loss: Loss = None,
        where: Where = None,
        seed: int = 0,
        example: Any = None,
    ):
        check_arguments(method, steps, at_least=0 if optimizer is None else 1)
        super().__init__(model, method, optimizer, steps, loss, where, example)
        self.generator.manual_seed(seed)
        self._ended = False
        if optimizer is not None:
            check_holds(optimizer, {name: self.model.get_parameter(name) for name in self.masks.selected})
        self._attach()
        try:
            method.prepare(self)
        except Exception:
            self._detach()
            raise
        self.enforce()
        self._begun = True
        self._first_weights.compare(self.model, self.masks.kept)
        self._expect_training()

    @property
    def settled(self) -> bool:
        """Whether the masks have reached their final size."""
        return self.method.settled(self)

    def penalty(self) -> Tensor:
        """What to add to the loss; a zero without gradient for methods that have none. []"""
        penalty = self.method.penalty(self)
        return penalty if penalty is not None else torch.zeros((), device=self.device)

    def gradient(self, name: str) -> Tensor | None:
        """The gradient of a weight, of its absent places too; None if there is none."""
        return self._gradients.whole(name)

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

    squash_mask = finalize

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Everything that a resumed run needs: {"tensors": name -> tensor, "values": JSON-able}."""
        tensors, values = state_tree.split({"state": fields_of(self.state), "owned": self._owned.state_dict()})
        tensors |= {f"kept.{name}": kept for name, kept in self.masks.kept.items()}
        tensors |= {f"first.{name}": bits for name, bits in self._history.first_masks.items()}
        tensors["generator"] = self.generator.get_state()
        events = [dict(event) for event in self.events]
        return {
            "tensors": {name: tensor.clone() for name, tensor in tensors.items()},
            "values": {"step_count": self.step_count, "events": events, "method": values},
        }

    def load_state_dict(self, state: dict[str, dict[str, Any]]) -> None:
        """Continue from `state_dict`; the model's weights may be loaded before or after the `Sparsifier` is made.

        Raises: UserError if the state belongs to another model or method, or was saved by an earlier version.
        """
        values, tensors = state["values"], {name: tensor.clone() for name, tensor in state["tensors"].items()}
        if "method" not in values:
            raise UserError(
                "the state was saved by an earlier version of sparsernn",
                "one with a typed state of the method",
                "finish the run with that version, or start it again",
            )
        masks, first_masks = (
            {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
            for prefix in ("kept.", "first.")
        )
        before = {name: self.masks.kept[name].clone() for name in self._first_weights.before}
        self._cover([name for name in masks if name in self.wiring.weights])
        self.masks.load_state_dict(masks)
        self._first_weights.bring_back(self.model, before)
        remembered = state_tree.join(tensors, values["method"])
        self.state = with_fields(self.method.initial_state(), remembered["state"])
        self._owned.load_state_dict(remembered["owned"])
        self.generator.set_state(tensors["generator"].cpu())
        self._history.events, self._history.first_masks = [dict(event) for event in values["events"]], first_masks
        self.step_count = int(values["step_count"])
        self.enforce()

    def __getstate__(self) -> dict[str, Any]:
        """All but the hooks: a copy has its own."""
        return {name: value for name, value in vars(self).items() if name not in HOOKS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        if not self._ended:
            self._attach()
            self._expect_training()

    def _attach(self) -> None:
        first = None if self.wiring.recorded else FirstForward(self.model, self._rewire)
        self._forwards = ForwardHooks(self.model, first)
        steps = (self._gradients_ready, self._gradients_again, self._step_done)
        self._optimizer_steps = None if self.optimizer is None else StepHooks(self.optimizer, *steps)
        self._gradients = Gradients(self.model, self.masks, lambda: self.method.reads_next_gradient(self))

    def _expect_training(self) -> None:
        """The first masks are made."""
        self._hand_masks()
        kind = type(self.method)
        draws = kind.before_forward is not Method.before_forward
        draws = draws or kind.before_evaluation is not Method.before_evaluation
        drawing = Drawing(self) if draws else None
        remembers = self._first_weights.before and self.optimizer is not None
        self._forwards.expect_training(drawing, self._first_weights.forget if remembers else None)

    def _hand_masks(self) -> None:
        """Kernels may compute with those weights alone that exist."""
        if not self.method.reads_dense_gradient:
            hand_over(self.model, self.wiring.descriptions, self.masks, self.wiring.tied)

    def _withdraw_masks(self) -> None:
        take_back(self.model)

    def _detach(self) -> None:
        self._withdraw_masks()
        self._forwards.remove()
        self._gradients.remove()
        if self._optimizer_steps is not None:
            self._optimizer_steps.remove()
        self._ended = True

    def _rewire(self, wiring: Wiring) -> None:
        """Readers are known now: absent groups take their pieces there along."""
        before, self._groups, self.wiring = self._groups, {}, wiring
        for (level, per), old in before.items():
            groups = self.groups(level, per)
            groups.earlier = numbers_before(old, groups)
            if any(piece.index is not None for piece in groups.pieces):
                self.remove(groups, carry_over(old, groups, self.masks))
        self.enforce()

    @torch.no_grad()
    def _gradients_ready(self) -> bool:
        self._forwards.check()
        proceed = self.method.before_step(self)
        self._gradients.mask()
        if proceed:
            self._owned.step(self._rate)
        self._owned.clear()
        return proceed

    @torch.no_grad()
    def _gradients_again(self) -> None:
        self._gradients.mask()
        self._owned.clear()

    @torch.no_grad()
    def _step_done(self) -> None:
        self._first_weights.forget()
        self.step_count += 1
        self.method.after_step(self)
        self._gradients.clear()
        self.enforce()
        if self._forwards.drawing is not None:
            self._forwards.drawing.forget()


def sparsify(
    model: nn.Module,
    method: Method,
    optimizer: torch.optim.Optimizer | None = None,
    *,
    steps: int = 0,
    loss: Loss = None,
    where: Where = None,
    seed: int = 0,
    example: Any = None,
) -> Any:
    """One call: with an optimizer a `Sparsifier`; without one the model is made sparse now, and its masks come back."""
    run = Sparsifier(model, method, optimizer, steps=steps, loss=loss, where=where, seed=seed, example=example)
    return run if optimizer is not None else run.finalize()
