"""Sensitivity of groups of weights: what a loss would change by, to first order, if a group went."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sparsernn.errors import UserError, reason
from sparsernn.own_model.batches import Loss, evaluating, run
from sparsernn.structure.groups import Groups
from sparsernn.structure.wiring import Wiring
from sparsernn.tracing.recorder import Recorder
from sparsernn.tracing.tensors import tensors_of


def follow(model: nn.Module, batch: object, loss: Loss | None) -> Wiring:
    """Who reads which units, as one batch shows."""
    wiring = Wiring.local(model)
    recorder = Recorder(model, wiring)
    with evaluating(model), torch.set_grad_enabled(loss is not None), recorder:
        result = run(model, batch, loss)
    recorder.finish(result)
    return wiring


def sensitivities(
    model: nn.Module, batches: Sequence[object], loss: Loss | None, levels: Sequence[Groups]
) -> list[Tensor]:
    """The mean over batches of each group's squared sum of weight times gradient, in evaluation mode. [count] each

    Arguments:
        loss: None takes the mean square of what the model returns.
    Raises: UserError if there is nothing to differentiate.
    Source: Molchanov et al. 2019, Equation 8, for groups of weights.
    """
    parameters = dict(model.named_parameters())
    trained = {name: parameter.requires_grad for name, parameter in parameters.items()}
    totals = [torch.zeros(groups.count) for groups in levels]
    try:
        model.requires_grad_(True)
        for batch in batches:
            with evaluating(model), torch.enable_grad():
                gradients = _gradients(model, batch, loss, list(parameters.values()))
            pairs = zip(parameters.items(), gradients, strict=True)
            products = {name: _product(parameter, gradient) for (name, parameter), gradient in pairs}
            for total, groups in zip(totals, levels, strict=True):
                total += groups.sums(products).float().cpu().square() / len(batches)
    finally:
        for name, parameter in parameters.items():
            parameter.requires_grad_(trained[name])
    return totals


def _gradients(
    model: nn.Module, batch: object, loss: Loss | None, parameters: Sequence[nn.Parameter]
) -> Sequence[Tensor | None]:
    """Gradients of the loss of a batch. Raises: UserError where there are none."""
    try:
        result = run(model, batch, loss)
        value = result if loss is not None and isinstance(result, Tensor) else _energy(result)
        return torch.autograd.grad(value, parameters, allow_unused=True)
    except RuntimeError as error:
        raise UserError(
            f"the model cannot be differentiated: {reason(error)}",
            "a forward through which gradients go",
            "leave out what has no gradient, such as out= or a step function, or pass loss= that goes around it",
        ) from error


def _product(parameter: Tensor, gradient: Tensor | None) -> Tensor:
    """Weight times gradient, place by place."""
    if gradient is None:
        return torch.zeros_like(parameter).real
    product = parameter.detach() * (gradient.to_dense() if gradient.is_sparse else gradient).conj()
    return product.real if product.is_complex() else product


def _energy(result: object) -> Tensor:
    """The mean square of all numbers that a model returned, each tensor by itself."""
    squares = [tensor.float().square().mean() for tensor in tensors_of(result) if tensor.requires_grad]
    if not squares:
        raise UserError(
            "the model returned nothing to differentiate", "a loss", "pass loss=, called with model and batch"
        )
    return torch.stack(squares).sum()
