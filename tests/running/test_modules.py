"""Our recurrent modules in the place of torch's: its own samples of calls, its options, copies and files of weights."""

import copy
import inspect
import io
import pickle
import warnings

import pytest
import torch
from torch import nn
from torch.testing._internal.common_modules import module_db

import sparsernn.nn
from sparsernn import folders
from sparsernn.cells.cell import Cell
from sparsernn.errors import UserError
from sparsernn.kernels.registry import using
from sparsernn.running.modules import Recurrent, RecurrentStep

pytestmark = pytest.mark.filterwarnings("ignore:LSTM with projections", "ignore:dropout option adds dropout")
NAMES = ("RNN", "LSTM", "GRU", "RNNCell", "LSTMCell", "GRUCell")
INFOS = {info.module_cls.__name__: info for info in module_db if info.module_cls.__name__ in NAMES}
CLOSE = {torch.float32: 2e-5, torch.float64: 1e-10}
CELLS = folders.entries("cells")


def flat(result):
    return [result] if isinstance(result, torch.Tensor) else [part for piece in result for part in flat(piece)]


def pair(name, *arguments, **options):
    """One of ours and one of torch's with the same weights."""
    theirs = getattr(nn, name)(*arguments, **options)
    ours = getattr(sparsernn.nn, name)(*arguments, **options)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def called(module, sample, train):
    """What a module returns for a sample, and all gradients: of inputs, states and weights."""
    inputs = copy.deepcopy(sample.forward_input)
    leaves = [leaf for leaf in flat([part for part in inputs.args if part is not None]) if leaf.is_floating_point()]
    leaves += [parameter for _, parameter in sorted(module.named_parameters())]
    results = flat(module.train(train)(*inputs.args, **inputs.kwargs))
    sum((place * part.sin()).sum() for place, part in enumerate(results, 1)).backward()
    return results, [leaf.grad for leaf in leaves]


def samples(name, dtype, train):
    torch.manual_seed(0)
    make = INFOS[name].module_inputs_func
    return make(INFOS[name], device="cpu", dtype=dtype, requires_grad=True, training=train)


@pytest.mark.parametrize("provider", ["", "reference"])
@pytest.mark.parametrize("train", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_torchs_own_samples(name, dtype, train, provider):
    count = 0
    for sample in samples(name, dtype, train):
        construction = sample.constructor_input
        ours, theirs = pair(name, *construction.args, **construction.kwargs, dtype=dtype)
        expected, wanted = called(theirs, sample, train)
        with using(provider):
            found, gradients = called(ours, sample, train)
        for mine, other in zip(found + gradients, expected + wanted, strict=True):
            assert (mine.shape, mine.dtype) == (other.shape, other.dtype)
            assert torch.allclose(mine, other, rtol=CLOSE[dtype], atol=CLOSE[dtype]), construction
        count += 1
    assert count >= 2


FORMS = {
    "RNN": (3, 4, 2, "relu", False, True, 0.5, True),
    "LSTM": (3, 4, 2, False, True, 0.5, True, 2),
    "GRU": (3, 4, 2, False, True, 0.5, True),
    "RNNCell": (3, 4, False, "relu"),
    "LSTMCell": (3, 4, False),
    "GRUCell": (3, 4, False),
}
PLACED = {"RNN": (0, "meta", torch.float64), "LSTM": ("meta", torch.float64), "GRU": (0, "meta", torch.float64)}


def names_of(name):
    """Torch's names of the options in `FORMS`."""
    kind = nn.RNNBase if hasattr(nn, f"{name}Cell") else getattr(nn, name)
    names = [one for one in inspect.signature(kind.__init__).parameters if one not in ("self", "mode")]
    if name == "RNN":
        names.insert(3, "nonlinearity")
    return names[: len(FORMS[name])]


@pytest.mark.parametrize("name", NAMES)
def test_every_option_of_torch_by_position_and_by_name(name):
    options = dict(zip(names_of(name), FORMS[name], strict=True))
    by_position, theirs = pair(name, *FORMS[name])
    by_name, _ = pair(name, **options)
    for module in (by_position, by_name):
        for option, value in options.items():
            if option != "nonlinearity":
                assert getattr(module, option) == getattr(theirs, option) == value, option
            else:
                assert module.cell.nonlinearity == value
        assert repr(module) == repr(by_name) and list(module.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("name", NAMES)
def test_device_and_type_by_position_and_by_name(name):
    placed = PLACED.get(name, ("meta", torch.float64))
    for module in (
        getattr(sparsernn.nn, name)(*FORMS[name], *placed),
        getattr(sparsernn.nn, name)(*FORMS[name], device="meta", dtype=torch.float64),
    ):
        theirs = getattr(nn, name)(*FORMS[name], *placed)
        for (key, mine), (other, tensor) in zip(module.named_parameters(), theirs.named_parameters(), strict=True):
            assert (key, mine.shape, mine.device, mine.dtype) == (other, tensor.shape, tensor.device, tensor.dtype)
            assert mine.is_meta and mine.dtype == torch.float64


@pytest.mark.parametrize("name", NAMES)
def test_a_module_on_no_device_runs_and_is_filled_later(name):
    ours, theirs = getattr(sparsernn.nn, name)(3, 4, device="meta"), getattr(nn, name)(3, 4)
    x = torch.randn(2, 3) if name.endswith("Cell") else torch.randn(5, 2, 3)
    assert [part.shape for part in flat(ours(x.to("meta")))] == [part.shape for part in flat(theirs(x))]
    ours = ours.to_empty(device="cpu")
    ours.load_state_dict(theirs.state_dict())
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(flat(ours(x)), flat(theirs(x)), strict=True))
    ours.load_state_dict({key: torch.randn_like(value) for key, value in theirs.state_dict().items()}, assign=True)
    theirs.load_state_dict(ours.state_dict())
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(flat(ours(x)), flat(theirs(x)), strict=True))


@pytest.mark.parametrize("name", NAMES)
def test_weights_go_both_ways_and_begin_as_torchs(name):
    torch.manual_seed(3)
    theirs = getattr(nn, name)(*FORMS[name])
    torch.manual_seed(3)
    ours = getattr(sparsernn.nn, name)(*FORMS[name])
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert all(torch.equal(value, theirs.state_dict()[key]) for key, value in ours.state_dict().items())
    other = getattr(nn, name)(*FORMS[name])
    ours.load_state_dict(other.state_dict())
    theirs.load_state_dict(ours.state_dict())
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in theirs.state_dict().items())
    with pytest.raises(RuntimeError, match="size mismatch"):
        ours.load_state_dict(getattr(nn, name)(3, 5, *FORMS[name][2:]).state_dict())


def every_module():
    """One module of each class in `sparsernn.nn`, and some with options."""
    modules = {}
    for cell in CELLS.values():
        modules[cell.__name__] = (cell.__name__, {"num_layers": 2, "bidirectional": True, "batch_first": True})
        modules[f"{cell.__name__}Cell"] = (f"{cell.__name__}Cell", {})
    modules["projected"] = ("LSTM", {"proj_size": 2, "dropout": 0.5, "num_layers": 2})
    modules["before"] = ("GRU", {"reset": "before", "bias": False, "recurrent_dropout": 0.3})
    modules["rich"] = ("Rational", {"lengths": (1, 2, 3, 2), "epsilon": True, "final": "learned"})
    return modules


def saved_by_torch(module):
    buffer = io.BytesIO()
    torch.save(module, buffer)
    buffer.seek(0)
    return torch.load(buffer, weights_only=False)


COPIES = {
    "copy": copy.deepcopy,
    "pickle": lambda module: pickle.loads(pickle.dumps(module)),
    "torch.save": saved_by_torch,
}


@pytest.mark.parametrize("way", COPIES)
@pytest.mark.parametrize("form", every_module())
def test_copies_are_the_same_module(form, way):
    torch.manual_seed(0)
    name, options = every_module()[form]
    module = getattr(sparsernn.nn, name)(3, 4, **options).double()
    module.get_parameter(module.names[0]["weight_ih"]).requires_grad_(False)
    x = torch.randn(2, 3) if name.endswith("Cell") else torch.randn(2, 5, 3)
    clone = COPIES[way](module)
    assert type(clone) is type(module) and clone.cells == module.cells and repr(clone) == repr(module)
    assert [(key, value.requires_grad) for key, value in clone.named_parameters()] == [
        (key, value.requires_grad) for key, value in module.named_parameters()
    ]
    assert clone.training == module.training and not clone.eval().training and module.training
    results = [flat(one.eval()(x.double())) for one in (module, clone)]
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))
    with torch.no_grad():
        for parameter in clone.parameters():
            parameter.zero_()
    assert all(torch.equal(a, b) for a, b in zip(flat(module(x.double())), results[0], strict=True))


def test_names_of_classes_are_those_of_the_cells():
    assert set(dir(sparsernn.nn)) >= {cell.__name__ for cell in CELLS.values()} | set(NAMES)
    for cell in CELLS.values():
        stack, step = getattr(sparsernn.nn, cell.__name__), getattr(sparsernn.nn, f"{cell.__name__}Cell")
        assert issubclass(stack, Recurrent) and issubclass(step, RecurrentStep)
        assert stack.__name__ == cell.__name__ and stack.__module__ == "sparsernn.nn"
        assert type(cell(3, 4)) is stack is sparsernn.nn.module_of(cell) and isinstance(cell(), Cell)
    with pytest.raises(AttributeError, match="Transformer"):
        getattr(sparsernn.nn, "Transformer")  # noqa: B009


@pytest.mark.parametrize("name", NAMES)
def test_what_a_forward_may_ask_of_torchs_module_it_may_ask_of_ours(name):
    ours, theirs = pair(name, *FORMS[name])
    for option in set(theirs.__constants__) - {"mode", "nonlinearity"}:
        assert getattr(ours, option) == getattr(theirs, option), option
    if not name.endswith("Cell"):
        assert ours.flatten_parameters() is None
        assert type(ours.dropout) is float
        ours.dropout = theirs.dropout = 0.0
        x = torch.randn(2, 5, 3)
        assert torch.allclose(ours.train()(x)[0], theirs.train()(x)[0], atol=1e-6)


def test_options_that_a_cell_has_not():
    with pytest.raises(TypeError, match="GRU: .*'nonlinearity'"):
        sparsernn.nn.GRU(3, 4, nonlinearity="relu")
    with pytest.raises(TypeError, match="LSTM: missing .*'hidden_size'"):
        sparsernn.nn.LSTM(3)
    with pytest.raises(TypeError, match="GRUCell|GRU: .*'num_layers'"):
        sparsernn.nn.GRUCell(3, 4, num_layers=2)
    with pytest.raises(TypeError, match="multiple values"):
        sparsernn.nn.GRU(3, 4, 1, num_layers=2)


REFUSED = {
    "proj_size for GRU": lambda: sparsernn.nn.GRU(3, 4, proj_size=1),
    "proj_size for RNN": lambda: sparsernn.nn.RNN(3, 4, proj_size=1),
    "proj_size is 4": lambda: sparsernn.nn.LSTM(3, 4, proj_size=4),
    "proj_size is -1": lambda: sparsernn.nn.LSTM(3, 4, proj_size=-1),
    "proj_size is True": lambda: sparsernn.nn.LSTM(3, 4, proj_size=True),
    "recurrent_dropout for SRU": lambda: sparsernn.nn.SRU(3, 4, recurrent_dropout=0.1),
    "recurrent_dropout for QRNN": lambda: sparsernn.nn.QRNN(3, 4, recurrent_dropout=0.1),
    "recurrent_dropout for Rational": lambda: sparsernn.nn.Rational(3, 4, recurrent_dropout=0.1),
    "recurrent_dropout is 1.0": lambda: sparsernn.nn.LSTM(3, 4, recurrent_dropout=1.0),
    "recurrent_dropout is True": lambda: sparsernn.nn.LSTM(3, 4, recurrent_dropout=True),
    "recurrent_dropout is 'x'": lambda: sparsernn.nn.LSTM(3, 4, recurrent_dropout="x"),
    "dropout is 1.5": lambda: sparsernn.nn.LSTM(3, 4, dropout=1.5),
    "hidden_size is 0": lambda: sparsernn.nn.LSTMCell(3, 0),
    "num_layers is 0": lambda: sparsernn.nn.RNN(3, 4, 0),
}


@pytest.mark.parametrize("happened", REFUSED)
def test_options_that_cannot_be_are_one_error(happened):
    with pytest.raises(UserError, match=happened) as caught:
        REFUSED[happened]()
    assert caught.value.expected and caught.value.do and caught.value.__cause__ is caught.value.__context__ is None


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_recurrent_dropout_acts_in_training_only_and_is_off_at_zero(name):
    torch.manual_seed(0)
    ours, theirs = pair(name, 3, 16)
    thinned = getattr(sparsernn.nn, name)(3, 16, recurrent_dropout=0.5)
    thinned.load_state_dict(theirs.state_dict())
    x = torch.randn(5, 2, 3)
    expected = theirs(x)[0]
    assert torch.allclose(thinned.eval()(x)[0], expected, atol=1e-6)
    assert not torch.allclose(thinned.train()(x)[0], expected, atol=1e-3)
    assert torch.allclose(ours.train()(x)[0], expected, atol=1e-6)


@pytest.mark.parametrize("name", [cell.__name__ for cell in CELLS.values()])
def test_single_steps_are_the_steps_of_the_layer(name):
    torch.manual_seed(0)
    stack, step = getattr(sparsernn.nn, name)(3, 4), getattr(sparsernn.nn, f"{name}Cell")(3, 4)
    step.load_state_dict({key.removesuffix("_l0"): value for key, value in stack.state_dict().items()})
    x, state = torch.randn(5, 2, 3), None
    output, ends = stack(x)
    for token, expected in zip(x, output, strict=True):
        state = step(token, state)
        hidden = state[0] if isinstance(state, tuple) else state
        assert torch.allclose(hidden, expected, atol=1e-6)
    assert all(torch.allclose(a, b[0], atol=1e-6) for a, b in zip(flat(state), flat(ends), strict=True))
    alone = step(x[0, 0])
    assert all(part.dim() == 1 for part in flat(alone)) and torch.allclose(flat(alone)[0], output[0, 0], atol=1e-6)


@pytest.mark.parametrize("name", ["RNNCell", "LSTMCell", "GRUCell"])
def test_single_steps_of_the_wrong_shape_are_refused(name):
    step, wrong = getattr(sparsernn.nn, name)(3, 4), torch.zeros(2, 5)
    for arguments in ((torch.zeros(2, 4),), (torch.zeros(5, 2, 3),), (torch.zeros(2, 3), wrong), (torch.zeros(3), wrong)):
        with pytest.raises(UserError, match="the input has the shape"):
            step(*arguments)


@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_a_module_compiles(name):
    module, theirs = pair(name, 3, 4, 2, bidirectional=True)
    x = torch.randn(5, 2, 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        compiled = torch.compile(module, backend="eager")(x)
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(flat(compiled), flat(theirs(x)), strict=True))
