"""Constructor of a model whose arguments are the fields of a dataclass."""

import inspect
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar, get_type_hints

Fields = ParamSpec("Fields")
Options = TypeVar("Options")
Model = TypeVar("Model")


def taking(
    options: Callable[Fields, Options],
) -> Callable[[Callable[[Model, Options], None]], Callable[Concatenate[Model, Fields], None]]:
    """A constructor of one argument, a dataclass, that is called with the fields of that dataclass instead."""

    def unfold(build: Callable[[Model, Options], None]) -> Callable[Concatenate[Model, Fields], None]:
        def construct(self: Model, *values: Fields.args, **named: Fields.kwargs) -> None:
            build(self, options(*values, **named))

        first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        rest = inspect.signature(options).parameters.values()
        vars(construct)["__signature__"] = inspect.Signature([first, *rest])
        construct.__annotations__ = get_type_hints(options)
        return construct

    return unfold
