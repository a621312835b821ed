"""Exact zeros, whatever stood there, in every type of number; a mask that changes is followed."""

import pytest
import torch

from sparsernn.methods.zeroing import Zeroing
from sparsernn.structure.masks import Masks

KEPT = torch.tensor([[True, False, True], [False, False, True]])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.complex64])
@pytest.mark.parametrize("value", [1.5, -2.0, float("nan"), float("inf"), float("-inf"), -0.0])
def test_absent_numbers_become_zero_and_others_stay(dtype, value):
    tensor = torch.full((2, 3), value, dtype=dtype)
    Zeroing(Masks({"weight": KEPT})).zero_("weight", tensor)
    assert bool((tensor[~KEPT] == 0).all())
    assert torch.equal(tensor[KEPT].nan_to_num(7.0), torch.full((3,), value, dtype=dtype).nan_to_num(7.0))
    if dtype.is_floating_point:
        assert not bool(torch.signbit(tensor[~KEPT]).any())


def test_a_tensor_that_lies_otherwise_in_memory():
    tensor = torch.ones(3, 2).t()
    Zeroing(Masks({"weight": KEPT})).zero_("weight", tensor)
    assert torch.equal(tensor, KEPT.float())


@pytest.mark.parametrize(
    "change",
    [lambda kept: kept.fill_(False), lambda kept: kept.view(-1)[2:].zero_(), lambda kept: kept[0].copy_(~kept[0])],
)
def test_a_mask_changed_in_place_is_followed(change):
    masks = Masks({"weight": KEPT.clone()})
    zeroing, tensor = Zeroing(masks), torch.ones(2, 3)
    zeroing.zero_("weight", tensor)
    change(masks.kept["weight"])
    tensor = torch.ones(2, 3)
    zeroing.zero_("weight", tensor)
    assert torch.equal(tensor, masks.kept["weight"].float())


def test_a_mask_put_in_place_of_another_is_followed():
    masks = Masks({"weight": KEPT})
    zeroing = Zeroing(masks)
    zeroing.zero_("weight", torch.ones(2, 3))
    masks.kept["weight"] = ~KEPT
    tensor = torch.ones(2, 3, dtype=torch.float64)
    zeroing.zero_("weight", tensor)
    assert torch.equal(tensor, (~KEPT).double())


def test_masks_made_in_inference_mode():
    with torch.inference_mode():
        masks = Masks({"weight": KEPT.clone()})
    tensor = torch.full((2, 3), torch.nan)
    Zeroing(masks).zero_("weight", tensor)
    assert torch.equal(tensor.isnan(), KEPT)
