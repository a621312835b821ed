"""Every reader and files that are damaged, or no files at all: what is wrong is one sentence, and soon."""

import json
import os
import random
import shutil
import time

import numpy as np
import pytest

from sparsernn import reading, seals
from sparsernn.errors import UserError
from tests.trust import corpus

PLACES = ["pipe", "folder", "link that leads nowhere", "device", "empty"]


@pytest.fixture(scope="module")
def damaged(whole, tmp_path_factory):
    return shutil.copytree(whole, tmp_path_factory.mktemp("damaged") / "copy")


@pytest.mark.parametrize("name", corpus.CASES)
def test_a_damaged_file_is_read_or_refused_in_one_sentence(name, damaged):
    case, chance = corpus.CASES[name], random.Random(name)
    path = corpus.target(case, damaged, chance)
    data = path.read_bytes()
    try:
        if "report" not in name:
            assert corpus.outcome(case, damaged) == "read"
        for _ in range(3):
            path.write_bytes(corpus.damaged(data, path.name, chance))
            before = corpus.listing(damaged)
            assert corpus.outcome(case, damaged) in ("read", "refused")
            assert corpus.listing(damaged) == before
    finally:
        path.write_bytes(data)


def put(place, path):
    path.unlink()
    if place == "pipe":
        os.mkfifo(path)
    elif place == "folder":
        path.mkdir()
    elif place == "device":
        path.symlink_to("/dev/zero")
    elif place == "empty":
        path.touch()
    else:
        path.symlink_to(path.with_name("nowhere"))


@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file_is_refused_without_waiting(place, damaged):
    started = time.monotonic()
    for name in ("compact, predict", "weights, read", "masks, read", "preparation, predict", "result, results",
                 "packed text, runtime", "texts.csv, prepare", "texts.parquet, encode", "vectors.npz"):  # fmt: skip
        path = corpus.target(corpus.CASES[name], damaged, random.Random(0))
        kept = path.read_bytes()
        put(place, path)
        try:
            assert corpus.outcome(corpus.CASES[name], damaged) == "refused", name
        finally:
            path.rmdir() if place == "folder" else path.unlink()
            path.write_bytes(kept)
    assert time.monotonic() - started < 60


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[" * 5000 + "]" * 5000, "nested too deeply"),
        ("[" * 200 + "]" * 200, "nested too deeply"),
        ('{"a": ["\\ud800"]}', "half of a character"),
        ('{"\\udfff": 1}', "half of a character"),
        ('{"a": 1e999}', "too large"),
        (f'{{"a": {10**30}}}', "too large"),
        (f'{{"a": {"9" * 5000}}}', "cannot be read"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('["a"]', "it cannot be"),
        ("\x00", "cannot be read"),
    ],
    ids=range(10),
)
def test_json_that_nobody_writes_is_refused(text, why, tmp_path):
    (tmp_path / "values.json").write_text(text)
    with pytest.raises(UserError, match="values.json cannot be read") as error:
        reading.json_file(tmp_path / "values.json")
    assert why in str(error.value)


def test_json_that_is_not_utf_8_or_too_long_is_refused(tmp_path, monkeypatch):
    path = tmp_path / "values.json"
    path.write_bytes('{"a": "é"}'.encode("latin-1"))
    with pytest.raises(UserError, match="cannot be read"):
        reading.json_file(path)
    path.write_bytes(b'{"a": "' + b"x" * reading.LARGEST_JSON + b'"}')
    with pytest.raises(UserError, match="more than the"):
        reading.json_file(path)


@pytest.mark.parametrize("compressed", [True, False])
def test_an_archive_is_not_unpacked_beyond_its_size(compressed, tmp_path):
    arrays = {"a": np.zeros(1_000_000, np.uint8)}
    (np.savez_compressed if compressed else np.savez)(tmp_path / "a.npz", **arrays)
    if compressed:
        with pytest.raises(reading.Damaged, match="more bytes than it may"):
            reading.arrays(tmp_path / "a.npz", ("|u1",))
    else:
        assert reading.arrays(tmp_path / "a.npz", ("|u1",))["a"].size == 1_000_000
    with pytest.raises(reading.Damaged, match="of type"):
        reading.arrays(tmp_path / "a.npz", ("<f4",), unpacked=2000)


def test_a_stream_that_unpacks_without_end_is_refused(tmp_path, monkeypatch):
    import gzip

    (tmp_path / "a.gz").write_bytes(gzip.compress(b"0" * 3_000_000))
    monkeypatch.setattr(reading, "FREE_BYTES", 100_000)
    with pytest.raises(reading.Damaged, match="times its size"), reading.Unpacked(tmp_path / "a.gz") as stream:
        while stream.read(100_000):
            pass


def test_a_network_that_its_file_cannot_hold_is_not_made(damaged):
    path = damaged / "gru" / "sparse-seed0" / "recipe.json"
    kept = path.read_text()
    recipe = json.loads(kept)
    try:
        for units in (12_000, 2**31, 2**62):
            recipe["model"]["options"]["units"] = units
            path.write_text(json.dumps(recipe))
            told, _, megabytes = corpus.read_apart(
                corpus.Case("", corpus.predicts("gru/sparse-seed0", "texts.csv")), damaged
            )
            assert told == "refused"
    finally:
        path.write_text(kept)


RUN_FILES = ["compact.safetensors", "weights.safetensors", "preparation.json"]


@pytest.mark.parametrize("file", [*RUN_FILES, "network.sparsernn"])
def test_every_byte_that_a_prediction_rests_on_counts(file, damaged):
    """A number flipped where nothing else would tell."""
    name = "gru/sparse-seed0" if file in RUN_FILES else "gru"
    folder = damaged / name
    path, compact = folder / file, folder / "compact.safetensors"
    kept, aside = path.read_bytes(), compact.with_name("aside")
    if file == "weights.safetensors":
        compact.rename(aside)
    try:
        changed = kept.replace(b'"good"', b'"goad"') if file.endswith("json") else kept[:-3] + b"\x01\x02\x03"
        assert changed != kept and len(changed) == len(kept)
        path.write_bytes(changed)
        with pytest.raises(UserError, match="checksum is wrong|do not hold|not a readable network"):
            corpus.predicts(name, "texts.csv")(damaged)
    finally:
        path.write_bytes(kept)
        if aside.exists():
            aside.rename(compact)


def test_files_without_a_checksum_are_of_an_earlier_version_and_read(damaged):
    path = damaged / "gru" / "sparse-seed0" / "preparation.json"
    kept = path.read_text()
    try:
        path.write_text(json.dumps({name: value for name, value in json.loads(kept).items() if name != seals.SEAL}))
        assert corpus.outcome(corpus.Case("", corpus.predicts("gru/sparse-seed0", "texts.csv")), damaged) == "read"
    finally:
        path.write_text(kept)
