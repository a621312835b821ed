"""Torch modules of the cells: `LSTM`, `GRU`, `RecurrentHighwayNetwork` ... and, of single steps, `LSTMCell` ...

A class takes every option of torch's class of that name, in torch's order, and those of its cell.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from functools import cache
from typing import Any

from sparsernn import folders
from sparsernn.cells.cell import Cell
from sparsernn.running.modules import Recurrent, RecurrentStep, Shape

STEP_OPTIONS = ("input_size", "hidden_size", "bias")
PLACEMENT = ("device", "dtype")


@cache
def module_of(cell: type[Cell]) -> Callable[..., Recurrent]:
    """The class of stacks of a cell, whose objects are called as `torch.nn.LSTM`."""
    shape = [field.name for field in fields(Shape)]
    signature = _signature(cell, shape[:3], shape[3:-1], shape[-1:])

    def initialise(self: Recurrent, *sizes: Any, **options: Any) -> None:
        bound = _bound(signature, cell, sizes, options)
        placement = {name: bound.pop(name) for name in PLACEMENT if name in bound}
        stack = {name: bound.pop(name) for name in shape if name in bound}
        Recurrent.__init__(self, cell(**bound), Shape(**stack), **placement)

    return _class(cell, cell.__name__, Recurrent, initialise, signature)


@cache
def step_module_of(cell: type[Cell]) -> Callable[..., RecurrentStep]:
    """The class of single steps of a cell, whose objects are called as `torch.nn.LSTMCell`."""
    signature = _signature(cell, STEP_OPTIONS, (), ())

    def initialise(self: RecurrentStep, *sizes: Any, **options: Any) -> None:
        bound = _bound(signature, cell, sizes, options)
        step = {name: bound.pop(name) for name in (*STEP_OPTIONS, *PLACEMENT) if name in bound}
        RecurrentStep.__init__(self, cell(**bound), **step)

    return _class(cell, f"{cell.__name__}Cell", RecurrentStep, initialise, signature)


def _signature(
    cell: type[Cell], first: Sequence[str], last: Sequence[str], by_name: Sequence[str]
) -> inspect.Signature:
    """Sizes, options of the cell that torch has in the midst of them, further ones, and the rest by name."""
    defaults = {field.name: field.default for field in fields(Shape)} | dict.fromkeys(PLACEMENT)
    defaults |= {field.name: field.default for field in fields(cell)}
    options = [*by_name, *(field.name for field in fields(cell) if field.name not in cell.positional)]
    kinds = [(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in (*first, *cell.positional, *last, *PLACEMENT)]
    kinds += [(name, inspect.Parameter.KEYWORD_ONLY) for name in options]
    optional = {name: default for name, default in defaults.items() if default is not MISSING}
    empty = inspect.Parameter.empty
    return inspect.Signature([inspect.Parameter(name, kind, default=optional.get(name, empty)) for name, kind in kinds])


def _bound(signature: inspect.Signature, cell: type[Cell], sizes: Any, options: Any) -> dict[str, Any]:
    try:
        return signature.bind(*sizes, **options).arguments
    except TypeError as error:
        raise TypeError(f"{cell.__name__}: {error}") from None


def _class(cell: type[Cell], name: str, kind: type, initialise: Any, signature: inspect.Signature) -> Any:
    text = f"{inspect.getdoc(cell)}\n\nCalled as `{kind.__name__}.forward` has it."
    members = {
        "__init__": initialise,
        "__doc__": text,
        "__module__": __name__,
        "__signature__": signature,
        "takes": cell,
    }
    return type(name, (kind,), members)


def __getattr__(name: str) -> Any:
    cells = {entry.__name__: entry for entry in folders.entries("cells").values()}
    if name in cells:
        return module_of(cells[name])
    if name.endswith("Cell") and name.removesuffix("Cell") in cells:
        return step_module_of(cells[name.removesuffix("Cell")])
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    cells = [entry.__name__ for entry in folders.entries("cells").values()]
    return sorted([*cells, *(f"{name}Cell" for name in cells), "module_of", "step_module_of"])
