"""Prepared arrays: made once, read back as they were, made again where damaged."""

import numpy as np
import pytest

from sparsernn.data.store import file_key, open_or_build
from sparsernn.errors import UserError


def build(calls):
    def write(writer):
        calls.append(1)
        for start in range(0, 10, 4):
            writer.append("a", np.arange(start, min(10, start + 4), dtype=np.int32)[:, None] * np.ones(3, np.int32))
        writer.append("temporary", np.arange(3))
        writer.append("empty", np.zeros(0, np.float32))
        assert writer.array("temporary").tolist() == [0, 1, 2]
        writer.drop("temporary")
        return {"labels": ["ä", "b"]}

    return write


def test_made_once_and_read_back(tmp_path):
    calls = []
    for _ in range(2):
        store = open_or_build(tmp_path, "key", build(calls))
        assert store.array("a").shape == (10, 3) and store.array("a")[9].tolist() == [9, 9, 9]
        assert store.array("empty").shape == (0,) and store.values == {"labels": ["ä", "b"]}
        assert sorted(store.names) == ["a", "empty"] and isinstance(store.array("a"), np.memmap)
    assert len(calls) == 1 and [path.name for path in tmp_path.iterdir()] == ["key"]


@pytest.mark.parametrize("name", ["manifest.json", "a"])
def test_a_damaged_store_is_made_again(name, tmp_path):
    calls = []
    open_or_build(tmp_path, "key", build(calls))
    path = tmp_path / "key" / name
    path.write_bytes(path.read_bytes()[:-2])
    assert open_or_build(tmp_path, "key", build(calls)).array("a").shape == (10, 3) and len(calls) == 2


def test_a_failure_leaves_nothing_behind(tmp_path):
    def fail(writer):
        writer.append("a", np.zeros(3))
        raise OSError(28, "No space left on device")

    with pytest.raises(UserError, match="No space left"):
        open_or_build(tmp_path, "key", fail)
    assert not list(tmp_path.iterdir())


def test_the_key_follows_the_file_and_the_options(tmp_path):
    (tmp_path / "f").write_text("a")
    first = file_key(tmp_path / "f", {"seed": 0})
    assert first == file_key(tmp_path / "f", {"seed": 0}) != file_key(tmp_path / "f", {"seed": 1})
    (tmp_path / "f").write_text("ab")
    assert first != file_key(tmp_path / "f", {"seed": 0})
