"""Compacted models on disk: the cuts and what is left, packed; read back into a model of the original sizes."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from sparsernn.compaction.resizing import HISTORY, Cut, Replacements, cut_at, exchange, sizes_at
from sparsernn.compaction.results import fill_results, take_results
from sparsernn.durable import replace as replace_file
from sparsernn.errors import UserError, reason
from sparsernn.reading import DAMAGE, Damaged, parsed, tensors
from sparsernn.running.filled_results import RESULTS, FillResults
from sparsernn.running.modules import Recurrent
from sparsernn.runtime.packed_file import PackedFile, Typed, contents, plain_bytes
from sparsernn.runtime.packing import SMALLER
from sparsernn.runtime.patterns import DamagedFile
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import unwrap
from sparsernn.structure.words import ROW_OF_WORD, LivingWords
from sparsernn.tracing.copying import copy_of
from sparsernn.typed import choose

FORMAT, FIRST_FORMAT = "sparsernn-compact-2", "sparsernn-compact-1"
BITS = {1: torch.uint8, 2: torch.uint16, 4: torch.uint32, 8: torch.uint64}
Steps = list[dict[str, Any]]  # the cuts of one compaction after the other, by module, as they stand in a header


def save_compact(
    path: Path | str, model: nn.Module, masks: Masks | Mapping[str, Tensor] | None = None, dtype: str | None = None
) -> dict[str, float]:
    """Write a compacted model: safetensors, with what was cut in the header. No pickle.

    A tensor is stored as its numbers that are not zero and where they stand (bits, gaps, tiles, or whole rows and
    columns), or plainly, whichever is smaller.

    Arguments:
        masks: of the model; weights that they leave out are written as zeros, and must be zero in the model already if
            the masks are of a finished run, as those that `compact` returned.
        dtype: "float16", or "int8", "int6" or "int4" with a scale for each row, stores matrices in that type; None
            keeps every bit, in a smaller type too where that can, as it can for numbers that were read from one.
    Returns: for each tensor that is not exact its largest error, divided by its largest number.
    Raises: UserError if the model did not come from `compact`, the masks are of another model, or numbers do not fit
        into the type.
    """
    if not hasattr(unwrap(model), HISTORY):
        raise UserError(
            "this model was not made by compact()", "the small model that compact() returns", "call compact() first"
        )
    choose("dtype", dtype, (None, *SMALLER))
    content, errors = file_of(model, masks, dtype)
    replace_file(path, content)
    return errors


def file_of(
    model: nn.Module, masks: Masks | Mapping[str, Tensor] | None = None, dtype: str | None = None, plain: bool = False
) -> tuple[bytes, dict[str, float]]:
    """The bytes that `save_compact` writes, and its errors, of any model: one without cuts has none in its header.

    Arguments:
        plain: store every tensor as it is, which says what a dense network takes.
    """
    inner = unwrap(model)
    if masks is not None:
        inner = copy_of(inner)
        Masks.write_(masks, inner)
    state = inner.state_dict()
    stored = {name: _typed(state[name]) for name in _stored(inner, state)}
    return contents(stored, _header(inner), dtype, plain)


def as_stored(
    model: nn.Module, masks: Masks | Mapping[str, Tensor] | None = None, dtype: str | None = None
) -> nn.Module:
    """A copy with the numbers that come back from the file of a model. Arguments: as `save_compact`, of any model."""
    copy = copy_of(unwrap(model))
    with PackedFile(file_of(model, masks, dtype)[0]) as file:
        _fill(copy, _unpacked(copy, file))
    return copy


def plain_size(model: nn.Module) -> int:
    """How long a model's file is if nothing is packed; of a model on the device "meta" too.

    A tensor of a type that numpy does not have takes a few bytes more in the header.
    """
    state = model.state_dict()
    empty = {name: torch.empty(0, dtype=state[name].dtype, device="cpu") for name in _stored(model, state)}
    arrays = {name: (tuple(state[name].shape), _typed(tensor).values.dtype) for name, tensor in empty.items()}
    return plain_bytes(arrays, _header(model))


def _header(model: nn.Module) -> dict[str, str]:
    return {"format": FORMAT, "cuts": json.dumps(getattr(model, HISTORY, []), separators=(",", ":"))}


@torch.inference_mode(False)
def load_compact(path: Path | str, model: nn.Module) -> nn.Module:
    """Rebuild a compacted model: the saved cuts are made on a copy of `model`, then its weights are read.

    Arguments:
        model: an instance of the original, uncompacted architecture (its weights do not matter); what it has on the
            device "meta" is read onto the CPU.
    Raises: UserError for a damaged file or another architecture.
    """
    try:
        with _opened(path) as file:
            steps = _steps(file.header)
            small = copy_of(unwrap(model))
            history = _cut_again(small, steps)
            if file.header["format"] == FIRST_FORMAT:
                _fill(small, _renamed(small, tensors(path)[1]))
            else:
                _fill(small, _unpacked(small, file))
                file.check()
    except (SafetensorError, DamagedFile, Damaged, OSError) as error:
        raise _unreadable(path, error) from error
    except DAMAGE as error:
        if isinstance(error, UserError):
            raise
        raise UserError(
            f"{path} does not fit this model ({reason(error)})",
            "an instance of the architecture that was compacted",
            "build the model with its original sizes",
        ) from error
    setattr(small, HISTORY, history)
    return small


def _opened(path: Path | str) -> PackedFile:
    try:
        file = PackedFile(path)
        if file.header.get("format") not in (FORMAT, FIRST_FORMAT):
            raise DamagedFile(f"its format is {file.header.get('format')!r}")
        return file
    except DAMAGE as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path | str, error: Exception) -> UserError:
    return UserError(
        f"{path} is not a readable compacted model ({reason(error)})",
        f"a file written by save_compact ({FORMAT} or {FIRST_FORMAT})",
        "use another copy, or compact the model again",
    )


def _steps(header: Mapping[str, str]) -> Steps:
    """The cuts in a file's header. Raises: DamagedFile."""
    try:
        steps = parsed(header["cuts"])
    except (ValueError, KeyError, RecursionError) as error:
        raise DamagedFile(f"its header holds no cuts: {reason(error)}") from None
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise DamagedFile("the cuts in its header are no list of modules")
    return steps


def _cut_again(model: nn.Module, steps: Steps) -> Steps:
    """Make these cuts, in place. Returns: the cuts for the model's own history."""
    history = []
    for step in steps:
        replacements, made = Replacements(), {}
        for name, saved in step.items():
            if name == RESULTS:
                results = FillResults.from_json(saved)
                fill_results(model, take_results(model), results)
                made |= results.as_json()
                continue
            cut = Cut.from_json(saved, sizes_at(model, name))
            cut_at(model, name, cut, replacements)
            made[name] = cut.as_json()
        replacements.settle(model)
        history.append(made)
    return history


def _unpacked(model: nn.Module, file: PackedFile) -> dict[str, Tensor]:
    """The file's tensors, as large as the model's own. Raises: ValueError unless they are these."""
    state = model.state_dict()
    expected = _stored(model, state)
    if set(file.names) != set(expected):
        raise ValueError(f"weights differ: {sorted(set(file.names) ^ set(expected))[:3]}")
    unpacked = {}
    for name in expected:
        tensor = state[name]
        values = file.read(name, tuple(tensor.shape), _kind(tensor), tensor.element_size())
        unpacked[name] = torch.from_numpy(values).view(tensor.dtype)
    return unpacked


def _typed(tensor: Tensor) -> Typed:
    tensor = tensor.detach().cpu().contiguous()
    try:
        return Typed(tensor.numpy(), _kind(tensor))
    except TypeError:  # a type that numpy does not have
        return Typed(tensor.view(BITS[tensor.element_size()]).numpy(), _kind(tensor))


def _kind(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _renamed(model: nn.Module, stored: dict[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by their present names; earlier versions gave layers of unequal widths a module each."""
    names = {}
    for path, module in model.named_modules():
        for position, parameters in enumerate(module.names if isinstance(module, Recurrent) else ()):
            prefix = f"{path}." if path else ""
            names |= {f"{prefix}layers.{position}.{at}_l0": prefix + name for at, name in parameters.items()}
    return {names.get(name, name): tensor for name, tensor in stored.items()}


def _fill(model: nn.Module, stored: dict[str, Tensor]) -> None:
    """Load the tensors. Raises: ValueError unless they are the model's own names, shapes and types."""
    state = model.state_dict()
    expected = _stored(model, state)
    if set(stored) != set(expected):
        raise ValueError(f"weights differ: {sorted(set(stored) ^ set(expected))[:3]}")
    for name in expected:
        if (state[name].shape, state[name].dtype) != (stored[name].shape, stored[name].dtype):
            raise ValueError(f"{name} is {tuple(state[name].shape)} {state[name].dtype} in the model")
    with torch.no_grad():
        owners = _owners(model)
        for name in expected:
            _write(model, owners[name] if name in owners else state[name], stored[name])
    if empty := sorted(name for name, tensor in _owners(model).items() if tensor.is_meta):
        raise ValueError(f"{empty[0]} is on the device meta, and the file holds no values of it")


def _write(model: nn.Module, owner: Tensor, values: Tensor) -> None:
    """Give a tensor its values; one on the device meta is exchanged, wherever it is registered."""
    if not owner.is_meta:
        owner.copy_(values)
        return
    exchange(model, owner, nn.Parameter(values, owner.requires_grad) if isinstance(owner, nn.Parameter) else values)


def _owners(model: nn.Module) -> dict[str, Tensor]:
    return dict(model.named_parameters(remove_duplicate=False)) | dict(model.named_buffers(remove_duplicate=False))


def _stored(model: nn.Module, state: dict[str, Tensor]) -> list[str]:
    """Names in the state_dict, a tensor that is there under several names once; rows of words follow from the cuts."""
    owners = _owners(model)
    first: dict[int, str] = {}
    for module in model.modules():
        if isinstance(module, LivingWords):
            first[id(module.get_buffer(ROW_OF_WORD))] = ""
    return [name for name in state if first.setdefault(id(owners.get(name, state[name])), name) == name]
