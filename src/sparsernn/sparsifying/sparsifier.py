"""The seam between a method and any training loop: it drives the method, and holds all that changes."""

import warnings
import weakref
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.compaction.vanilla_units import make_vanilla_
from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.running.torch_layers import hand_over, take_back
from sparsernn.sparsifying import state_tree
from sparsernn.sparsifying.checks import check_arguments, check_holds, check_tensors
from sparsernn.sparsifying.drawing import Drawing
from sparsernn.sparsifying.first_forward import FirstForward, carry_over, numbers_before
from sparsernn.sparsifying.forward_hooks import ForwardHooks
from sparsernn.sparsifying.gradients import Gradients
from sparsernn.sparsifying.optimizers import Optimizer, Optimizers
from sparsernn.sparsifying.saved_state import check_state, fields_of, with_fields
from sparsernn.sparsifying.sparse_run import CLAIMS, Loss, Place, SparseRun
from sparsernn.sparsifying.step_hooks import StepHooks
from sparsernn.sparsifying.watch import Watch
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring

HOOKS = ("_forwards", "_optimizer_steps", "_gradients", "_optimizers", "_leaving")


class Sparsifier(SparseRun):
    """Makes a model sparse while it is trained by a loop of one's own.

    The optimizer's own `step` drives it: masks, schedules and counters follow, and after every step absent
    weights are exactly zero, as their gradients are after every backward pass, so that clipping counts what exists.
    Steps that the optimizer skips (overflow, accumulation) do not count. Add `penalty()` to the loss and call
    `finalize()` at the end, which says what went wrong unseen. An optimizer may be inside wrappers, and there may be
    several. All names are those of the unwrapped model. Copied together with model and optimizer, by
    `copy.deepcopy((model, optimizer, sparsifier))`, it goes on by itself.

    Arguments:
        model: any module with recurrent layers of torch or of this package.
        method: what decides, e.g. ``RigL(sparsity=0.9)``.
        optimizer: any optimizer, a wrapper of one (Accelerate's, a lookahead, a two-phase one), or a list of them; None
            for a trained model that is not trained on.
        steps: how many optimizer steps the training will have; schedules are fractions of it.
        loss: a zero-argument callable that returns the loss on one batch, for methods that ask for it.
        where: the tensors in which groups start: a glob, several, a predicate on names, or (module type, suffix);
            default: the weight matrices of recurrent layers. Or `Masks` of an earlier pruning: groups start in their
            selected tensors, and what they leave out stays absent.
        seed: of everything random; the same on every rank.
        example: what the model is called with: a tensor, a tuple, a dict of keywords, a (tuple, dict) pair, or a list
            of tuples and dicts. Without it the first forward of the model is followed instead, to find out which
            layers read which units.
    Attributes:
        masks: `masks.kept` maps names to bool tensors, True = the weight exists.
        events: what the masks did, one JSON-able dict each.
        state: what the method remembers.
        owned: parameters that the method owns, by name; they are in none of the model's own lists.
        adds_penalty: whether it adds the penalty's gradient by itself at every step, after clipping, for loops whose
            loss is out of reach.
    Raises: UserError for a selection that matches nothing, a schedule that cannot fire within `steps`, weights that no
        optimizer holds, that another Sparsifier is at work on, that are lazy, on "meta" or sharded, or masks in `where`
        with a method that lets other weights grow.
    """

    def __init__(
        self,
        model: nn.Module,
        method: Method,
        optimizer: Optimizer | None = None,
        *,
        steps: int = 0,
        loss: Loss = None,
        where: Place = None,
        seed: int = 0,
        example: Any = None,
    ):
        check_arguments(method, steps, seed, at_least=0 if optimizer is None else 1)
        super().__init__(model, method, optimizer, steps, loss, where, example)
        self.generator.manual_seed(seed)
        self._finalized, self.adds_penalty, self.vanilla_units = False, False, None
        self._watch = Watch()
        try:
            self._check_optimizers()
            self._attach()
            method.prepare(self)
            self._check_first_masks()
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
        self._watch.penalty_asked = True
        with self._forwards.between():
            penalty = self.method.penalty(self)
        return penalty if penalty is not None else torch.zeros((), device=self.device)

    def gradient(self, name: str) -> Tensor | None:
        """The gradient of a weight, of its absent places too; None if there is none."""
        return self._gradients.whole(name)

    def step(self) -> None:
        """The same as `optimizer.step()`."""
        if self._optimizers is not None:
            self._optimizers.step()

    def attach(self, optimizer: Optimizer) -> None:
        """From now on another optimizer, or several, step the weights: for a last phase, or after `detach`.

        Raises: UserError if it does not hold the selected weights, or the run is over.
        """
        if self._finalized or self._optimizers is None:
            raise UserError(
                "the Sparsifier has been finalized"
                if self._finalized
                else "the Sparsifier was made without an optimizer",
                "one in the course of training",
                "make a new one with optimizer= and steps=",
            )
        before, self._optimizers = self._optimizers, Optimizers(optimizer)
        try:
            self._check_optimizers()
        except UserError:
            self._optimizers = before
            raise
        self._detach()
        self.optimizer = optimizer
        self._claim(list(self.masks.kept))
        self._attach()
        self._expect_training()

    def detach(self) -> None:
        """Let go of model and optimizer: weights stay as they are now, and nothing keeps absent ones zero any longer.

        What the first masks zeroed before training comes back if training has not begun. `attach` takes it up again.
        """
        if self._is_replaceable():
            self._first_weights.bring_back(self.model, self.masks.kept)
        self._detach()

    @staticmethod
    def of(model: nn.Module) -> SparseRun | None:
        """The Sparsifier that is at work on a model, or None."""
        return CLAIMS.owner(list(model.parameters()))

    def finalize(self, vanilla: object = None) -> Masks:
        """End sparse training: the model keeps plain parameters with exact zeros. Returns the final masks.

        Absent weights are compared with zero and steps with what was expected; one warning says what was wrong.
        Arguments:
            vanilla: what the model is called with; LSTM units left with an output gate alone become vanilla units by
                `make_vanilla_`, and `vanilla_units` says how many, and how far outputs change.
        Raises: UserError if it is called again after the model was trained on.
        """
        if self._finalized:
            self.masks.check_step(self.model)
            return self.masks
        self._settle()
        with self._forwards.between():
            self._sentences = self._watch.summary(self, self._gradients.passes)
            self.method.finalize(self)
            self._sentences += self._watch.outcome(self)
            self.masks.apply_(self.model)
            self._detach()
        self.masks.final = self._finalized = True
        if vanilla is not None:
            self.vanilla_units = make_vanilla_(self.model, self.masks, vanilla)
        self.masks.constant_gates = self.masks.find_constant_gates(self.wiring, self.model)
        sentences, self._sentences = self._sentences, None
        if sentences:
            said = "; ".join(sentences)
            warnings.warn(f"finalized at a sparsity of {self.masks.sparsity():.3f}: {said}", stacklevel=2)
        return self.masks

    squash_mask = finalize

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """Everything that a resumed run needs: {"tensors": name -> tensor, "values": JSON-able}."""
        self._settle()
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

        Raises: UserError if the state belongs to another model or method, was saved by an earlier version, or is
            something else.
        """
        check_state(state)
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
        self.steps_seen = max(self.steps_seen, self.step_count)
        self.enforce()

    def __getstate__(self) -> dict[str, Any]:
        """All but the hooks: a copy has its own."""
        return {name: value for name, value in vars(self).items() if name not in HOOKS}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._optimizers = None if self.optimizer is None else Optimizers(self.optimizer)
        if not state["_ended"]:
            self._claim(list(self.masks.kept))
            self._attach()
            self._expect_training()

    def _check_optimizers(self) -> None:
        """Raises: UserError if there are optimizers that do not hold the selected weights."""
        if self._optimizers is not None:
            check_holds(self._optimizers, {name: self.model.get_parameter(name) for name in self.selected})

    def _check_first_masks(self) -> None:
        """Raises: UserError if the method has begun with weights that masks in `where` leave out."""
        for name, kept in self._first_absent.items():
            if bool((self.masks.kept[name] & ~kept).any()):
                raise UserError(
                    f"{type(self.method).__name__} begins with weights in {name} that the masks in where= leave out",
                    "a method that only removes weights",
                    "choose another method, Static(masks=masks), or a where= without masks",
                )

    def _is_replaceable(self) -> bool:
        return self.optimizer is not None and self.step_count == 0 and not self._first_weights.forgotten

    def _attach(self) -> None:
        self._leaving = weakref.finalize(self, _leave, weakref.ref(self.model))
        self._leaving.atexit = False
        first = None if self.wiring.recorded else FirstForward(self.model, self._rewire)
        self._forwards = ForwardHooks(self.model, first)
        self._optimizer_steps = None if self._optimizers is None else self._step_hooks(self._optimizers)
        self._gradients = Gradients(self.model, self.masks, lambda: self.method.reads_next_gradient(self))
        self._ended = False

    def _step_hooks(self, optimizers: Optimizers) -> StepHooks:
        apart = self._forwards.apart
        ready, again = apart(self._gradients_ready), apart(self._gradients_again)
        return StepHooks(optimizers, ready, again, apart(self.enforce), apart(self._step_done))

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

    def _settle(self) -> None:
        """No forward and no step is half done."""
        self._forwards.settle()
        if self._optimizer_steps is not None:
            self._optimizer_steps.flush()

    def _detach(self) -> None:
        CLAIMS.release(self)
        if self._ended:
            return
        take_back(self.model)
        self._forwards.remove()
        self._gradients.remove()
        if self._optimizer_steps is not None:
            self._optimizer_steps.remove()
        self._leaving.detach()
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
    def _gradients_ready(self, scale: Tensor | None = None) -> bool:
        self._forwards.check()
        self._check_step()
        if self.adds_penalty:
            self._add_penalty(scale)
        proceed = self.method.before_step(self)
        self._gradients.mask()
        if proceed:
            self._owned.step(self._rate)
        self._owned.clear()
        return proceed

    def _check_step(self) -> None:
        """Look at what the loop does wrong. Raises: UserError for gradients that are not all there."""
        if self.step_count == 0:
            check_tensors(self.model)
            self._check_optimizers()
        self._gradients.check()
        if self.method.reads_dense_gradient and torch._C._current_graph_task_id() >= 0:
            raise UserError(
                f"an optimizer steps within the backward pass, and {type(self.method).__name__} compares gradients",
                "a step after the backward pass",
                "call step() after backward(), or choose a method that reads no gradients, such as Magnitude",
            )
        self._watch.step_begins(self)
        if self._watch.written:
            self.enforce()
            self._forwards.guard(self.enforce)

    def _add_penalty(self, scale: Tensor | None) -> None:
        """Add the penalty's gradient to what a backward pass has left, past hooks of data parallel."""
        with torch.enable_grad():
            penalty = self.penalty()
        if not penalty.requires_grad:
            return
        parameters = [*self.weights.values(), *self.owned.values()]
        parameters = [parameter for parameter in parameters if parameter.requires_grad]
        slopes = torch.autograd.grad(penalty if scale is None else penalty * scale, parameters, allow_unused=True)
        for parameter, slope in zip(parameters, slopes, strict=True):
            if slope is not None:
                parameter.grad = slope if parameter.grad is None else parameter.grad + slope

    @torch.no_grad()
    def _gradients_again(self) -> None:
        self._gradients.mask()
        self._owned.clear()

    @torch.no_grad()
    def _step_done(self) -> None:
        self._first_weights.forget()
        self.step_count += 1
        self.steps_seen = max(self.steps_seen, self.step_count)
        self.method.after_step(self)
        self._watch.step_ends(self._gradients.passes)
        self._gradients.clear()
        self.enforce()
        if self._forwards.drawing is not None:
            self._forwards.drawing.forget()


def _leave(model: weakref.ref[nn.Module]) -> None:
    """Nobody has a Sparsifier any more, nor an optimizer that it followed: its model computes as before."""
    left = model()
    if left is not None:
        take_back(left)


def sparsify(
    model: nn.Module,
    method: Method,
    optimizer: Optimizer | None = None,
    *,
    steps: int = 0,
    loss: Loss = None,
    where: Place = None,
    seed: int = 0,
    example: Any = None,
) -> Any:
    """One call: with an optimizer a `Sparsifier`; without one the model is made sparse now, and its masks come back."""
    run = Sparsifier(model, method, optimizer, steps=steps, loss=loss, where=where, seed=seed, example=example)
    return run if optimizer is not None else run.finalize()
