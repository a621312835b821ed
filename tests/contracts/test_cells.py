"""Every cell of the folder: one source of its step gives the same in torch, in numpy and, traced, in C."""

import ctypes
import dataclasses
import shutil
import subprocess

import numpy as np
import pytest
import torch

from sparsernn import folders
from sparsernn.deploy.c_step import c_step
from sparsernn.nn import module_of, step_module_of
from sparsernn.runtime import numpy_math

CELLS = folders.entries("cells")
INPUTS, UNITS, BATCH, TIME = 5, 6, 3, 7
CHOICES = {
    "reset": ("before",),
    "gate_activation": ("hard_sigmoid",),
    "activation": ("hard_tanh", "relu", "selu", "spocu_bounded"),
    "nonlinearity": ("relu",),
    "peephole": ("full",),
    "pooling": ("f",),
    "depth": (1, 4),
    "semiring": ("max_times", "max_plus", "log"),
    "last_loop": ("one",),
    "final": ("learned", "last"),
    "epsilon": (True,),
    "output_gate": (True,),
    "input_rank": (2,),
    "hidden_rank": (3,),
    "zeta": (0.9,),
    "lengths": ((1, 3, 2, 1, 4, 2),),
}
"""Values of options that change what a step computes, by the name of the option, whichever cell has it."""


def cases():
    for name, cell in CELLS.items():
        yield name, cell, {}
        for field in dataclasses.fields(cell):
            for value in CHOICES.get(field.name, ()):
                yield f"{name} {field.name}={value}", cell, {field.name: value}


CASES = {label: (cell, options) for label, cell, options in cases()}


@pytest.fixture(params=CASES.values(), ids=CASES)
def module(request):
    cell, options = request.param
    torch.manual_seed(0)
    made = module_of(cell)(INPUTS, UNITS, **options)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.uniform_(-0.8, 0.8)
    return made


def plain(module):
    """The layer's weights and sizes, and where its states begin."""
    weights = {local: module.get_parameter(name).detach().numpy() for local, name in module.names[0].items()}
    sizes, cell = module.sizes[0], module.cell
    values = cell.starting_values(sizes)
    start = [
        np.full((BATCH, sizes[axis]), value, np.float32) for axis, value in zip(cell.state_axes, values, strict=True)
    ]
    return weights, sizes, start


def states_by_torch(module, x):
    _, states = module(torch.from_numpy(x))
    return [state[0].detach().numpy() for state in (states if isinstance(states, tuple) else (states,))]


def inputs():
    return np.random.default_rng(1).standard_normal((TIME, BATCH, INPUTS)).astype(np.float32)


def test_numpys_steps_are_torchs(module):
    weights, _, state = plain(module)
    multiply, x = numpy_math.Products(module.cell, weights), inputs()
    for time in range(TIME):
        state = module.cell.step(module.cell.project(x[time], multiply, numpy_math), tuple(state), multiply, numpy_math)
    for ours, theirs in zip(state, states_by_torch(module, x), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.skipif(shutil.which("gcc") is None, reason="there is no C compiler here")
def test_c_that_is_traced_from_it_compiles_and_agrees(module, tmp_path):
    weights, sizes, start = plain(module)
    source, library = tmp_path / "step.c", tmp_path / "step.so"
    source.write_text(c_step(module.cell, sizes, list(weights)))
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-Wno-unused-function"]
    subprocess.run(["gcc", *strict, "-O1", "-shared", "-fPIC", source, "-o", library, "-lm"], check=True)
    step = ctypes.CDLL(str(library)).step
    pointers = [_pointer(np.ascontiguousarray(weight)) for weight in weights.values()]
    state = np.concatenate(start, 1)
    for x in inputs():
        for row, one in zip(state, x, strict=True):
            step(_pointer(one), _pointer(row), *pointers)
    for ours, theirs in zip(
        np.split(state, np.cumsum([part.shape[1] for part in start])[:-1], 1),
        states_by_torch(module, inputs()),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, rtol=2e-5, atol=2e-6)


def _pointer(array):
    return array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))


def test_a_single_step_module_goes_the_same_way(module):
    one = step_module_of(type(module.cell))(INPUTS, UNITS, **_options(module.cell))
    one.load_state_dict({local: module.get_parameter(name) for local, name in module.names[0].items()})
    state, x = None, torch.from_numpy(inputs())
    for now in x:
        state = one(now, state)
    for ours, theirs in zip(
        state if isinstance(state, tuple) else (state,), states_by_torch(module, inputs()), strict=True
    ):
        np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=1e-5, atol=1e-6)


def _options(cell):
    return {field.name: getattr(cell, field.name) for field in dataclasses.fields(cell) if field.name in CHOICES}
