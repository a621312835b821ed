"""Sparse variational dropout: every equation against one written here, and what it promises to a training loop."""

import copy
import math
from pathlib import Path

import pytest
import torch
from torch import nn

from sparsernn import Sparsifier
from sparsernn.errors import UserError
from sparsernn.kernels.registry import using
from sparsernn.methods.l0 import L0
from sparsernn.methods.parts.divergences import DIVERGENCES, by_mean, divergence, log_alpha
from sparsernn.methods.sparse_variational_dropout import SparseVariationalDropout
from tests.contracts import contract
from tests.methods.networks import batch, start, train
from tests.methods.two_processes import both, check_equal, side_by_side, trained, write
from tests.training.conftest import CASES

WHOLE = ("weight", "gate", "neuron")
WORDS, WIDTH, UNITS, CLASSES = 11, 3, 4, 2


class Reviews(nn.Module):
    """Words, one LSTM, a head that reads the last output."""

    def __init__(self, rnn=nn.LSTM, batch_first=False, units=UNITS, words=WORDS):
        super().__init__()
        self.embedding = nn.Embedding(words, WIDTH)
        self.rnn = rnn(WIDTH, units, batch_first=batch_first)
        self.head = nn.Linear(units, CLASSES)

    def forward(self, ids):
        output = self.rnn(self.embedding(ids))[0]
        return self.head(output[:, -1] if self.rnn.batch_first else output[-1])


class Speech(nn.Module):
    """Scores at every step, and the state to go on with."""

    def __init__(self, rnn=nn.LSTM):
        super().__init__()
        self.rnn, self.head = rnn(WIDTH, UNITS), nn.Linear(UNITS, CLASSES)

    def forward(self, x, state=None):
        output, state = self.rnn(x, state)
        return self.head(output), state


def ids(time=5, batch=6, seed=0):
    return torch.randint(WORDS, (time, batch), generator=torch.Generator().manual_seed(seed))


def sparsified(model, *, rate=0.1, steps=10, where="*weight*", example=None, optimizer=None, **options):
    optimizer = optimizer or torch.optim.SGD(model.parameters(), lr=rate)
    method = SparseVariationalDropout(**({"examples": 50} | options))
    return optimizer, Sparsifier(model, method, optimizer, steps=steps, where=where, example=example)


@torch.no_grad()
def without_noise(sparsifier, seed=0):
    """Only variables of groups are left to matter, each with a mean of its own."""
    generator = torch.Generator().manual_seed(seed)
    for name, parameter in sparsifier.owned.items():
        if "log_sigma" in name:
            parameter.fill_(-torch.inf)
        else:
            parameter.copy_(0.5 + torch.rand(parameter.shape, generator=generator))


def exact_divergence(ratio):
    """-log(alpha) / 2 + E log|1 + sqrt(alpha) e| - E log|e|, by quadrature."""
    noise = torch.linspace(-12, 12, 4_000_001, dtype=torch.float64)
    density = (-noise.square() / 2).exp() / math.sqrt(2 * math.pi) * (noise[1] - noise[0])
    inner = (1 + math.exp(ratio / 2) * noise).abs().clamp_min(1e-9).log()
    return -ratio / 2 + float((density * inner).sum() - (density * noise.abs().clamp_min(1e-9).log()).sum())


@pytest.mark.parametrize("name", DIVERGENCES)
@pytest.mark.parametrize("ratio", [-7.5, -3.0, -0.95, 0.0, 2.0, 7.5])
def test_the_divergence_is_the_integral(name, ratio):
    mean = torch.tensor([math.exp(-ratio / 2)], dtype=torch.float64)
    value = float(divergence(mean, torch.zeros_like(mean), DIVERGENCES[name]))
    offset = 0.67 if name == "chirkova2018" else 0
    assert value + offset == pytest.approx(exact_divergence(ratio), abs=0.025)


def test_both_divergences_differ_by_a_constant_almost():
    ratio = torch.linspace(-8, 8, 4001, dtype=torch.float64)
    mean, zeros = (-ratio / 2).exp(), torch.zeros_like(ratio)
    values = [
        torch.stack([divergence(m, s, DIVERGENCES[name]) for m, s in zip(mean, zeros, strict=True)])
        for name in ("chirkova2018", "molchanov2017")
    ]
    assert (values[0] + 0.67 - values[1]).abs().max() < 0.0082
    empty = divergence(torch.zeros(1000, dtype=torch.float64), torch.zeros(1000).double(), DIVERGENCES["chirkova2018"])
    assert float(empty) / 1000 == pytest.approx(-0.67, abs=2e-3)


@pytest.mark.parametrize("name", DIVERGENCES)
def test_gradients_of_the_divergence(name):
    height, start_at, slope, offset = DIVERGENCES[name]
    generator = torch.Generator().manual_seed(0)
    mean = torch.randn(300, generator=generator, dtype=torch.float64)
    mean[0] = 0
    mean.requires_grad_()
    log_sigma = (3 * torch.randn(300, generator=generator, dtype=torch.float64)).requires_grad_()
    ratio = (2 * log_sigma - (mean.square() + 1e-12).log()).clamp(-8, 8)
    plain = 0.5 * (1 + (-ratio).exp()).log() - height * (start_at + slope * ratio).sigmoid() + offset
    expected = torch.autograd.grad(plain.sum(), (mean, log_sigma))
    value = divergence(mean, log_sigma, DIVERGENCES[name])
    gradients = torch.autograd.grad(value, (mean, log_sigma))
    assert torch.allclose(value, plain.sum(), rtol=1e-12)
    assert torch.allclose(log_alpha(mean.detach(), log_sigma.detach()), ratio, atol=1e-12)
    assert all((ours - theirs).abs().max() <= 1e-12 for ours, theirs in zip(gradients, expected, strict=True))
    alone = by_mean(mean.detach(), log_sigma.detach(), DIVERGENCES[name])
    assert torch.allclose(alone, expected[0], atol=1e-12)


def noise_of(sparsifier, shape):
    return torch.randn(shape, generator=sparsifier.generator, dtype=torch.float64)


def written_out(sparsifier, model, x):
    """One LSTM with the same noise: weights once, variables of gates and of what is read once a sequence."""
    owned, parameters, size = sparsifier.owned, dict(model.named_parameters()), x.shape[1]
    weights = dict(parameters)
    for name in sorted(sparsifier.selected):
        noise = noise_of(sparsifier, parameters[name].shape)
        weights[name] = parameters[name] + owned[f"log_sigma.{name}"].exp() * noise
    variables = {}
    for level, groups in (("gate", "gate"), ("neuron", "read")):
        noise = noise_of(sparsifier, (size, sparsifier.groups(groups).count))
        variables[level] = owned[f"group_mean.{level}"] + owned[f"group_log_sigma.{level}"].exp() * noise
    z_hidden, z_input = variables["neuron"].split([UNITS, WIDTH], 1)  # hidden units are numbered first
    hidden = memory = torch.zeros(size, UNITS, dtype=torch.float64)
    bias = weights["rnn.bias_ih_l0"] + weights["rnn.bias_hh_l0"]
    outputs = []
    for step in x:
        products = (z_input * step) @ weights["rnn.weight_ih_l0"].T + hidden @ weights["rnn.weight_hh_l0"].T
        i, f, g, o = (products * variables["gate"] + bias).chunk(4, -1)
        memory = f.sigmoid() * memory + i.sigmoid() * g.tanh()
        hidden = o.sigmoid() * memory.tanh() * z_hidden
        outputs.append(hidden @ weights["head.weight"].T + weights["head.bias"])
    return torch.stack(outputs), hidden, memory


@pytest.mark.parametrize("provider", ["", "reference"])
def test_a_forward_and_its_gradients_are_those_of_the_equation(provider):
    torch.manual_seed(0)
    model, x = Speech().double(), torch.randn(7, 3, WIDTH, dtype=torch.float64)
    _, sparsifier = sparsified(model, example=x, log_sigma=-1.5)
    leaves = [*model.parameters(), *sparsifier.owned.values()]
    results = []
    for run in ("ours", "theirs"):
        sparsifier.generator.manual_seed(3)
        if run == "ours":
            with using(provider):
                output, (hidden, memory) = model(x)
                hidden, memory = hidden[0], memory[0]
        else:
            output, hidden, memory = written_out(sparsifier, model, x)
        loss = output.square().sum() + hidden.sum() + memory.square().sum()
        results.append([output, hidden, memory, *torch.autograd.grad(loss, leaves, allow_unused=True)])
    for ours, theirs in zip(*results, strict=True):
        assert (ours - theirs).abs().max() <= 1e-12


@pytest.mark.parametrize("cell", contract.cells())
def test_variables_that_all_sequences_share_are_the_same_in_the_weights(cell):
    """Two stacked layers of every cell, and a head: factors of each sequence, or multiplied into what reads."""
    x, outputs = contract.batch(0)[0], []
    for sampled in ("sequence", "minibatch"):
        model, optimizer = contract.build(contract.cells()[cell])
        _, sparsifier = sparsified(model, sampled=sampled, optimizer=optimizer, where=None, example=x)
        without_noise(sparsifier)
        outputs.append((model(x), model.eval()(x), len(sparsifier.owned)))
    assert outputs[0][2] == outputs[1][2]
    assert torch.allclose(outputs[0][0], outputs[1][0], atol=1e-6)
    assert torch.allclose(outputs[1][0], outputs[1][1], atol=1e-6)


@pytest.mark.parametrize("batch_first", [False, True])
@pytest.mark.parametrize("sampled", ["sequence", "minibatch"])
def test_words_too(sampled, batch_first):
    torch.manual_seed(0)
    model, words = Reviews(batch_first=batch_first), ids()
    _, sparsifier = sparsified(model, sampled=sampled, vocabulary=True)
    without_noise(sparsifier)
    expected = model(words)
    assert torch.allclose(expected, model.eval()(words), atol=1e-6)
    assert sparsifier.owned["group_mean.word"].shape == (WORDS,)


def test_a_word_has_one_variable_in_a_sequence_and_others_in_others():
    model = Reviews()
    _, sparsifier = sparsified(model, levels=("weight",), vocabulary=True)
    seen = []
    model.embedding.register_forward_hook(lambda module, arguments, output: seen.append(output.detach().clone()))
    with torch.no_grad():
        model.embedding.weight.fill_(1.0)
        sparsifier.owned["log_sigma.embedding.weight"].fill_(-torch.inf)
    words = torch.tensor([[1, 1], [2, 2], [1, 3], [2, 1]])
    handle = model.rnn.register_forward_pre_hook(lambda module, arguments: seen.append(arguments[0].detach().clone()))
    seen.clear()
    model(words)
    handle.remove()
    factors = seen[-1][..., 0]
    assert factors[0, 0] == factors[2, 0] and factors[1, 0] == factors[3, 0] and factors[0, 1] == factors[3, 1]
    assert len({float(factors[place]) for place in ((0, 0), (1, 0), (0, 1), (1, 1), (2, 1))}) == 5
    assert torch.equal(seen[-1][..., 0], seen[-1][..., 1])


def test_variables_differ_from_sequence_to_sequence_and_are_held_over_time():
    torch.manual_seed(0)
    model, x = Speech(), torch.randn(1, 1, WIDTH).expand(4, 3, WIDTH)
    _, sparsifier = sparsified(model, example=x)
    output, _ = model(x)
    assert not torch.allclose(output[:, 0], output[:, 1])
    _, sparsifier = sparsified(Speech(), sampled="minibatch", example=x)
    output, _ = sparsifier.model(x)
    assert torch.allclose(output[:, 0], output[:, 1])


def test_a_final_state_is_multiplied_and_a_starting_one_counts_as_multiplied():
    torch.manual_seed(0)
    model, x = Speech(), torch.randn(6, 2, WIDTH)
    _, sparsifier = sparsified(model, example=x)
    without_noise(sparsifier)
    whole, ends = model(x)
    first, state = model(x[:3])
    second, last = model(x[3:], state)
    assert torch.allclose(whole, torch.cat([first, second]), atol=1e-6)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(ends, last, strict=True))


def test_what_a_gru_carries_is_not_multiplied_again_and_again():
    torch.manual_seed(0)
    model, x = Speech(nn.GRU), torch.randn(6, 2, WIDTH)
    _, sparsifier = sparsified(model, example=x)
    without_noise(sparsifier)
    whole, _ = model(x)
    first, state = model(x[:3])
    assert torch.allclose(whole, torch.cat([first, model(x[3:], state)[0]]), atol=1e-6)


class LastState(nn.Module):
    """The head reads the final hidden state."""

    def __init__(self, rnn):
        super().__init__()
        self.rnn, self.head = rnn(WIDTH, UNITS), nn.Linear(UNITS, CLASSES)

    def forward(self, x):
        state = self.rnn(x)[1]
        return self.head((state[0] if isinstance(state, tuple) else state)[-1])


@pytest.mark.parametrize("rnn", [nn.LSTM, nn.GRU, nn.RNN])
def test_a_final_state_that_the_model_reads_is_multiplied(rnn):
    torch.manual_seed(0)
    model, x = LastState(rnn), torch.randn(6, 2, WIDTH)
    _, sparsifier = sparsified(model)
    without_noise(sparsifier)
    assert torch.allclose(model(x), model.eval()(x), atol=1e-6)


def test_evaluation_takes_means_of_what_is_certain_and_leaves_parameters_alone():
    torch.manual_seed(0)
    model, words = Reviews(), ids()
    _, sparsifier = sparsified(model, vocabulary=True)
    model(words)
    with torch.no_grad():
        for name, parameter in sparsifier.owned.items():
            parameter.add_(torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name))))
    before = copy.deepcopy(model.state_dict())
    with torch.no_grad():
        evaluated = model.eval()(words)
        assert torch.equal(model(words), evaluated)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert torch.allclose(model(words), evaluated) and model(words).requires_grad
    masks = sparsifier.finalize()
    assert torch.allclose(model(words), evaluated, atol=1e-6)
    assert 0 < masks.sparsity() < 1
    assert all(bool((model.get_parameter(name)[~kept] == 0).all()) for name, kept in masks.kept.items())
    gates = {(gate, unit) for _, gate, unit in masks.constant_gates}
    incoming = [masks.kept[name].view(4, UNITS, -1) for name in ("rnn.weight_ih_l0", "rnn.weight_hh_l0")]
    empty = ~torch.cat(incoming, -1).any(-1)
    assert gates >= {
        (("input", "forget", "candidate", "output")[gate], unit) for gate, unit in empty.nonzero().tolist()
    }


@pytest.mark.parametrize(
    "method, spread", [(SparseVariationalDropout(examples=10, stop=0.5, threshold=-1.0), 1), (L0(stop=0.5), 5)]
)
def test_after_its_stop_nothing_is_drawn_and_what_went_stays_away(method, spread):
    model, optimizer, sparsifier = start(method, steps=8)
    x = batch()[0]
    with torch.no_grad():
        for name, parameter in sparsifier.owned.items():
            noise = torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(name)))
            parameter.add_(spread * noise)
    train(sparsifier, 3)
    assert not torch.equal(model(x), model(x)) and sparsifier.masks.sparsity() == 0
    evaluated = model.eval()(x)
    model.train()
    train(sparsifier, 1, first=3)
    kept = {name: mask.clone() for name, mask in sparsifier.masks.kept.items()}
    assert 0 < sparsifier.masks.sparsity() < 1 and not torch.equal(model.eval()(x), evaluated)
    model.train()
    before = copy.deepcopy(model.state_dict())
    train(sparsifier, 4, first=4)
    assert torch.equal(model(x), model(x)) and torch.equal(model(x), model.eval()(x))
    for name, mask in sparsifier.finalize().kept.items():
        weight = model.get_parameter(name)
        assert torch.equal(mask, kept[name]) and bool((weight[~mask] == 0).all())
        assert not torch.equal(weight[mask], before[name][mask])


def test_evaluated_weights_are_made_again_after_a_step_only(monkeypatch):
    model, _, sparsifier = start(SparseVariationalDropout(examples=10), steps=4)
    calls, plain = [], SparseVariationalDropout.before_evaluation
    monkeypatch.setattr(
        SparseVariationalDropout, "before_evaluation", lambda self, run: (calls.append(1), plain(self, run))[1]
    )
    with torch.no_grad():
        for _ in range(3):
            model.eval()(batch()[0])
        assert len(calls) == 1
    model.train()
    train(sparsifier, 1)
    with torch.no_grad():
        model.eval()(batch()[0])
        assert len(calls) == 2
        model.head.bias.add_(1)
        model(batch()[0])
    assert len(calls) == 3


def test_what_goes_goes_by_its_own_log_alpha():
    model, x = Speech(), torch.randn(3, 2, WIDTH)
    _, sparsifier = sparsified(model, example=x)
    with torch.no_grad():
        for name in ("rnn.weight_ih_l0", "rnn.weight_hh_l0", "head.weight"):
            model.get_parameter(name).fill_(1.0)
        model.rnn.weight_ih_l0[2, 1] = 1e-3
        sparsifier.owned["group_mean.neuron"][0] = 1e-3  # hidden unit 0
        sparsifier.owned["group_mean.gate"][5] = 1e-3  # forget gate of unit 1
        sparsifier.owned["group_mean.gate"][0] = 2.0
    masks = sparsifier.finalize()
    assert not masks.kept["rnn.weight_hh_l0"][:, 0].any() and not masks.kept["head.weight"][:, 0].any()
    assert not masks.kept["rnn.weight_ih_l0"][5].any() and not masks.kept["rnn.weight_hh_l0"][5].any()
    assert (~masks.kept["rnn.weight_ih_l0"]).sum() == 1 + WIDTH
    assert (~masks.kept["rnn.weight_hh_l0"]).sum() == 4 * UNITS + UNITS - 1
    assert torch.equal(model.rnn.weight_ih_l0[0], torch.full((WIDTH,), 2.0))
    assert [(gate, unit) for _, gate, unit in masks.constant_gates] == [("forget", 1)]


def test_a_layer_never_dies():
    model, x = Speech(), torch.randn(3, 2, WIDTH)
    _, sparsifier = sparsified(model, example=x)
    with torch.no_grad():
        for parameter in sparsifier.owned.values():
            parameter.fill_(3.0)
    with pytest.warns(UserWarning, match="nothing of .*head.weight.* was to stay"):
        masks = sparsifier.finalize()
    assert all(bool(kept.any()) for name, kept in masks.kept.items() if name in sparsifier.selected)


def test_the_weight_of_the_divergence_rises():
    _, _, sparsifier = start(SparseVariationalDropout(examples=20, warm_up=0.5, temperature=0.5), steps=8)
    total = sum(
        divergence(sparsifier.weights[name], sparsifier.owned[f"log_sigma.{name}"], DIVERGENCES["molchanov2017"]).item()
        for name in sparsifier.selected
    )
    ones = torch.ones(sparsifier.groups("gate").count + sparsifier.groups("read").count)
    total += float(divergence(ones, torch.full_like(ones, -3.0), DIVERGENCES["molchanov2017"]))
    for step, share in ((0, 0.0), (1, 0.25), (4, 1.0), (8, 1.0)):
        sparsifier.step_count = step
        assert sparsifier.penalty().item() == pytest.approx(share * 0.5 * total / 20, rel=1e-4)


@pytest.mark.parametrize("clipped", [True, False])
def test_the_divergence_of_means_comes_before_or_after_clipping(clipped):
    method = SparseVariationalDropout(examples=2, clipped=clipped)
    model, optimizer, sparsifier = start(method, steps=4, rate=1.0)
    weight = model.rnn.weight_hh_l0
    slope = by_mean(
        weight.detach(), sparsifier.owned["log_sigma.rnn.weight_hh_l0"].detach(), DIVERGENCES["molchanov2017"]
    )
    sparsifier.penalty().backward()
    owned = [parameter.grad for parameter in sparsifier.owned.values()]
    assert all(gradient is not None and bool(gradient.any()) for gradient in owned)
    before = weight.detach().clone()
    if clipped:
        assert torch.allclose(weight.grad, slope / 2, rtol=1e-4)
        nn.utils.clip_grad_norm_(model.parameters(), 1e-9)
    else:
        assert weight.grad is None
    optimizer.step()
    assert torch.allclose(before - weight, torch.zeros_like(weight) if clipped else slope / 2, rtol=1e-3, atol=1e-6)


def test_group_variables_follow_the_optimizers_rate_and_log_sigma_does_not():
    method = SparseVariationalDropout(examples=50, learning_rate=0.01, group_learning_rate=0.02)
    model, optimizer, sparsifier = start(method, steps=6, rate=0.5)
    for share in (1.0, 0.25):
        optimizer.param_groups[0]["lr"] = 0.5 * share
        before = {name: parameter.detach().clone() for name, parameter in sparsifier.owned.items()}
        train(sparsifier, 1)
        moved = {name: (p.detach() - before[name]).abs().max().item() for name, p in sparsifier.owned.items()}
        assert moved["log_sigma.rnn.weight_ih_l0"] == pytest.approx(0.01, rel=0.1)
        assert moved["group_mean.gate"] == pytest.approx(0.02 * share, rel=0.1)
        assert moved["group_log_sigma.neuron"] == pytest.approx(0.02 * share, rel=0.1)
    other = start(method, steps=6, rate=0.125)[2]
    other.load_state_dict(contract.through_files(sparsifier.state_dict()))
    train(other, 1)
    assert other._owned.optimizer.param_groups[1]["lr"] == pytest.approx(0.02 * 0.25)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("options", [{}, {"sampled": "minibatch", "local": ("head",), "clipped": False}])
def test_variances_move_in_models_of_half_precision(kind, options):
    owned = []
    for precision in (torch.float32, kind):
        torch.manual_seed(0)
        model = Reviews().to(precision)
        optimizer, sparsifier = sparsified(model, vocabulary=True, examples=5, example=ids(), **options)
        for _ in range(10):
            optimizer.zero_grad()
            (model(ids()).float().square().mean() + sparsifier.penalty()).backward()
            optimizer.step()
        assert all(bool(parameter.isfinite().all()) for parameter in model.parameters())
        owned.append(sparsifier.owned)
    for name, parameter in owned[0].items():
        assert (parameter - owned[1][name]).abs().mean() < 0.2 * 10 * 0.002, name


def test_local_noise_has_the_mean_and_the_variance_of_the_weights():
    torch.manual_seed(0)
    model, x = Speech(), torch.randn(3, 1, WIDTH)
    _, sparsifier = sparsified(model, levels=("weight",), local=("head",), example=x, log_sigma=-1.0)
    with torch.no_grad():
        for name in ("rnn.weight_ih_l0", "rnn.weight_hh_l0"):
            sparsifier.owned[f"log_sigma.{name}"].fill_(-torch.inf)
    with torch.no_grad():
        hidden = model.rnn(x)[0]
    samples = torch.stack([model(x)[0].detach() for _ in range(4000)])
    mean = hidden @ model.head.weight.T + model.head.bias
    variance = hidden.square() @ torch.full_like(model.head.weight, math.exp(-2)).T + 1e-8
    assert ((samples.mean(0) - mean).abs() < 5 * (variance / 4000).sqrt()).all()
    assert (samples.var(0) / variance - 1).abs().max() < 5 * math.sqrt(2 / 4000)
    noise = (samples - mean) / variance.sqrt()
    assert torch.allclose(noise[:, 0], noise[:, 2], atol=1e-3)  # held over time
    assert abs(torch.corrcoef(noise[:, 0, 0].T)[0, 1]) < 0.1  # of each output by itself


def test_local_noise_with_variables_in_the_weights_has_their_size():
    model, x = LastState(nn.LSTM), torch.randn(3, 2, WIDTH)
    _, sparsifier = sparsified(model, local=("head",), sampled="minibatch", example=x)
    with torch.no_grad():
        sparsifier.owned["group_mean.neuron"].zero_()
        sparsifier.owned["group_log_sigma.neuron"].fill_(-torch.inf)
    assert torch.allclose(model(x), model.head.bias.expand(2, CLASSES), atol=1e-3)


class Pooled(Speech):
    """The head reads what attention over time has made of outputs, and of inputs added to them."""

    def forward(self, x):
        output = self.rnn(x)[0] + torch.nn.functional.pad(x, (0, UNITS - WIDTH))
        return self.head((output * output.softmax(0)).sum(0))


class Residual(nn.Module):
    """Two layers whose outputs are added, and a head that reads both sums and single steps."""

    def __init__(self, rnn=nn.LSTM):
        super().__init__()
        self.first, self.second, self.head = rnn(WIDTH, UNITS), rnn(UNITS, UNITS), nn.Linear(UNITS, CLASSES)

    def forward(self, x):
        lower = self.first(x)[0]
        return self.head((lower + self.second(lower)[0])[-1]) + self.head(lower).mean(0)


class Steps(nn.Module):
    """A cell in a loop: what it gives is the state that it goes on with, and is read."""

    def __init__(self, rnn):
        super().__init__()
        self.cell, self.head = getattr(nn, f"{rnn.__name__}Cell")(WIDTH, UNITS), nn.Linear(UNITS, CLASSES)

    def forward(self, x):
        state, scores = None, []
        for step in x:
            state = self.cell(step, state)
            scores.append(self.head(state[0] if isinstance(state, tuple) else state))
        return torch.stack(scores)


class Bits(LastState):
    """A layer that is run step by step, whose state is read and gone on with."""

    def forward(self, x):
        state, scores = None, []
        for step in x:
            _, state = self.rnn(step[None], state)
            scores.append(self.head(state[0] if isinstance(state, tuple) else state))
        return torch.cat(scores)


class Encoder(Speech):
    """What it gives is read by somebody else."""

    def __init__(self, rnn):
        super().__init__(rnn)
        del self.head

    def forward(self, x):
        return self.rnn(x)[0]


class Attending(Speech):
    """Attention with weights of its own, then the head."""

    def __init__(self, rnn):
        super().__init__(rnn)
        self.attention = nn.MultiheadAttention(UNITS, 2)

    def forward(self, x):
        output = self.rnn(x)[0]
        return self.head(self.attention(output, output, output, need_weights=False)[0])


class Convolved(Speech):
    """A convolution over time, added to what it reads."""

    def __init__(self, rnn):
        super().__init__(rnn)
        self.convolution = nn.Conv1d(UNITS, UNITS, 3, padding=1)

    def forward(self, x):
        output = self.rnn(x)[0]
        return self.head(output + self.convolution(output.permute(1, 2, 0)).relu().permute(2, 0, 1))


@pytest.mark.parametrize("build", [Pooled, Residual, Steps, Bits, Encoder, Attending, Convolved])
@pytest.mark.parametrize("rnn", [nn.LSTM, nn.GRU])
def test_training_and_evaluation_agree_where_more_than_weights_reads_units(build, rnn):
    torch.manual_seed(0)
    model, x = build(rnn), torch.randn(3, 2, WIDTH)
    _, sparsifier = sparsified(model)
    without_noise(sparsifier)
    assert torch.allclose(model(x), model.eval()(x), atol=1e-6)


def test_a_reader_out_of_reach_is_refused():
    class Plain(Speech):
        def __init__(self):
            super().__init__()
            self.mixing = nn.Parameter(torch.randn(UNITS, UNITS))

        def forward(self, x):
            output = self.rnn(x)[0]
            return self.head(output + nn.functional.linear(output, self.mixing).relu())

    x = torch.randn(3, 2, WIDTH)
    sparsified(model := Plain(), example=x)
    with pytest.raises(UserError, match=r'mixing reads .* Pass sampled="minibatch"'):
        model(x)
    assert model.mixing.requires_grad and isinstance(model.rnn.weight_hh_l0, nn.Parameter)
    _, sparsifier = sparsified(model := Plain(), example=x, sampled="minibatch")
    without_noise(sparsifier)
    assert torch.allclose(model(x), model.eval()(x), atol=1e-6)


TIED = "variables of neurons where embedding.weight is an embedding and an output layer at once"


def tied():
    model = Reviews(words=CLASSES, units=WIDTH)
    model.head.weight = model.embedding.weight
    return model


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"examples": None}, "examples is None"),
        ({"examples": 0}, "examples is 0"),
        ({"examples": True}, "examples is True"),
        ({"levels": ("gate", "neuron")}, "levels are gate, neuron"),
        ({"levels": ("weight", "16x1")}, "levels are weight, 16x1"),
        ({"levels": ()}, "levels are none"),
        ({"sampled": "batch"}, 'sampled is "batch"'),
        ({"divergence": "kl"}, 'divergence is "kl"'),
        ({"warm_up": 2}, "warm_up is 2"),
        ({"temperature": -1}, "temperature is -1"),
        ({"learning_rate": 0}, "learning_rate is 0"),
        ({"vocabulary": True, "where": "rnn.weight*"}, "no selected layer has words"),
        ({"where": "head.weight"}, "no selected layer has gates"),
        ({"local": ("rnn",)}, "local names 'rnn'"),
        ({"local": ("tail",)}, "local names 'tail'"),
        ({"local": ("head",), "where": "rnn.weight*"}, "local names 'head'"),
    ],
)
def test_bad_input(options, said):
    with pytest.raises(UserError, match=said) as error:
        sparsified(Reviews(), **options)
    assert str(error.value).count(". ") <= 2


def test_variables_of_units_of_tied_weights_are_refused():
    with pytest.raises(UserError, match=TIED):
        sparsified(tied(), levels=("weight", "neuron"))
    sparsified(tied(), levels=("weight",))
    model = Residual()
    model.second.weight_hh_l0 = model.first.weight_hh_l0
    with pytest.raises(UserError, match="gates where first.weight_hh_l0 belongs to gates of two layers"):
        sparsified(model)
    sparsified(model, levels=("weight", "neuron"))


def test_keyword_inputs_and_a_first_forward_in_evaluation():
    model = Speech()
    _, sparsifier = sparsified(model)
    with torch.no_grad():
        model.eval()(x=torch.randn(3, 2, WIDTH))
    assert sparsifier.wiring.recorded and sparsifier.groups("read").earlier is not None
    model.train()(x=torch.randn(3, 2, WIDTH), state=None)[0].sum().backward()


def test_modules_run_by_themselves_afterwards():
    model, x = Speech(), torch.randn(3, 2, WIDTH)
    _, sparsifier = sparsified(model)
    model(x)
    assert "forward" not in vars(model.rnn) and not model.head._forward_hooks
    sparsifier.finalize()
    assert not model._forward_hooks and not model._forward_pre_hooks


def work(rank: int, folder: Path) -> None:
    write(trained(SparseVariationalDropout(examples=30, clipped=False), rank), folder, rank)


def test_two_processes_hold_the_same(tmp_path: Path):
    side_by_side(work, tmp_path)
    first, second = both(tmp_path)
    check_equal(first, second)
    assert any(name.startswith("group_log_sigma.") and len(tensor.unique()) > 1 for name, tensor in first.items())


def test_it_learns_and_the_divergence_empties_it():
    torch.manual_seed(0)
    x = torch.randn(5, 100, WIDTH)
    labels = (x[-1, :, 0] > 0).long()
    model = LastState(nn.LSTM)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.02)
    _, sparsifier = sparsified(
        model, examples=500, learning_rate=0.05, warm_up=0.5, steps=150, optimizer=optimizer, example=x
    )
    for _ in range(150):
        loss = nn.functional.cross_entropy(model(x), labels) + sparsifier.penalty()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    masks = sparsifier.finalize()
    assert (model.eval()(x).argmax(1) == labels).float().mean() > 0.9
    assert masks.sparsity() > 0.5 and masks.constant_gates


@pytest.mark.parametrize("name", CASES)
def test_the_trainer_validates_and_keeps_means_of_the_best_epoch(name):
    levels = ("weight", "gate") if name == "language_model" else WHOLE
    method = SparseVariationalDropout(levels, examples=200, learning_rate=0.02)
    _, fitted = CASES[name].fit(method=method, keep="best", epochs=3)
    assert fitted.best is not None
    loss = fitted.best["valid_loss"]
    assert fitted.final["loss"] == pytest.approx(loss, rel=1e-4)
