"""What a method may ask of one batch before training: its loss, gradients, and what recurrent layers were given."""

from collections.abc import Mapping

import torch
from torch import Tensor

from sparsernn.errors import UserError
from sparsernn.methods.run import Run
from sparsernn.running.passes import Pass, stepwise
from sparsernn.structure.layer import Layer

Passes = dict[str, list[Pass]]


def follow(run: Run) -> None:
    """Run the model once if it is not known yet who reads which units."""
    if not run.wiring.recorded:
        with torch.no_grad():
            _call(run)


def batch_loss(run: Run) -> Tensor:
    """The loss on the batch. Raises: UserError if there is none, or it is not one finite number with a gradient."""
    with torch.enable_grad():
        loss = _call(run)
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise UserError(
            f"loss= returned {_described(loss)}",
            "a tensor of one number that depends on the model's weights",
            "return the loss itself, as in loss=lambda: cross_entropy(model(x), y)",
        )
    if not bool(loss.isfinite()):
        raise UserError(
            f"the loss on the batch is {loss.item()}", "a finite number", "look for NaN in the data or the weights"
        )
    return loss


def gradients(of: Tensor, weights: Mapping[str, Tensor], again: bool = False) -> dict[str, Tensor]:
    """The gradient of a number in each weight, zero where it does not depend on it.

    Arguments:
        again: whether the gradients will be differentiated themselves.
    Raises: UserError for a frozen weight, or an operation that torch cannot differentiate twice.
    """
    frozen = [name for name, weight in weights.items() if not weight.requires_grad]
    if frozen:
        raise UserError(
            f"{frozen[0]} is frozen", "weights that need a gradient", "unfreeze it, or leave it out with where="
        )
    if not of.requires_grad:
        return {name: torch.zeros_like(weight) for name, weight in weights.items()}
    try:
        slopes = torch.autograd.grad(
            of, list(weights.values()), create_graph=again, retain_graph=True, allow_unused=True, materialize_grads=True
        )
    except RuntimeError as error:
        if "derivative for" not in str(error):
            raise
        raise UserError(
            f"the loss cannot be differentiated twice ({error})",
            "operations that torch can differentiate twice",
            "replace the operation while scoring, or choose SNIP or the Jacobian spectrum",
        ) from error
    return dict(zip(weights, slopes, strict=True))


def scored_weights(run: Run) -> dict[str, Tensor]:
    """The tensors in which groups start, by name."""
    return {name: run.weights[name] for name in run.selected}


def scored_layers(run: Run) -> list[tuple[Layer, dict[str, Tensor]]]:
    """Every recurrent layer with a scored tensor, and all its weights by local name.

    Raises: UserError if a scored tensor belongs to no recurrent layer.
    """
    layers = []
    left = set(run.selected)
    for layer in run.wiring.layers:
        if left & set(layer.weights.values()):
            left -= set(layer.weights.values())
            layers.append((layer, {local: run.weights[name] for local, name in layer.weights.items()}))
    if left:
        raise UserError(
            f"{sorted(left)[0]} belongs to no recurrent layer",
            "weights of recurrent layers, which alone have a step",
            "leave it out with where=, or choose another method or normaliser",
        )
    return layers


def passes_of(run: Run) -> Passes:
    """What every recurrent layer, by its label, was given while the loss of the batch was computed."""
    with torch.no_grad(), stepwise(run.model, run.wiring) as noted:
        _call(run)
    passes: Passes = {}
    for one in noted:
        passes.setdefault(one.layer.label, []).append(one)
    for layer, _ in scored_layers(run):
        if layer.label not in passes:
            raise UserError(
                f"the layer {layer.label or 'of the model'} did not run while loss= was called",
                "a loss of the model that is made sparse",
                "let loss= call this very model, or leave the layer out with where=",
            )
    return passes


def _call(run: Run) -> Tensor:
    if not callable(run.loss):
        raise UserError(
            "the method looks at one batch and there is no loss",
            "a callable without arguments that returns the loss on one batch",
            "pass loss=lambda: cross_entropy(model(x), y) to Sparsifier",
        )
    return run.loss()


def _described(value: object) -> str:
    if not isinstance(value, Tensor):
        return f"a {type(value).__name__}"
    return f"a tensor of shape {tuple(value.shape)}" + ("" if value.requires_grad else " without a gradient")
