"""Checksums inside files: a safetensors file, or JSON values, that say whether they are as they were written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sparsernn.reading import Damaged, open_regular, parsed

SEAL = "sha256"
METADATA = "__metadata__"
LARGEST_HEADER = 100_000_000
BLOCK_BYTES = 1 << 20
CHANGED = "its checksum is wrong: it was changed after it was written"


def sealed(content: bytes) -> bytes:
    """The bytes of a safetensors file with a checksum of all that it holds in its header, whose entries are in order.

    The library leaves the order of its entries to chance; so the same tensors give the same bytes.
    """
    header, start = _header(content[:8], content[8 : 8 + LARGEST_HEADER])
    digest = _digest(header)
    digest.update(memoryview(content)[start:])
    metadata = dict(sorted({**header.get(METADATA, {}), SEAL: digest.hexdigest()}.items()))
    text = _text({METADATA: metadata, **{name: value for name, value in header.items() if name != METADATA}})
    padded = text + b" " * (-len(text) % 8)
    return b"".join([len(padded).to_bytes(8, "little"), padded, memoryview(content)[start:]])


def check_sealed(path: Path | str) -> None:
    """Compare a safetensors file with the checksum in its header, which files of earlier versions lack.

    Raises: Damaged, or OSError.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        first = file.read(8)
        header, start = _header(first, file.read(min(int.from_bytes(first, "little"), LARGEST_HEADER, size)))
        metadata = header.get(METADATA)
        if isinstance(metadata, dict) and SEAL in metadata:
            file.seek(start)
            _compare(header, iter(lambda: file.read(BLOCK_BYTES), b""))


def check_sealed_content(content: bytes) -> None:
    """The same for the content of such a file. Raises: Damaged."""
    header, start = _header(content[:8], content[8 : 8 + LARGEST_HEADER])
    _compare(header, [memoryview(content)[start:]])


def header_of(content: bytes) -> dict[str, Any]:
    """The header of a safetensors file. Raises: Damaged."""
    return _header(content[:8], content[8 : 8 + LARGEST_HEADER])[0]


def sealed_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """Values with their checksum."""
    return {**values, SEAL: hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()}


def opened_json(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values that `sealed_json` was called with; those without a checksum are of an earlier version.

    Raises: Damaged.
    """
    plain = {name: value for name, value in values.items() if name != SEAL}
    if SEAL in values and values != sealed_json(plain):
        raise Damaged(CHANGED)
    return plain


def _header(first: bytes, following: bytes) -> tuple[dict[str, Any], int]:
    """The header of a safetensors file and where its numbers begin."""
    length = int.from_bytes(first, "little")
    if len(first) < 8 or length > len(following):
        raise Damaged("it is no safetensors file, or the end of it is missing")
    header = parsed(following[:length])
    if not isinstance(header, dict):
        raise Damaged("its header is no object")
    return header, 8 + length


def _digest(header: Mapping[str, Any]) -> hashlib._Hash:
    metadata = header.get(METADATA, {})
    unsealed = {name: value for name, value in metadata.items() if name != SEAL}
    return hashlib.sha256(json.dumps({**header, METADATA: unsealed}, sort_keys=True).encode())


def _compare(header: Mapping[str, Any], blocks: Iterable[bytes | memoryview]) -> None:
    """Raises: Damaged unless the checksum in a header is that of the header and of all that follows it."""
    digest, metadata = _digest(header), header.get(METADATA)
    for block in blocks:
        digest.update(block)
    if not isinstance(metadata, dict) or digest.hexdigest() != metadata.get(SEAL):
        raise Damaged(CHANGED)


def _text(values: Mapping[str, Any]) -> bytes:
    return json.dumps(values, separators=(",", ":"), ensure_ascii=False).encode()
