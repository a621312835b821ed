"""What a cut rests on: other inputs than the example, other branches, and what a forward leaves behind."""

import random
import threading

import numpy as np
import pytest
import torch
from torch import nn

from sparsernn import InTraining, Sparsifier, compact, load_compact, save_compact
from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from tests.structure.networks import difference, masked, random_masks, size_of, without_neurons

quiet = pytest.mark.filterwarnings("ignore:0 of ")


class Body(nn.Module):
    """A recurrent layer of 6 units and a head; subclasses say what is done with them."""

    def __init__(self, **options):
        super().__init__()
        self.rnn, self.head = nn.GRU(4, 6, batch_first=True, **options), nn.Linear(6, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0])


def half(model: nn.Module, *example):
    """Masks without half of the units of the recurrent layer."""
    return without_neurons(model, {"rnn": [0, 2, 5]}, *example)


X = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
FORMS = {
    "tensor": X,
    "tuple": (X,),
    "list of arguments": [X],
    "keywords": {"x": X},
    "pair": ((), {"x": X}),
    "list of examples": [(X,), {"x": X[:1]}],
    "training": InTraining(X),
}


@pytest.mark.parametrize("form", FORMS)
def test_an_example_has_many_forms(form, tmp_path):
    model = Body()
    masks = half(model, X)
    small, _ = compact(model, masks, example=FORMS[form])
    assert small.rnn.hidden_size == 3 and difference(masked(model, masks), small, X) <= 1e-6
    save_compact(tmp_path / "small", small)
    assert difference(load_compact(tmp_path / "small", Body()), small, X) == 0
    run = Sparsifier(Body(), Magnitude(0.5, granularity="neuron"), example=FORMS[form])
    assert run.wiring.recorded


def test_arguments_that_the_forward_does_not_take_are_one_sentence():
    model = Body()
    with pytest.raises(UserError, match="does not run on the example"):
        compact(model, half(model, X), example=(X, X))


def mean_over_time(output: torch.Tensor) -> torch.Tensor:
    return output.mean(1)


class Kept(Body):
    """Keeps its attention, its last state, a list and a lock."""

    def __init__(self):
        super().__init__()
        self.lock, self.state, self.calls = threading.Lock(), None, []

    def forward(self, x):
        with self.lock:
            output, state = self.rnn(x, self.state)
            self.state, self.attention = state.detach(), torch.softmax(self.head(output)[..., 0], 1)
            self.calls.append(len(x))
            return self.head(output)


@quiet
@pytest.mark.parametrize("left_behind", [True, False])
def test_what_a_forward_leaves_behind_is_put_back(left_behind):
    model = Kept()
    masks = half(Body(), X)
    masks.apply_(model)
    if left_behind:
        model(X).sum().backward()
        model.state = model.state.detach()
    before = (model.state, list(model.calls))
    small, _ = compact(model, masks, example=X)
    assert small.rnn.hidden_size == 3 and small.lock is model.lock
    assert model.state is before[0] and model.calls == small.calls == before[1]
    for _ in range(3):
        assert torch.allclose(small(X), model(X), atol=1e-6)


def test_generators_are_put_back_and_chance_of_ones_own_is_named():
    class Chance(Body):
        source = random.SystemRandom()
        own = False

        def forward(self, x):
            noise = random.random() + np.random.rand() + float(torch.rand(()))
            return super().forward(x) + (self.source.random() if self.own else noise)

    model = Chance()
    masks = half(model, X)
    before = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    small, _ = compact(model, masks, example=X)
    after = (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    assert before[:2] == after[:2] and torch.equal(before[2], after[2]) and small.rnn.hidden_size == 3
    model.own = True
    with pytest.raises(UserError, match="does not repeat itself"):
        compact(model, masks, example=X)


class Start(Body):
    def forward(self, x, start=None):
        return self.head(self.rnn(x, start)[0])


@quiet
@pytest.mark.parametrize("start", [None, torch.zeros(1, 3, 6)])
@pytest.mark.parametrize("level", ["gate", "neuron"])
def test_zeros_from_outside_prove_nothing(start, level):
    model = Start(bias=False)
    masks = random_masks(model, level, 0.3, 0, example=(X,))
    small, _ = compact(model, masks, example=(X, start))
    for state in (None, torch.zeros(1, 3, 6), torch.randn(1, 3, 6)):
        assert difference(masked(model, masks), small, X, state) <= 1e-6
    assert size_of(small) < size_of(model) or level == "gate"


def test_states_handed_out_and_taken_in_say_how_they_can_be_cut():
    class Stream(Body):
        def forward(self, x, state=None):
            output, state = self.rnn(x, state)
            return self.head(output), state

    model = Stream(bias=False)
    masks = half(model, X)
    with pytest.warns(UserWarning, match="0 of 6 units of rnn can go.*carried_states=True"):
        small, _ = compact(model, masks, example=X)
    state = torch.randn(1, 3, 6)
    assert difference(masked(model, masks), small, X, state) <= 1e-6
    assert any(line.startswith("0 of 6 units of rnn") for line in small.cut_report)
    assert compact(model, masks, example=X, carried_states=True)[0].rnn.hidden_size == 3


class Branches(Body):
    """Two heads by name, one in training, a sum by a flag, and a value chosen by a number."""

    def __init__(self, head: str):
        super().__init__()
        self.way, self.others = head, nn.ModuleDict({name: nn.Linear(6, 3) for name in "ab"})

    def forward(self, x, task="a", flag=False, action=0):
        output = self.rnn(x)[0][:, -1]
        if self.way == "training" and self.training:
            return self.others["b"](output) + self.others["a"](output)
        if self.way == "flag" and flag:
            return output.sum(-1)
        if self.way == "sign" and float(x.sum()) > 0:
            return output.pow(2).sum(-1)
        values = self.others[task if self.way == "name" else "a"](output)
        return values[:, action] if self.way == "number" else values


CALLS = [{"task": "b"}, {"flag": True}, {"action": 2}, {"action": -1}, {}]


@pytest.mark.filterwarnings("ignore:0 of ", "ignore:no example ran")
@pytest.mark.parametrize("way", ["name", "training", "flag", "sign", "number"])
def test_branches_that_the_example_does_not_take(way):
    model = Branches(way).eval()
    masks = random_masks(model, "neuron", 0.5, 3, example=(X,))
    masks.apply_(model)
    small, _ = compact(model, masks, example=X)
    for training in (False, True):
        model.train(training), small.train(training)
        for keywords in CALLS:
            for x in (X, -X):
                assert torch.allclose(model(x, **keywords), small(x, **keywords), atol=1e-6)


@quiet
@pytest.mark.parametrize("steps", [1, 5])
def test_a_width_that_is_a_number_keeps_its_layer(steps):
    class Scaled(Body):
        def forward(self, x):
            output = self.rnn(x)[0]
            score = self.head(output)[..., :1] / output.size(-1)
            return self.head((torch.softmax(score, 1) * output).sum(1))

    model = Scaled()
    masks = half(Body(), X)
    small, _ = compact(model, masks, example=X[:, :steps])
    assert difference(masked(model, masks), small, X) <= 1e-6
    assert any("its width is used as a number" in line for line in small.cut_report)


def test_outputs_chosen_by_an_index():
    class Chosen(Body):
        def forward(self, x, action):
            return super().forward(x)[:, -1].gather(-1, action)

    model, zero = Chosen(), torch.zeros(3, 1, dtype=torch.long)
    masks = half(Body(), X)
    small, _ = compact(model, masks, example=(X, zero))
    assert small.rnn.hidden_size == 3 and small.head.out_features == 3
    assert difference(masked(model, masks), small, X, zero + 2) <= 1e-6


def test_references_outside_the_module_tree():
    class Listed(Body):
        def __init__(self):
            super().__init__(num_layers=2)
            self.layers = [self.rnn]
            object.__setattr__(self, "alias", self.rnn)
            self.optimizer = torch.optim.SGD(self.parameters(), 0.1)

        def forward(self, x):
            return self.head(self.layers[0](x)[0]) + self.head(self.alias(x)[0])

    model = Listed()
    masks = without_neurons(model, {"rnn.l0": [0, 1], "rnn.l1": [4]}, X)
    small, _ = compact(model, masks, example=X)
    assert size_of(small) < size_of(model) and small.layers[0] is small.alias is small.rnn
    parameters = {id(parameter) for parameter in small.parameters()}
    assert {id(parameter) for parameter in small.optimizer.param_groups[0]["params"]} == parameters
    reached = Body()
    reached.forward = lambda x: reached.head(reached.rnn(x)[0])
    with pytest.raises(UserError, match="of the model itself"):
        compact(reached, half(Body(), X), example=X)


@quiet
def test_without_an_example_only_a_plain_container_is_cut():
    def rows(model):
        masks = random_masks(model, "weight", 1.0, 0, where=lambda name: True)
        masks.kept["0.weight"][[0, 3]] = False
        return masks

    class Own(nn.Sequential):
        def forward(self, x):
            return self[2](torch.relu(self[0](x) + 1))

    for kind, hooked, width in ((nn.Sequential, False, 6), (nn.Sequential, True, 8), (Own, False, 8)):
        model = kind(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3))
        nn.init.zeros_(model[0].bias)
        if hooked:
            model[0].register_forward_hook(lambda module, arguments, result: result + 1)
        masks = rows(model)
        small, _ = compact(model, masks)
        assert small[0].out_features == width and difference(masked(model, masks), small, X) <= 1e-6


@pytest.mark.filterwarnings("ignore:0 of ", "ignore:`torch.jit")
def test_a_scripted_function_reads_what_it_is_given():
    pool = torch.jit.script(mean_over_time)

    class Scripted(Body):
        def forward(self, x):
            return self.head(pool(self.rnn(x)[0]))

    model = Scripted()
    masks = half(Body(), X)
    small, _ = compact(model, masks, example=X)
    assert difference(masked(model, masks), small, X) <= 1e-6
    assert any("scripted" in line for line in small.cut_report)


def test_inference_mode_and_the_meta_device(tmp_path):
    model = Body()
    masks = half(model, X)
    with torch.inference_mode():
        small, _ = compact(model, masks, example=X.clone())
    small(X).sum().backward()
    save_compact(tmp_path / "small", small)
    with torch.device("meta"):
        skeleton = Body()
    loaded = load_compact(tmp_path / "small", skeleton)
    assert difference(loaded, small, X) == 0 and {p.device.type for p in loaded.parameters()} == {"cpu"}
    with pytest.raises(UserError, match="meta"):
        Sparsifier(skeleton, Magnitude(0.5))


class Watching(Body):
    """A hook that is a function keeps the states on the model by its name."""

    def __init__(self):
        super().__init__()
        self.seen = {}
        self.rnn.register_forward_hook(lambda module, arguments, result: self.seen.update(states=result[0]))

    def forward(self, x):
        self.rnn(x)
        return self.head(self.seen["states"])


@pytest.mark.parametrize("ran_before", [False, True])
def test_a_copy_that_still_uses_the_model_is_refused(ran_before):
    """Where the model ran on the example before, its copy has the states of that run, and seems right on it."""
    model = Watching()
    masks = half(model, X)
    with torch.no_grad():
        model(X) if ran_before else model.seen.clear()
    with pytest.raises(UserError, match="a copy of the model does something else than the model"):
        compact(model, masks, example=X)


@pytest.mark.parametrize("layer", ["rnn", "head"])
def test_a_forward_that_was_put_into_a_layer_is_no_known_one(layer):
    model = Body()
    forward = getattr(model, layer).forward
    getattr(model, layer).forward = lambda *inputs: forward(*(2 * tensor for tensor in inputs))
    if layer == "rnn":
        with pytest.raises(UserError, match="rnn runs a forward that was put into it"):
            Sparsifier(model, Magnitude(0.5, granularity="neuron"), example=X)
        return
    masks = half(model, X)
    with pytest.raises(UserError, match="uses head.weight of the model itself"):
        compact(model, masks, example=X)


def test_an_example_that_does_not_fit_is_one_sentence_where_layers_are_followed_too():
    with pytest.raises(UserError, match="the model does not run on the example: .*positional arguments"):
        Sparsifier(Body(), Magnitude(0.5, granularity="neuron"), example=(X, X, X))


@quiet
def test_units_that_go_only_together_are_counted():
    class Turning(Body):
        def forward(self, x):
            return self.head((states := self.rnn(x)[0]) + states.roll(1, -1))

    model = Turning()
    masks = half(Body(), X)
    with pytest.warns(UserWarning, match="0 of 6 units of rnn can go, because the forward joins each of them with"):
        compact(model, masks, example=X)
