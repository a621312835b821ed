"""Hugging Face Accelerate 1.2 and later: `sparsifier = sparsify(accelerator, model, method, optimizer, steps=1000)`."""

from typing import Any

from accelerate import Accelerator
from torch import nn

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.sparsifying.optimizers import Optimizer
from sparsernn.sparsifying.sparse_run import Loss, Place
from sparsernn.sparsifying.sparsifier import Sparsifier

WHOLE = ("NO", "MULTI_CPU", "MULTI_GPU", "MULTI_NPU", "MULTI_XPU", "MULTI_HPU")


def sparsify(
    accelerator: Accelerator,
    model: nn.Module,
    method: Method,
    optimizer: Optimizer,
    *,
    steps: int,
    loss: Loss = None,
    where: Place = None,
    **options: Any,
) -> Sparsifier:
    """A `Sparsifier` of what an Accelerator has prepared, whose state is in every `save_state` and comes back.

    Add `penalty()` to the loss and call `finalize()` at the end, as in any loop. To use the best checkpoint, call
    `accelerator.load_state` before `finalize`: weights and masks come back together.

    Arguments:
        model, optimizer: as `accelerator.prepare` returned them, or as they were before.
        steps: how many optimizer steps the training will have, accumulated batches counted once.
        loss, where: as in `Sparsifier`.
        options: seed and example, as in `Sparsifier`.
    Raises: UserError as `Sparsifier` does, and where processes hold parts of the weights.
    """
    kind = str(accelerator.distributed_type).rpartition(".")[2]
    if kind not in WHOLE:
        raise UserError(
            f"Accelerate runs with {kind}, where processes may hold parts of the weights",
            "whole weights in every process",
            "use one process or DistributedDataParallel",
        )
    inner = accelerator.unwrap_model(model)
    sparsifier = Sparsifier(inner, method, optimizer, steps=steps, loss=loss, where=where, **options)
    accelerator.register_for_checkpointing(sparsifier)
    return sparsifier
