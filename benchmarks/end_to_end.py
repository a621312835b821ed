"""From a torch network to what is shipped: quality, bytes and the time of a step of every form, and how equal they are.

    python benchmarks/end_to_end.py spoken_digits [--out FILE.json]
    python benchmarks/end_to_end.py digits|activity [--out FILE.json]
    python benchmarks/end_to_end.py imdb|decoder|policy [--out FILE.json]

- `spoken_digits`: a GRU that says after each log-mel frame of 20 ms which digit it has heard; quality is the accuracy
  on the test recordings at their last frame.
- `digits`: a GRU that says after each of the eight rows of a picture which digit it sees; quality is the same of the
  test pictures.
- `activity`: an LSTM that labels each sample of a phone's sensors, 25 a second; quality is the macro F1 of all samples
  of people whom training never saw.
- `imdb`: a BiLSTM with 20,000 words; `decoder`: five GRU layers of 768 units, not trained; `policy`: a recurrent policy
  of sb3-contrib. See `whole_networks.py`.

Each of the first three is trained by torch, made small by `shrink`, and written as ONNX with its state as input and
output, and as C. Every form runs all test sequences. Times are those of one step a call: of torch and ONNX Runtime from
Python, interleaved, of C within a program. Machines whose tools are absent are left out with a message:
`small_machines.py`.
"""

from __future__ import annotations

import argparse
import copy
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import activity
import numpy as np
import safetensors.torch
import torch
from bayesian_step import processor
from forms import TOLERANCE, Form, Outputs, bytes_of, interleaved, largest_difference, table
from forms import onnx_session as session_of
from small_machines import MACHINES, STEPS, Machine, outputs_of_c, write_inputs
from torch import Tensor, nn
from torch.nn import functional as F
from whole_networks import WHOLE

from sparsernn import export_c, export_onnx, load_compact, save_compact, set_flush_denormal, shrink
from sparsernn.data.activity_recognition import LABELS, SENSORS, ActivityRecognition
from sparsernn.data.sequential_digits import SequentialDigits
from sparsernn.data.spoken_digits import SpokenDigits
from sparsernn.data.task import Loaded
from sparsernn.deploy.c_source import Source
from sparsernn.deploy.eight_bits import eight_bits
from sparsernn.own_model.shrinking import How


class Reader(nn.Module):
    """Outputs of a recurrent layer, read by a linear one at every step. Shapes: [batch time input] -> [.. output]"""

    def __init__(self, layer: nn.Module, outputs: int):
        super().__init__()
        self.layer, self.head = layer, nn.Linear(layer.hidden_size, outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x)[0])


class Stream(nn.Module):
    """The same with its state going in and coming out."""

    def __init__(self, reader: nn.Module):
        super().__init__()
        self.layer, self.head = reader.layer, reader.head

    def forward(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        output, state = self.layer(x, state)
        return self.head(output), state


@dataclass(frozen=True)
class Setup:
    """What is trained, and on what.

    Attributes:
        model: not trained yet. batches, rate: of its training; again: the batches of each round of shrinking.
        loss, quality, how: as `shrink` takes them.
        sequences: of the test part. [time input] each
        score: outputs of all test sequences -> quality.
    """

    model: Reader
    batches: Sequence[Any]
    again: Sequence[Any]
    rate: float
    loss: Callable[..., Tensor]
    quality: Callable[[nn.Module], float]
    how: How
    sequences: Sequence[np.ndarray]
    score: Callable[[Outputs], float]


@dataclass(frozen=True)
class Case:
    """A trained network, the same made small, and the small one after updates that saw the rounding to 8 bits."""

    dense: Reader
    small: Reader
    rounded: Reader
    sequences: Sequence[np.ndarray]
    score: Callable[[Outputs], float]


def trained(setup: Setup, floor: float = 0.01, keep: Path | None = None) -> Case:
    """All three networks. Whatever `keep` holds is read, and written there where it does not.

    Arguments:
        floor: how much quality on the validation part may go.
    """
    dense = copy.deepcopy(setup.model)
    names = ("dense", "small", "rounded")
    paths = [None if keep is None else keep / f"{name}.safetensors" for name in names]
    if keep is not None and paths[2].exists():  # type: ignore[union-attr]
        safetensors.torch.load_model(dense, paths[0])
        small, rounded = (load_compact(path, setup.model).eval() for path in paths[1:])  # type: ignore[arg-type]
        return Case(dense.eval(), small, rounded, setup.sequences, setup.score)
    optimise(dense, setup.batches, setup.loss, setup.rate)
    lowest = setup.quality(dense) - floor
    shrunk = shrink(dense, setup.again, setup.loss, setup.quality, floor=lowest, how=setup.how)
    print(shrunk)
    rounded = fine_tuned(shrunk.model, setup.again, setup.loss)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_model(dense, paths[0])
        save_compact(paths[1], shrunk.model)
        save_compact(paths[2], rounded)
    return Case(dense, shrunk.model, rounded, setup.sequences, setup.score)


def forms(case: Case, folder: Path, machines: Sequence[Machine] = MACHINES) -> list[Form]:
    """Every form of a case. Raises: SystemExit where one in float32 is not what torch computes."""
    lines, steps = [], {}
    expected = of_torch(case.small, case.sequences)
    for name, model, reference in (("torch, dense", case.dense, None), ("torch, small", case.small, expected)):
        outputs = of_torch(model, case.sequences)
        lines.append(_form(case, name, outputs, bytes_of(model), reference))
        steps[name] = torch_step(model, case.sequences[0])
    for name, model, int8 in (("ONNX", case.small, False), ("ONNX, int8", case.rounded, True)):
        session, size = onnx_session(model, folder, int8)
        outputs = [run_onnx(session, x) for x in case.sequences]
        reference = expected if model is case.small else of_torch(model, case.sequences)
        lines.append(_form(case, name, outputs, size, reference, exact=not int8))
        steps[name] = onnx_step(session, case.sequences[0])
    times = interleaved(steps)
    lines = [Form(**asdict(line) | {"microseconds": times[line.form]}) for line in lines]
    for int8, model in ((False, case.small), (True, case.rounded)):
        lines += forms_in_c(case, model, int8, folder, machines)
    for name, model in (("dense", case.dense), ("small", case.small)):
        source = export_c(model, folder, "g", example=_first_steps(case), format="smallest", int8=True)
        lines.append(_of_source(case, model, source, f"C int8, {name}, no update saw it", True))
    return lines


def _first_steps(case: Case) -> Tensor:
    return torch.from_numpy(case.sequences[0][:STEPS]).unsqueeze(0)


def _form(case: Case, name: str, outputs: Outputs, size: int, reference: Outputs | None, exact: bool = True) -> Form:
    difference = None if reference is None else largest_difference(outputs, reference)
    if exact and difference is not None and not difference <= TOLERANCE:
        sys.exit(f"no figure: the outputs of {name} differ by {difference:.3g}")
    return Form(name, case.score(outputs), size, difference=difference)


def forms_in_c(case: Case, model: Reader, int8: bool, folder: Path, machines: Sequence[Machine]) -> list[Form]:
    """The C of a network on this processor, where all test sequences are run, and what it takes on other machines."""
    lines, numbers = [], "int8" if int8 else "float32"
    example = _first_steps(case)
    for machine in machines:
        if machine.missing:
            print(f"{machine.name} is left out: {', '.join(machine.missing)} not found here")
            continue
        source = export_c(model, folder, "g", example=example, format=machine.format, int8=int8)
        write_inputs(folder, example[0].numpy())
        figures = machine.run(folder, source)
        if figures is None:
            print(f"{machine.name} has no room for C in {numbers}")
            continue
        line = _of_source(case, model, source, f"C {numbers}, {machine.name}", int8)
        size = {"bytes": source.constants + figures.code}
        if figures.unit == "ns":
            took: dict[str, Any] = {"microseconds": figures.count / 1000}
        else:
            took = {"count": figures.count, "unit": figures.unit}
        lines.append(Form(**asdict(line) | size | took))
    return lines


def _of_source(case: Case, model: Reader, source: Source, name: str, int8: bool) -> Form:
    reference = of_torch(model, case.sequences)
    return _form(case, name, outputs_of_c(source, case.sequences), source.constants, reference, exact=not int8)


@torch.no_grad()
def of_torch(model: Reader, sequences: Sequence[np.ndarray]) -> Outputs:
    return [model(torch.from_numpy(x).unsqueeze(0))[0].numpy() for x in sequences]


def first_state(reader: Reader) -> Any:
    layer = reader.layer
    with torch.no_grad():
        state = layer(torch.zeros(1, 1, layer.input_size))[1]
    return tuple(map(torch.zeros_like, state)) if isinstance(state, tuple) else torch.zeros_like(state)


def torch_step(model: Reader, x: np.ndarray) -> Callable[[], object]:
    stream, state, frame = Stream(model).eval(), first_state(model), torch.from_numpy(x[:1]).unsqueeze(0)

    def step() -> object:
        with torch.inference_mode():
            return stream(frame, state)

    return step


def onnx_session(model: Reader, folder: Path, int8: bool) -> tuple[Any, int]:
    path, state = folder / "network.onnx", first_state(model)
    example = (torch.zeros(1, 3, model.layer.input_size), state)
    written = export_onnx(Stream(model).eval(), path, example=example, dynamic={"batch", "time"}, int8=int8)
    return session_of(path), written.bytes


def run_onnx(session: Any, x: np.ndarray) -> np.ndarray:
    """Outputs of a sequence that comes in two pieces, its state being handed on."""
    names = [one.name for one in session.get_inputs()]
    states = [np.zeros((1, 1, one.shape[-1]), np.float32) for one in session.get_inputs()[1:]]
    pieces = []
    for piece in (x[:1], x[1:]):
        outputs, *states = session.run(None, dict(zip(names, [piece[None], *states], strict=True)))
        pieces.append(outputs[0])
    return np.concatenate(pieces)


def onnx_step(session: Any, x: np.ndarray) -> Callable[[], object]:
    names = [one.name for one in session.get_inputs()]
    states = [np.zeros((1, 1, one.shape[-1]), np.float32) for one in session.get_inputs()[1:]]
    feeds = dict(zip(names, [x[None, :1], *states], strict=True))
    return lambda: session.run(None, feeds)


def spoken_digits() -> Setup:
    """Frames of 20 ms, and the digit after each."""
    how = How(levels=("neuron",), rounds=6, steps=150, learning_rate=2e-3)
    return at_the_last_step(SpokenDigits(hop=160).load(), nn.GRU(40, 96, batch_first=True), 10, how)


def digits() -> Setup:
    """Rows of a picture, and the digit after each."""
    how = How(levels=("neuron",), rounds=6, steps=800, learning_rate=2e-3)
    return at_the_last_step(SequentialDigits().load(), nn.GRU(8, 64, batch_first=True), 30, how)


def at_the_last_step(data: Loaded, layer: nn.Module, epochs: int, how: How) -> Setup:
    """A class is said after every step, and the last one counts."""
    batches = [list(data.train.batches(32, shuffle_seed=epoch)) for epoch in range(epochs)]
    valid, test = list(data.valid.batches(100)), list(data.test.batches(1))

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return F.cross_entropy(_last(model, batch), batch.targets)

    def accuracy(model: nn.Module) -> float:
        with torch.no_grad():
            right = sum(int((_last(model, batch).argmax(1) == batch.targets).sum()) for batch in valid)
        return right / len(data.valid)

    classes = np.array([int(batch.targets[0]) for batch in test])
    return Setup(
        model=Reader(layer, data.outputs),
        batches=[batch for epoch in batches for batch in epoch],
        again=batches[0],
        rate=3e-3,
        loss=loss,
        quality=accuracy,
        how=how,
        sequences=[batch.inputs[0, : _lengths(batch)[0]].numpy() for batch in test],
        score=lambda outputs: _accuracy(outputs, classes),
    )


def _lengths(batch: Any) -> Tensor:
    whole = torch.full((len(batch.targets),), batch.inputs.shape[1])
    return whole if batch.lengths is None else batch.lengths


def _last(model: nn.Module, batch: Any) -> Tensor:
    """Outputs of the last step of each sequence. Shapes: [batch output]"""
    return model(batch.inputs)[torch.arange(len(batch.targets)), _lengths(batch) - 1]


def _accuracy(outputs: Outputs, classes: np.ndarray) -> float:
    return float(np.mean([one[-1].argmax() == label for one, label in zip(outputs, classes, strict=True)]))


def activity_labels() -> Setup:
    """Samples of a phone's sensors, and the label of each."""
    data = ActivityRecognition(every=activity.EVERY).load()
    train, valid, test = (activity.recordings(part) for part in (data.train, data.valid, data.test))
    generator = np.random.default_rng(0)
    batches = [activity.windows(train, generator) for _ in range(400)]

    def loss(model: nn.Module, batch: Any) -> Tensor:
        x, labels = batch
        return F.cross_entropy(model(x).flatten(0, 1), labels.flatten(), label_smoothing=0.05)

    return Setup(
        model=Reader(nn.LSTM(len(SENSORS), 32, batch_first=True), len(LABELS)),
        batches=batches,
        again=batches[:200],
        rate=1e-2,
        loss=loss,
        quality=lambda model: _f1(of_torch(model, [x for x, _ in valid]), valid),  # type: ignore[arg-type]
        how=How(levels=("neuron",), rounds=5, steps=200, learning_rate=5e-3),
        sequences=[np.ascontiguousarray(x, np.float32) for x, _ in test],
        score=lambda outputs: _f1(outputs, test),
    )


def _f1(outputs: Outputs, part: Sequence[activity.Recording]) -> float:
    return activity.score([one.argmax(-1) for one in outputs], part)["f1"]


def optimise(model: nn.Module, batches: Sequence[Any], loss: Callable[..., Tensor], rate: float) -> None:
    """Adam over the batches at a rate that falls to 0; weights of matrices that are zero stay so."""
    optimizer = torch.optim.Adam(model.parameters(), rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(batches))
    kept = [(weight, weight.detach() != 0) for weight in model.parameters() if weight.dim() > 1]
    for batch in batches:
        optimizer.zero_grad()
        loss(model, batch).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            for weight, mask in kept:
                weight *= mask
    model.eval()


def fine_tuned(model: Reader, batches: Sequence[Any], loss: Callable[..., Tensor]) -> Reader:
    """A copy that was trained on with the rounding to 8 bits in sight."""
    rounded = copy.deepcopy(model)
    with eight_bits(rounded):
        optimise(rounded, batches, loss, 3e-4)
    return rounded


CASES = {"spoken_digits": spoken_digits, "digits": digits, "activity": activity_labels}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=[*CASES, *WHOLE])
    parser.add_argument(
        "--keep", type=Path, help="folder of the trained networks: read if they are there, else written"
    )
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    set_flush_denormal(True)
    torch.manual_seed(0)
    about: dict[str, Any] = {"processor": processor()}
    with tempfile.TemporaryDirectory() as folder:
        if arguments.case in WHOLE:
            lines = WHOLE[arguments.case](Path(folder), arguments.keep)
        else:
            case = trained(CASES[arguments.case](), keep=arguments.keep)
            lines, about["units"] = forms(case, Path(folder)), case.small.layer.hidden_size
    print(f"{arguments.case} on {', '.join(f'{value} {name}' for name, value in about.items())}")
    print(table(lines))
    if arguments.out:
        about["forms"] = [asdict(one) for one in lines]
        arguments.out.write_text(json.dumps(about, indent=1) + "\n")


if __name__ == "__main__":
    main()
