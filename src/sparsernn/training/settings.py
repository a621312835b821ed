"""Settings of a training run: plain values that a recipe, a command line and a checkpoint can hold."""

import dataclasses
import math
import typing
from collections.abc import Callable, Mapping
from typing import Any, Literal

from sparsernn.errors import UserError
from sparsernn.typed import check_options, is_of


@dataclasses.dataclass(frozen=True)
class Settings:
    """How `fit` trains.

    Arguments:
        optimizer: a name in torch.optim, in any case ("sgd", "adamw"), "nt_asgd", "snt_asgd" (`averaged_sgd`) or
            "averaged_adamw", or a callable (parameters, lr=...) -> optimizer. One with `eval()` and `train()` is
            validated, kept and saved at the weights that `eval()` shows; one with `validated(loss)` is told each
            validation loss.
        learning_rate, momentum, weight_decay: given to the optimizer; one that it does not know must be left at 0.
        optimizer_options: further arguments of the optimizer, such as {"betas": [0.9, 0.95]}.
        epochs: after each of which the model is validated and saved.
        passes: over the training split in an epoch; more than one where the split is small.
        batch_size: examples in a step, over all processes together.
        valid_batch_size: examples in a validation batch; None takes batch_size.
        clip: largest norm of all gradients together, those of weights that exist; None leaves them.
        schedule: "constant"; "step": times `decay` after every `decay_every` epochs from epoch `decay_after` on;
            "plateau": times `decay` at every epoch whose validation loss is no new best; "cosine" down to 0.
        decay, decay_after, decay_every: see `schedule`.
        warm_up: fraction of all steps over which the rate rises from 0 to what the schedule says.
        seed: order of the examples, dropout, and the sparsifier's random choices.
        keep: "best" keeps weights and masks of the best validation epoch among those at which the method had
            reached its target; "lowest_loss" of that with the lowest validation loss; "last" those of the last epoch.
        patience: stop after so many such epochs without a new best; None never stops early.
        where: names or patterns of the tensors in which groups start; None takes the sparsifier's default.
        scoring_examples: of the batch at which methods look that prune before training; None takes batch_size.
        checkpoint_seconds: a checkpoint is written at the first step after so many seconds, and after each epoch.
        precision: "float32", "bfloat16" or "float16" (mixed: weights stay float32).
        device: "auto" takes a GPU where there is one, "cpu" never does.
        loggers: "csv" and "tensorboard" files in the run folder, beside metrics.jsonl.
        flush_denormal: treat denormal numbers as zero.
    Raises: UserError for a value outside its range.
    """

    optimizer: str | Callable[..., Any] = "adam"
    learning_rate: float = 1e-3
    momentum: float = 0.0
    weight_decay: float = 0.0
    optimizer_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    epochs: int = 10
    passes: int = 1
    batch_size: int = 32
    valid_batch_size: int | None = None
    clip: float | None = None
    schedule: Literal["constant", "step", "plateau", "cosine"] = "constant"
    decay: float = 0.5
    decay_after: int = 1
    decay_every: int = 1
    warm_up: float = 0.0
    seed: int = 0
    keep: Literal["best", "lowest_loss", "last"] = "best"
    patience: int | None = None
    where: tuple[str, ...] | None = None
    scoring_examples: int | None = None
    checkpoint_seconds: float = 300.0
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    device: Literal["auto", "cpu"] = "auto"
    loggers: tuple[str, ...] = ("csv",)
    flush_denormal: bool = True

    def __post_init__(self) -> None:
        for name in ("loggers", "where"):
            if isinstance(value := getattr(self, name), str | list):
                object.__setattr__(self, name, (value,) if isinstance(value, str) else tuple(value))
        check_options(self)
        for name, (low, high) in RANGES.items():
            value, is_whole = getattr(self, name), not is_of(0.5, KINDS[name])
            if value is None:
                continue
            if not (math.isfinite(value) and low <= value <= high):
                number = "a whole number" if is_whole else "a number"
                limit = f" up to {high}" if math.isfinite(high) else ""
                raise UserError(f"{name} is {value!r}", f"{number} from {low}{limit}", f"Change {name}")
            object.__setattr__(self, name, value if is_whole else float(value))
        object.__setattr__(self, "optimizer_options", dict(self.optimizer_options))

    def to_json(self) -> dict[str, object]:
        """The settings as plain JSON values; an optimizer that is a callable is written by its name."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        if callable(self.optimizer):
            values["optimizer"] = getattr(self.optimizer, "__qualname__", type(self.optimizer).__qualname__)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


KINDS = typing.get_type_hints(Settings)
RANGES: dict[str, tuple[float, float]] = {
    "learning_rate": (0, math.inf),
    "momentum": (0, 1),
    "weight_decay": (0, math.inf),
    "epochs": (1, math.inf),
    "passes": (1, math.inf),
    "batch_size": (1, math.inf),
    "valid_batch_size": (1, math.inf),
    "clip": (0, math.inf),
    "decay": (0, 1),
    "decay_after": (0, math.inf),
    "decay_every": (1, math.inf),
    "warm_up": (0, 1),
    "seed": (0, 2**63 - 1),
    "patience": (1, math.inf),
    "scoring_examples": (1, math.inf),
    "checkpoint_seconds": (0, math.inf),
}
