"""Files that somebody else made: each is read, or refused in one sentence, without much memory."""

import json
import os
import resource
import subprocess
import sys

import numpy as np
import pytest

from sparsernn import runtime
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.recurrent_highway import RecurrentHighwayNetwork
from sparsernn.errors import UserError
from sparsernn.runtime import artifact
from sparsernn.runtime.network import LayerSpec, NetworkSpec
from sparsernn.runtime.packed_file import uncompressed

NUMBERS = [
    -1,
    0,
    1,
    2,
    3,
    2**31,
    2**40,
    2**63,
    2**64,
    10**30,
    1e308,
    0.5,
    True,
    None,
    "1",
    [],
    {},
    [2**31],
    float("nan"),
]


def weights_of(cell, inputs, hidden, generator):
    sizes = cell.sizes(inputs, hidden)
    weights = {}
    for name in cell.axes:
        shape = cell.shape(name, sizes)
        weights[name] = (generator.standard_normal(shape) * (generator.random(shape) < 0.3)).astype(np.float32)
    return weights


def content_of(path, dtype):
    """A file with words, two kinds of cells and a head."""
    generator = np.random.default_rng(0)
    layers = [
        LayerSpec(LSTM(), weights_of(LSTM(), 5, 20, generator), "rows"),
        LayerSpec(RecurrentHighwayNetwork(depth=2), weights_of(RecurrentHighwayNetwork(depth=2), 20, 16, generator)),
    ]
    embedding, head = generator.standard_normal((30, 5), dtype="f4"), generator.standard_normal((3, 16), dtype="f4")
    rows = np.concatenate([np.arange(30), [-1] * 10]).astype(np.int32)
    spec = NetworkSpec("classification", layers, 1, embedding, rows, head, np.zeros(3, "f4"), labels=("a", "b", "c"))
    artifact.save(path, spec, dtype=dtype)
    return uncompressed(path) or path.read_bytes()


def parts_of(content):
    """Header and numbers of a safetensors file."""
    end = 8 + int.from_bytes(content[:8], "little")
    return json.loads(content[8:end]), content[end:]


def joined(header, numbers):
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + numbers


def places_of(value, path=()):
    """Where anything stands in nested lists and mappings."""
    yield path
    for key in value if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ():
        yield from places_of(value[key], (*path, key))


def spoilt(value, path, new):
    if not path:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = spoilt(value[path[0]], path[1:], new)
    return copy


def assert_read_or_refused(path, content):
    path.write_bytes(content)
    try:
        network = runtime.load(path)
        network.run(np.zeros((2, 3), np.int64))
    except UserError as error:
        assert len(str(error)) < 1000 and "\n\n" not in str(error)
        return False
    return True


@pytest.mark.parametrize("dtype", [None, "float16", "int8"])
def test_bytes_that_changed_are_read_or_refused(dtype, tmp_path):
    content, generator, read = content_of(tmp_path / "network", dtype), np.random.default_rng(1), 0
    for _ in range(120):
        damaged = bytearray(content)
        for _ in range(int(generator.integers(1, 4))):
            damaged[int(generator.integers(len(damaged)))] = int(generator.integers(256))
        start = int(generator.integers(len(content)))
        if generator.random() < 0.2:
            del damaged[start : start + int(generator.integers(1, 100))]
        read += assert_read_or_refused(tmp_path / "damaged", bytes(damaged))
    assert read < 120
    assert assert_read_or_refused(tmp_path / "whole", content)


@pytest.mark.parametrize("dtype", [None, "int8"])
@pytest.mark.parametrize("entry", ["network", "tensors", "header"])
def test_headers_that_say_something_else_are_read_or_refused(entry, dtype, tmp_path):
    header, numbers = parts_of(content_of(tmp_path / "network", dtype))
    about, generator = header["__metadata__"], np.random.default_rng(2)
    value = header if entry == "header" else json.loads(about[entry])
    places = list(places_of(value))
    for _ in range(80):
        place, new = places[int(generator.integers(len(places)))], NUMBERS[int(generator.integers(len(NUMBERS)))]
        changed = spoilt(value, place, new)
        whole = changed if entry == "header" else header | {"__metadata__": about | {entry: json.dumps(changed)}}
        assert_read_or_refused(tmp_path / "damaged", joined(whole, numbers))


HOSTILE = {
    "its size": lambda about: about["shapes"]["layers.0.weight_hh"].__setitem__(1, [2**20, 2**10]),
    "a giant dimension": lambda about: about["shapes"]["embedding"].__setitem__(1, [2**62, 5]),
    "sizes as options": lambda about: about["layers"][0]["options"].update(input_size=10**9, hidden_size=10**9),
    "a depth without end": lambda about: about["layers"][1]["options"].update(depth=10**9),
    "an unknown option": lambda about: about["layers"][0]["options"].update(path="/etc/passwd"),
    "numbers of words as floats": lambda about: about["shapes"]["rows"].__setitem__(0, "float32"),
    "labels that are no texts": lambda about: about.update(labels=[{}]),
    "a cell that is none": lambda about: about["layers"][0].update(cell="../native"),
    "one layer more": lambda about: about["layers"].append(about["layers"][0]),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_what_a_header_claims_is_checked_before_memory_is_taken(what, tmp_path):
    header, numbers = parts_of(content_of(tmp_path / "network", None))
    about = json.loads(header["__metadata__"]["network"])
    HOSTILE[what](about)
    header["__metadata__"]["network"] = json.dumps(about)
    (tmp_path / "damaged").write_bytes(joined(header, numbers))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError):
        runtime.load(tmp_path / "damaged")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_a_giant_header_a_pipe_and_scales_that_are_not_numbers_are_one_sentence(tmp_path):
    content = content_of(tmp_path / "network", "int8")
    (tmp_path / "giant").write_bytes((2**62).to_bytes(8, "little") + content[8:])
    os.mkfifo(tmp_path / "pipe")
    header, numbers = parts_of(content)
    entries, spoilt_numbers = json.loads(header["__metadata__"]["tensors"]), bytearray(numbers)
    name = next(name for name, entry in entries.items() if entry.get("stored") == "int8")
    _, end = header[name]["data_offsets"]
    patterns = sum(entries[name][piece][1] for piece in ("rows", "columns", "tiles") if piece in entries[name])
    spoilt_numbers[end - patterns - 4 : end - patterns] = np.float32(np.nan).tobytes()
    (tmp_path / "scales").write_bytes(joined(header, bytes(spoilt_numbers)))
    for file in ("giant", "pipe", "scales", "nowhere"):
        with pytest.raises(UserError, match="is not a readable network"):
            runtime.load(tmp_path / file)


def test_a_damaged_file_ends_the_command_with_one_line(tmp_path):
    content = content_of(tmp_path / "network", None)
    (tmp_path / "damaged").write_bytes(content[: len(content) // 2])
    command = [sys.executable, "-m", "sparsernn", "bench", str(tmp_path / "damaged")]
    run = subprocess.run(command, capture_output=True, text=True)
    assert run.returncode == 2 and "Traceback" not in run.stderr, run.stderr
