"""Lightning 2.2 and later: `Trainer(callbacks=[Sparsify(RigL(sparsity=0.9))])`."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer  # pyright: ignore[reportMissingImports]

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.sparsifying.sparse_run import Loss, Place
from sparsernn.sparsifying.sparsifier import Sparsifier
from sparsernn.structure.masks import Masks
from sparsernn.typed import choose


class Sparsify(Callback):
    """Makes a LightningModule sparse while a Trainer trains it.

    Its state is in every checkpoint, and a resumed training ends in the same bits. Averaged weights that another
    callback puts into the module are zero where weights are absent before they are evaluated, and in the end. The
    penalty of a method is added at every step, after clipping.

    Arguments:
        method: what decides.
        steps: how many optimizer steps the training will have; default: what the Trainer estimates.
        keep: "last", or "best": at the end of training go back to the weights and masks of the best checkpoint of the
            Trainer's ModelCheckpoint, before the masks are made final.
        loss, where, seed, example: as in `Sparsifier`; `example` is the module's `example_input_array` by default.
    Attributes:
        sparsifier: while training and afterwards.
        masks: of the trained module.
    Raises: UserError when training begins, as `Sparsifier` does, or if the number of steps cannot be known.
    """

    def __init__(
        self,
        method: Method,
        steps: int | None = None,
        keep: str = "last",
        *,
        loss: Loss = None,
        where: Place = None,
        seed: int = 0,
        example: Any = None,
    ):
        choose("keep", keep, ("last", "best"))
        self.method, self.steps, self.keep = method, steps, keep
        self.loss, self.where, self.seed, self.example = loss, where, seed, example
        self.sparsifier: Sparsifier | None = None
        self.masks: Masks | None = None
        self._resumed: dict[str, Any] | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        example = self.example if self.example is not None else pl_module.example_input_array
        self.sparsifier = Sparsifier(
            pl_module,
            self.method,
            trainer.optimizers,
            steps=self._steps(trainer),
            loss=self.loss,
            where=self.where,
            seed=self.seed,
            example=example,
        )
        self.sparsifier.adds_penalty = True
        if self._resumed is not None:
            self.sparsifier.load_state_dict(self._resumed)
            self._resumed = None

    def _steps(self, trainer: Trainer) -> int:
        steps = trainer.estimated_stepping_batches if self.steps is None else self.steps
        if steps == float("inf"):
            raise UserError(
                "the Trainer does not know how many steps it will take",
                "a number of steps, of which schedules are fractions",
                "pass steps= to Sparsify, or max_steps= or max_epochs= to the Trainer",
            )
        return int(steps)

    def on_validation_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        self._zero()

    def on_test_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        self._zero()

    def on_predict_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any, **__: Any) -> None:
        self._zero()

    def _zero(self) -> None:
        """Other callbacks may have put averaged weights into the module."""
        if self.sparsifier is not None and self.masks is None:
            self.sparsifier.enforce()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.sparsifier is None:
            return
        best = getattr(trainer.checkpoint_callback, "best_model_path", "")
        if self.keep == "best" and best:
            checkpoint = trainer.strategy.load_checkpoint(best)
            pl_module.load_state_dict(checkpoint["state_dict"])
            self.sparsifier.load_state_dict(checkpoint["callbacks"][self.state_key])
        self.sparsifier.enforce()
        self.masks = self.sparsifier.finalize()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.masks is not None:
            self.masks.apply_(pl_module)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        if self.sparsifier is not None:
            self.sparsifier.detach()

    def state_dict(self) -> dict[str, Any]:
        return {} if self.sparsifier is None else self.sparsifier.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._resumed = state_dict
