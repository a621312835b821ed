"""Factories: functions of a user's own module that make a model and data, named on the command line."""

import importlib
import sys
from typing import Any

from torch import nn

from sparsernn.errors import UserError


def made_by(name: str) -> tuple[Any, ...]:
    """What module:function returns, called without arguments: (model, data) or (model, data, loss).

    The present folder is looked in first, as it is by `python -m`. Raises: UserError naming what is wrong.
    """
    module_name, colon, function_name = name.partition(":")
    if not (module_name and colon and function_name):
        raise UserError(f'the factory is "{name}"', "module:function, such as my_project.models:make", "name both")
    sys.path.insert(0, "")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise
        raise UserError(
            f"there is no module {module_name}", "a module that Python can import", "run in its folder, or install it"
        ) from error
    finally:
        sys.path.remove("")
    function = getattr(module, function_name, None)
    if not callable(function):
        raise UserError(f"{module_name} has no function {function_name}", "one that returns (model, data)", "name it")
    made = function()
    if not (isinstance(made, tuple) and len(made) in (2, 3) and isinstance(made[0], nn.Module)):
        raise UserError(
            f"{name} returned {type(made).__name__}", "(model, data) or (model, data, loss)", "return these"
        )
    return made
