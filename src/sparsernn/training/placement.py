"""Where a training runs: device, precision and processes.

One process on the CPU in float32 needs nothing; everything else is Hugging Face Accelerate's work.
"""

import os
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from sparsernn.errors import UserError, needs_package
from sparsernn.sparsifying.state_tree import State
from sparsernn.training.batches import Batch
from sparsernn.training.objectives import Objective
from sparsernn.training.settings import Settings

T = TypeVar("T")


class Part(NamedTuple):
    """One process's share of a batch, and what its loss and its sums weigh."""

    batch: Batch
    loss_weight: float
    sums_weight: float


class Placement:
    """One process on the CPU in float32."""

    device = torch.device("cpu")
    rank = 0
    processes = 1

    def prepare(self, model: nn.Module, optimizer: Optimizer) -> nn.Module:
        """Move the model and return what is called in its place."""
        self.optimizer = optimizer
        return model.to(self.device)

    def part(self, batch: Batch, objective: Objective) -> Part:
        """This process's share of the batch, the examples dealt out along the objective's batch axis.

        With the weights the mean over processes of the weighted losses is the mean over the whole batch. A batch
        with fewer examples than processes is given to each of them.
        """
        axis, examples = objective.batch_axis, batch.inputs.shape[objective.batch_axis]
        if self.processes == 1:
            return Part(batch, 1.0, 1.0)
        if examples < self.processes:
            return Part(batch, 1.0, 1.0 / self.processes)
        share = batch._make(
            None if value is None else _share(value, axis, self.rank, self.processes) for value in batch
        )
        return Part(share, objective.count(share) * self.processes / max(objective.count(batch), 1), 1.0)

    def update(self, loss: Tensor, parameters: Iterable[nn.Parameter], clip: float | None) -> None:
        """Backward pass, clipping, and one step of the optimizer."""
        loss.backward()
        if clip is not None:
            nn.utils.clip_grad_norm_(parameters, clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def from_first(self, value: T) -> T:
        """The first process's value, in every process."""
        return self.from_all(value)[0]

    def from_all(self, value: T) -> list[T]:
        """The values of all processes, in every process."""
        return [value]

    def summed(self, numbers: list[float]) -> list[float]:
        """Each number summed over the processes."""
        return numbers

    def state_dict(self) -> State:
        """What must be restored on resume."""
        return {}

    def load_state_dict(self, state: State) -> None:
        """Restore what `state_dict` gave."""

    def precision(self) -> AbstractContextManager[None]:
        """Where losses are computed: products in the lower precision, if one was chosen."""
        return nullcontext()


class Accelerated(Placement):
    """A GPU, a lower precision or several processes, by Hugging Face Accelerate."""

    def __init__(self, settings: Settings):
        with needs_package("A GPU, a lower precision or several processes cannot be used"):
            from accelerate import Accelerator
            from accelerate.state import AcceleratorState
        AcceleratorState._reset_state()
        precision = {"float32": "no", "bfloat16": "bf16", "float16": "fp16"}[settings.precision]
        try:
            self.accelerator = Accelerator(mixed_precision=precision, cpu=settings.device == "cpu")
        except ValueError as error:
            raise UserError(
                f"precision {settings.precision} cannot be had here: {error}",
                "one that the device computes",
                'Set precision to "float32"',
            ) from error
        self.device = self.accelerator.device
        self.rank = self.accelerator.process_index
        self.processes = self.accelerator.num_processes

    def prepare(self, model: nn.Module, optimizer: Optimizer) -> nn.Module:
        forward_is_patched = "forward" in vars(model)
        called, self.optimizer = self.accelerator.prepare(model, optimizer)
        # Accelerate makes the model itself compute in lower precision and copies what it returns to float32; here the
        # loss is inside `precision` instead, and the model stays as it was.
        self.accelerator.unwrap_model(called, keep_fp32_wrapper=False)
        if not forward_is_patched:
            vars(model).pop("forward", None)
        return called

    def update(self, loss: Tensor, parameters: Iterable[nn.Parameter], clip: float | None) -> None:
        self.accelerator.backward(loss)
        if clip is not None:
            self.accelerator.clip_grad_norm_(parameters, clip)
        self.optimizer.step()
        self.optimizer.zero_grad()

    def from_all(self, value: T) -> list[T]:
        if self.processes == 1:
            return [value]
        values = [value] * self.processes
        torch.distributed.all_gather_object(values, value)
        return values

    def summed(self, numbers: list[float]) -> list[float]:
        if self.processes == 1:
            return numbers
        total = torch.tensor(numbers, dtype=torch.float64, device=self.device)
        return cast(Tensor, self.accelerator.reduce(total, "sum")).tolist()

    def state_dict(self) -> State:
        scaler = self.accelerator.scaler
        return {} if scaler is None else {"scaler": scaler.state_dict()}

    def load_state_dict(self, state: State) -> None:
        if self.accelerator.scaler is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])

    def precision(self) -> AbstractContextManager[None]:
        return self.accelerator.autocast()


def placement_of(settings: Settings) -> Placement:
    """Where a training with these settings runs on this machine."""
    several = int(os.environ.get("WORLD_SIZE", "1")) > 1
    wants_gpu = settings.device == "auto" and torch.accelerator.is_available()
    return Accelerated(settings) if several or wants_gpu or settings.precision != "float32" else Placement()


def _share(value: Tensor, axis: int, rank: int, processes: int) -> Tensor:
    axis = axis if value.dim() > axis else 0
    return value.tensor_split(processes, dim=axis)[rank]
