"""Exact zeros, whatever stood there, in every type of number and however it lies in memory."""

import pytest
import torch

from sparsernn.structure.zeroing import CHUNK, count_alive, rule_out_, zero_absent_

KEPT = torch.tensor([[True, False, True], [False, False, True]])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("value", [1.5, -2.0, float("nan"), float("inf"), float("-inf"), -0.0])
def test_absent_numbers_become_zero_and_others_stay(dtype, value):
    tensor = torch.full((2, 3), value, dtype=dtype)
    zero_absent_(tensor, KEPT)
    assert bool((tensor[~KEPT] == 0).all())
    assert torch.equal(tensor[KEPT].nan_to_num(7.0), torch.full((3,), value, dtype=dtype).nan_to_num(7.0))
    if dtype.is_floating_point:
        assert not bool(torch.signbit(tensor[~KEPT]).any())


@pytest.mark.parametrize("dtype", [torch.int8, torch.int32, torch.int64])
def test_whole_numbers(dtype):
    tensor = torch.full((2, 3), 7, dtype=dtype)
    zero_absent_(tensor, KEPT)
    assert torch.equal(tensor, 7 * KEPT.to(dtype))


@pytest.mark.parametrize("size", [CHUNK - 1, CHUNK, 2 * CHUNK + 3])
def test_tensors_longer_than_a_chunk(size):
    kept = torch.rand(size, generator=torch.Generator().manual_seed(0)) < 0.5
    tensor = torch.full((size,), torch.nan)
    zero_absent_(tensor, kept)
    assert torch.equal(tensor.isnan(), kept)


@pytest.mark.parametrize("kept", [KEPT, KEPT.t().contiguous().t()])
def test_tensors_that_lie_otherwise_in_memory(kept):
    for tensor in (torch.ones(3, 2).t(), torch.ones(2, 3), torch.ones(2, 6)[:, ::2]):
        zero_absent_(tensor, kept)
        assert torch.equal(tensor, KEPT.float())


def test_a_parameter_and_masks_of_inference_mode():
    with torch.inference_mode():
        kept = KEPT.clone()
    parameter = torch.nn.Parameter(torch.full((2, 3), torch.nan))
    zero_absent_(parameter.data, kept)
    assert torch.equal(parameter.isnan(), KEPT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_ruled_out_is_below_everything(dtype):
    scores = torch.tensor([3.0, torch.nan, -2.0, 0.1, torch.inf, -torch.inf], dtype=dtype)
    among = torch.tensor([True, False, True, True, False, False])
    expected = torch.tensor([3.0, -torch.inf, -2.0, 0.1, -torch.inf, -torch.inf], dtype=dtype)
    assert torch.equal(rule_out_(scores, among), expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_what_is_alive_without_a_weight_is_counted(dtype):
    tensor = torch.tensor([[0.0, -0.0, 1.0, 2.0], [torch.nan, torch.inf, torch.nan, 0.0]], dtype=dtype)
    kept = torch.tensor([[False, False, True, False], [False, False, True, False]])
    assert count_alive(tensor, kept) == count_alive(tensor.T, kept.T) == 3
    assert count_alive(torch.nn.Parameter(tensor), torch.ones_like(kept)) == 0
