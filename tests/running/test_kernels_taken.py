"""Which kernel computes a GRU with 95 % zeros, wherever it runs; the table of docs/how-it-fits.md is made from this.

python -m tests.running.test_kernels_taken    rewrites the table
"""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from torch import nn

from sparsernn import Sparsifier, compact, explain_kernels, load_compact, native, save_compact, sparsify
from sparsernn import nn as cells
from sparsernn.kernels import registry
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.method import Method
from sparsernn.methods.static import Static
from sparsernn.running.runner import running_by

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-it-fits.md"
TABLE = re.compile(r"(<!-- kernels -->\n).*?(<!-- end kernels -->)", re.DOTALL)
INPUTS, UNITS, BATCH, TIME, SPARSITY = 16, 64, 32, 5, 0.95


class Reader(nn.Module):
    """A user's own model."""

    def __init__(self, cell: Callable[..., nn.Module]):
        super().__init__()
        self.rnn = cell(INPUTS, UNITS)
        self.head = nn.Linear(UNITS, 3)

    def forward(self, x):
        return self.head(self.rnn(x)[0][-1])


@dataclass(frozen=True)
class Noisy(Method):
    """Throw-away: a fixed random mask, and other weights at every forward."""

    granularities: ClassVar[tuple[str, ...]] = ("weight",)
    reads_dense_gradient: ClassVar[bool] = False

    def initial_state(self):
        return None

    def prepare(self, run):
        for name in run.selected:
            run.masks.kept[name] = torch.rand(run.weights[name].shape, generator=run.generator) > SPARSITY
        run.changed("start")

    def before_forward(self, run):
        return {name: run.weights[name] * 1.01 for name in run.selected}


def ours() -> Reader:
    torch.manual_seed(0)
    return Reader(lambda inputs, units: cells.GRU(inputs, units, reset="before"))


def inputs() -> torch.Tensor:
    return torch.randn(TIME, BATCH, INPUTS, generator=torch.Generator().manual_seed(1))


@contextmanager
def noted() -> Iterator[list[str]]:
    """The kernels that layers are really computed by inside."""
    kernels: list[str] = []

    def runner(place, problem):
        kernel = registry.choose(problem)
        kernels.append(kernel.provider)
        return kernel.run(problem)

    with running_by(runner):
        yield kernels


def trained(model: nn.Module, method: Method) -> tuple[list[str], Sparsifier]:
    """The kernels of two steps of a plain loop."""
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    run = Sparsifier(model, method, optimizer, steps=2, example=inputs())
    with noted() as kernels:
        for _ in range(2):
            optimizer.zero_grad()
            model(inputs()).square().sum().backward()
            optimizer.step()
    return kernels, run


def evaluated(model: nn.Module) -> list[str]:
    with torch.no_grad(), noted() as kernels:
        model.eval()(inputs())
    return kernels


def finished() -> tuple[nn.Module, object]:
    model = ours()
    _, run = trained(model, Static(sparsity=SPARSITY))
    return model, run.finalize()


def plain_loop():
    return trained(ours(), Static(sparsity=SPARSITY))[0]


def functional():
    model = ours()
    trained(model, Static(sparsity=SPARSITY))
    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with torch.no_grad(), noted() as kernels:
        torch.func.functional_call(model, weights, (inputs(),))
    return kernels


def functional_in_training():
    model = ours()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    run = Sparsifier(model, Static(sparsity=SPARSITY), optimizer, steps=2, example=inputs())
    weights = {name: parameter.detach().clone().requires_grad_() for name, parameter in model.named_parameters()}
    with noted() as kernels:
        torch.func.functional_call(model, weights, (inputs(),)).sum().backward()
    assert run.masks.sparsity() > 0.9
    return kernels


def sampled():
    return trained(ours(), Noisy())[0]


def averaged():
    model = ours()
    trained(model, Static(sparsity=SPARSITY))
    return evaluated(copy.deepcopy(model))


def finalized():
    return evaluated(finished()[0])


def loaded():
    model = ours()
    masks = sparsify(model, Magnitude(sparsity=SPARSITY), example=inputs())
    small, _ = compact(model.eval(), masks, example=inputs())
    with tempfile.TemporaryDirectory() as folder:
        save_compact(Path(folder) / "small.safetensors", small)
        return evaluated(load_compact(Path(folder) / "small.safetensors", ours()))


def in_a_users_model():
    torch.manual_seed(0)
    return trained(Reader(nn.GRU), Static(sparsity=SPARSITY))[0]


SITUATIONS: dict[str, Callable[[], list[str]]] = {
    "a plain training loop": plain_loop,
    "`torch.func.functional_call`, no gradients": functional,
    "`torch.func.functional_call` while training": functional_in_training,
    "weights that a method draws at every forward": sampled,
    "a deep copy, such as an average of the weights": averaged,
    "after `finalize`": finalized,
    "after `load_compact`": loaded,
    "`torch.nn.GRU` in a user's model, in a plain training loop": in_a_users_model,
}


def table() -> str:
    rows = ["| where the GRU runs | kernel |\n| --- | --- |\n"]
    for situation, run in SITUATIONS.items():
        (kernel,) = set(run())
        rows.append(f"| {situation} | `{kernel}` |\n")
    return "".join(rows)


needs_extension = pytest.mark.skipif(native.module is None, reason="the extension is not built here")


@needs_extension
@pytest.mark.parametrize("situation", SITUATIONS)
def test_no_layer_with_few_weights_is_computed_densely(situation):
    assert set(SITUATIONS[situation]()) == {"sparse_layer"}


@needs_extension
def test_the_table_of_the_page_is_this_one():
    assert TABLE.search(PAGE.read_text("utf8"))[0] == f"<!-- kernels -->\n{table()}<!-- end kernels -->"


@needs_extension
def test_explain_kernels_says_what_is_taken_and_why():
    model, _ = finished()
    with torch.no_grad():
        (layer,) = explain_kernels(model.eval())
    assert (layer.layer, layer.kernel, layer.why) == ("rnn", "sparse_layer", "")
    (layer,) = explain_kernels(model)
    assert layer.kernel == "gru_reset_before" and "nobody says which weights exist" in layer.why


@needs_extension
def test_explain_kernels_tells_torchs_own_modules_by_whether_this_package_runs_them():
    model = Reader(nn.GRU)
    (layer,) = explain_kernels(model)
    assert layer.kernel == "torch.nn.GRU" and "Sparsifier" in layer.why
    run = Sparsifier(model, Static(sparsity=SPARSITY), torch.optim.SGD(model.parameters(), 0.1), steps=2)
    assert [layer.kernel for layer in explain_kernels(model)] == ["sparse_layer"]
    run.finalize()
    assert [layer.kernel for layer in explain_kernels(model)] == ["torch.nn.GRU"]


def test_layers_and_directions_have_their_names():
    model = nn.ModuleDict({"one": cells.LSTM(3, 4, 2, bidirectional=True), "two": nn.GRUCell(3, 4)})
    names = [layer.layer for layer in explain_kernels(model)]
    assert names == ["one.l0", "one.l0_reverse", "one.l1", "one.l1_reverse", "two"]


if __name__ == "__main__":
    text = PAGE.read_text("utf8")
    PAGE.write_text(TABLE.sub(lambda match: match[1] + table() + match[2], text), "utf8")
