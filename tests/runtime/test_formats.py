import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from sparsernn import native
from sparsernn.errors import UserError
from sparsernn.runtime.formats import pack_mask, packed_bytes, unpack_mask

MASKS = arrays.arrays(bool, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=70))
WAYS = [None] if native.module is None else [None, native.module]


@pytest.fixture(params=WAYS, ids=lambda way: "numpy" if way is None else "native")
def way(request, monkeypatch):
    monkeypatch.setattr(native, "module", request.param)


@pytest.mark.parametrize("size", [0, 1, 7, 8, 9, 15, 16, 17, 63, 64, 100, 1001])
def test_packing_and_back_is_the_identity(way, size):
    mask = np.random.default_rng(size).random(size) < 0.3
    bits = pack_mask(mask)
    assert bits.dtype == np.uint8 and bits.shape == (packed_bytes((size,)),)
    assert np.array_equal(unpack_mask(bits, (size,)), mask)


@given(MASKS)
def test_both_ways_give_the_same_bits(mask):
    packed = np.packbits(mask.reshape(-1), bitorder="little")
    bits = pack_mask(mask)
    assert np.array_equal(bits, packed)
    back = unpack_mask(bits, mask.shape)
    assert back.dtype == np.bool_ and back.shape == mask.shape and np.array_equal(back, mask)


@given(st.binary(max_size=64), st.integers(0, 7))
def test_any_byte_but_zero_counts_as_kept(flags, skip):
    flags = np.frombuffer(bytes(skip) + flags, np.uint8)[skip:]
    mask = flags.view(np.bool_)
    assert np.array_equal(pack_mask(mask), np.packbits(flags != 0, bitorder="little"))


def test_views_are_packed_in_c_order(way):
    mask = np.random.default_rng(0).random((12, 10)) < 0.5
    assert np.array_equal(unpack_mask(pack_mask(mask.T), (10, 12)), mask.T)
    assert np.array_equal(unpack_mask(pack_mask(mask[::2, 1::3]), (6, 3)), mask[::2, 1::3])


def test_the_unpacked_mask_belongs_to_the_caller(way):
    mask = unpack_mask(np.array([255], np.uint8), (8,))
    mask[3] = False
    assert mask.sum() == 7


@pytest.mark.parametrize(
    "bits, shape",
    [
        (np.zeros(2, np.uint8), (8,)),
        (np.zeros(1, np.uint8), (3, 3)),
        (np.zeros(1, np.int8), (8,)),
        (np.zeros((1, 1), np.uint8), (8,)),
    ],
)
def test_bits_of_another_shape_are_refused(way, bits, shape):
    with pytest.raises(UserError, match="no mask of shape"):
        unpack_mask(bits, shape)


def test_bits_beyond_the_end_are_refused(way):
    with pytest.raises(UserError, match="beyond its 5 elements"):
        unpack_mask(np.array([0b00100000], np.uint8), (5,))


def test_numbers_are_not_a_mask(way):
    with pytest.raises(UserError, match="a mask of float64 cannot be packed"):
        pack_mask(np.ones(3))


@pytest.mark.skipif(native.module is None, reason="the extension is not built here")
def test_the_extension_checks_its_own_input():
    for bits, count in ((1, 9), (0, 2**63 - 1), (0, 2**64 - 1), (0, -1), (1, 8.0), (1, True)):
        with pytest.raises(ValueError, match="count must be a"):
            native.module.unpack_bits(np.zeros(bits, np.uint8), count)
    for flags in (np.zeros((2, 2), np.uint8), np.zeros(4, np.uint8)[::2], np.zeros(2, bool), [1, 0], None):
        with pytest.raises(ValueError, match=r"flags must be a C-contiguous array of uint8 and shape \[any\]"):
            native.module.pack_bits(flags)
