"""FastGRNN: its equations, its ranks as units that can be cut, and the forms in which it leaves Python."""

import numpy as np
import pytest
import torch
from torch import nn

from sparsernn import compact, export_onnx, runtime, sparsify
from sparsernn.deploy.packing import pack
from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from sparsernn.nn import FastGRNN

RANKS = {"input_rank": 3, "hidden_rank": 4}


def made(**options):
    torch.manual_seed(0)
    layer = FastGRNN(5, 8, batch_first=True, **options)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.uniform_(-0.8, 0.8)
    return layer.eval()


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


@pytest.mark.parametrize("options", [{}, RANKS, {"zeta": 0.9, "nu": 0.1}], ids=str)
def test_the_equations_of_the_source(options):
    layer, x = made(**options), torch.randn(1, 9, 5)
    weights = {name.removesuffix("_l0"): one.detach().double().numpy() for name, one in layer.named_parameters()}
    into = weights["weight_ih"] @ weights.get("weight_iu", np.eye(5))
    again = weights["weight_hh"] @ weights.get("weight_hu", np.eye(8))
    zeta, nu = (options.get(name, sigmoid(weights[name]) if name in weights else None) for name in ("zeta", "nu"))
    hidden = np.zeros(8)
    for frame, ours in zip(x[0].double().numpy(), layer(x)[0][0], strict=True):
        both = into @ frame + again @ hidden
        z, n = sigmoid(both + weights["bias_update"]), np.tanh(both + weights["bias_candidate"])
        hidden = (zeta * (1 - z) + nu) * n + z * hidden
        np.testing.assert_allclose(ours.detach().numpy(), hidden, atol=1e-6)


def test_units_of_a_rank_are_cut_and_nothing_changes():
    model, x = nn.Sequential(made(**RANKS), First(), nn.Linear(8, 2)).eval(), torch.randn(3, 7, 5)
    masks = sparsify(model, Magnitude(0.5, granularity="rank"), example=(x,))
    expected = model(x)
    small, _ = compact(model, masks, example=(x,))
    cell = small[0].cell
    assert (cell.input_rank, cell.hidden_rank) != (3, 4) and cell.input_rank + cell.hidden_rank <= 4
    assert small[0].get_parameter("weight_iu_l0").shape == (cell.input_rank, 5)
    torch.testing.assert_close(small(x), expected)


@pytest.mark.parametrize("options", [{}, RANKS], ids=str)
def test_it_leaves_python(options, tmp_path):
    layer, x = made(**options), torch.randn(2, 6, 5)
    pack(tmp_path / "packed", layer)
    expected = layer(x)[0].detach().numpy()
    np.testing.assert_allclose(runtime.load(tmp_path / "packed").run(x.numpy()), expected, atol=2e-6)
    written = export_onnx(layer, tmp_path / "layer.onnx", example=x, dynamic={"batch", "time"})
    assert max(written.differences.values()) < 1e-5


@pytest.mark.parametrize("options", [{"input_rank": 0}, {"hidden_rank": True}, {"zeta": 1.5}, {"nu": -0.1}], ids=str)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(UserError, match=next(iter(options))):
        FastGRNN(5, 8, **options)


class First(nn.Module):
    def forward(self, both):
        return both[0][:, -1]
