"""The layout of RNNoise: its product written out as its C has it, both ways through the arrays, its densities."""

import numpy as np
import pytest
import torch
from torch import nn

from sparsernn import Sparsifier
from sparsernn.deploy.rnnoise import DENSITIES, SPARSITIES, read_gru, write_gru
from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude


def thinned():
    torch.manual_seed(0)
    layer = nn.GRU(12, 16)
    with torch.no_grad():
        for weight in (layer.weight_ih_l0, layer.weight_hh_l0):
            kept = torch.rand(len(weight) // 8, weight.shape[1] // 4) > 0.6
            weight *= kept.repeat_interleave(8, 0).repeat_interleave(4, 1)
    return layer


def product(index, numbers, x, rows, whole):
    """W x, block by block; numbers of a block go source by source, or unit by unit where they are whole."""
    out, places, at = np.zeros(rows), iter(index.tolist()), 0
    for first in range(0, rows, 8):
        for _ in range(next(places)):
            place = next(places)
            for source in range(4):
                for unit in range(8):
                    step = 4 * unit + source if whole else 8 * source + unit
                    out[first + unit] += float(numbers[at + step]) * x[place + source]
            at += 32
    return out


@pytest.mark.parametrize("part", ["input", "recurrent"])
def test_its_product_is_torchs(part):
    layer, arrays = thinned(), write_gru(thinned())
    weight = (layer.weight_ih_l0 if part == "input" else layer.weight_hh_l0).detach().double().numpy()
    x = np.random.default_rng(0).normal(size=weight.shape[1])
    r, z, n = np.split(weight @ x, 3)
    index = arrays[f"{part}_weights_idx"]
    ours = product(index, arrays[f"{part}_weights_float"], x, 48, whole=False)
    np.testing.assert_allclose(ours, np.concatenate([z, r, n]), atol=1e-6)
    rounded = product(index, arrays[f"{part}_weights_int8"], x, 48, whole=True) * arrays[f"{part}_scale"]
    np.testing.assert_allclose(rounded, np.concatenate([z, r, n]), atol=0.02)
    assert (
        arrays[f"{part}_weights_int8"].dtype == np.int8 and len(index) == 6 + arrays[f"{part}_weights_int8"].size // 32
    )


def test_arrays_that_are_read_are_the_layer():
    layer, arrays = thinned(), write_gru(thinned())
    for name, weight in read_gru(arrays, 12, 16).items():
        assert np.array_equal(weight, layer.get_parameter(f"{name}_l0").detach().numpy())
    exact = {name: arrays.pop(name) for name in list(arrays) if name.endswith("float")}
    near = read_gru(arrays, 12, 16)
    assert exact and np.abs(near["weight_hh"] - layer.weight_hh_l0.detach().numpy()).max() < 0.25 / 127
    more = read_gru(arrays | {"recurrent_weights_diag": np.arange(48, dtype=np.float32)}, 12, 16)
    change = more["weight_hh"] - near["weight_hh"]
    expected = [np.diag(np.arange(first, first + 16)) for first in (16, 0, 32)]  # r, z, n
    np.testing.assert_allclose(change, np.concatenate(expected), atol=1e-5)


def test_training_ends_at_the_densities_of_each_gate():
    torch.manual_seed(0)
    model = nn.GRU(40, 80)
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    method = Magnitude(0.6, granularity="8x4", per="gate", gates=SPARSITIES, start=0.2, stop=0.8, every=2)
    sparsifier, counts = Sparsifier(model, method, optimizer, steps=20), []
    for _ in range(20):
        model(torch.randn(3, 2, 40))[0].square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        counts.append(int(model.weight_hh_l0.count_nonzero()))
    masks = sparsifier.finalize()
    assert counts == sorted(counts, reverse=True) and len(set(counts)) > 3
    for name in ("weight_ih_l0", "weight_hh_l0"):
        for gate, rows in zip(("reset", "update", "candidate"), masks.kept[name].chunk(3), strict=True):
            blocks = rows.reshape(10, 8, -1, 4).any(3).any(1)
            assert blocks.float().mean().item() == pytest.approx(DENSITIES[gate], abs=0.5 / blocks.numel())
            assert torch.equal(rows, blocks.repeat_interleave(8, 0).repeat_interleave(4, 1))


@pytest.mark.parametrize(
    ("model", "message"),
    [(nn.LSTM(8, 8), "made of LSTM"), (nn.GRU(8, 8, 2), "made of GRU, GRU"), (nn.GRU(8, 12), "12 units")],
)
def test_other_networks_are_refused(model, message):
    with pytest.raises(UserError, match=message):
        write_gru(model)


def test_arrays_of_other_sizes_are_refused():
    for inputs, units in ((8, 16), (12, 24), (12, 8)):
        with pytest.raises(UserError, match="not those of"):
            read_gru(write_gru(thinned()), inputs, units)


@pytest.mark.parametrize(
    "options", [{"gates": {"reset": 1.0}}, {"gates": {"reset": 0.5}, "per": "tensor"}], ids=["range", "per"]
)
def test_sparsities_of_gates_that_make_no_sense_are_refused(options):
    with pytest.raises(UserError, match="spars"):
        Magnitude(0.5, **{"per": "gate"} | options)
