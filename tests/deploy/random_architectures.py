"""Random networks, pruned: what compaction, the engine, ONNX and C make of them computes what the masked one does.

    python -m tests.deploy.random_architectures --count 1000 --seed 0

What is C of a whole batch of networks is compiled as one program, so that their names and functions must not meet.
"""

import argparse
import ctypes
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

import sparsernn.nn as recurrent
from sparsernn import accelerate, compact, export_c, export_onnx, folders, shrink, sparsify
from sparsernn.deploy.eight_bits import eight_bits
from sparsernn.errors import UserError
from sparsernn.methods.magnitude import Magnitude
from sparsernn.methods.static import Static
from sparsernn.own_model.shrinking import How

TOLERANCE = 1e-5
"""For the largest number being 1; relative to it where it is larger."""
ROUNDED = 0.05
"""A number between two whole ones may become either in 8 bits; what follows from that stays below this."""
TORCH = {"torch LSTM": nn.LSTM, "torch GRU": nn.GRU, "torch RNN": nn.RNN}
OPTIONS = {
    "fastgrnn": [
        {},
        {"hidden_rank": 3},
        {"input_rank": 2, "gate_activation": "hard_sigmoid", "activation": "hard_tanh"},
        {"input_rank": 3, "hidden_rank": 2, "zeta": 1.0, "nu": 0.0},
    ],
    "gru": [{}, {"reset": "before"}, {"activation": "selu"}, {"reset": "before", "gate_activation": "hard_sigmoid"}],
    "lstm": [{}, {"gate_activation": "hard_sigmoid"}, {"proj_size": 2}, {"activation": "relu"}, {"forget_bias": 1.0}],
    "peephole_lstm": [{}, {"peephole": "full"}, {"activation": "hard_tanh"}],
    "qrnn": [{}, {"pooling": "f"}],
    "recurrent_highway": [{"depth": 1}, {"depth": 2}, {"depth": 3, "transform_bias": -2.0}, {"activation": "relu"}],
    "rnn": [{}, {"nonlinearity": "relu"}, {"activation": "spocu_bounded"}],
    "rational": [
        {"lengths": 2},
        {"lengths": 3, "semiring": "max_times"},
        {"lengths": 2, "semiring": "max_plus", "final": "learned"},
        {"lengths": 3, "semiring": "log", "epsilon": True},
        {"lengths": 4, "final": "last", "output_gate": True},
        {"lengths": 3, "last_loop": "one", "loop_bias": 2.0},
    ],
    "torch LSTM": [{}, {"proj_size": 2}],
    "torch RNN": [{}, {"nonlinearity": "relu"}],
}
LEVELS = ("weight", "gate", "neuron", "16x1", "8x4", "4x1", "input", "outgoing", "by hand", "shrink")
OF_SOME = {"proj_size": "projection", "hidden_rank": "rank", "input_rank": "rank", "lengths": "state"}
"""Levels that cells with such an option declare."""


@dataclass(frozen=True)
class Stack:
    """Layers of one cell. options: index into `OPTIONS`."""

    cell: str
    option: int
    units: int
    layers: int
    both: bool
    bias: bool

    @property
    def options(self) -> dict:
        every = OPTIONS.get(self.cell, [{}])
        return every[self.option % len(every)]

    def module(self, inputs):
        make = TORCH.get(self.cell) or recurrent.module_of(folders.find("cells", self.cell))
        return make(
            inputs, self.units, self.layers, bias=self.bias, batch_first=True, bidirectional=self.both, **self.options
        )

    @property
    def width(self) -> int:
        """Of its output."""
        return (1 + self.both) * self.options.get("proj_size", self.units)


@dataclass(frozen=True)
class Architecture:
    """What a network is, and how it is pruned.

    Attributes:
        words: of the embedding, or 0 for none.
        front, norm, residual, packed: a linear layer before, a norm after each stack, its input added, lengths.
        last: whether the last step alone goes on.
        head: layers of the head.
        level, sparsity: of the pruning; format, int8: of the C.
        seed: of the weights, and of what else is random.
    """

    words: int
    inputs: int
    front: bool
    stacks: tuple[Stack, ...]
    norm: bool
    residual: bool
    packed: bool
    last: bool
    dropout: float
    head: int
    classes: int
    level: str
    sparsity: float
    format: str | None
    int8: bool
    seed: int

    @property
    def streams(self) -> bool:
        """Whether C takes it: all but layers that read backwards."""
        return not any(stack.both for stack in self.stacks)


def rarely(most: int) -> st.SearchStrategy[bool]:
    return st.integers(1, most).map(lambda number: number == most)


STACKS = st.builds(
    Stack,
    cell=st.sampled_from([*sorted(folders.entries("cells")), *TORCH]),
    option=st.integers(0, 11),
    units=st.integers(3, 24),
    layers=st.sampled_from([1, 1, 2, 3]),
    both=rarely(7),
    bias=rarely(6).map(lambda no: not no),
)
ARCHITECTURES = st.builds(
    Architecture,
    words=st.sampled_from([0, 0, 2, 5, 9]),
    inputs=st.integers(1, 7),
    front=rarely(12),
    stacks=st.lists(STACKS, min_size=1, max_size=2).map(tuple),
    norm=rarely(10),
    residual=rarely(10),
    packed=rarely(10),
    last=st.booleans(),
    dropout=st.sampled_from([0.0, 0.3]),
    head=st.sampled_from([0, 1, 1, 1, 1, 2]),
    classes=st.integers(1, 4),
    level=st.sampled_from(LEVELS),
    sparsity=st.sampled_from([0.3, 0.6, 0.9]),
    format=st.sampled_from([None, "rows", "blocks", "lookup", "dense", "smallest"]),
    int8=rarely(4),
    seed=st.integers(0, 10**6),
)


class Network(nn.Module):
    """The network of an architecture. Shapes: x [batch time] or [batch time input], lengths [batch] where it packs"""

    def __init__(self, architecture: Architecture):
        super().__init__()
        self.architecture = architecture
        width = architecture.inputs
        self.table = nn.Embedding(architecture.words, width) if architecture.words else None
        self.front = nn.Linear(width, width) if architecture.front else None
        self.stacks, self.norms, self.adds = nn.ModuleList(), nn.ModuleList(), []
        for stack in architecture.stacks:
            self.stacks.append(stack.module(width))
            self.adds.append(architecture.residual and width == stack.width)  # whatever compaction makes of the widths
            width = stack.width
            self.norms.append(nn.LayerNorm(width) if architecture.norm else nn.Identity())
        self.dropout = nn.Dropout(architecture.dropout)
        self.head = nn.Sequential()
        for number in range(architecture.head):
            into = architecture.classes if number == architecture.head - 1 else 6
            self.head.extend([nn.ReLU()] * bool(number) + [nn.Linear(width, into)])
            width = into

    def forward(self, x, lengths=None):
        x = self.dropout(x if self.table is None else self.table(x))
        x = x if self.front is None else self.front(x)
        for stack, norm, adds in zip(self.stacks, self.norms, self.adds, strict=True):
            output = norm(self.run(stack, x, lengths))
            x = self.dropout(x + output if adds else output)
        return self.head(x[:, -1] if self.architecture.last else x)

    def run(self, stack, x, lengths):
        if lengths is None:
            return stack(x)[0]
        packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(stack(packed)[0], batch_first=True)[0]

    def example(self, batch, time):
        """Arguments of the forward; the longest sequence comes first."""
        shape = (batch, time) if self.table is not None else (batch, time, self.architecture.inputs)
        x = torch.randint(self.architecture.words, shape) if self.table is not None else torch.randn(shape)
        return (x, time - torch.arange(batch) % time) if self.architecture.packed else (x,)


def built(architecture: Architecture) -> Network:
    torch.manual_seed(architecture.seed)
    model = Network(architecture).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.5)
    return model


def pruned(model: Network) -> tuple[nn.Module, nn.Module]:
    """The masked network and the compacted one."""
    architecture, example = model.architecture, model.example(2, 4)
    if architecture.level == "shrink":
        levels = ("neuron", "weight") if architecture.seed % 2 else ("gate",)
        how = How(levels=levels, rounds=2, steps=1, share=architecture.sparsity, batches=1)
        shrunk = shrink(
            model, [example] * 2, lambda one, x: one(*x).square().mean(), lambda one: 0.0, floor=-1.0, how=how
        )
        return shrunk.model.eval(), shrunk.model.eval()
    if architecture.level == "by hand":
        method = Static(masks=masks_by_hand(model))
    else:
        options = {name for stack in architecture.stacks for name in stack.options}
        rare = [level for name, level in OF_SOME.items() if name in options]
        level = rare[0] if rare and architecture.seed % 3 == 0 else architecture.level
        level = "neuron" if level == "outgoing" and not architecture.head else level  # nothing may read the top units
        method = Magnitude(architecture.sparsity, granularity=level)
    masks = sparsify(model, method, example=example)
    return model, compact(model, masks, example=example)[0]


def masks_by_hand(model: nn.Module) -> dict[str, torch.Tensor]:
    """Of some matrices: nothing, some rows, some columns, or some weights are left."""
    masks = {}
    for name, parameter in model.named_parameters():
        if parameter.dim() != 2 or "stacks" not in name:
            continue
        mask, kind = torch.ones_like(parameter, dtype=torch.bool), torch.randint(5, ()).item()
        rows, columns = (torch.rand(size) < 0.5 for size in parameter.shape)
        masks[name] = [mask, mask & False, mask & rows[:, None], mask & columns, torch.rand(parameter.shape) < 0.3][
            kind
        ]
    return masks


@dataclass
class Case:
    """A network of which the C is still to be compared.

    Attributes:
        source: of the C, or None where it was refused.
        x, outputs: sequences and what the C must make of them. [batch time ..]
    """

    architecture: Architecture
    source: object
    x: np.ndarray
    outputs: np.ndarray


@dataclass
class Tally:
    """What became of how many, and the largest differences by what computed."""

    counts: Counter = field(default_factory=Counter)
    largest: dict[str, float] = field(default_factory=dict)
    failures: list[tuple[Architecture, str]] = field(default_factory=list)

    def compare(self, what: str, outputs, expected, tolerance: float = TOLERANCE) -> None:
        outputs, expected = np.asarray(outputs), np.asarray(expected)
        assert outputs.shape == expected.shape, f"{what}: shape {outputs.shape}, not {expected.shape}"
        scale = 1 + np.abs(expected).max(initial=0)
        difference = float(np.abs(outputs - expected).max(initial=0) / scale)
        assert difference <= tolerance, f"{what} differs by {difference:.3g}, {scale - 1:.3g} being the largest"
        self.counts[what] += 1
        self.largest[what] = max(self.largest.get(what, 0.0), difference)

    def __str__(self) -> str:
        parts = [f"{what} {count} ({self.largest.get(what, 0):.1e})" for what, count in sorted(self.counts.items())]
        return ", ".join(parts)


@torch.no_grad()
def compared(architecture: Architecture, folder: Path, name: str, tally: Tally) -> Case | None:
    """Everything but the compiling of the C."""
    model = built(architecture)
    with torch.enable_grad():
        masked, small = pruned(model)
    fast = accelerate(small, format=("dense", "rows", "blocks")[architecture.seed % 3])
    export_onnx(small, folder / "g.onnx", example=model.example(2, 4), dynamic={"batch", "time"})
    session = onnx_session(folder / "g.onnx")
    for batch, length in ((1, 1), (3, 9)):
        arguments = model.example(batch, length)
        expected = masked(*arguments)
        tally.compare("compacted", small(*arguments), expected)
        tally.compare("engine", fast(*arguments), expected)
        feeds = dict(zip(("x", "lengths"), (one.numpy() for one in arguments), strict=False))
        tally.compare("ONNX", session.run(None, feeds)[0], expected)
    return in_c(small, model, folder, name, tally)


def onnx_session(path: Path):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def in_c(small: nn.Module, model: Network, folder: Path, name: str, tally: Tally) -> Case | None:
    """The C of the compacted network, or None where it is refused in a sentence, and what it has to compute."""
    architecture = model.architecture
    int8, (x, *lengths) = architecture.int8, model.example(3, 9)
    x = x, *(torch.full_like(one, 9) for one in lengths)  # a stream has not ended
    try:
        source = export_c(small, folder, name, x, architecture.format, int8)
    except UserError as error:
        assert not architecture.streams, f"C is refused: {error}"
        assert len(str(error)) < 400 and str(error).endswith("."), f"no sentence: {error}"
        tally.counts["C refused"] += 1
        return None
    if not int8:
        return Case(architecture, source, x[0].numpy(), small(*x).numpy())
    with eight_bits(small):
        return Case(architecture, source, x[0].numpy(), of_eight_bits(small)(*x).numpy())


def eight(numbers: torch.Tensor) -> torch.Tensor:
    """Numbers as whole ones up to 127 times a scale for each row."""
    scale = numbers.abs().amax(-1, keepdim=True) / 127
    return torch.where(scale > 0, torch.round(numbers / torch.where(scale > 0, scale, 1)), 0) * scale


def of_eight_bits(small: nn.Module) -> nn.Module:
    """The network whose table and head are rounded too, in place, and so is what linear layers read."""
    for module in small.modules():
        if isinstance(module, nn.Embedding | nn.Linear):
            module.weight.copy_(eight(module.weight))
        if isinstance(module, nn.Linear):
            module.register_forward_pre_hook(lambda _, arguments: (eight(arguments[0]),))
    return small


def compiled(sources: Sequence, folder: Path) -> ctypes.CDLL:
    """One program of many networks."""
    everything, library = folder / "everything.c", folder / f"{sources[0].source.stem}.so"
    everything.write_text("".join(f'#include "{source.source.name}"\n' for source in sources))
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O1"]
    command = ["gcc", *strict, "-shared", "-fPIC", everything, "-o", library]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return ctypes.CDLL(str(library))


def run_c(program: ctypes.CDLL, source, sequences: np.ndarray) -> np.ndarray:
    """Outputs of all steps. Shapes: [batch time ..] -> [batch time output]"""
    name, outputs = source.source.stem, []
    state, output = np.full(source.state, np.nan, np.float32), np.zeros(source.outputs, np.float32)
    pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (state, output)]
    for sequence in sequences:
        program[f"{name}_reset"](pointers[0])
        for frame in np.ascontiguousarray(sequence.reshape(len(sequence), -1), np.float32):
            program[f"{name}_step"](pointers[0], frame.ctypes.data_as(ctypes.c_void_p), pointers[1])
            outputs.append(output.copy())
    return np.stack(outputs).reshape(*sequences.shape[:2], -1)


def check_c(cases: Sequence[Case], folder: Path, tally: Tally) -> None:
    try:
        program = compiled([case.source for case in cases], folder)
    except subprocess.CalledProcessError:
        if len(cases) == 1:
            raise
        for case in cases:
            with noting(case.architecture, tally):
                check_c([case], folder, tally)
        return
    for case in cases:
        with noting(case.architecture, tally):
            outputs = run_c(program, case.source, case.x)
            outputs = outputs[:, -1] if case.architecture.last else outputs
            what = "C of 8 bits" if case.architecture.int8 or case.architecture.format == "int8" else "C"
            tally.compare(what, outputs, case.outputs, ROUNDED if case.architecture.int8 else TOLERANCE)


class noting:
    """Notes what goes wrong with an architecture within the block, and goes on."""

    def __init__(self, architecture: Architecture, tally: Tally):
        self.architecture, self.tally = architecture, tally

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind, error, _) -> bool:
        if error is None or not isinstance(error, Exception):
            return False
        last = "".join(traceback.format_exception(error)[-3:]) if not isinstance(error, AssertionError) else str(error)
        last += getattr(error, "stderr", None) or ""
        self.tally.failures.append((self.architecture, last))
        return True


def check(architectures: Sequence[Architecture], tally: Tally) -> None:
    """Compare them all, and note in the tally what disagrees."""
    with tempfile.TemporaryDirectory() as name:
        folder, cases = Path(name), []
        for number, architecture in enumerate(architectures):
            with noting(architecture, tally):
                cases.append(compared(architecture, folder, f"n{number}", tally))
        if cases := [case for case in cases if case is not None]:
            check_c(cases, folder, tally)


QUIET = (HealthCheck.too_slow, HealthCheck.data_too_large)


def drawn(count: int, number: int) -> list[Architecture]:
    """So many architectures, the same for the same number."""
    architectures: dict[Architecture, None] = {}

    @seed(number)
    @settings(max_examples=3 * count, phases=[Phase.generate], database=None, suppress_health_check=QUIET)
    @given(ARCHITECTURES)
    def collect(architecture):
        architectures[architecture] = None

    collect()
    return list(architectures)[:count]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--batch", type=int, default=25, help="networks in one program")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    architectures, tally, start = drawn(options.count, options.seed), Tally(), time.monotonic()
    for first in range(0, len(architectures), options.batch):
        seen, batch = len(tally.failures), architectures[first : first + options.batch]
        check(batch, tally)
        print(f"{first + len(batch)} in {time.monotonic() - start:.0f} s: {tally}", flush=True)
        for architecture, message in tally.failures[seen:]:
            print(f"DISAGREES {architecture}\n    {message}", flush=True)
    print(f"{len(architectures)} networks, {len(tally.failures)} disagree")
    sys.exit(bool(tally.failures))


if __name__ == "__main__":
    main()
