"""A value that cannot be used gets one clear error, and nothing is changed."""

import copy
import dataclasses
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from sparsernn import Sparsifier, folders, sparsify
from sparsernn.cells.lstm import LSTM
from sparsernn.errors import UserError
from sparsernn.methods.deep_r import DeepR
from sparsernn.methods.dsr import DSR
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.methods.l0 import L0
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.rigl import RigL
from sparsernn.methods.snfs import SNFS
from sparsernn.methods.sparse_variational_dropout import SparseVariationalDropout
from sparsernn.methods.st_rnn import STRNN
from sparsernn.methods.static import Static
from tests.methods.networks import loss_of, network, start, train

WITH_SPARSITY = [method for method in folders.entries("methods").values() if "sparsity" in method.__dataclass_fields__]


def expected(error) -> None:
    """The error says what happened, what was expected and what to do."""
    assert all(part.strip() for part in (error.value.happened, error.value.expected, error.value.do))


@pytest.mark.parametrize("sparsity", [1, 1.0, -0.1, 1.5, 90, "0.9", True, float("nan"), float("inf")])
@pytest.mark.parametrize("method", WITH_SPARSITY)
def test_sparsity_outside_its_range(method, sparsity):
    needed = {"strength": 0.1} if "strength" in method.__dataclass_fields__ else {}
    with pytest.raises(UserError, match="sparsity is") as error:
        method(sparsity=sparsity, **needed)
    expected(error)


@pytest.mark.parametrize("seed", ["0", 1.5, None, True, 2**64])
def test_a_seed_that_torch_does_not_take(seed):
    model = network()
    with pytest.raises(UserError, match="^seed is") as error:
        Sparsifier(model, Magnitude(0.5), torch.optim.SGD(model.parameters(), 0.1), steps=4, seed=seed)
    expected(error)


def test_numbers_of_numpy_are_numbers():
    method = Magnitude(np.float32(0.5), every=np.int64(3))
    assert method == Magnitude(0.5, every=3) and type(method.sparsity) is float and type(method.every) is int
    assert LSTM(4, 8, forget_bias=np.float32(1.0)).cell == LSTM(4, 8, forget_bias=1.0).cell


@pytest.mark.parametrize("method", folders.entries("methods").values())
def test_an_option_of_another_type(method):
    needed = {name: 0.1 for name in ("strength", "sparsity") if name in method.__dataclass_fields__}
    needed |= {"examples": 10} if "examples" in method.__dataclass_fields__ else {}
    method(**needed)
    for field in dataclasses.fields(method):
        numeric = "float" in str(field.type)
        for value in (object(), {1: "x"}, *([float("nan"), float("inf"), "0.5", True] if numeric else ())):
            if field.init:
                with pytest.raises(UserError, match=f"^{field.name} is ") as error:
                    method(**needed | {field.name: value})
                expected(error)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Magnitude(0.5, scope="everything"),
        lambda: Magnitude(0.5, start=0.8, stop=0.2),
        lambda: Magnitude(0.5, start=-0.1),
        lambda: Magnitude(0.5, stop=1.1),
        lambda: Magnitude(0.5, every=0),
        lambda: Magnitude(0.5, every=-3),
        lambda: Magnitude(0.5, every=1.5),
        lambda: Magnitude(0.5, every="often"),
        lambda: Magnitude(0.5, schedule="cubik"),
        lambda: Magnitude(0.5, rewind=2.0),
        lambda: Magnitude(0.5, stop=0.2, rewind=0.5),
        lambda: RandomPruning(0.5, scope="all"),
        lambda: RigL(0.5, rate=1.5),
        lambda: RigL(0.5, decay="sudden"),
        lambda: RigL(0.5, distribution="er"),
        lambda: RigL(0.5, every=True),
        lambda: STRNN(0.5, floor=-1),
        lambda: STRNN(0.5, stop=3),
        lambda: STRNN(0.5, rate=float("nan")),
        lambda: STRNN(0.5, drop="signs"),
        lambda: STRNN(0.5, drop="sign", granularity="16x1"),
        lambda: STRNN(0.5, granularity="neuron"),
        lambda: STRNN(0.5, birth="random"),
        lambda: STRNN(0.5, redistribution="gradient"),
        lambda: STRNN(0.5, counts="binomial"),
        lambda: STRNN(0.5, power=2.0),
        lambda: STRNN(0.5, eps=2.0),
        lambda: STRNN(),
        lambda: STRNN(eps=0.0),
        lambda: STRNN(eps=-1),
        lambda: STRNN(eps=float("nan")),
        lambda: STRNN(eps="20"),
        lambda: STRNN(eps=True),
        lambda: SNFS(0.5, momentum=1.5),
        lambda: DSR(0.5, threshold=0.0),
        lambda: DSR(0.5, tolerance=-0.1),
        lambda: DeepR(0.5, strength=-1.0),
        lambda: DeepR(0.5, temperature=float("inf")),
        lambda: DeepR(0.5, granularity="16x1"),
        lambda: Static(0.5, distribution="random"),
        lambda: Static(),
        lambda: Static(0.5, masks={"rnn.weight_hh_l0": torch.ones(32, 8)}),
        lambda: GroupLasso(-1.0),
        lambda: GroupLasso(float("nan")),
        lambda: GroupLasso("strong"),
        lambda: GroupLasso(0.1, stop=7),
        lambda: GroupLasso(0.1, threshold=-1.0),
        lambda: GroupLasso(0.1, ()),
        lambda: GroupLasso(0.1, ("gate", "gate")),
    ],
)
def test_options_out_of_range(make):
    with pytest.raises(UserError) as error:
        make()
    expected(error)


@pytest.mark.parametrize(
    ("method", "steps"),
    [
        (RigL(0.5, every=100), 50),
        (RigL(0.5, every=80, stop=0.5), 100),
        (STRNN(0.5, every=30), 20),
        (STRNN(0.5, every=20), 20),
        (STRNN(0.5, every=0.9), 1),
        (Magnitude(0.5, every=100), 50),
        (Magnitude(0.5, every=11, start=0.2, stop=0.3), 100),
    ],
)
def test_a_schedule_that_cannot_fire(method, steps):
    with pytest.raises(UserError, match="can never fire") as error:
        start(method, steps)
    expected(error)
    assert any(character.isdigit() for character in str(error.value))


@pytest.mark.parametrize("method", [L0(), SparseVariationalDropout(examples=10)])
def test_a_distribution_without_a_training(method):
    with pytest.raises(UserError, match=r"^steps is 0\. Expected a training") as error:
        sparsify(network(), method)
    expected(error)


@pytest.mark.parametrize(
    "where", ["nothing.*", ["a", "b"], lambda name: False, (nn.GRU, "weight"), (nn.LSTM, "w_"), "rnn.bias_*", []]
)
def test_a_selection_that_matches_nothing(where):
    with pytest.raises(UserError, match="matches no weight") as error:
        start(Static(0.5), 5, where=where)
    expected(error)
    assert "rnn.weight_hh_l0" in str(error.value)


@pytest.mark.parametrize("where", [5, b"rnn.*", [None], nn.GRU(2, 3), torch.ones(3)])
def test_a_selection_of_another_kind(where):
    with pytest.raises(UserError, match=f"where is a {type(where).__name__}"):
        start(Static(0.5), 5, where=where)


def test_a_model_without_recurrent_layers():
    with pytest.raises(UserError, match="no recurrent layer") as error:
        sparsify(nn.Sequential(nn.Linear(3, 3)), Magnitude(0.5))
    assert "0.weight" in str(error.value)


@pytest.mark.parametrize("granularity", ["neurons", "16 x 1", "0x1", "word", ""])
def test_an_unknown_granularity(granularity):
    with pytest.raises(UserError) as error:
        start(Magnitude(0.5, granularity), 100)
    expected(error)


@pytest.mark.parametrize("per", ["gates", None])
def test_an_unknown_share(per):
    with pytest.raises(UserError):
        start(Magnitude(0.5, per=per), 100)


@pytest.mark.parametrize("steps", [0, -1, 2.5, None, True])
def test_steps(steps):
    model = network()
    with pytest.raises(UserError, match="steps is"):
        Sparsifier(model, Static(0.5), torch.optim.SGD(model.parameters()), steps=steps)


@pytest.mark.parametrize("method", [None, "rigl", RigL])
def test_something_else_in_place_of_a_method(method):
    with pytest.raises(UserError, match="the method is"):
        Sparsifier(network(), method)


def test_an_optimizer_of_another_model():
    with pytest.raises(UserError, match="the optimizer does not hold"):
        Sparsifier(network(), Static(0.5), torch.optim.SGD(network().parameters()), steps=5)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (RigL(0.5, every=100), {"steps": 20}),
        (Magnitude(0.5, "neurons"), {"steps": 20}),
        (Static(masks={"rnn.nothing": torch.ones(1)}), {"steps": 5}),
    ],
)
def test_an_error_leaves_model_and_optimizer_as_they_were(method, options):
    model = network()
    optimizer = torch.optim.SGD(model.parameters())
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError):
        Sparsifier(model, method, optimizer, **options)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not optimizer._optimizer_step_pre_hooks and not optimizer._optimizer_step_post_hooks
    assert not model._forward_hooks and not model._forward_pre_hooks


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({"rnn.weight_hh_l9": torch.ones(32, 8)}, "a mask is given for"),
        ({"rnn.weight_hh_l0": torch.ones(8, 32)}, "has shape"),
        ({"rnn.weight_hh_l0": np.ones((3, 3))}, "has shape"),
        ({}, "masks is empty"),
        ({"rnn.weight_hh_l0": torch.full((32, 8), 0.3)}, "something else than zeros and ones"),
        ({"rnn.weight_hh_l0": torch.full((32, 8), float("nan"))}, "something else than zeros and ones"),
        ({"rnn.weight_hh_l0": "all"}, "something else than zeros and ones"),
        ({"rnn.weight_hh_l0": None}, "something else than zeros and ones"),
        ({"rnn.weight_hh_l0": torch.ones(32, 8, dtype=torch.bool, device="meta")}, "something else than zeros"),
        ([torch.ones(32, 8)], "masks is a list"),
    ],
)
def test_masks_that_do_not_fit(masks, message):
    with pytest.raises(UserError, match=message) as error:
        start(Static(masks=masks), 5)
    expected(error)


def test_a_target_that_was_not_reached():
    model, optimizer, sparsifier = start(Magnitude(0.9, every=2, stop=0.8), steps=20)
    train(sparsifier, 10)
    with pytest.warns(
        UserWarning, match=r"target sparsity 0\.90 was not reached: 0\.\d\d after 10 of 20 steps.* step 16"
    ) as caught:
        sparsifier.finalize()
    assert caught[0].filename == __file__


def test_a_target_for_which_there_are_too_few_groups():
    class Rolled(nn.Module):
        """Each unit is multiplied by its neighbour, so that all of them are one group."""

        def __init__(self):
            super().__init__()
            self.rnn, self.head = nn.GRU(2, 4), nn.Linear(4, 1)

        def forward(self, x):
            output = self.rnn(x)[0]
            return self.head(output * output.roll(1, -1))

    with pytest.warns(UserWarning, match=r"nothing is absent although the sparsity is 0\.40: there are too few groups"):
        masks = sparsify(Rolled(), Magnitude(0.4, "neuron"), example=torch.randn(3, 1, 2))
    assert masks.sparsity() == 0


def test_a_target_that_was_reached_says_nothing():
    model, optimizer, sparsifier = start(Magnitude(0.9, every=2, stop=0.8), steps=20)
    train(sparsifier, 16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sparsifier.finalize()


def test_rewinding_without_training():
    with pytest.raises(UserError, match="rewinding"):
        sparsify(network(), Magnitude(0.5, rewind=0.0))


def test_a_proximal_step_on_groups_that_overlap():
    for granularity in ("neuron", ("gate", "neuron")):
        with pytest.raises(UserError, match="overlap"):
            start(GroupLasso(0.1, granularity, proximal=True), 10)


def test_an_erdos_renyi_budget_of_blocks():
    with pytest.raises(UserError, match="Erdős–Rényi"):
        start(RigL(0.5, every=2, granularity="16x1", distribution="erdos_renyi"), 10)


@pytest.mark.parametrize(
    ("eps", "message"),
    [
        (0.01, r"eps 0.01 leaves no weight in rnn.weight_\w+, which is \d+ x \d"),
        (50.0, "eps 50.0 fills every selected matrix"),
    ],
)
@pytest.mark.parametrize("method", [Static, STRNN])
def test_an_eps_that_empties_a_layer_or_fills_all(method, eps, message):
    with pytest.raises(UserError, match=message) as error:
        start(method(eps=eps), 100)
    expected(error)


def test_nan_weights_are_not_pruned_silently():
    model, optimizer, sparsifier = start(Magnitude(0.5, every=1, stop=1.0), steps=4)
    train(sparsifier, 1)
    with torch.no_grad():
        model.rnn.weight_hh_l0[0, 0] = torch.nan
    kept = sparsifier.masks.state_dict()
    loss_of(model).backward()
    with pytest.raises(UserError, match="NaN"):
        optimizer.step()
    assert all(torch.equal(sparsifier.masks.kept[name], kept[name]) for name in kept)


@pytest.mark.parametrize("change", ["none", "weights", "empty", "without generator"])
def test_a_state_of_something_else(change):
    model, _, sparsifier = start(Static(0.5), 5)
    state = sparsifier.state_dict()
    tensors = {name: tensor for name, tensor in state["tensors"].items() if name != "generator"}
    states = {
        "none": None,
        "weights": model.state_dict(),
        "empty": {},
        "without generator": {**state, "tensors": tensors},
    }
    with pytest.raises(UserError, match="the state is not that of a Sparsifier"):
        sparsifier.load_state_dict(states[change])


def test_a_weight_that_changes_its_shape():
    model, optimizer, sparsifier = start(Magnitude(0.5, "neuron", every=1), steps=20)
    train(sparsifier, 2)
    model.rnn.weight_hh_l0.data = torch.randn(4, 8)
    with pytest.raises(UserError, match=r"a weight has the shape \(4, 8\), its mask"):
        sparsifier.enforce()


def test_a_state_of_another_model():
    _, _, sparsifier = start(Static(0.5), 5)
    state = sparsifier.state_dict()
    model = network(units=6)
    other = Sparsifier(model, Static(0.5), torch.optim.SGD(model.parameters()), steps=5)
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(UserError, match="do not fit"):
        other.load_state_dict(state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())


def test_an_option_that_had_another_place_is_not_taken_for_its_neighbour():
    with pytest.raises(TypeError, match="positional"):
        GroupLasso(0.1, "neuron", 0.5)
