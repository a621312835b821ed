"""Group lasso: penalty, gradient and proximal step against brute force; what is removed, and what is left alone."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sparsernn import Sparsifier, compact
from sparsernn.methods.group_lasso import GroupLasso
from sparsernn.models.language_model import LanguageModel
from sparsernn.nn import Rational
from tests.methods.networks import CLASSES, INPUTS, UNITS, batch, loss_of, network, start, train


def weights_of(rnn, names=("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")):
    return [getattr(rnn, name) for name in names]


def rows_of(unit):
    return torch.arange(4) * UNITS + unit


def neuron(model, layer, unit, biases=False):
    """Every weight of one hidden unit, each once: what comes in and what goes out (Wen et al. 2018: no biases)."""
    ih, hh, *more = weights_of(
        model.rnn, [f"{name}_l{layer}" for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    )
    own = torch.zeros_like(hh, dtype=torch.bool)
    own[rows_of(unit)], own[:, unit] = True, True
    reader = model.rnn.weight_ih_l1 if layer == 0 else model.head.weight
    counted = [bias[rows_of(unit)] for bias in more if biases]
    return torch.cat([ih[rows_of(unit)].flatten(), hh[own], *counted, reader[:, unit]])


def gate(model, layer, row):
    return torch.cat([getattr(model.rnn, f"weight_ih_l{layer}")[row], getattr(model.rnn, f"weight_hh_l{layer}")[row]])


def outgoing(model, layer, unit):
    """What reads a unit: its column in the recurrent matrix and in the reader (Lobacheva et al. 2020, group five)."""
    reader = model.rnn.weight_ih_l1 if layer == 0 else model.head.weight
    return torch.cat([getattr(model.rnn, f"weight_hh_l{layer}")[:, unit], reader[:, unit]])


def brute_force(model, level):
    if level == "outgoing":
        return sum(outgoing(model, layer, unit).norm() for layer in (0, 1) for unit in range(UNITS))
    if level == "neuron":
        return sum(neuron(model, layer, unit).norm() for layer in (0, 1) for unit in range(UNITS))
    if level == "gate":
        return sum(gate(model, layer, row).norm() for layer in (0, 1) for row in range(4 * UNITS))
    matrices = [weight for name, weight in model.rnn.named_parameters() if "weight" in name]
    if level == "weight":
        return sum(matrix.abs().sum() for matrix in matrices)
    blocks = [
        block
        for matrix in matrices
        for part in matrix.chunk(4)
        for rows in part.split(3)
        for block in rows.split(2, dim=1)
    ]
    return sum(block.norm() for block in blocks)


@pytest.mark.parametrize("levels", ["neuron", "gate", "outgoing", "weight", "3x2", ("gate", "outgoing")])
def test_penalty_and_gradient_by_brute_force(levels):
    model = network()
    sparsifier = Sparsifier(
        model, GroupLasso(0.03, levels), torch.optim.SGD(model.parameters(), lr=0.1), steps=10, example=(batch()[0],)
    )
    penalty = sparsifier.penalty()
    found = torch.autograd.grad(penalty, list(model.parameters()), allow_unused=True, materialize_grads=True)
    expected = 0.03 * sum(brute_force(model, level) for level in ([levels] if isinstance(levels, str) else levels))
    wanted = torch.autograd.grad(expected, list(model.parameters()), allow_unused=True, materialize_grads=True)
    assert penalty.item() == pytest.approx(expected.item(), rel=1e-5)
    assert all(torch.allclose(ours, theirs, atol=1e-6) for ours, theirs in zip(found, wanted, strict=True))


def test_l1_is_of_all_that_groups_touch_and_a_unit_can_count_its_own_weights_twice():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    method = GroupLasso(0.03, "neuron", l1=0.007, counted_twice=True)
    sparsifier = Sparsifier(model, method, optimizer, steps=10, example=(batch()[0],))
    expected = 0.007 * model.head.weight.abs().sum().item()
    for layer in (0, 1):
        ih, hh = weights_of(model.rnn, [f"weight_ih_l{layer}", f"weight_hh_l{layer}"])
        expected += 0.007 * (ih.abs().sum() + hh.abs().sum()).item()
        for unit in range(UNITS):
            reader = model.rnn.weight_ih_l1 if layer == 0 else model.head.weight
            columns = [ih[rows_of(unit)].flatten(), hh[rows_of(unit)].flatten(), hh[:, unit], reader[:, unit]]
            expected += 0.03 * sum(part.square().sum() for part in columns).sqrt().item()
    assert sparsifier.penalty().item() == pytest.approx(expected, rel=1e-6)


def test_small_weights_are_zero_after_every_step_may_come_back_and_are_absent_in_the_end():
    """ISS: |w| < threshold is overwritten, whole groups and single weights alike; embeddings and biases are not."""
    model, optimizer, sparsifier = start(
        GroupLasso(0.0, ("gate", "outgoing"), zero_below=0.1, stop=None), 4, rate=0.0, example=(batch()[0],)
    )
    bias, gone = model.rnn.bias_hh_l0.detach().clone(), {}
    for step in range(2):
        before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
        train(sparsifier, 1)
        for name in ("rnn.weight_ih_l0", "rnn.weight_hh_l1", "head.weight"):
            weight = model.get_parameter(name)
            assert torch.equal(weight, before[name] * (before[name].abs() >= 0.1))
            gone[name] = weight == 0
        with torch.no_grad():
            model.rnn.weight_hh_l1[0, 0] = 0.5 if step == 0 else 0.05
    assert torch.equal(model.rnn.bias_hh_l0, bias) and sparsifier.masks.sparsity() == 0
    masks = sparsifier.finalize()
    gone["rnn.weight_hh_l1"][0, 0] = True
    assert all(torch.equal(masks.kept[name], ~where) for name, where in gone.items())
    small, _ = compact(model, masks, example=(batch()[0],))
    assert torch.allclose(small(batch()[0]), model(batch()[0]), atol=1e-6)


def test_proximal_steps_by_gates_then_readers_then_single_weights():
    """Rate 0.5, strength 0.2, L1 0.04: three maps, one after the other."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    method = GroupLasso(0.2, ("gate", "outgoing"), l1=0.04, proximal=True, stop=1.0)
    sparsifier = Sparsifier(model, method, optimizer, steps=10, example=(batch()[0],))
    ih, hh, reader = (
        getattr(model.rnn, name).detach().clone() for name in ("weight_ih_l0", "weight_hh_l0", "weight_ih_l1")
    )
    deeper = model.rnn.weight_hh_l1.detach().clone()

    def shrunk(norms):
        return (1 - 0.1 / norms).clamp_min(0)

    rows = shrunk((ih.square().sum(1) + hh.square().sum(1)).sqrt()).unsqueeze(1)
    rows_above = shrunk((reader.square().sum(1) + deeper.square().sum(1)).sqrt()).unsqueeze(1)
    ih, hh, reader = ih * rows, hh * rows, reader * rows_above
    columns = shrunk((hh.square().sum(0) + reader.square().sum(0)).sqrt())
    hh = torch.nn.functional.softshrink(hh * columns, 0.02)
    sum(weight.sum() * 0 for weight in model.parameters()).backward()
    optimizer.step()
    assert torch.allclose(model.rnn.weight_hh_l0, hh, atol=1e-7)
    assert torch.allclose(model.rnn.weight_ih_l0, torch.nn.functional.softshrink(ih, 0.02), atol=1e-7)
    zeros = model.rnn.weight_ih_l0 == 0
    masks = sparsifier.finalize()
    assert bool(zeros.any()) and not masks.kept["rnn.weight_ih_l0"][zeros].any()


@pytest.mark.parametrize("biases", [True, False])
def test_biases_count_where_that_is_asked_for(biases):
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    sparsifier = Sparsifier(model, GroupLasso(1.0, "neuron", biases=biases), optimizer, steps=10, example=(batch()[0],))
    expected = sum(neuron(model, layer, unit, biases).norm() for layer in (0, 1) for unit in range(UNITS))
    assert sparsifier.penalty().item() == pytest.approx(expected.item(), rel=1e-6)


def test_a_state_of_an_automaton_is_measured_with_its_bias():
    """|g| with g = (W[:, k, i], W[:, k, n + i], b[k, i]), 2 E + 1 numbers; a norm below 0.1 goes (Dodge 2019)."""
    torch.manual_seed(0)
    model = Rational(300, 2, lengths=4)
    weight, bias = model.weight_ih_l0, model.bias_loop_l0
    with torch.no_grad():
        bias.fill_(0.3)
    run = Sparsifier(model, GroupLasso(1.0, "state"), torch.optim.SGD(model.parameters(), lr=0.1), steps=4)
    groups = [torch.cat([weight[state], weight[8 + state], bias[state : state + 1]]) for state in range(8)]
    assert groups[0].numel() == 601
    assert run.penalty().item() == pytest.approx(sum(group.norm() for group in groups).item(), rel=1e-6)
    with torch.no_grad():
        for state, norm in ((3, 0.0999), (7, 0.1001)):
            weight[[state, 8 + state]] *= (norm**2 - 0.05**2) ** 0.5 / weight[[state, 8 + state]].norm()
            bias[state] = 0.05
    stay = run.method.survivors(run)["state"]
    assert stay.tolist() == [state != 3 for state in range(8)]


def test_a_unit_goes_with_its_biases_and_small_weights_go_whatever_the_biases_are():
    model, optimizer, sparsifier = start(GroupLasso(0.0, "neuron", stop=0.5), steps=2, rate=0.0, example=(batch()[0],))
    with torch.no_grad():
        for weight in (model.rnn.weight_ih_l0, model.rnn.weight_hh_l0):
            weight[rows_of(3)] = 0
        model.rnn.weight_hh_l0[:, 3] = 0
        model.rnn.weight_ih_l1[:, 3] = 0
        model.rnn.bias_ih_l0[rows_of(3)] = 5.0
    train(sparsifier, 1)
    assert not bool(sparsifier.groups("neuron").kept(sparsifier.masks)[3])
    assert not bool(model.rnn.bias_ih_l0[rows_of(3)].any())
    small, report = compact(model, sparsifier.finalize(), example=(batch()[0],))
    assert torch.allclose(small(batch()[0]), model(batch()[0]), atol=1e-6)


def test_the_gradient_of_a_group_at_zero_is_zero():
    model = network()
    with torch.no_grad():
        for layer in (0, 1):
            getattr(model.rnn, f"weight_ih_l{layer}")[5] = 0
            getattr(model.rnn, f"weight_hh_l{layer}")[5] = 0
    sparsifier = Sparsifier(model, GroupLasso(0.1, "gate"), torch.optim.SGD(model.parameters(), lr=0.1), steps=10)
    sparsifier.penalty().backward()
    assert not bool(model.rnn.weight_hh_l0.grad[5].any())
    assert all(bool(weight.grad.isfinite().all()) for weight in model.rnn.parameters() if weight.grad is not None)


@pytest.mark.parametrize("level", ["gate", "weight", "3x2"])
def test_the_proximal_step_in_closed_form(level):
    """A learning rate of 0.5 and a loss without slope: only the proximal step moves the weights."""
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    sparsifier = Sparsifier(model, GroupLasso(0.2, level, proximal=True, stop=1.0), optimizer, steps=10)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    sum(weight.sum() * 0 for weight in model.parameters()).backward()
    optimizer.step()
    groups = sparsifier.groups(level)
    norms = groups.norms(before)
    after = groups.norms(dict(model.named_parameters()))
    assert torch.allclose(after, (norms - 0.1).clamp_min(0), atol=1e-6)
    if level == "weight":
        weight = before["rnn.weight_hh_l0"]
        assert torch.allclose(model.rnn.weight_hh_l0, weight.sign() * (weight.abs() - 0.1).clamp_min(0), atol=1e-7)
    assert torch.equal(model.head.weight, before["head.weight"]) and torch.equal(
        model.rnn.bias_ih_l0, before["rnn.bias_ih_l0"]
    )


@given(st.lists(st.floats(-2, 2, width=32, allow_subnormal=False), min_size=2, max_size=6), st.floats(0.01, 2))
def test_the_proximal_step_is_optimal(values, amount):
    """It minimises ||u - w||^2 / 2 + amount ||u||: the minimum is below every point tried around it."""
    w = torch.tensor(values, dtype=torch.float64)
    scale = max(0.0, 1 - amount / max(w.norm().item(), 1e-30))
    best = w * scale

    def cost(u):
        return ((u - w).square().sum() / 2 + amount * u.norm()).item()

    generator = torch.Generator().manual_seed(0)
    for radius in (1e-3, 0.1, 1.0):
        for _ in range(5):
            assert (
                cost(best)
                <= cost(best + radius * torch.randn(len(w), generator=generator, dtype=torch.float64)) + 1e-12
            )


def test_proximal_steps_shrink_groups_to_exact_zero_while_training():
    model, optimizer, sparsifier = start(GroupLasso(2.0, "gate", proximal=True, stop=0.9), steps=20)
    train(sparsifier, 15)
    groups = sparsifier.groups("gate")
    assert bool((groups.norms(dict(model.named_parameters())) == 0).any())
    assert sparsifier.masks.sparsity() == 0
    with pytest.warns(UserWarning, match="nothing of rnn.l0, .* was to stay"):
        train(sparsifier, 5, first=15)
    assert sparsifier.masks.sparsity() > 0


@pytest.mark.parametrize("level", ["neuron", "gate", "weight", "3x2"])
def test_the_threshold_does_not_depend_on_a_groups_size(level):
    """All weights of half the groups are 0.02, those of the others 0.005; the threshold lies between."""
    model, optimizer, sparsifier = start(
        GroupLasso(0.0, level, threshold=0.01, stop=0.5), steps=2, rate=0.0, example=(batch()[0],)
    )
    groups = sparsifier.groups(level)
    large = torch.arange(groups.count) % 2 == 0
    with torch.no_grad():
        for weight in sparsifier.weights.values():
            weight.fill_(0.02)
        for name in groups.names:
            pieces = [piece for piece in groups.pieces if piece.name == name]
            named = groups.named(sparsifier.weights, name)
            for piece in pieces:
                places = (
                    torch.arange(piece.start, piece.start + named.numel()).view(named.shape)
                    if piece.index is None
                    else piece.index
                )
                named[(~large[places] & (places >= 0)).expand(named.shape)] = 0.005
    assert groups.norms(sparsifier.weights).isfinite().all()
    train(sparsifier, 1)
    if level == "neuron":
        assert bool(groups.kept(sparsifier.masks)[large].all())
    else:
        assert torch.equal(groups.kept(sparsifier.masks), large)


def test_several_levels_are_removed_together():
    model, optimizer, sparsifier = start(
        GroupLasso(0.01, ("gate", "neuron"), sparsity=0.5, stop=0.5), steps=4, example=(batch()[0],)
    )
    train(sparsifier, 2)
    gates, neurons = sparsifier.groups("gate"), sparsifier.groups("neuron")
    rows = gates.kept(sparsifier.masks)
    units = neurons.kept(sparsifier.masks)
    assert int(units.sum()) == neurons.count // 2
    assert int((~rows).sum()) >= gates.count // 2
    dead = (~units[:UNITS]).nonzero().flatten()
    assert not bool(sparsifier.masks.kept["rnn.weight_hh_l0"][:, dead].any())
    assert not bool(sparsifier.masks.kept["rnn.weight_hh_l0"].view(4, UNITS, UNITS)[:, dead].any())
    small, _ = compact(model, sparsifier.finalize(), example=(batch()[0],))
    assert torch.allclose(small(batch()[0]), model(batch()[0]), atol=1e-6)


def test_a_layer_keeps_its_largest_group():
    model, optimizer, sparsifier = start(
        GroupLasso(0.0, "neuron", threshold=1.0, stop=0.5), steps=2, example=(batch()[0],)
    )
    with pytest.warns(UserWarning, match="nothing of .* was to stay; the best was kept of each"):
        train(sparsifier, 2)
    assert int(sparsifier.groups("neuron").kept(sparsifier.masks).sum()) == 2
    model, optimizer, sparsifier = start(
        GroupLasso(0.0, "neuron", sparsity=0.99, stop=0.5), steps=2, example=(batch()[0],)
    )
    train(sparsifier, 2)
    assert int(sparsifier.groups("neuron").kept(sparsifier.masks).sum()) == 2


def test_a_network_that_is_zeroed_is_told():
    options = {"zero_below": 10.0, "stop": None}
    _, _, sparsifier = start(GroupLasso(0.0, "weight", **options), steps=2, example=(batch()[0],))
    train(sparsifier, 2)
    with pytest.warns(UserWarning, match="nothing is left of rnn.weight_ih_l0, .*: strength or zero_below are too"):
        sparsifier.finalize()


def test_after_removal_there_is_no_penalty():
    model, optimizer, sparsifier = start(GroupLasso(0.1, "neuron", stop=0.5), steps=4)
    assert not sparsifier.settled
    train(sparsifier, 1)
    assert sparsifier.penalty().item() > 0
    train(sparsifier, 1, first=1)
    assert sparsifier.settled and sparsifier.penalty().item() == 0
    masks = sparsifier.masks.state_dict()
    train(sparsifier, 2, first=2)
    assert all(torch.equal(kept, masks[name]) for name, kept in sparsifier.finalize().kept.items())


def test_a_run_that_ends_early_removes_at_the_end():
    model, optimizer, sparsifier = start(GroupLasso(0.1, "neuron", sparsity=0.5, stop=1.0), steps=10)
    train(sparsifier, 3)
    assert sparsifier.finalize().sparsity() > 0.4


def test_without_a_stop_groups_go_at_the_end_from_the_weights_that_are_kept():
    model, optimizer, sparsifier = start(GroupLasso(0.1, "neuron", sparsity=0.5, stop=None), steps=10)
    train(sparsifier, 4)
    best = {name: value.clone() for name, value in model.state_dict().items()}
    state = sparsifier.state_dict()
    expected = sparsifier.method.survivors(sparsifier)["neuron"]
    train(sparsifier, 6, first=4)
    assert sparsifier.settled and sparsifier.penalty() > 0 and sparsifier.masks.sparsity() == 0
    model.load_state_dict(best)
    sparsifier.load_state_dict(state)
    sparsifier.finalize()
    assert torch.equal(sparsifier.groups("neuron").kept(sparsifier.masks), expected) and not expected.all()


def test_the_penalty_makes_weights_smaller():
    plain, lasso = start(GroupLasso(0.0), steps=30), start(GroupLasso(0.02), steps=30)
    for _, _, sparsifier in (plain, lasso):
        train(sparsifier, 15)
    norms = [sparsifier.groups("neuron").norms(sparsifier.weights).sum().item() for _, _, sparsifier in (plain, lasso)]
    assert norms[1] < norms[0]


def test_on_a_linear_layer():
    model, optimizer, sparsifier = start(
        GroupLasso(0.1, "input", sparsity=0.5, stop=0.5), steps=2, where="head.weight", example=(batch()[0],)
    )
    train(sparsifier, 2)
    kept = sparsifier.finalize().kept["head.weight"]
    assert kept.shape == (CLASSES, UNITS) and int(kept[0].sum()) == UNITS // 2
    assert INPUTS == model.rnn.input_size and loss_of(model).isfinite()


def test_a_unit_of_a_tied_highway_network_has_forty_three_pieces():
    """ISS for RHN, depth 10: a column of the embedding, rows, columns of 20 matrices, two of them in halves."""
    units, words = 7, 30
    model = LanguageModel(
        vocabulary=words, units=units, layers=1, cell="recurrent_highway", tied=True, cell_options={"depth": 10}
    )
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    ids = torch.randint(0, words, (3, 2))
    run = Sparsifier(model, GroupLasso(1.0, "neuron", counted_twice=True), optimizer, steps=4, example=(ids,))
    weights = dict(model.named_parameters())
    embedding = weights.pop("embedding.weight")
    matrices = [gate for name, weight in weights.items() if ".weight" in name for gate in weight.chunk(2)]
    expected = 0.0
    for unit in range(units):
        pieces = [embedding[:, unit]] + [matrix[unit] for matrix in matrices] + [matrix[:, unit] for matrix in matrices]
        assert len(pieces) == 1 + 2 * 22
        expected += torch.cat(pieces).norm().item()
    assert run.penalty().item() == pytest.approx(expected, rel=1e-6)
