"""Prepared arrays: made once, read back as they were, made again where damaged."""

import fcntl
import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from sparsernn.data import store
from sparsernn.data.store import build_from, build_once, open_or_build
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


@pytest.mark.parametrize("most", [0, 20, 1 << 20])
def test_what_is_read_once_is_held_in_memory_or_in_a_file_without_a_name(most, tmp_path, monkeypatch):
    cache, file = tmp_path / "cache", tmp_path / "f"
    cache.mkdir()
    file.write_text("abc")
    monkeypatch.setenv("SPARSERNN_CACHE", str(cache))
    monkeypatch.setattr(store, "HELD_BYTES", most)

    def write(writer):
        build([])(writer)
        assert not list(cache.iterdir())
        return {}

    arrays = build_once(file, write)
    assert sorted(arrays) == ["a", "empty"] and arrays["empty"].shape == (0,)
    assert arrays["a"].tolist() == [[number] * 3 for number in range(10)] and not list(cache.iterdir())


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


def content_of(path, calls):
    """A build that keeps a file's bytes."""

    def write(writer):
        calls.append(path.name)
        writer.append("bytes", np.frombuffer(path.read_bytes(), np.uint8))
        return {}

    return write


@pytest.mark.parametrize("clock", [1_000_000_000, 1_700_000_000, 4_000_000_000], ids=["back", "then", "ahead"])
def test_a_store_follows_content_and_options_whatever_the_clock_says(clock, tmp_path):
    file, copy, calls = tmp_path / "f", tmp_path / "copy", []
    for text, options, path, builds in [
        ("abc", {"seed": 0}, file, 1),
        ("abc", {"seed": 0}, copy, 1),
        ("abc", {"seed": 1}, file, 2),
        ("abd", {"seed": 0}, file, 3),
        ("abc", {"seed": 0}, file, 3),
    ]:
        path.write_text(text)
        os.utime(path, (clock, clock))
        store = build_from(path, options, tmp_path / "cache", content_of(path, calls))
        assert store.array("bytes").tobytes() == text.encode() and len(calls) == builds
        assert build_once(path, content_of(path, []))["bytes"].tobytes() == text.encode()


@pytest.mark.parametrize("kept", [True, False])
def test_a_file_that_is_changed_while_it_is_read_is_said_to_be(kept, tmp_path):
    file = tmp_path / "f"
    file.write_text("abc")

    def write(writer):
        writer.append("bytes", np.frombuffer(file.read_bytes(), np.uint8))
        file.write_text("abd")
        if not kept:
            raise UserError("line 1 is odd", "another", "correct it")
        return {}

    (tmp_path / "cache").mkdir()
    for build in (lambda: build_from(file, {}, tmp_path / "cache", write), lambda: build_once(file, write)):
        file.write_text("abc")
        with pytest.raises(UserError, match="was changed while it was read"):
            build()
    assert not list((tmp_path / "cache").iterdir())


def test_what_a_killed_process_left_is_deleted_and_what_a_living_one_makes_is_not(tmp_path):
    for name, holder in (("dead.0.tmp", None), ("alive.0.tmp", "held")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").touch()
        if holder:
            held = (tmp_path / name / "lock").open()
            fcntl.flock(held, fcntl.LOCK_EX)
    open_or_build(tmp_path, "key", build([]))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["alive.0.tmp", "key"]
    held.close()


def test_threads_that_make_the_same_store_at_once_all_read_it_whole(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        stores = list(pool.map(lambda number: open_or_build(tmp_path, f"key{number % 2}", build([])), range(32)))
    assert all(store.array("a").sum() == 3 * sum(range(10)) for store in stores)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["key0", "key1"]
