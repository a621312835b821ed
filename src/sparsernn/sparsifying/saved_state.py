"""The state of a method, as what can be written without pickle: its fields by name."""

import dataclasses
from collections.abc import Mapping
from typing import Any, TypeVar

from sparsernn.errors import UserError

State = TypeVar("State")


def fields_of(state: Any) -> dict[str, Any] | None:
    """The fields of a dataclass by name; None of None."""
    if state is None:
        return None
    return {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}


def check_state(state: Any) -> None:
    """Raises: UserError for something else than what `Sparsifier.state_dict` returns."""
    tensors, values = (state.get(part) if isinstance(state, Mapping) else None for part in ("tensors", "values"))
    if isinstance(tensors, Mapping) and isinstance(values, Mapping):
        if "generator" in tensors and {"step_count", "events"} <= set(values):
            return
    raise UserError(
        "the state is not that of a Sparsifier",
        "what Sparsifier.state_dict() returned",
        "save it beside the model's and the optimizer's, and load each into its own",
    )


def with_fields(state: State, fields: dict[str, Any] | None) -> State:
    """A state of the same kind with these fields. Raises: UserError if they are those of another kind."""
    expected = fields_of(state)
    if (fields or {}).keys() != (expected or {}).keys():
        raise UserError(
            f"the saved state of the method has {', '.join(fields or {}) or 'nothing'}",
            f"what this method remembers: {', '.join(expected or {}) or 'nothing'}",
            "make the Sparsifier with the method that the state was saved with",
        )
    return state if fields is None else type(state)(**fields)
