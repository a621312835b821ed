"""Our RNN, LSTM and GRU are torch's: values, gradients, states and state_dicts, in every form of call."""

import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.cells.rnn import RNN
from sparsernn.kernels.registry import using

PAIRS = {
    "RNN": (RNN, nn.RNN, {}),
    "RNN relu": (RNN, nn.RNN, {"nonlinearity": "relu"}),
    "LSTM": (LSTM, nn.LSTM, {}),
    "GRU": (GRU, nn.GRU, {}),
}
SHAPES = list(itertools.product((1, 2, 3), (False, True), (False, True), (False, True)))


def pair(name: str, layers: int, both: bool, bias: bool = True, first: bool = False, inputs: int = 4, hidden: int = 5):
    """One of ours and one of torch's with the same weights, in double precision."""
    ours, theirs, options = PAIRS[name]
    torch.manual_seed(0)
    reference = theirs(inputs, hidden, layers, bias=bias, batch_first=first, bidirectional=both, **options).double()
    cell = ours(inputs, hidden, layers, bias=bias, batch_first=first, bidirectional=both, **options).double()
    cell.load_state_dict(reference.state_dict())
    return cell, reference


def starts(cell: nn.Module, shape: tuple[int, ...], lstm: bool):
    """Initial states that are learned."""
    places = cell.num_layers * (2 if cell.bidirectional else 1)
    made = [
        torch.randn(places, *shape, cell.hidden_size, dtype=torch.float64, requires_grad=True)
        for _ in range(2 if lstm else 1)
    ]
    return made, tuple(made) if lstm else made[0]


def flat(result):
    if isinstance(result, PackedSequence):
        return [result.data]
    return [result] if isinstance(result, torch.Tensor) else [part for piece in result for part in flat(piece)]


def compare(cell, reference, x, state, leaves):
    """Equal results, and equal gradients of a loss that reads all of them."""
    found = []
    for module in (cell, reference):
        for leaf in (*leaves, *module.parameters()):
            leaf.grad = None
        results = flat(module(x, state))
        generator = torch.Generator().manual_seed(1)
        sum(
            (part * torch.randn(part.shape, generator=generator, dtype=part.dtype)).sum() for part in results
        ).backward()
        grads = [leaf.grad for leaf in leaves] + [parameter.grad for _, parameter in sorted(module.named_parameters())]
        found.append((results, grads))
    (ours, our_grads), (theirs, their_grads) = found
    for a, b in zip(ours + our_grads, theirs + their_grads, strict=True):
        assert a.shape == b.shape
        assert torch.allclose(a, b, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("provider", ["reference", "torch_fused"])
@pytest.mark.parametrize("name", PAIRS)
def test_values_and_gradients_equal_torchs(name, provider):
    with using(provider):
        for layers, both, bias, first in SHAPES:
            cell, reference = pair(name, layers, both, bias, first)
            x = torch.randn(3, 6, 4, dtype=torch.float64, requires_grad=True)
            batch = 3 if first else 6
            leaves, state = starts(cell, (batch,), name == "LSTM")
            compare(cell, reference, x, None, [x])
            compare(cell, reference, x, state, [x, *leaves])


@pytest.mark.parametrize("provider", ["reference", "torch_fused"])
@pytest.mark.parametrize("name", PAIRS)
def test_unbatched_sequences_equal_torchs(name, provider):
    with using(provider):
        for layers, both in itertools.product((1, 2), (False, True)):
            cell, reference = pair(name, layers, both, first=both)
            x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
            leaves, state = starts(cell, (), name == "LSTM")
            compare(cell, reference, x, None, [x])
            compare(cell, reference, x, state, [x, *leaves])


@pytest.mark.parametrize("provider", ["reference", "torch_fused"])
@pytest.mark.parametrize("lengths", [[6, 4, 4, 1], [2, 6, 1, 6]])
@pytest.mark.parametrize("name", PAIRS)
def test_packed_sequences_equal_torchs(name, lengths, provider):
    with using(provider):
        for layers, both in itertools.product((1, 2), (False, True)):
            cell, reference = pair(name, layers, both)
            x = torch.randn(6, 4, 4, dtype=torch.float64, requires_grad=True)
            packed = pack_padded_sequence(x, lengths, enforce_sorted=False)
            leaves, state = starts(cell, (4,), name == "LSTM")
            found = []
            for module in (cell, reference):
                for leaf in (x, *leaves, *module.parameters()):
                    leaf.grad = None
                output, after = module(packed, state)
                padded, counted = pad_packed_sequence(output)
                assert counted.tolist() == lengths and torch.equal(output.batch_sizes, packed.batch_sizes)
                results = [padded, *flat(after)]
                sum(part.square().sum() for part in results).backward(retain_graph=True)
                found.append(
                    results
                    + [leaf.grad for leaf in (x, *leaves)]
                    + [weight.grad for _, weight in sorted(module.named_parameters())]
                )
            assert all(torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(*found, strict=True))


@pytest.mark.parametrize("provider", ["reference", "torch_fused"])
@pytest.mark.parametrize("name", PAIRS)
def test_lengths_are_packing_without_packing(name, provider):
    lengths = torch.tensor([2, 6, 1, 5])
    with using(provider):
        for layers, both, first in itertools.product((1, 2), (False, True), (False, True)):
            cell, reference = pair(name, layers, both, first=first)
            x = torch.randn(*((4, 6) if first else (6, 4)), 4, dtype=torch.float64)
            output, state = cell(x, lengths=lengths)
            packed, expected = reference(pack_padded_sequence(x, lengths, batch_first=first, enforce_sorted=False))
            assert torch.allclose(
                output, pad_packed_sequence(packed, batch_first=first, total_length=6)[0], rtol=1e-10, atol=1e-12
            )
            assert all(
                torch.allclose(a, b, rtol=1e-10, atol=1e-12) for a, b in zip(flat(state), flat(expected), strict=True)
            )


@pytest.mark.parametrize("name", PAIRS)
def test_state_dicts_go_both_ways_unchanged(name):
    ours, theirs, options = PAIRS[name]
    for layers, both, bias, _ in SHAPES:
        cell = ours(4, 5, layers, bias=bias, bidirectional=both, **options)
        reference = theirs(4, 5, layers, bias=bias, bidirectional=both, **options)
        assert list(cell.state_dict()) == list(reference.state_dict())
        assert {key: value.shape for key, value in cell.state_dict().items()} == {
            key: value.shape for key, value in reference.state_dict().items()
        }
        reference.load_state_dict(cell.state_dict())
        cell.load_state_dict(reference.state_dict())
        assert all(torch.equal(value, cell.state_dict()[key]) for key, value in reference.state_dict().items())


@pytest.mark.parametrize("name", PAIRS)
def test_new_weights_are_drawn_as_torch_draws_them(name):
    ours, theirs, options = PAIRS[name]
    torch.manual_seed(3)
    cell = ours(4, 5, 2, bidirectional=True, **options)
    torch.manual_seed(3)
    reference = theirs(4, 5, 2, bidirectional=True, **options)
    assert all(torch.equal(value, cell.state_dict()[key]) for key, value in reference.state_dict().items())


@pytest.mark.parametrize("name", PAIRS)
def test_dropout_between_layers_is_torchs(name):
    ours, theirs, options = PAIRS[name]
    cell, reference = ours(4, 5, 2, dropout=0.5, **options), theirs(4, 5, 2, dropout=0.5, **options)
    cell.load_state_dict(reference.state_dict())
    x = torch.randn(6, 3, 4)
    torch.manual_seed(1)
    output, _ = cell(x)
    torch.manual_seed(1)
    expected, _ = reference(x)
    assert torch.allclose(output, expected, atol=1e-6)
    assert not torch.allclose(cell(x)[0], output) and torch.equal(cell.eval()(x)[0], cell(x)[0])
