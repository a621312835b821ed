"""Scores before training against finite differences on networks of three units, and what is made of them."""

import copy

import pytest
import torch
from torch import nn

from sparsernn import Sparsifier, sparsify
from sparsernn.cells.gru import GRU
from sparsernn.errors import UserError
from sparsernn.methods.grasp import GraSP
from sparsernn.methods.jacobian_spectrum import JacobianSpectrum
from sparsernn.methods.parts.rescaling import approximate_isometry, nearest_factor
from sparsernn.methods.random_pruning import RandomPruning
from sparsernn.methods.snip import SNIP
from sparsernn.methods.synflow import SynFlow
from sparsernn.running.jacobians import unroll
from sparsernn.running.passes import Pass, stepwise
from sparsernn.structure.layer import Layer
from tests.methods.networks import batch, loss_of, network
from tests.structure.networks import MAKERS

TIME, BATCH, INPUTS, UNITS = 4, 2, 2, 3
STEP = 1e-5
ONE_BATCH = [SNIP, GraSP, JacobianSpectrum]
OUTPUT_NOT_READ = ("rational", "SRU", "QRNN")


def reads_its_output(kind):
    return not any(name in kind for name in OUTPUT_NOT_READ)


class Net(nn.Module):
    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(3)
        self.cell = MAKERS[kind](INPUTS, 5 if "projected" in kind else UNITS)
        torch.manual_seed(4)
        self.x = torch.randn(TIME, BATCH, self.cell.input_size, dtype=torch.double)
        self.double()

    def loss(self):
        return self.cell(self.x)[0].sin().sum()


def scores(method, model, **options):
    """The scores of a method on the dense model."""
    run = Sparsifier(model, RandomPruning(0.0), loss=model.loss, **options)
    run.method = method
    return method.importance(run)


def difference(function, weight, place):
    """The derivative of a function without arguments in one weight."""
    with torch.no_grad():
        before = weight.view(-1)[place].item()
        values = []
        for moved in (before + STEP, before - STEP):
            weight.view(-1)[place] = moved
            values.append(torch.as_tensor(function()))
        weight.view(-1)[place] = before
    return (values[0] - values[1]) / (2 * STEP)


def sampled(found):
    for name, score in found.items():
        for place in torch.randperm(score.numel(), generator=torch.Generator().manual_seed(5))[:5].tolist():
            yield name, place, score.reshape(-1)[place].item()


@pytest.mark.parametrize("kind", MAKERS)
def test_snip_is_what_the_loss_would_lose(kind):
    model = Net(kind)
    for name, place, score in sampled(scores(SNIP(0.5), model)):
        weight = model.get_parameter(name)
        slope = difference(lambda: model.loss().detach(), weight, place)
        assert score == pytest.approx(abs(float(slope) * weight.reshape(-1)[place].item()), rel=1e-5, abs=1e-9)


@pytest.mark.parametrize("kind", MAKERS)
def test_grasp_is_the_weight_times_the_hessian_times_the_gradient(kind):
    model = Net(kind)
    names = [name for name, _ in model.named_parameters() if "weight" in name]

    def gradient():
        found = torch.autograd.grad(model.loss(), [model.get_parameter(name) for name in names])
        return dict(zip(names, found, strict=True))

    found, along = scores(GraSP(0.5), model), gradient()
    ends = []
    for step in (STEP, -STEP):
        with torch.no_grad():
            for name in names:
                model.get_parameter(name).add_(along[name], alpha=step)
        ends.append(gradient())
        with torch.no_grad():
            for name in names:
                model.get_parameter(name).sub_(along[name], alpha=step)
    for name in names:
        products = (ends[0][name] - ends[1][name]) / (2 * STEP)
        assert torch.allclose(found[name], model.get_parameter(name) * products, rtol=1e-4, atol=1e-8)


def chi(model, functional, part, back, offset):
    """From whole step Jacobians, one sequence at a time, through the layer's public call."""
    cell = copy.deepcopy(model.cell)
    with torch.no_grad():
        for bias in [cell.bias_ih_l0] if offset else []:
            signs = (1, -1, 1) if "GRU" in type(cell).__name__ else (1,)
            bias.add_(offset * torch.tensor(signs).repeat_interleave(len(bias) // len(signs)))
    squares = []
    for x in model.x.unbind(1):
        _, state = cell(x[: TIME - back - 1].unsqueeze(1))
        states = state if isinstance(state, tuple) else (state,)
        count = len(states) if part == "state" else 1

        def step(*sources, rest=states[count:], x=x):
            given = (*sources, *rest)
            _, after = cell(x[TIME - back - 1].view(1, 1, -1), given if len(given) > 1 else given[0])
            return tuple(after)[: len(sources)] if len(given) > 1 else after

        blocks = torch.autograd.functional.jacobian(step, states[:count])
        rows = blocks if isinstance(blocks[0], tuple) else (blocks,)
        whole = torch.cat([torch.cat([b.reshape(b.shape[2], -1) for b in row], 1) for row in rows])
        squares.append(whole.sum(0 if functional == "JT1" else 1).square().mean())
    return torch.stack(squares).mean()


@pytest.mark.parametrize(("functional", "part"), [("JT1", "hidden"), ("J1", "hidden"), ("JT1", "state")])
@pytest.mark.parametrize("kind", MAKERS)
def test_the_jacobian_score_is_the_slope_of_chi(kind, functional, part):
    model, offset = Net(kind), 0.1 if reads_its_output(kind) else 0.0
    method = JacobianSpectrum(0.5, normaliser="none", functional=functional, part=part, horizon=2, offset=offset)
    known = (functional, part if reads_its_output(kind) else "state")
    for name, place, score in sampled(scores(method, model)):
        weight = model.get_parameter(name)
        slopes = [difference(lambda back=back: chi(model, *known, back, offset), weight, place) for back in range(2)]
        assert score == pytest.approx(abs(float(slopes[0])) + 0.9 * abs(float(slopes[1])), rel=1e-4, abs=1e-8)


def authors_gru(x, h, kernel, recurrent):
    """One step of the graph in which the authors score: the update gate opens towards the candidate. [unit] each"""
    r, z, o = (x @ weight.T for weight in kernel)
    reset, update = torch.sigmoid(r + h @ recurrent[0].T + 0.1), torch.sigmoid(z + h @ recurrent[1].T + 0.1)
    candidate = torch.tanh(o + (reset * h) @ recurrent[2].T + 0.1)
    return (1 - update) * h + update * candidate


def test_one_unit_without_weights_steps_as_in_the_authors_graph():
    weights = {"weight_ih": torch.zeros(3, 1), "weight_hh": torch.zeros(3, 1)}
    one = Pass(Layer(GRU(reset="before")), torch.zeros(1, 1, 1), (torch.ones(1, 1),))
    states, _ = unroll(weights, one, offset=0.1)
    blocks = [torch.zeros(1, 1)] * 3
    assert states[1][0].item() == pytest.approx(authors_gru(torch.zeros(1), torch.ones(1), blocks, blocks).item())
    assert states[1][0].item() == pytest.approx(0.5273, abs=5e-5)


def test_the_released_reading_scores_a_gru_as_the_authors_graph_does():
    """Their update gate is one minus ours: the negative of our weights, with the same magnitude of every slope."""
    model = Net("our GRU before")
    with torch.no_grad():
        for bias in (model.cell.bias_ih_l0, model.cell.bias_hh_l0):
            bias.zero_()
    signs = torch.tensor([1.0, -1.0, 1.0], dtype=torch.double).view(3, 1, 1)
    theirs = [
        (signs * weight.detach().view(3, UNITS, -1)).requires_grad_()
        for weight in (model.cell.weight_ih_l0, model.cell.weight_hh_l0)
    ]
    states = [torch.zeros(BATCH, UNITS, dtype=torch.double, requires_grad=True)]
    for x in model.x:
        states.append(authors_gru(x, states[-1], *theirs))
    expected = [torch.zeros_like(weight) for weight in theirs]
    for back in range(TIME):
        before, after = states[-2 - back], states[-1 - back]
        (product,) = torch.autograd.grad(after.sum(), before, create_graph=True)
        slopes = torch.autograd.grad(product.square().mean(), theirs, retain_graph=True, allow_unused=True)
        for total, slope in zip(expected, slopes, strict=True):
            total += 0 if slope is None else 0.9**back * slope.abs()
    run = Sparsifier(model, RandomPruning(0.0), loss=model.loss)
    generator = torch.Generator()
    generator.set_state(run.generator.get_state())

    def noise(*shape):
        return 0.1 * torch.randn(shape, generator=generator).double()

    inputs, state = noise(5, 100, INPUTS), 1 + noise(100, UNITS)
    for x in inputs:
        state = authors_gru(x, state, *theirs)
    gammas = torch.autograd.grad(state.sum(), theirs)
    ours = JacobianSpectrum(0.5).importance(run)
    for name, total, gamma in zip(("weight_ih", "weight_hh"), expected, gammas, strict=True):
        assert torch.allclose(ours[f"cell.{name}_l0"].view_as(total), total / gamma.abs(), rtol=1e-6)


def test_a_peephole_lstm_is_scored_by_the_jacobian_of_its_whole_state():
    """d (h, c) / d (h, c), as in the authors' code; of a plain LSTM d h / d h alone."""
    for cell, part in (("our peephole full", "state"), ("torch LSTM", "hidden")):
        model = Net(cell)
        by_default, asked = (scores(JacobianSpectrum(0.5, part=one), model) for one in (None, part))
        assert all(torch.equal(score, asked[name]) for name, score in by_default.items())


@pytest.mark.parametrize("kind", ["torch LSTM", "our GRU before"])
def test_sequences_end_together(kind):
    """A padded batch scores as the mean over its sequences, each by itself."""
    method = JacobianSpectrum(0.5, normaliser="none", horizon=1)
    model, lengths = Net(kind), torch.tensor([4, 2])
    packed = nn.utils.rnn.pack_padded_sequence(model.x, lengths)
    model.loss = lambda: model.cell(packed)[1][0].sum()
    together, parts, signed = scores(method, model), [], {}
    for number, length in enumerate(lengths.tolist()):
        alone = Net(kind)
        alone.x = model.x[:length, number : number + 1]
        parts.append(scores(method, alone))
        for name in together:
            signed[name] = signed.get(name, 0) + parts[-1][name] / 2
    for name, score in together.items():
        assert bool((score <= signed[name] + 1e-12).all())
        assert bool((score >= (parts[0][name] - parts[1][name]).abs() / 2 - 1e-12).all())


def test_the_first_order_variant_multiplies_by_the_weight():
    model = Net("our GRU")
    plain = scores(JacobianSpectrum(0.5, normaliser="none"), model)
    for name, score in scores(JacobianSpectrum(0.5, normaliser="none", first_order=True), model).items():
        assert torch.equal(score, plain[name] * model.get_parameter(name).abs())


@pytest.mark.parametrize("method", ONE_BATCH)
@pytest.mark.parametrize("normaliser", ["none", "released", "equation_5"])
@pytest.mark.parametrize("scope", ["uniform", "global"])
def test_the_best_scored_weights_are_kept(method, normaliser, scope):
    model = network()
    chosen = method(0.8, normaliser=normaliser, scope=scope)
    run = Sparsifier(model, RandomPruning(0.0), loss=lambda: loss_of(model), example=(batch()[0],))
    run.method = chosen
    run.generator.manual_seed(0)
    worth = chosen.importance(run)
    masks = sparsify(model, chosen, loss=lambda: loss_of(model), example=(batch()[0],))
    layers = [[f"rnn.weight_{kind}_l{layer}" for kind in ("ih", "hh")] for layer in (0, 1)]
    for names in layers if scope == "uniform" else [sum(layers, [])]:
        kept = torch.cat([masks.kept[name].flatten() for name in names])
        values = torch.cat([worth[name].flatten() for name in names])
        assert int(kept.sum()) == round(0.2 * kept.numel())
        assert values[kept].min() >= values[~kept].max()


@pytest.mark.parametrize(("per", "families"), [("kernel", 2), ("tensor", 4), ("gate", 16)])
def test_what_shares_a_budget(per, families):
    model = network()
    run = Sparsifier(model, SNIP(0.75, per=per), loss=lambda: loss_of(model))
    groups = run.groups("weight", per)
    assert len(groups.families) == families
    for family in groups.families:
        assert int(groups.kept(run.masks)[family.start : family.stop].sum()) == family.size // 4


@pytest.mark.parametrize("granularity", ["weight", "16x1", "4x2", "gate", "neuron"])
@pytest.mark.parametrize("method", [*ONE_BATCH, SynFlow, RandomPruning])
def test_granularities(method, granularity):
    model = network(units=16)
    masks = sparsify(model, method(0.5, granularity), loss=lambda: loss_of(model))
    run = Sparsifier(network(units=16), RandomPruning(0.0))
    kept = run.groups(granularity).kept(masks)
    assert float(kept.float().mean()) == pytest.approx(0.5, abs=0.02)


def test_rounds_follow_an_exponential_ladder():
    model = network()
    run = Sparsifier(model, SNIP(0.9, rounds=4), loss=lambda: loss_of(model))
    wanted = [1 - 0.1 ** (number / 4) for number in range(1, 5)]
    assert [event["sparsity"] for event in run.events] == pytest.approx(wanted, abs=2e-3)


def test_the_model_and_its_gradients_are_left_as_they_were():
    model = network()
    before = copy.deepcopy(model.state_dict())
    for method in (SNIP(0.5), GraSP(0.5), JacobianSpectrum(0.5), SynFlow(0.5)):
        run = Sparsifier(model, method, loss=lambda: loss_of(model))
        assert all(parameter.grad is None for parameter in model.parameters())
        assert all(torch.equal(model.get_parameter(n)[kept], before[n][kept]) for n, kept in run.masks.kept.items())
        run.finalize()
        model.load_state_dict(before)


def digits(units=100, scale=0.1):
    """A layer as in the paper, kernels N(0, 0.1), on noise that looks like rows of dark digits."""
    torch.manual_seed(0)
    model = nn.Module()
    model.cell = GRU(28, units, reset="before")
    for name, parameter in model.cell.named_parameters():
        nn.init.normal_(parameter, 0, 0.1) if "weight" in name else nn.init.zeros_(parameter)
    x = scale * (torch.rand(28, 64, 28) < 0.2).float() * torch.rand(28, 64, 28)
    return model, lambda: model.cell(x)[0][-1].square().sum()


def test_without_a_normaliser_the_candidate_takes_nearly_everything():
    model, loss = digits()
    masks = sparsify(model, JacobianSpectrum(0.95, normaliser="none"), loss=loss)
    kept = {gate: 0 for gate in model.cell.cell.gates}
    for mask in masks.kept.values():
        for gate, part in zip(kept, mask.chunk(3), strict=True):
            kept[gate] += int(part.sum())
    assert kept["candidate"] > 0.9 * sum(kept.values())


def test_the_normaliser_decides_how_many_inputs_are_kept():
    ratios = {}
    for normaliser in ("none", "released", "equation_5"):
        model, loss = digits()
        masks = sparsify(model, JacobianSpectrum(0.95, normaliser=normaliser), loss=loss)
        inputs, recurrent = (int(masks.kept[f"cell.weight_{kind}_l0"].sum()) for kind in ("ih", "hh"))
        ratios[normaliser] = inputs / recurrent
    assert ratios["none"] < 0.001 < ratios["equation_5"] < 0.02 < ratios["released"]


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: SNIP(0.5, rounds=0), "rounds is 0"),
        (lambda: SNIP(0.5, normaliser="equation 5"), "normaliser is"),
        (lambda: SNIP(0.5, normaliser="released", floor=2.0), "floor is 2.0"),
        (lambda: SNIP(0.5, rescale="two"), "rescale is"),
        (lambda: JacobianSpectrum(0.5, functional="J"), "functional is"),
        (lambda: JacobianSpectrum(0.5, reading="code"), "reading is"),
        (lambda: JacobianSpectrum(0.5, part="cell"), "part is"),
        (lambda: JacobianSpectrum(0.5, horizon=0), "horizon is 0"),
        (lambda: JacobianSpectrum(0.5, discount=1.5), "discount is 1.5"),
        (lambda: SynFlow(0.5, steps=0), "steps is 0"),
    ],
)
def test_options_out_of_range(make, match):
    with pytest.raises(UserError, match=match):
        make()


@pytest.mark.parametrize("method", ONE_BATCH)
def test_a_missing_loss(method):
    with pytest.raises(UserError, match="there is no loss") as error:
        Sparsifier(network(), method(0.5))
    assert "Pass loss=" in str(error.value)


def test_a_loss_that_is_no_loss():
    model = network()
    for value, match in ((1.5, "a float"), (torch.ones(2), "shape"), (torch.tensor(1.0), "without a gradient")):
        with pytest.raises(UserError, match=match):
            Sparsifier(model, SNIP(0.5), loss=lambda value=value: value)
    with pytest.raises(UserError, match="the loss on the batch is nan"):
        Sparsifier(model, SNIP(0.5), loss=lambda: loss_of(model) * torch.nan)
    other = network()
    with pytest.raises(UserError, match="did not run"):
        Sparsifier(model, JacobianSpectrum(0.5), loss=lambda: loss_of(other))


def test_a_score_that_is_not_finite_names_its_tensor():
    model = network()
    with torch.no_grad():
        model.rnn.weight_hh_l1[0, 0] = torch.inf
    with pytest.raises(UserError, match=r"rnn\.weight_hh_l\d are not finite"):
        Sparsifier(model, SynFlow(0.5))


def test_weights_of_other_layers():
    model = network()
    for method in (JacobianSpectrum(0.5), SNIP(0.5, normaliser="released"), SynFlow(0.5)):
        with pytest.raises(UserError, match="head.weight belongs to no recurrent layer"):
            Sparsifier(model, method, loss=lambda: loss_of(model), where="*weight*")
    masks = sparsify(model, SNIP(0.5), loss=lambda: loss_of(model), where="*weight*")
    assert masks.per_tensor()["head.weight"] > 0


def test_a_frozen_weight():
    model = network()
    model.rnn.weight_ih_l0.requires_grad_(False)
    with pytest.raises(UserError, match="rnn.weight_ih_l0 is frozen"):
        Sparsifier(model, SNIP(0.5), loss=lambda: loss_of(model))


@pytest.mark.parametrize("kind", [kind for kind in MAKERS if reads_its_output(kind)])
def test_synflow_is_the_weight_times_the_slope_of_the_flow(kind):
    """The flow itself, by numpy-like loops over a layer whose gates are added up."""
    model = Net(kind)
    found = scores(SynFlow(0.5, steps=3), model)
    cell = model.cell
    units = cell.hidden_size

    def flow():
        hidden = torch.zeros(getattr(cell, "proj_size", 0) or units, dtype=torch.double)
        for _ in range(3):
            total = torch.zeros(units, dtype=torch.double)
            for name, weight in cell.named_parameters():
                if "bias" in name or "weight_hr" in name:
                    continue
                rows = weight.detach().abs().view(-1, units, *weight.shape[1:]).sum(0)
                if "weight_ih" in name:
                    total += rows.sum(1)
                else:
                    total += rows * hidden if rows.dim() == 1 else rows @ hidden
            hidden = cell.weight_hr_l0.detach().abs() @ total if hasattr(cell, "weight_hr_l0") else total
        return hidden.sum()

    for name, place, score in sampled(found):
        weight = model.get_parameter(name)
        assert score == pytest.approx(
            float(difference(flow, weight, place)) * weight.reshape(-1)[place].item(), rel=1e-4
        )


def test_the_flow_of_automata_goes_into_every_output():
    model = Net("our rational")
    for name, score in scores(SynFlow(0.5), model).items():
        assert torch.allclose(score, model.get_parameter(name).abs() * UNITS)


def test_two_layers_are_one_flow():
    model = network()
    run = Sparsifier(model, SynFlow(0.5, rounds=1), example=(batch()[0],))
    run.masks.load_state_dict({name: torch.ones_like(kept) for name, kept in run.masks.kept.items()})
    lower, upper = (
        sum(float(score.sum()) for name, score in run.method.importance(run).items() if name.endswith(layer))
        for layer in ("ih_l0", "ih_l1")
    )
    assert lower > 0 and upper == pytest.approx(lower, rel=0.5)


@pytest.mark.parametrize("rescale", ["variance", "dense", "one"])
def test_rescaling(rescale):
    model, loss = digits(units=40)
    before = copy.deepcopy(model.cell.state_dict())
    run = Sparsifier(model, RandomPruning(0.8, per="kernel", rescale=rescale), loss=loss)
    after, kept = model.cell.state_dict(), run.masks.kept["cell.weight_hh_l0"]
    if rescale == "variance":
        for name in ("weight_ih_l0", "weight_hh_l0"):
            for ours, theirs in zip(after[name].chunk(3), before[name].chunk(3), strict=True):
                assert float(ours.square().sum()) == pytest.approx(float(theirs.square().sum()), rel=1e-4)
        return
    ratios = (after["weight_hh_l0"] / before["weight_hh_l0"])[kept]
    assert ratios.std() < 1e-4 < abs(ratios[0] - 1)
    inputs = run.masks.kept["cell.weight_ih_l0"]
    assert torch.equal(after["weight_ih_l0"][inputs], before["weight_ih_l0"][inputs])
    (reached,) = run.events[-1]["mean_squared_singular_value"].values()
    assert rescale == "dense" or reached == pytest.approx(1.0, rel=1e-2)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 30.0])
def test_the_inputs_own_scale_does_not_matter_for_the_drive(scale):
    torch.manual_seed(0)
    cell, x = GRU(6, 40, num_layers=2), scale * torch.randn(9, 5, 6)
    lengths = torch.tensor([9, 3, 1, 4, 9])
    x[torch.arange(9).unsqueeze(1) >= lengths] = 1e6
    before = copy.deepcopy(cell.state_dict())
    method = RandomPruning(0.5, per="kernel", rescale="drive")
    run = Sparsifier(cell, method, loss=lambda: cell(x, lengths=lengths)[0].square().mean())
    after = cell.state_dict()
    with stepwise(cell, run.wiring) as passes, torch.no_grad():
        cell(x, lengths=lengths)
    for layer, given in enumerate(passes):
        seen = given.inputs[torch.arange(9).unsqueeze(1) < lengths]
        for gate in after[f"weight_ih_l{layer}"].chunk(3):
            assert float((seen @ gate.T).square().mean().sqrt()) == pytest.approx(0.5, rel=1e-4)
        kept = run.masks.kept[f"weight_hh_l{layer}"]
        assert torch.equal(after[f"weight_hh_l{layer}"][kept], before[f"weight_hh_l{layer}"][kept])


def test_weights_drawn_anew_nearly_keep_lengths():
    model, loss = digits(units=40)
    before = copy.deepcopy(model.cell.state_dict())
    run = Sparsifier(model, RandomPruning(0.8, per="gate", rescale="isometry"), loss=loss)
    after, kept = model.cell.state_dict(), run.masks.kept["cell.weight_hh_l0"]
    assert not after["weight_hh_l0"][~kept].any()

    def distance(weight):
        return [float((gate.T @ gate - torch.eye(40)).norm()) for gate in (weight * kept).chunk(3)]

    pairs = zip(distance(after["weight_hh_l0"]), distance(before["weight_hh_l0"]), strict=True)
    assert all(ours < theirs / 4 for ours, theirs in pairs)
    inputs = run.masks.kept["cell.weight_ih_l0"]
    assert torch.equal(after["weight_ih_l0"][inputs], before["weight_ih_l0"][inputs])


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (5, 5)])
def test_without_a_mask_the_nearest_isometry_is_orthogonal(shape):
    found = approximate_isometry(torch.randn(shape), torch.ones(shape, dtype=torch.bool))
    singular = torch.linalg.svdvals(found)
    assert singular == pytest.approx(torch.ones_like(singular), abs=1e-3)


def test_an_empty_mask_stays_empty():
    assert not approximate_isometry(torch.randn(3, 3), torch.zeros(3, 3, dtype=torch.bool)).any()


def test_the_nearest_factor():
    assert nearest_factor(lambda factor: factor**2, 9.0) == pytest.approx(3.0, rel=1e-3)
    assert nearest_factor(lambda factor: factor**2, 0.25) == pytest.approx(0.5, rel=1e-3)
    assert nearest_factor(lambda factor: min(factor, 2.0), 5.0) == pytest.approx(2.0, rel=0.5)


def test_a_rescaled_start_survives_a_resume():
    method = RandomPruning(0.5, rescale="variance")

    def built():
        model = network()
        return model, torch.optim.SGD(model.parameters(), lr=0.1)

    model, optimizer = built()
    run = Sparsifier(model, method, optimizer, steps=10)
    trained, state = copy.deepcopy(model.state_dict()), run.state_dict()
    again, optimizer = built()
    again.load_state_dict(trained)
    Sparsifier(again, method, optimizer, steps=10, seed=9).load_state_dict(state)
    assert all(torch.equal(value, trained[name]) for name, value in again.state_dict().items())
