"""The compiled scan against the reference: values, gradients, second gradients, every semiring and instruction set."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from sparsernn import native
from sparsernn.cells.parts.automata import ScanConstants, automata_of
from sparsernn.cells.parts.semirings import SEMIRINGS
from sparsernn.errors import UserError
from sparsernn.kernels.registry import choose, explain, kernels_of, using
from sparsernn.kernels.scan import cpu_native, reference
from sparsernn.kernels.scanning import ScanProblem

compiled = pytest.mark.skipif(native.module is None, reason="the extension is not built here")
INSTRUCTIONS = native.module.instruction_sets() if native.module else []
DTYPES = (torch.float64, torch.float32, torch.bfloat16)
SHAPES = {"mixed": (1, 4, 2, 3), "one": (1,), "wide": (4,) * 25, "long": (63,)}


def automata(sizes, semiring, time=7, batch=3, skip=False, dtype=torch.float64, fixed=()):
    """Automata and what they are run on: projected, bias, final, skip, start."""
    torch.manual_seed(0)
    shape = automata_of(sizes, semiring, fixed)
    given = [torch.randn(time, batch, 2 * shape.states, dtype=dtype), torch.randn(shape.states, dtype=dtype)]
    scores = [torch.rand(shape.states, dtype=dtype) for _ in range(2)]
    given += [scores[0], scores[1] if skip else None, torch.rand(batch, shape.states, dtype=dtype)]
    return shape, [part if part is None else part.requires_grad_() for part in given]


def problem(shape, given, lengths=None):
    """What kernels are handed. given: with None for no skips, or without"""
    projected, bias, final, *skip, start = given
    return ScanProblem(shape, projected, ScanConstants(bias, final, *skip), start, lengths)


def results(run, shape, given, lengths=None):
    """Values and gradients."""
    leaves = [part for part in given if part is not None]
    output, end = run(problem(shape, given, lengths))
    generator = torch.Generator().manual_seed(1)
    weighed = [(part * torch.randn(part.shape, generator=generator, dtype=part.dtype)).sum() for part in (output, end)]
    return [output, end, *torch.autograd.grad(sum(weighed), leaves)]


@compiled
@pytest.mark.parametrize("with_lengths", [False, True])
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("sizes", SHAPES)
@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_values_and_gradients_equal_the_references(semiring, sizes, skip, with_lengths):
    lengths = torch.tensor([3, 7, 1]) if with_lengths else None
    for dtype, close in ((torch.float64, 1e-12), (torch.float32, 2e-5)):
        shape, given = automata(SHAPES[sizes], semiring, skip=skip, dtype=dtype)
        expected = results(reference.run, shape, given, lengths)
        for name in INSTRUCTIONS:
            found = results(partial(cpu_native.run, instructions=name), shape, given, lengths)
            for ours, theirs in zip(found, expected, strict=True):
                assert torch.allclose(ours, theirs, rtol=close, atol=close), name


@compiled
@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_gradients_are_those_of_differences(semiring):
    fixed = (False, True, True) if semiring == "plus_times" else ()
    shape, given = automata((1, 3, 2), semiring, time=4, batch=2, skip=True, fixed=fixed)
    lengths = torch.tensor([4, 2])
    assert torch.autograd.gradcheck(lambda *parts: cpu_native.run(problem(shape, parts, lengths)), given)
    assert torch.autograd.gradgradcheck(lambda *parts: cpu_native.run(problem(shape, parts, lengths)), given)


@compiled
@pytest.mark.parametrize("threads", [2, 5])
def test_threads_do_not_change_a_bit(threads):
    shape, given = automata((4,) * 24, "plus_times", time=40, batch=7, dtype=torch.float32)
    before = torch.get_num_threads()
    expected = results(cpu_native.run, shape, given, None)
    try:
        torch.set_num_threads(threads)
        found = results(cpu_native.run, shape, given, None)
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))


@compiled
def test_what_stands_behind_the_end_of_a_sequence_does_not_matter():
    shape, given = automata((2, 3), "plus_times")
    lengths = torch.tensor([2, 7, 4])
    expected = results(cpu_native.run, shape, given, lengths)
    spoilt = given[0].detach().clone()
    for row, length in enumerate(lengths.tolist()):
        spoilt[length:, row] = torch.nan
    found = results(cpu_native.run, shape, [spoilt.requires_grad_(), *given[1:]], lengths)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    assert not found[0][2:, 0].any() and not found[2][2:, 0].any()


@compiled
def test_long_texts_need_memory_in_proportion_to_their_length():
    shape, given = automata((4,) * 6, "plus_times", time=2000, batch=2)
    saved = []
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: saved.append(tensor.numel()) or tensor, lambda x: x):
        output, _ = cpu_native.run(problem(shape, given))
    assert sum(saved) <= 2000 * 2 * (2 * 24 + 24 + 6) + 4 * 24 + 2 * 24
    output.sum().backward()
    with torch.no_grad():
        assert torch.allclose(reference.run(problem(shape, given))[0], output, atol=1e-9)


@compiled
@pytest.mark.parametrize("kind", [torch.int32, torch.int16, torch.uint8])
def test_lengths_of_any_whole_type_are_the_same_lengths(kind):
    shape, given = automata((1, 2), "plus_times", time=3)
    expected = reference.run(problem(shape, given, torch.tensor([3, 1, 2])))
    lengths = torch.tensor([[3, 0], [1, 0], [2, 0]], dtype=kind)[:, 0]
    with torch.no_grad():
        for ours, theirs in zip(cpu_native.run(problem(shape, given, lengths)), expected, strict=True):
            torch.testing.assert_close(ours, theirs)


def same(ours, theirs, tolerance):
    """Whether two results are not finite in the same places, in the same way, and near each other elsewhere."""
    finite = torch.isfinite(theirs)
    kinds = [(test(ours) == test(theirs)).all() for test in (torch.isnan, torch.isposinf, torch.isneginf)]
    return all(kinds) and torch.allclose(ours[finite], theirs[finite], rtol=tolerance, atol=tolerance)


@compiled
@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize("semiring", SEMIRINGS)
def test_what_is_not_finite_comes_out_where_the_reference_has_it(semiring, skip):
    generator, bad = torch.Generator().manual_seed(2), (torch.nan, torch.inf, -torch.inf)
    for dtype, tolerance in ((torch.float64, 1e-9), (torch.float32, 2e-5)):
        shape, given = automata((1, 3, 2), semiring, skip=skip, dtype=dtype)
        for number, part in enumerate(given):
            for value in bad if part is not None else ():
                spoilt = [one if one is None else one.detach().clone() for one in given]
                place = int(torch.randint(part.numel(), (), generator=generator))
                spoilt[number].view(-1)[place] = value
                expected = reference.run(problem(shape, spoilt))
                for name in INSTRUCTIONS:
                    results = cpu_native.run(problem(shape, spoilt), instructions=name)
                    assert all(same(*pair, tolerance) for pair in zip(results, expected, strict=True)), (number, value)


@compiled
def test_it_is_one_operation_to_the_compiler():
    shape, given = automata((1, 2), "plus_times", time=3)
    arguments = (*given, torch.tensor([3, 1, 2]), shape.sizes, shape.semiring, shape.fixed, True, "")
    torch.library.opcheck(cpu_native.scan, arguments)


@compiled
def test_nonsense_is_refused_in_words():
    shape, given = automata((1, 2), "plus_times", time=3)
    with pytest.raises(ValueError, match="lengths must be from 0 to the number of steps"):
        cpu_native.run(problem(shape, given, torch.tensor([4, 1, 1])))
    with pytest.raises(ValueError, match="projected must be a C-contiguous array of float64"):
        cpu_native.run(problem(automata_of((1, 1)), given))
    with pytest.raises(ValueError, match="was not compiled or is not to be had"):
        cpu_native.run(problem(shape, given), instructions="sse9")


@compiled
def test_refusals_are_sentences_and_the_reference_takes_the_rest(monkeypatch):
    plain, elsewhere, half = (problem(*automata((1, 2), "log", dtype=one)) for one in DTYPES)
    elsewhere = replace(elsewhere, projected=elsewhere.projected.to("meta"))
    assert choose(plain).provider == "cpu_native"
    assert choose(elsewhere).provider == "reference" and "it runs on the cpu, not on meta" in explain(elsewhere)
    assert choose(half).provider == "reference" and "not in bfloat16" in explain(half)
    monkeypatch.setattr(native, "module", None)
    monkeypatch.setattr(native, "_failure", ImportError("no compiler"))
    assert choose(plain).provider == "reference"
    assert [kernel.provider for kernel in kernels_of("scan")] == ["cpu_native", "reference"]


def test_a_kernel_that_was_asked_for_is_not_replaced():
    half = problem(*automata((1, 2), "log", dtype=torch.bfloat16))
    with pytest.raises(UserError, match="bfloat16"), using("cpu_native"):
        choose(half)
