"""Checkpoints: folders of a safetensors and a JSON file that exist whole or not at all.

A checkpoint is written to `checkpoint-N.tmp`, synced, and renamed. Its manifest, written last, holds sizes and
checksums of the other files, of itself, and how long metrics.jsonl was. Reading trusts nothing: every size and
sum is compared before a file is parsed.
"""

import hashlib
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, TypedDict, cast

import safetensors.torch
import torch

from sparsernn.durable import sync, write_durably
from sparsernn.errors import reason
from sparsernn.reading import DAMAGE, content, parsed
from sparsernn.seals import opened_json, sealed_json
from sparsernn.sparsifying import state_tree
from sparsernn.sparsifying.state_tree import State

FORMAT = 1
STATE, TENSORS, MANIFEST = "state.json", "tensors.safetensors", "manifest.json"
LARGEST_MANIFEST_BYTES = 100_000
NAME = re.compile(r"checkpoint-([0-9]{1,9})")


class Unreadable(ValueError):
    """A checkpoint that is not whole, with the reason."""


class FileSum(TypedDict):
    """Size and checksum of a file."""

    bytes: int
    sha256: str


class Manifest(TypedDict):
    """What a checkpoint says of itself, apart from its own checksum."""

    format: int
    number: int
    metrics_bytes: int
    files: dict[str, FileSum]


class Checkpoint(NamedTuple):
    """What a checkpoint holds: its number, the state, and how many bytes of metrics.jsonl belong to it."""

    number: int
    state: State
    metrics_bytes: int


def numbers(folder: Path) -> list[int]:
    """Numbers of the checkpoints in a folder, oldest first."""
    matches = (NAME.fullmatch(path.name) for path in folder.iterdir()) if folder.is_dir() else ()
    return sorted(int(match[1]) for match in matches if match)


def path_of(folder: Path, number: int) -> Path:
    """Where checkpoint `number` lies."""
    return folder / f"checkpoint-{number}"


def write(folder: Path, number: int, state: State, metrics_bytes: int) -> Path:
    """Write a checkpoint so that it is either there, whole and on the disk, or not there at all.

    Raises: OSError, with nothing left behind.
    """
    tensors, values = state_tree.split(state)
    contents = {
        TENSORS: safetensors.torch.save(unshared(tensors)),
        STATE: json.dumps(values, allow_nan=False).encode(),
    }
    manifest: Manifest = {
        "format": FORMAT,
        "number": number,
        "metrics_bytes": metrics_bytes,
        "files": {name: {"bytes": len(data), "sha256": _sum(data)} for name, data in contents.items()},
    }
    contents[MANIFEST] = json.dumps(sealed_json(manifest), indent=1).encode()
    final = path_of(folder, number)
    unfinished = final.with_name(final.name + ".tmp")
    try:
        unfinished.mkdir()
        for name, data in contents.items():
            write_durably(unfinished / name, data)
        sync(unfinished)
        unfinished.rename(final)
        sync(folder)
    except OSError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    return final


def read(folder: Path, number: int) -> Checkpoint:
    """Read a checkpoint, checking sizes and sums before anything is parsed.

    Raises: Unreadable.
    """
    path = path_of(folder, number)
    try:
        manifest = _manifest(path, number)
        contents = {name: _content(path / name, manifest["files"][name]) for name in (STATE, TENSORS)}
        values = parsed(contents[STATE])
        tensors = safetensors.torch.load(contents[TENSORS])
        return Checkpoint(number, state_tree.join(tensors, values), manifest["metrics_bytes"])
    except Unreadable:
        raise
    except DAMAGE as error:
        raise Unreadable(f"{path.name}: {reason(error)}") from error


def remove_all_but(folder: Path, kept: list[int]) -> None:
    """Delete the other checkpoints and what was left unfinished."""
    names = {path_of(folder, number).name for number in kept}
    for path in folder.iterdir():
        if path.name.startswith("checkpoint-") and path.name not in names:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _manifest(path: Path, number: int) -> Manifest:
    manifest = opened_json(parsed(content(path / MANIFEST, LARGEST_MANIFEST_BYTES)))
    if manifest["format"] != FORMAT or manifest["number"] != number:
        raise Unreadable(f"{path.name}/{MANIFEST}: it is of another format or of another checkpoint")
    if type(manifest["metrics_bytes"]) is not int or manifest["metrics_bytes"] < 0:
        raise Unreadable(f"{path.name}/{MANIFEST}: metrics_bytes is not a size")
    return cast(Manifest, manifest)


def _content(path: Path, expected: FileSum) -> bytes:
    data = content(path, expected["bytes"])
    if len(data) != expected["bytes"] or _sum(data) != expected["sha256"]:
        raise Unreadable(f"{path.parent.name}/{path.name}: {len(data)} bytes whose size or checksum is wrong")
    return data


def _sum(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def unshared(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Contiguous tensors on the CPU that do not overlap, as safetensors wants them."""
    seen: set[int] = set()
    plain = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        storage = tensor.untyped_storage().data_ptr()
        plain[name] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    return plain
