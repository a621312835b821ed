"""Packed tensors: every bit comes back, the bytes are few, and bytes of something else give one clear error."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sparsernn.errors import UserError
from sparsernn.runtime.packed_file import PackedFile, Typed, contents
from sparsernn.runtime.packing import FLOATS, Packed, pack, unpack
from sparsernn.runtime.patterns import DamagedFile, Pattern, pack_pattern, pattern_bytes, unpack_pattern

ODD = [np.nan, np.inf, -np.inf, -0.0, 1e-40, 1.5, -2.0]
SHAPES = arrays.array_shapes(min_dims=1, max_dims=3, min_side=1, max_side=40)


def bits_of(values: np.ndarray) -> np.ndarray:
    return values.view(f"u{values.itemsize}")


@st.composite
def tensors(draw, kinds=tuple(FLOATS)):
    """A tensor with zeros in one of many patterns."""
    kind, shape = draw(st.sampled_from(kinds)), draw(SHAPES)
    chance = np.random.default_rng(draw(st.integers(0, 10**6)))
    dtype = FLOATS[kind]
    if kind == "bfloat16":
        values = chance.integers(0, 1 << 16, shape).astype(dtype)
    else:
        values = np.where(chance.random(shape) < 0.1, chance.choice(ODD, shape), chance.normal(size=shape))
        values = values.astype(dtype)
    density = draw(st.sampled_from([0.0, 0.01, 0.1, 0.5, 0.9, 1.0]))
    tile = tuple(draw(st.sampled_from([1, 2, 16, 40])) for _ in shape)
    coarse = chance.random([-(-size // side) for size, side in zip(shape, tile, strict=True)]) < density
    for axis, side in enumerate(tile):
        coarse = coarse.repeat(side, axis)
    return np.where(coarse[tuple(map(slice, shape))], values, np.zeros(1, dtype)), kind


@settings(max_examples=300)
@given(tensors())
def test_every_bit_comes_back(tensor):
    values, kind = tensor
    back = unpack(pack(values, kind), values.shape, kind)
    assert back.dtype == values.dtype and np.array_equal(bits_of(back), bits_of(values))


@settings(max_examples=200)
@given(tensors())
def test_packed_tensors_are_at_most_as_large_as_bits_and_values(tensor):
    values, kind = tensor
    kept = int(np.count_nonzero(bits_of(values)))
    assert len(pack(values, kind).data) <= min(kept * values.itemsize + -(-values.size // 8), values.nbytes)


@given(arrays.arrays(bool, st.integers(0, 900), elements=st.sampled_from([True, False, False, False])), st.data())
def test_patterns_come_back(flags, data):
    flags[data.draw(st.integers(0, len(flags))) :] = data.draw(st.booleans())
    pattern = pack_pattern(flags)
    assert len(pattern.data) == pattern_bytes(flags) <= -(-len(flags) // 8)
    assert np.array_equal(unpack_pattern(pattern, len(flags)), flags)


@pytest.mark.parametrize("gap", [0, 1, 253, 254, 255, 256, 509, 510, 511, 65534, 65535, 65536, 200_000])
def test_gaps_of_any_length_come_back(gap):
    flags = np.zeros(3 * gap + 900_000, bool)
    flags[[gap, 2 * gap + 1]] = True
    assert np.array_equal(unpack_pattern(pack_pattern(flags), len(flags)), flags)
    flags[gap : 2 * gap] = True
    assert np.array_equal(unpack_pattern(pack_pattern(flags), len(flags)), flags)
    flags[2 * gap + 1 :] = True
    assert np.array_equal(unpack_pattern(pack_pattern(flags), len(flags)), flags)


def random(shape: tuple[int, ...], kept: np.ndarray) -> np.ndarray:
    return np.where(kept, np.random.default_rng(0).normal(size=shape), 0).astype("f4")


@pytest.mark.parametrize(
    "name, kept, most",
    [
        ("a tenth of single weights", np.random.default_rng(1).random((400, 100)) < 0.1, 5.2),
        ("a tenth of blocks", (np.random.default_rng(1).random((25, 100)) < 0.1).repeat(16, 0), 4.07),
        ("a hundredth", np.random.default_rng(1).random((400, 100)) < 0.01, 5.6),
        ("whole rows", np.broadcast_to(np.random.default_rng(1).random((400, 1)) < 0.1, (400, 100)), 4.02),
        ("whole columns", np.broadcast_to(np.random.default_rng(1).random((1, 100)) < 0.1, (400, 100)), 4.02),
        ("blocks that no tile fits", (np.random.default_rng(1).random((25, 101)) < 0.1).repeat(16, 0)[3:], 4.14),
        ("rows of columns", np.outer(np.arange(400) % 9 == 0, np.arange(100) % 7 == 0), 4.2),
    ],
)
def test_bytes_for_each_weight_that_is_kept(name, kept, most):
    data = pack(random(kept.shape, kept), "float32").data
    assert len(data) <= most * np.count_nonzero(kept) + 20


@settings(max_examples=100)
@given(tensors(kinds=("float32", "float64", "bfloat16")), st.sampled_from(["float16", "int8", "int6", "int4"]))
def test_smaller_types_state_their_largest_error(tensor, smaller):
    values, kind = tensor
    values = np.nan_to_num(values, nan=1, posinf=2, neginf=-2)
    if kind == "bfloat16":
        values = np.where(values & 0x7F80 > 0x4600, np.uint16(0x3F80), values)  # nothing beyond 8192
    packed = pack(values, kind, smaller)
    back = unpack(packed, values.shape, kind)
    if values.ndim == 1:
        assert np.array_equal(bits_of(back), bits_of(values)) and "error" not in packed.about
        return
    wide = [(one.astype("u4") << 16).view("f4") if kind == "bfloat16" else one for one in (back, values)]
    wide = [one.astype("f8") for one in wide]
    largest = max(np.abs(wide[1]).max(), 1e-300)
    assert packed.about["error"] == pytest.approx(np.abs(wide[0] - wide[1]).max() / largest, abs=1e-12)
    assert packed.about["error"] < {"float16": 0.005, "int8": 0.01, "int6": 0.02, "int4": 0.08}[smaller]
    assert not wide[0][wide[1] == 0].any()


@pytest.mark.parametrize("smaller, bits", [("int4", 4), ("int6", 6), ("int8", 8), ("float16", 16)])
@pytest.mark.parametrize("kind", ["float32", "float64"])
def test_numbers_read_from_a_smaller_type_take_as_few_bytes_again(smaller, bits, kind):
    chance = np.random.default_rng(0)
    for scale in np.ldexp(1 + chance.random(60), chance.integers(-8, 8, 60)):
        values = np.where(chance.random((30, 41)) < 0.7, chance.normal(size=(30, 41)) * scale, 0).astype(kind)
        values = unpack(pack(values, kind, smaller), values.shape, kind)
        packed = pack(values, kind)
        assert np.array_equal(unpack(packed, values.shape, kind), values) and "error" not in packed.about
        scales = 30 * 4 if smaller != "float16" else 0
        assert len(packed.data) <= np.count_nonzero(values) * bits / 8 + 30 * 41 // 8 + 2 + scales


@pytest.mark.parametrize("smaller, bits", [("int4", 4), ("int6", 6)])
def test_whole_numbers_stand_bit_by_bit_without_gaps(smaller, bits):
    """Two's complement, the highest bit first, row after row, and then the scales."""
    most = 2 ** (bits - 1) - 1
    numbers = np.random.default_rng(3).integers(1, most + 1, (7, 9)) * np.where(np.arange(9) % 2, 1, -1)
    numbers[:, 0] = most
    packed = pack((numbers * 0.25).astype("f4"), "float32", smaller)
    text = "".join(format(int(number) % 2**bits, f"0{bits}b") for number in numbers.flatten())
    text += "0" * (-len(text) % 8)
    written = bytes(int(text[start : start + 8], 2) for start in range(0, len(text), 8))
    assert packed.data.tobytes() == written + np.full(7, 0.25, "<f4").tobytes()
    assert np.array_equal(unpack(packed, (7, 9), "float32"), numbers * 0.25)


@pytest.mark.parametrize("value, smaller", [(np.nan, "int8"), (np.inf, "int8"), (1e5, "float16"), (np.nan, "float16")])
def test_numbers_that_a_smaller_type_cannot_hold_are_refused(value, smaller):
    with pytest.raises(UserError, match=f"which {smaller} cannot"):
        pack(np.array([[1, value]], "f4"), "float32", smaller)


WHOLE = pack(random((64, 48), np.random.default_rng(2).random((64, 48)) < 0.1), "float32")


@settings(max_examples=300)
@given(st.data())
def test_damaged_bytes_give_one_clear_error_or_a_tensor(data):
    about, content = json.loads(json.dumps(WHOLE.about)), WHOLE.data.copy()
    for _ in range(data.draw(st.integers(0, 3))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = content[: data.draw(st.sampled_from([len(content), len(content) - 1, 100, 0]))]
    entry = st.sampled_from(["all", "bits", "gaps8", "gaps16", "runs8", "x", 3, None])
    length = st.sampled_from([0, 1, 6, 300, -1, 10**30, "1", None, True])
    if data.draw(st.booleans()):
        about[data.draw(st.sampled_from(["rows", "columns", "tiles"]))] = data.draw(
            st.one_of(st.none(), st.lists(st.one_of(entry, length), max_size=3), st.tuples(entry, length).map(list))
        )
    if data.draw(st.booleans()):
        about["tile"] = data.draw(st.sampled_from([[16, 1], [0, 0], [-1, 1], [10**30, 1], [1], None, "11", [1.0, 1]]))
    if data.draw(st.booleans()):
        about["turned"] = data.draw(st.sampled_from([True, False, 3, []]))
        about["stored"] = data.draw(
            st.sampled_from(["int8", "int6", "int4", "float16", "float32", "float64", [], None])
        )
    try:
        values = unpack(Packed(about, content), (64, 48), "float32")
    except DamagedFile as error:
        assert str(error)
    else:
        assert values.shape == (64, 48) and values.dtype == np.float32


@pytest.mark.parametrize("scale", [np.nan, np.inf, -1.0])
def test_scales_that_are_no_sizes_are_refused(scale):
    packed = pack(np.ones((3, 40), "f4"), "float32", "int8")
    data = packed.data.copy()
    data[120:124] = np.frombuffer(np.float32(scale).tobytes(), np.uint8)
    with pytest.raises(DamagedFile, match="scale"):
        unpack(Packed(packed.about, data), (3, 40), "float32")


@pytest.mark.parametrize(
    "pattern",
    [
        Pattern("gaps8", np.array([9, 0], np.uint8)),
        Pattern("gaps8", np.array([255], np.uint8)),
        Pattern("gaps16", np.array([1], np.uint8)),
        Pattern("bits", np.array([0, 4], np.uint8)),
        Pattern("bits", np.array([0], np.uint8)),
        Pattern("all", np.array([0], np.uint8)),
        Pattern("runs", np.array([0], np.uint8)),
        Pattern("runs8", np.array([3], np.uint8)),
        Pattern("runs8", np.array([3, 8], np.uint8)),
        Pattern("runs8", np.array([3, 255], np.uint8)),
    ],
)
def test_patterns_of_something_else_are_refused(pattern):
    with pytest.raises(DamagedFile):
        unpack_pattern(pattern, 10)


def test_a_file_gives_back_every_type(tmp_path):
    chance = np.random.default_rng(0)
    sparse = random((60, 50), chance.random((60, 50)) < 0.1)
    tensors = {
        "sparse": Typed(sparse, "float32"),
        "half": Typed(sparse.astype("f2"), "float16"),
        "brain": Typed((sparse.view("u4") >> 16).astype("u2"), "bfloat16"),
        "dense brain": Typed(np.full((3, 2), 7, "u2"), "bfloat16"),
        "whole numbers": Typed(np.arange(3), "int64"),
        "flags": Typed(np.array([True, False]), "bool"),
        "one": Typed(np.array(2.5), "float64"),
        "none": Typed(np.zeros((0, 4), "f4"), "float32"),
        "zeros": Typed(np.zeros((30, 40), "f4"), "float32"),
        "eight bits": Typed(np.arange(8, dtype="u1"), "float8_e5m2"),
    }
    content, errors = contents(tensors, {"format": "test"})
    plain, _ = contents(tensors, {"format": "test"}, plain=True)
    assert errors == {} and len(content) < len(plain) / 2
    for written in (content, plain):
        (tmp_path / "file").write_bytes(written)
        with PackedFile(tmp_path / "file") as file:
            assert file.header["format"] == "test" and set(file.names) == set(tensors)
            for name, (values, kind) in tensors.items():
                back = file.read(name, values.shape, kind, values.itemsize)
                assert back.dtype == values.dtype and back.tobytes() == values.tobytes()
                with pytest.raises(ValueError):
                    file.read(name, (*values.shape, 2), kind, values.itemsize)
                with pytest.raises(ValueError):
                    file.read(name, values.shape, "int32", 4)
