"""Hugging Face Transformers 4.48 and later: `Trainer(callbacks=[Sparsify(RigL(sparsity=0.9))])`."""

# Where the library is not installed, the checker takes this module for it.
# pyright: reportGeneralTypeIssues=false, reportAttributeAccessIssue=false, reportMissingImports=false

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from sparsernn.callbacks.state_file import read_state, write_state
from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.sparsifying.optimizers import Optimizer
from sparsernn.sparsifying.sparse_run import Loss, Place
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.masks import Masks


class Sparsify(TrainerCallback):
    """Makes a model sparse while a Trainer trains it.

    Every checkpoint has its state in `sparsifier.safetensors`, and a resumed training ends in the same bits. With
    `load_best_model_at_end` the masks are those of the best checkpoint. The penalty of a method is added at every step,
    after clipping.

    Arguments:
        method: what decides.
        steps: how many optimizer steps the training will have; default: what the Trainer says.
        resume_from: the checkpoint that training goes on from, where it is not in the Trainer's output folder.
        loss, where, seed, example: as in `Sparsifier`.
    Attributes:
        sparsifier: while training and afterwards.
        masks: of the trained model.
    Raises: UserError when training begins, as `Sparsifier` does, or if a resumed training has no saved state.
    """

    def __init__(
        self,
        method: Method,
        steps: int | None = None,
        resume_from: Path | str | None = None,
        *,
        loss: Loss = None,
        where: Place = None,
        seed: int = 0,
        example: Any = None,
    ):
        self.method, self.steps, self.resume_from = method, steps, resume_from
        self.loss, self.where, self.seed, self.example = loss, where, seed, example
        self.sparsifier: Sparsifier | None = None
        self.masks: Masks | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: nn.Module | None = None,
        optimizer: Optimizer | None = None,
        **_: Any,
    ) -> None:
        if model is None or optimizer is None:
            raise UserError(
                "the Trainer hands over no model and optimizer", "those that it trains", "update transformers"
            )
        steps = state.max_steps if self.steps is None else self.steps
        options = {"loss": self.loss, "where": self.where, "seed": self.seed, "example": self.example}
        self.sparsifier = Sparsifier(model, self.method, optimizer, steps=steps, **options)
        self.sparsifier.adds_penalty, self.masks = True, None
        if state.global_step:
            asked = self.resume_from or args.resume_from_checkpoint
            self.sparsifier.load_state_dict(read_state(asked or _folder(args, state)))

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.sparsifier is not None and state.is_world_process_zero:
            write_state(_folder(args, state), self.sparsifier.state_dict())

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if self.sparsifier is None:
            return
        if args.load_best_model_at_end and state.best_model_checkpoint is not None:
            self.sparsifier.load_state_dict(read_state(state.best_model_checkpoint))
        self.masks = self.sparsifier.finalize()


def _folder(args: TrainingArguments, state: TrainerState) -> Path:
    """Where the Trainer puts the checkpoint of this step."""
    return Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
