"""Optimizers by name: those of torch.optim and our own."""

import inspect
from collections.abc import Callable, Iterable

import torch
from torch.optim import Optimizer

from sparsernn.errors import UserError, nearest
from sparsernn.training.averaged_adamw import AveragedAdamW
from sparsernn.training.averaged_sgd import NTASGD, SNTASGD
from sparsernn.training.settings import Settings
from sparsernn.typed import unknown

OWN: dict[str, type[Optimizer]] = {"nt_asgd": NTASGD, "snt_asgd": SNTASGD, "averaged_adamw": AveragedAdamW}
FUSED = (torch.optim.Adam, torch.optim.AdamW, AveragedAdamW)
WITHOUT_PLAIN_STEPS = ("optimizer", "lbfgs", "sparseadam")


def optimizer_names() -> dict[str, type[Optimizer]]:
    """Our own, and those of torch.optim that take dense gradients and one step at a time, by lower-case name."""
    classes = {name.lower(): value for name, value in vars(torch.optim).items() if inspect.isclass(value)}
    torchs = {
        name: value
        for name, value in sorted(classes.items())
        if issubclass(value, Optimizer) and name not in WITHOUT_PLAIN_STEPS
    }
    return torchs | OWN


def find_optimizer(name: str) -> Callable[..., Optimizer]:
    """The optimizer called `name`; case and underscores do not matter."""
    classes = optimizer_names()
    plain = {called.replace("_", ""): called for called in classes}
    spelling = name.strip().lower().replace("_", "").replace("-", "")
    if spelling in plain:
        return classes[plain[spelling]]
    advice = nearest(name.lower(), classes, "choose one of these")
    raise UserError(f"There is no optimizer {name!r}", "one of " + ", ".join(classes), advice)


def build_optimizer(settings: Settings, parameters: Iterable[torch.nn.Parameter]) -> Optimizer:
    """The optimizer that `settings` describes, over the parameters that are trained.

    Raises: UserError if the optimizer takes no such argument or refuses its value.
    """
    make = find_optimizer(settings.optimizer) if isinstance(settings.optimizer, str) else settings.optimizer
    called = getattr(make, "__name__", type(make).__name__)
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    if not trained:
        raise UserError(
            "No parameter of the model is trained", "one with requires_grad", "Unfreeze a part of the model"
        )
    arguments = _accepted(make, called, settings)
    try:
        return make(trained, lr=settings.learning_rate, **_fused(make, trained, arguments), **arguments)
    except (TypeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"The optimizer {called} refuses its arguments: {error}",
            "values that it takes for this model",
            "Change learning_rate, momentum, weight_decay or optimizer_options",
        ) from error


def _fused(
    make: Callable[..., Optimizer], trained: list[torch.nn.Parameter], arguments: dict[str, object]
) -> dict[str, bool]:
    """One pass over each weight where torch has it, which it does not choose on CPUs by itself.

    There the step by single operations takes a square root whose zeros, and sparse networks have many, are ten times
    slower than other numbers.
    """
    offered = make in FUSED and not arguments.keys() & {"fused", "foreach", "differentiable", "capturable"}
    fits = all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in trained)
    return {"fused": True} if offered and fits else {}


def _accepted(make: Callable[..., Optimizer], called: str, settings: Settings) -> dict[str, object]:
    taken = inspect.signature(make).parameters
    takes_any = any(parameter.kind is parameter.VAR_KEYWORD for parameter in taken.values())
    arguments: dict[str, object] = {}
    for name in ("momentum", "weight_decay"):
        value = getattr(settings, name)
        if name in taken or (takes_any and value):
            arguments[name] = value
        elif value:
            raise UserError(f"The optimizer {called} has no {name}", f"{name} 0 with {called}", f"Leave {name} at 0")
    for name, value in settings.optimizer_options.items():
        if name not in taken and not takes_any:
            raise unknown("option", name, list(taken), f"The optimizer {called}")
        arguments[name] = tuple(value) if isinstance(value, list) else value
    return arguments
