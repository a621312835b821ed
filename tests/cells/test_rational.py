"""Automata against every one of their paths, summed up one by one; what the paper says; SRU and QRNN as instances."""

import itertools
import math
from functools import reduce

import pytest
import torch
from torch.nn import functional as F

from sparsernn import compact, native, sparsify
from sparsernn.cells.parts.semirings import SEMIRINGS
from sparsernn.cells.qrnn import QRNN
from sparsernn.cells.rational import Rational
from sparsernn.cells.sru import SRU
from sparsernn.errors import UserError
from sparsernn.kernels import registry
from sparsernn.kernels.registry import choose, using
from sparsernn.methods.magnitude import Magnitude
from sparsernn.models.classifier import Classifier
from sparsernn.models.tagger import Tagger
from sparsernn.running.modules import Recurrent
from sparsernn.structure.groups import Groups
from sparsernn.tracing.recording import trace

OPTIONS = {
    "plain": {},
    "fixed last loop": {"last_loop": "one"},
    "learned ends": {"final": "learned"},
    "last state": {"final": "last"},
    "epsilon": {"epsilon": True},
    "everything": {"final": "learned", "epsilon": True, "output_gate": True},
}
TIMES = {"plus_times": float.__mul__, "max_times": float.__mul__, "max_plus": float.__add__, "log": float.__add__}


def total(semiring: str, scores: list[float]) -> float:
    """The sum of scores; 0 if there is none that counts."""
    if not scores or max(scores) == -math.inf:
        return 0.0
    if semiring == "log":
        return max(scores) + math.log(sum(math.exp(score - max(scores)) for score in scores))
    return sum(scores) if semiring == "plus_times" else max(scores)


def logistic(semiring: str, x: float) -> float:
    score = 1 / (1 + math.exp(-x))
    return math.log(score) if semiring == "log" else score


def transitions(cell: Recurrent, x: torch.Tensor, state: int) -> tuple[list[float], list[float]]:
    """Scores of the main path into a state and of its self-loop, for every token of one sequence."""
    rows, half, semiring = cell.weight_ih_l0, len(cell.weight_ih_l0) // 2, cell.cell.semiring
    main, loop = (x @ rows[state]).tolist(), (x @ rows[half + state] + cell.bias_loop_l0[state]).tolist()
    stay = [logistic(semiring, value) for value in loop]
    if semiring == "plus_times":
        return [value * (1 - f) for value, f in zip(main, stay, strict=True)], stay
    return [logistic(semiring, value) for value in main], stay


def every_path(cell: Recurrent, x: torch.Tensor, pattern: int) -> float:
    """The output of one pattern at the end of a sequence: all walks of stays, moves and skips, one by one."""
    options = cell.cell
    semiring, times = options.semiring, TIMES[options.semiring]
    first, length = sum(options.lengths[:pattern]), options.lengths[pattern]
    scores = [transitions(cell, x, first + place) for place in range(length)]
    if options.last_loop == "one":
        scores[-1] = scores[-1][0], [1.0] * len(x)
    skip = logistic(semiring, cell.epsilon_logit_l0[pattern].item()) if options.epsilon else None
    found = []
    for walk in itertools.product((0, 1, 2) if options.epsilon else (0, 1), repeat=len(x)):
        place, factors = 0, []
        for token, ahead in enumerate(walk):
            place += ahead
            if not 0 <= place <= length:
                break
            if ahead:
                factors += [scores[place - 1][0][token]] + ([skip] if ahead == 2 else [])
            elif place:
                factors.append(scores[place - 1][1][token])
        else:
            if place and (options.final != "last" or place == length):
                end = cell.final_logit_l0[first + place - 1].item() if options.final == "learned" else None
                factors += [] if end is None else [logistic(semiring, end)]
                found.append(reduce(times, factors))
    output = total(semiring, found)
    if options.output_gate:
        output *= logistic("plus_times", (x[-1] @ cell.weight_output_l0[pattern] + cell.bias_output_l0[pattern]).item())
    return output


def randomised(cell):
    for parameter in cell.parameters():
        torch.nn.init.normal_(parameter)
    return cell.double()


@pytest.mark.parametrize("way", ["step by step", "scanned in torch", "scanned"])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("semiring", SEMIRINGS)
@torch.no_grad()
def test_the_output_is_the_sum_over_all_paths(semiring, options, way, monkeypatch):
    if semiring != "plus_times" and options == "fixed last loop":
        return
    torch.manual_seed(0)
    cell = randomised(Rational(3, 4, lengths=(1, 2, 3, 4), semiring=semiring, **OPTIONS[options]))
    longest = 6 if cell.cell.epsilon else 8
    x, lengths = torch.randn(longest, 3, 3, dtype=torch.float64), torch.tensor([longest, 1, 3])
    if way == "scanned in torch":
        monkeypatch.setattr(native, "module", None)
    with using("reference" if way == "step by step" else ""):
        output, (last, _) = cell(x, lengths=lengths)
    for row, length in enumerate(lengths.tolist()):
        expected = [every_path(cell, x[:length, row], pattern) for pattern in range(4)]
        assert torch.allclose(last[0, row], x.new_tensor(expected), rtol=1e-9, atol=1e-12)
        assert torch.equal(output[length - 1, row], last[0, row])


@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_padding_does_not_change_a_classifier_or_a_tagger(semiring):
    options = {"lengths": {1: 2, 2: 1, 3: 1, 4: 2}, "semiring": semiring}
    x, lengths = torch.randn(3, 9, 5), torch.tensor([9, 2, 5])
    padded = torch.cat([x, torch.full((3, 4, 5), 7.0)], 1)
    for model in (Classifier, Tagger):
        network = model(5, 3, cell="rational", units=6, layers=2, cell_options=options).eval()
        found, more = network(x, lengths), network(padded, lengths)
        for row, length in enumerate(lengths.tolist()):
            read = row if model is Classifier else (row, slice(length))
            assert torch.equal(found[read], more[read])


@pytest.mark.parametrize("made", [lambda: Rational(8, 4), lambda: SRU(8, 8), lambda: QRNN(8, 4)])
def test_under_autocast_the_recurrence_is_compiled_and_in_float32(made, monkeypatch):
    taken = []
    monkeypatch.setattr(registry, "choose", lambda problem: taken.append(choose(problem)) or taken[-1])
    torch.manual_seed(0)
    cell, x = made(), torch.randn(7, 3, 8)
    exact, _ = cell(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded, _ = cell(x)
    scan = "reference" if native.module is None else "cpu_native"
    assert [kernel.provider for kernel in taken] == ["scanned", scan] * 2
    assert torch.allclose(rounded.float(), exact, atol=0.05)
    rounded.float().sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in cell.parameters() if parameter.grad is not None)


def test_weights_begin_as_in_the_paper():
    cell = Rational(300, 24, lengths=4, input_dropout=0.19)
    bound = 0.9 * math.sqrt(6 / 324)
    largest = cell.weight_ih_l0.abs().max()
    assert 0.99 * bound < largest <= bound and not cell.bias_loop_l0.any()
    assert sum(parameter.numel() for parameter in cell.parameters()) == 24 * 4 * 601
    assert Rational(3, 2, 2, lengths=2, loop_bias=2).bias_loop_l1.tolist() == [2] * 4
    mixed = Rational(300, 24, lengths={4: 18, 1: 6})
    assert mixed.cell.lengths == (1,) * 6 + (4,) * 18
    assert math.sqrt(6 / 318) * 0.99 < mixed.weight_ih_l0[:6].abs().max() <= math.sqrt(6 / 306)


def test_input_dropout_leaves_out_features_of_a_whole_sequence():
    torch.manual_seed(0)
    cell = Rational(6, 2, input_dropout=0.5)
    x = torch.ones(5, 3, 6)
    torch.manual_seed(1)
    thinned, _ = cell(x)
    torch.manual_seed(1)
    mask = F.dropout(torch.ones(1, 3, 6), 0.5)
    assert torch.equal(thinned, cell.eval()(x * mask)[0])


def test_groups_of_states_are_the_papers_and_go_in_order():
    torch.manual_seed(0)
    model = Classifier(5, 2, cell="rational", units=3, cell_options={"lengths": (2, 4, 3)})
    x = torch.randn(2, 6, 5)
    with torch.no_grad():
        model.cell.weight_ih_l0[:, 0] += 1  # no weight is nearly zero
        model.cell.weight_ih_l0[[3, 12]] = 1e-3  # the second state of the second pattern, main path and self-loop
        model.cell.bias_loop_l0.fill_(0.5)
        model.cell.bias_loop_l0[3] = 0
    wiring = trace(model, (x,))
    groups = Groups.of(wiring, model, "state")
    assert groups.sizes(wiring.parameters(model)).tolist() == [2 * 5 + 1] * 9 and not groups.overlapping
    masks = sparsify(model, Magnitude(sparsity=3 / 9, granularity="state", scope="global"), example=(x,))
    gone, rows = [3, 4, 5], [3, 4, 5, 12, 13, 14]
    assert (~masks.kept["cell.weight_ih_l0"]).any(1).nonzero().squeeze(1).tolist() == rows
    assert (~masks.kept["cell.bias_loop_l0"]).nonzero().squeeze(1).tolist() == gone
    small, _ = compact(model, masks, example=(x,))
    assert small.cell.cell.lengths == (2, 1, 3)
    assert torch.allclose(small(x), model(x), atol=1e-6)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"lengths": 0}, "lengths are 0"),
        ({"lengths": (1, 2)}, "3 patterns"),
        ({"lengths": {1: 4}}, "3 patterns"),
        ({"lengths": "four"}, "lengths are 'four'"),
        ({"semiring": "min_plus"}, "semiring is"),
        ({"final": "first"}, "final is"),
        ({"last_loop": "none"}, "last_loop is"),
        ({"last_loop": "one", "semiring": "log"}, "fixed last self-loop in log"),
        ({"input_dropout": 1.0}, "input_dropout is"),
        ({"loop_bias": math.nan}, "loop_bias is nan"),
        ({"loop_bias": "open"}, "loop_bias is 'open'"),
        ({"recurrent_dropout": 0.5}, "no recurrent matrix"),
    ],
)
def test_options_that_do_not_exist(options, match):
    with pytest.raises(UserError, match=match):
        Rational(4, 3, **options)
    with pytest.raises(UserError, match="pooling is"):
        QRNN(4, 3, pooling="ifo")


@pytest.mark.parametrize("inputs", [4, 3])
@torch.no_grad()
def test_sru_is_its_papers_equations(inputs):
    cell, x = randomised(SRU(inputs, 4)), torch.randn(7, 2, inputs, dtype=torch.float64)
    weights, (b_f, b_r) = cell.weight_ih_l0.chunk(3), cell.bias_ih_l0.chunk(2)
    memory, expected = torch.zeros(2, 4, dtype=torch.float64), []
    for token in x:
        forget, reset = torch.sigmoid(token @ weights[1].T + b_f), torch.sigmoid(token @ weights[2].T + b_r)
        memory = forget * memory + (1 - forget) * (token @ weights[0].T)
        highway = token if inputs == 4 else token @ cell.weight_highway_l0.T
        expected.append(reset * torch.tanh(memory) + (1 - reset) * highway)
    output, (hidden, end) = cell(x)
    assert torch.allclose(output, torch.stack(expected)) and torch.equal(hidden[0], output[-1])
    assert torch.allclose(end[0], memory) and (inputs == 4) == (not hasattr(cell, "weight_highway_l0"))


@pytest.mark.parametrize("pooling", ["f", "fo"])
@torch.no_grad()
def test_qrnn_is_its_papers_equations(pooling):
    cell, x = randomised(QRNN(3, 4, pooling=pooling)), torch.randn(7, 2, 3, dtype=torch.float64)
    memory, expected = torch.zeros(2, 4, dtype=torch.float64), []
    for token in x:
        candidate, forget, *out = (token @ cell.weight_ih_l0.T + cell.bias_ih_l0).chunk(3 if pooling == "fo" else 2, -1)
        forget = torch.sigmoid(forget)
        memory = forget * memory + (1 - forget) * torch.tanh(candidate)
        expected.append(torch.sigmoid(out[0]) * memory if out else memory)
    output, (_, end) = cell(x)
    assert torch.allclose(output, torch.stack(expected)) and torch.allclose(end[0], memory)
