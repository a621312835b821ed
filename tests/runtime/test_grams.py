"""N-grams: their hashes, their table, and a file that holds a linear layer and a network of words."""

import json
import math
import re
import zlib

import numpy as np
import pytest

from sparsernn import native, runtime
from sparsernn.cells.gru import GRU
from sparsernn.data.grams import GramEncoder
from sparsernn.errors import UserError
from sparsernn.runtime import hashing, packed_file
from sparsernn.runtime.artifact import save_grams
from sparsernn.runtime.grams import GramNetwork, Grams, pack_places, unpack_places
from sparsernn.runtime.network import LayerSpec, NetworkSpec
from sparsernn.runtime.packed_file import COMPRESSED

TEXTS = [
    "",
    "  ",
    " a ",
    " ab cd ",
    " it's fine ",
    "  two  blanks ",
    " \u65e5\u672c \u8a9e ",
    " e\u0301\ud800 z ",
    f" {'x' * 300} ",
]
MASK = (1 << 32) - 1


def plain_grams(text):
    """The places by whole numbers of Python, a character at a time."""

    def fold(code):
        return code ^ (code >> 15)

    word, pair, following, run, last = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1
    characters = [ord(character) for character in text]
    words = []
    for part in filter(None, text.split(" ")):
        code = sum(ord(character) * pow(word, place + 1, 1 << 32) for place, character in enumerate(part)) & MASK
        words.append(fold(code) * run & MASK)
    hashes = [code * word & MASK for code in words]
    for first, second in zip(words, words[1:], strict=False):
        hashes.append((((first * pair & MASK) ^ (second >> 15)) * following + second * last) & MASK)
    for length in (3, 4, 5):
        for start in range(len(characters) - length + 1):
            code = characters[start] * word & MASK
            for character in characters[start + 1 : start + length]:
                code = (fold(code) * following + character * pair) & MASK
            hashes.append(fold(code) * run & MASK)
    return [len(words), *(code >> 10 for code in hashes)]


@pytest.fixture(params=["extension", "numpy"])
def way(request, monkeypatch):
    """Everything with the extension, where it is there, and without."""
    if request.param == "numpy":
        monkeypatch.setattr(native, "module", None)
    elif native.module is None:
        pytest.skip("the extension is not there")


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_places_of_a_text(text, way):
    places = hashing.text_grams(text)
    assert places.dtype == np.int32
    assert places.tolist() == plain_grams(text)


@pytest.mark.skipif(native.module is None, reason="the extension is not there")
def test_a_text_of_ascii_is_taken_apart_as_the_words_and_marks_of_any_text():
    """\\w and \\s are Python's, whose gaps are also the separators of files, groups, records and units."""
    generator = np.random.default_rng(0)
    texts = [
        "",
        " ",
        "\x1c",
        "...",
        "It's NOT_bad, 8/10!?",
        "a\x00b\x1fc\x85".encode("ascii", "ignore").decode(),
        bytes(range(128)).decode(),
    ]
    texts += [
        bytes(generator.integers(0, 128, int(generator.integers(1, 60))).astype(np.uint8)).decode() for _ in range(300)
    ]
    for text in texts:
        parts = re.findall(r"\w+|[^\w\s]+", text.lower())
        assert hashing.ascii_grams(text).tolist() == plain_grams(f" {' '.join(parts)} ")
        (encoded,) = GramEncoder("words").ids([text])
        assert encoded.tolist() == hashing.ascii_grams(text).tolist()


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_places_come_back(count):
    places = np.sort(np.random.default_rng(0).choice(1 << 22, count, replace=False))
    data = pack_places(places)
    np.testing.assert_array_equal(unpack_places(data, count), places)
    assert len(data) <= 4 * count
    if count:
        with pytest.raises(ValueError, match="n-grams"):
            unpack_places(data[:-1], count)


def made(labels=("no", "yes"), recurrent=True):
    """A model with ten n-grams, two of them words with a vector."""
    generator = np.random.default_rng(0)
    _, first, second, *rest = hashing.text_grams(" good film ")
    places = np.unique([first, second, *rest[:8]]).astype(np.int64)
    outputs = 1 if len(labels) == 2 else len(labels)
    weights = generator.standard_normal((outputs, len(places)), dtype="f4")
    words = np.isin(places, [first, second])
    vectors = generator.standard_normal((3, 2), dtype="f4")
    grams = Grams(places, weights, np.full(outputs, 0.5, "f4"), words, vectors, 4, labels)
    if not recurrent:
        return grams, None
    cell = GRU()
    shapes = {name: cell.shape(name, cell.sizes(3, 4)) for name in cell.axes}
    layers = [
        LayerSpec(cell, {name: generator.standard_normal(shape, dtype="f4") for name, shape in shapes.items()})
        for _ in range(2)
    ]
    head = generator.standard_normal((len(labels), 24), dtype="f4")
    bias = np.zeros(len(labels), "f4")
    return grams, NetworkSpec("classification", layers, 2, head=head, bias=bias, pool="mean_max_last")


@pytest.mark.parametrize("labels", [("no", "yes"), ("a", "b", "c")])
def test_a_sum_of_distinct_grams_over_the_root_of_their_number(labels, way):
    grams, _ = made(labels, recurrent=False)
    text = " good film good film "
    numbers = hashing.text_grams(text)
    expected = grams.bias.astype(float)
    for place in set(numbers[1:].tolist()) & set(grams.places.tolist()):
        expected = expected + grams.weights[:, grams.places.tolist().index(place)] / math.sqrt(len(numbers) - 1)
    scores = GramNetwork(grams).scores([numbers])[0]
    np.testing.assert_allclose(scores, [0, *expected] if len(labels) == 2 else expected, atol=1e-5)


def test_words_are_read_in_order_and_unknown_ones_are_zero(way):
    grams, spec = made()
    spec_vectors = NetworkSpec(**{**vars(spec), "labels": ()})
    network = runtime.artifact.Network(spec_vectors)
    first = hashing.text_grams(" good ")[1]
    order = {place: row for row, place in enumerate(grams.places[grams.words].tolist())}
    good, film = (grams.vectors[:, order[int(hashing.text_grams(f" {word} ")[1])]] for word in ("good", "film"))
    vectors = np.stack([film, np.zeros(3, "f4"), good])[None].astype(np.float32)
    text = hashing.text_grams(" film other good ")
    both = GramNetwork(grams, network).scores([text])
    alone = GramNetwork(grams).scores([text])
    assert first in grams.places
    np.testing.assert_allclose(both - alone, network.run(vectors), atol=1e-5)


def test_texts_beside_each_other_are_those_alone(way):
    grams, spec = made()
    model = GramNetwork(grams, runtime.artifact.Network(spec))
    texts = [hashing.text_grams(text) for text in (" good ", " a good film of a film ", "", " film ")]
    alone = np.concatenate([model.scores([text]) for text in texts])
    np.testing.assert_allclose(model.scores(texts), alone, atol=1e-5)
    padded = np.zeros((4, max(map(len, texts)) + 1), np.int32)
    for row, text in zip(padded, texts, strict=True):
        row[: len(text)] = text
    np.testing.assert_allclose(model.run(padded, np.array([len(text) for text in texts])), alone, atol=1e-5)


@pytest.mark.parametrize("text", [[], [3, 1], [-1, 5], [0, -3], [0, 1 << 22], [1, 1 << 30]])
def test_what_is_no_text_is_refused(text, way):
    grams, _ = made(recurrent=False)
    with pytest.raises(UserError, match="text"):
        GramNetwork(grams).scores([np.array(text, np.int32)])


@pytest.mark.filterwarnings("ignore:.* runs by numpy")
@pytest.mark.parametrize("recurrent", [False, True])
def test_a_file_comes_back_and_is_the_same_bytes(tmp_path, recurrent, way):
    grams, spec = made(("a", "b", "c"), recurrent)
    for name in ("first", "second"):
        save_grams(tmp_path / name, grams, spec, json.dumps({"kind": "text"}))
    assert (tmp_path / "first").read_bytes() == (tmp_path / "second").read_bytes()
    model = runtime.load_any(tmp_path / "first")
    assert (model.labels, model.kind) == (("a", "b", "c"), "classification")
    assert json.loads(model.preparation) == {"kind": "text"}
    network = None if spec is None else runtime.artifact.Network(spec)
    texts = [hashing.text_grams(text) for text in (" good film ", " a film ")]
    np.testing.assert_allclose(model.scores(texts), GramNetwork(grams, network).scores(texts), atol=0.1)


@pytest.mark.parametrize("fault", ["cut", "longer", "changed", "bomb", "inner"])
def test_a_damaged_file_is_refused(tmp_path, monkeypatch, fault):
    monkeypatch.setattr(packed_file, "FREE_BYTES", 1 << 20)
    grams, spec = made()
    path = tmp_path / "network"
    save_grams(path, grams, spec)
    data = path.read_bytes()
    assert data.startswith(COMPRESSED)
    inner = bytearray(zlib.decompress(data[len(COMPRESSED) :]))
    inner[-1] ^= 1
    wrong = {
        "cut": data[:-5],
        "longer": data + b"x",
        "changed": data[:60] + bytes([data[60] ^ 255]) + data[61:],
        "bomb": COMPRESSED + zlib.compress(bytes(3 << 20), 9),
        "inner": COMPRESSED + zlib.compress(bytes(inner)),
    }
    path.write_bytes(wrong[fault])
    with pytest.raises(UserError, match="not a readable network"):
        runtime.load_any(path)


@pytest.mark.parametrize(
    "change",
    [
        {"places": np.array([2, 1])},
        {"places": np.array([1, 1 << 22])},
        {"weights": np.zeros((1, 3), "f4")},
        {"bias": np.zeros(2, "f4")},
        {"words": np.zeros(3, bool)},
        {"vectors": np.zeros((3, 5), "f4")},
        {"length": 0},
        {"labels": ("a", "b", "c")},
        {"labels": ()},
    ],
    ids=str,
)
def test_parts_that_do_not_fit_are_refused(change):
    parts = {
        "places": np.array([1, 2]),
        "weights": np.zeros((1, 2), "f4"),
        "bias": np.zeros(1, "f4"),
        "words": np.array([True, False]),
        "vectors": np.zeros((3, 1), "f4"),
        "length": 5,
        "labels": ("a", "b"),
    }
    GramNetwork(Grams(**parts))
    with pytest.raises(ValueError):
        GramNetwork(Grams(**{**parts, **change}))
