"""Parameters that a method owns, and the optimizer that steps them."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError
from sparsernn.sparsifying.ranks import are_several, average_


class OwnedParameters:
    """Named parameters beside the model, stepped by Adam with gradients averaged over ranks.

    Under a gradient scaler their gradients are scaled, to which Adam is blind; a step in which one is not finite is
    left out.
    """

    def __init__(self) -> None:
        self.parameters: dict[str, nn.Parameter] = {}
        self.optimizer: torch.optim.Adam | None = None

    def add(self, tensors: Mapping[str, Tensor], learning_rate: float, relative_to: float | None = None) -> None:
        """Make parameters that start as these tensors, in single precision or better, as half a one loses small steps.

        Arguments:
            relative_to: their learning rate is this one times what `step` is told, divided by this; None: it stays.
        """
        kinds = {name: torch.promote_types(tensor.dtype, torch.float32) for name, tensor in tensors.items()}
        fresh = {name: nn.Parameter(tensor.detach().to(kinds[name], copy=True)) for name, tensor in tensors.items()}
        group = {
            "params": list(fresh.values()),
            "lr": learning_rate,
            "first": learning_rate,
            "relative_to": relative_to,
        }
        if not fresh:
            return
        if self.optimizer is None:
            self.optimizer = torch.optim.Adam([group])
        else:
            self.optimizer.add_param_group(group)
        self.parameters |= fresh

    def step(self, rate: float = 0.0) -> None:
        """Move along the gradients. rate: the present learning rate of the user's optimizer."""
        if self.optimizer is None:
            return
        for group in self.optimizer.param_groups:
            if group.get("relative_to"):
                group["lr"] = group["first"] * rate / group["relative_to"]
        if are_several():
            for parameter in self.parameters.values():
                parameter.grad = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
        gradients = [parameter.grad for parameter in self.parameters.values() if parameter.grad is not None]
        average_(gradients)
        if all(bool(gradient.isfinite().all()) for gradient in gradients):
            self.optimizer.step()

    def clear(self) -> None:
        """Forget the gradients."""
        if self.optimizer is not None:
            self.optimizer.zero_grad()

    def state_dict(self) -> dict[str, Any]:
        """Values by name, and the optimizer's state."""
        optimizer = None if self.optimizer is None else self.optimizer.state_dict()
        return {"parameters": dict(self.parameters), "optimizer": optimizer}

    @torch.no_grad()
    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Raises: UserError if the values are of other parameters."""
        values = state["parameters"]
        if {name: value.shape for name, value in values.items()} != {
            name: parameter.shape for name, parameter in self.parameters.items()
        }:
            raise UserError(
                f"the state has parameters of a method named {', '.join(values) or 'nothing'}",
                f"those of this method: {', '.join(self.parameters) or 'none'}, of the same shapes",
                "make the Sparsifier with the same method and model",
            )
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
        if self.optimizer is not None:
            self.optimizer.load_state_dict(state["optimizer"])
