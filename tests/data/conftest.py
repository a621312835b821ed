"""Prepared arrays go to a folder of the test's own."""

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    """The cache folder of this test alone."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPARSERNN_CACHE", str(folder))
    return folder


@pytest.fixture
def made(tmp_path) -> Callable[[str, str | bytes], Path]:
    """Write a small file under a data folder, gzipped where its name says so; returns the data folder."""

    def write(name: str, content: str | bytes) -> Path:
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        raw = content.encode() if isinstance(content, str) else content
        path.write_bytes(gzip.compress(raw) if name.endswith(".gz") else raw)
        return tmp_path / "data"

    return write
