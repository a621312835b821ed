"""Contextual vectors of a frozen encoder, computed once and memory-mapped afterwards."""

import hashlib
import importlib.util
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from sparsernn.data.files import cache_folder
from sparsernn.data.store import Store, StoreWriter, open_or_build
from sparsernn.data.table_rows import Progress, no_progress
from sparsernn.errors import UserError, needs_package

NEEDED = ("config.json", "model.safetensors")
BATCH = 32


def encodings(
    texts: Iterable[str],
    encoder: Path | str,
    *,
    length: int = 128,
    cache: Path | str | None = None,
    progress: Progress = no_progress,
) -> Store:
    """Vectors of every token of every text, from a Hugging Face encoder in a local folder.

    Nothing is downloaded, no code of the folder is run and weights are read from safetensors only.

    Arguments:
        encoder: a folder with config.json, model.safetensors and the tokenizer's files.
        length: tokens kept of a text, the first ones, special tokens included.
        cache: folder of the results; None is the user's cache folder.
        progress: called as progress("encoding", texts done, texts in all).
    Returns: a store with "vectors" float16 [tokens width] and "offsets" [texts + 1], and in its values the manifest:
        encoder, width, texts, length.
    Raises: UserError for a folder that holds no such encoder, or where the package transformers is absent.
    """
    folder = Path(encoder)
    missing = [name for name in NEEDED if not (folder / name).is_file()]
    if missing:
        raise UserError(
            f"The encoder folder {folder} has no {' and no '.join(missing)}",
            "a Hugging Face encoder with its weights as safetensors",
            "give the folder that holds these files",
        )
    if length < 2:
        raise UserError(f"length is {length}", "at least 2 tokens", "give a larger length")
    listed = list(texts)
    key = _key(folder, listed, length)
    return open_or_build(cache_folder(cache), key, lambda writer: _encode(folder, listed, length, writer, progress))


def find_encoder(name: str, folder: Path) -> Path:
    """The folder of an encoder: a path, absolute or under `folder`, or that of an installed package that carries one.

    Raises: UserError if there is none.
    """
    if (folder / name).is_dir():
        return folder / name
    package = importlib.util.find_spec(name) if name.isidentifier() else None
    for place in package.submodule_search_locations or () if package else ():
        for path in sorted(Path(place).rglob("config.json")):
            if all((path.parent / needed).is_file() for needed in NEEDED):
                return path.parent
    raise UserError(
        f"There is no encoder {name!r}",
        f"a folder, absolute or under {folder}, or an installed package with {' and '.join(NEEDED)}",
        "give the folder of a Hugging Face encoder",
    )


def _key(folder: Path, texts: list[str], length: int) -> str:
    digest = hashlib.sha256(json.dumps(length).encode())
    for name in NEEDED:
        with open(folder / name, "rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    for text in texts:
        digest.update(len(text).to_bytes(8, "little") + text.encode("utf8", "surrogatepass"))
    return "encodings-" + digest.hexdigest()[:24]


def _encode(folder: Path, texts: list[str], length: int, writer: StoreWriter, progress: Progress) -> dict[str, object]:
    import torch

    tokenizer, model = _loaded(folder)
    offsets = [0]
    for first in range(0, len(texts), BATCH):
        tokens = tokenizer(
            texts[first : first + BATCH], padding=True, truncation=True, max_length=length, return_tensors="pt"
        )
        with torch.inference_mode():
            vectors = model(**tokens).last_hidden_state
        for row, mask in zip(vectors, tokens["attention_mask"].bool(), strict=True):
            writer.append("vectors", row[mask].numpy().astype(np.float16))
            offsets.append(offsets[-1] + int(mask.sum()))
        progress("encoding", min(first + BATCH, len(texts)), len(texts))
    writer.append("offsets", np.array(offsets, np.int64))
    return {"encoder": folder.name, "width": int(model.config.hidden_size), "texts": len(texts), "length": length}


def _loaded(folder: Path) -> tuple[Any, Any]:
    with needs_package("The encoder cannot be run", "a package that runs it", "run: pip install transformers"):
        transformers = importlib.import_module("transformers")
    options = {"local_files_only": True, "trust_remote_code": False}
    try:
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **options)
        model = transformers.AutoModel.from_pretrained(folder, use_safetensors=True, **options)
    except (OSError, ValueError, KeyError) as error:
        raise UserError(
            f"The encoder in {folder} cannot be read: {str(error).splitlines()[0]}",
            "a Hugging Face encoder",
            "get the folder again",
        ) from error
    return tokenizer, model.eval()
