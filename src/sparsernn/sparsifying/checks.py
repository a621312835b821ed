"""What a `Sparsifier` is made from: is it what it should be?"""

from collections.abc import Mapping
from typing import Any

from torch import nn
from torch.nn.parameter import is_lazy

from sparsernn.errors import UserError
from sparsernn.methods.method import Method
from sparsernn.sparsifying.optimizers import Optimizers
from sparsernn.typed import is_of


def check_arguments(method: Any, steps: Any, seed: Any, at_least: int) -> None:
    """Raises: UserError for something else than a method, too few steps, or a seed that torch does not take."""
    if not isinstance(method, Method):
        raise UserError(
            f"the method is {method!r}", "an object such as RigL(sparsity=0.9)", "import one from sparsernn.methods"
        )
    if not is_of(steps, int) or steps < at_least:
        raise UserError(
            f"steps is {steps!r}", "the number of optimizer steps of the whole training", "pass steps=epochs * batches"
        )
    if not is_of(seed, int) or not -(2**63) <= seed < 2**64:
        raise UserError(f"seed is {seed!r}", "a whole number of at most 64 bits", "pass seed=0, for example")


def check_tensors(model: nn.Module) -> None:
    """Raises: UserError for weights that have no numbers here: of lazy modules, on the device "meta", sharded."""
    for name, parameter in model.named_parameters():
        if is_lazy(parameter):
            raise UserError(
                f"{name} has no shape yet, because its module is lazy",
                "a model whose weights are made",
                "run one forward first, then make the optimizer and the Sparsifier",
            )
        if parameter.is_meta:
            raise UserError(
                f'{name} is on the device "meta" and has no numbers',
                "weights on a device that computes",
                "load the weights first (model.to_empty and load_state_dict), then make the Sparsifier",
            )
        if hasattr(parameter, "device_mesh") or hasattr(parameter, "_is_flat_param"):
            raise _sharded(name)
    for name, module in model.named_modules():
        if type(module).__name__ == "FullyShardedDataParallel":
            raise _sharded(name or "the model")


def _sharded(name: str) -> UserError:
    return UserError(
        f"{name} is sharded over several processes (FSDP)",
        "whole weights in every process",
        "use DistributedDataParallel, or sparsify before the model is sharded and without an optimizer",
    )


def check_holds(optimizers: Optimizers, weights: Mapping[str, nn.Parameter]) -> None:
    """Raises: UserError unless optimizers step all of these weights."""
    missing = [name for name, weight in weights.items() if not optimizers.holds(weight)]
    if not missing:
        return
    others = [name for name in weights if name not in missing]
    more = f" and {len(missing) - 1} more of the selected weights" if len(missing) > 1 else ""
    leave_out = f", or pass where={others!r} to leave what it does not hold as it is" if others else ""
    raise UserError(
        f"the optimizer does not hold {missing[0]}{more}",
        "every selected weight in an optimizer",
        f"build it from model.parameters() of the same model, pass all optimizers as a list{leave_out}",
    )


def exchanged(what: str) -> UserError:
    """What to raise where a parameter is not the one that it was."""
    return UserError(
        what,
        "parameters that stay what they were when the Sparsifier was made",
        "take weight_norm, prune or a parametrization off that was put on later; if one was exchanged, as by "
        "assign=True, pass an optimizer that holds the new one to attach()",
    )
