"""Time of a step of one recurrent layer with few weights, against dense rivals, interleaved in one run.

Ours: every format of `sparsernn.runtime`, each with zeros where it can use them: whole blocks for "blocks" (16 x 1) and
"int8_blocks" (16 x 4), anywhere for the others. Random patterns: nothing here says what a network with such zeros can
learn. Rivals, dense: torch's nn.LSTM or nn.GRU (with one step: LSTMCell or GRUCell), torch's dynamic quantisation, ONNX
Runtime in float32 and int8, and smaller dense networks of as many bytes as the blocks. With --steps 1 each call is one
step from Python, states carried, with arrays bound beforehand where a library can. Every figure is a median of the same
number of rounds that run all rivals in turn; denormals are flushed for all. "read" is what this processor reads a
second of as many bytes, doing nothing else.

    python benchmarks/sequence.py --hidden 1024 --sparsity 0.9 --steps 100 --batch 1 --threads 1 --cell lstm --json
    python benchmarks/sequence.py            # a grid: results/benchmarks/sequence.json and sequence.md
"""

from __future__ import annotations

import argparse
import json
import logging
import math
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from sparsernn import native, set_flush_denormal
from sparsernn.cells.cell import Cell
from sparsernn.cells.gru import GRU
from sparsernn.cells.lstm import LSTM
from sparsernn.runtime import numpy_math
from sparsernn.runtime.layers import RecurrentLayer

CELLS: dict[str, Cell] = {"lstm": LSTM(), "gru": GRU()}
ZEROS = {"dense": (1, 1), "rows": (1, 1), "blocks": (16, 1)}
ZEROS |= {"int8_dense": (1, 1), "int8_lookup": (1, 1), "int8_blocks": (16, 4)}
TOLERANCE = {"float32": 1e-4, "int8": 0.2}
ROUND_SECONDS, FOLDER = 0.003, Path(__file__).parents[1] / "results" / "benchmarks"
GRID = [
    {"hidden": hidden, "inputs": hidden, "steps": steps, "batch": batch, "cell": cell}
    for cell in CELLS
    for hidden in (64, 128, 256, 512, 1024)
    for steps, batch in ((100, 1), (1, 1), (100, 8))
]

Weights = dict[str, np.ndarray]


@dataclass(frozen=True)
class Setting:
    """What is timed: one layer over sequences of so many steps."""

    cell: str
    hidden: int
    inputs: int
    sparsity: float
    steps: int
    batch: int
    threads: int

    @property
    def gates(self) -> int:
        return len(CELLS[self.cell].gates)


@dataclass(frozen=True)
class Rival:
    """One way to compute the layer. `call` runs all steps; `error` is the largest difference from float64."""

    provider: str
    format: str
    dtype: str
    bytes: int
    call: Callable[[], Any]
    error: float | None


def weights_of(setting: Setting, block: tuple[int, int], hidden: int = 0) -> Weights:
    """Random weights with a share of zeros in blocks, scaled as training leaves them. hidden: 0 for the setting's."""
    generator, hidden = np.random.default_rng(0), hidden or setting.hidden
    rows, weights = setting.gates * hidden, {}
    for name, columns in (("weight_ih", setting.inputs), ("weight_hh", hidden)):
        kept = generator.random((-(-rows // block[0]), -(-columns // block[1]))) >= setting.sparsity
        kept = kept.repeat(block[0], 0).repeat(block[1], 1)[:rows, :columns]
        spread = 1 / math.sqrt(columns * (1 - setting.sparsity))
        weights[name] = (generator.standard_normal((rows, columns)) * spread * kept).astype(np.float32)
    for name in ("bias_ih", "bias_hh"):
        weights[name] = (0.1 * generator.standard_normal(rows)).astype(np.float32)
    return weights


def inputs_of(setting: Setting) -> np.ndarray:
    shape = (setting.steps, setting.batch, setting.inputs)
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def reference(setting: Setting, weights: Weights, x: np.ndarray) -> np.ndarray:
    """The output in float64. [time batch hidden]"""
    cell, hidden = CELLS[setting.cell], len(weights["weight_hh"]) // setting.gates
    multiply = numpy_math.Products(cell, {name: weight.astype(np.float64) for name, weight in weights.items()})
    state, outputs = tuple(np.zeros((setting.batch, hidden)) for _ in cell.states), []
    for vector in x.astype(np.float64):
        state = cell.step(cell.project(vector, multiply, numpy_math), state, multiply, numpy_math)
        outputs.append(state[0])
    return np.stack(outputs)


def ours(setting: Setting, x: np.ndarray) -> list[Rival]:
    rivals = []
    for format, block in ZEROS.items():
        weights = weights_of(setting, block)
        layer = RecurrentLayer(CELLS[setting.cell], weights, format)
        expected, dtype = reference(setting, weights, x), "int8" if format.startswith("int8") else "float32"
        error = float(np.abs(layer.run(x)[0] - expected).max())
        if not error <= TOLERANCE[dtype]:
            sys.exit(f"no figure: {format} differs from the reference by {error:.1e}")
        call = partial(layer.stream(setting.batch).step, x[0]) if setting.steps == 1 else partial(layer.run, x)
        rivals.append(Rival("cpu_native", format, dtype, layer.bytes, call, error))
    return rivals


def in_torch(setting: Setting, weights: Weights, x: np.ndarray, name: str, with_int8: bool) -> list[Rival]:
    hidden, inputs = len(weights["weight_hh"]) // setting.gates, torch.from_numpy(x)
    kinds = {("lstm", True): nn.LSTMCell, ("lstm", False): nn.LSTM, ("gru", True): nn.GRUCell, ("gru", False): nn.GRU}
    layer, suffix = kinds[setting.cell, setting.steps == 1](setting.inputs, hidden), "" if setting.steps == 1 else "_l0"
    layer.load_state_dict({key + suffix: torch.from_numpy(weight) for key, weight in weights.items()})
    size = sum(weight.nbytes for weight in weights.values())
    expected = reference(setting, weights, x)

    def rival(module: nn.Module, dtype: str, bytes: int) -> Rival:
        if setting.steps > 1:
            with torch.inference_mode():
                error = float(np.abs(module(inputs)[0].numpy() - expected).max())
            return Rival("torch", name, dtype, bytes, torch.inference_mode()(lambda: module(inputs)), error)
        held: list[Any] = [None]
        frame = inputs[0]

        def one_step() -> None:
            held[0] = module(frame, held[0])

        with torch.inference_mode():
            state = module(frame)
        first = state[0] if isinstance(state, tuple) else state
        error = float(np.abs(first.numpy() - expected[0]).max())
        return Rival("torch", name, dtype, bytes, torch.inference_mode()(one_step), error)

    rivals = [rival(layer, "float32", size)]
    if with_int8:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                small = torch.ao.quantization.quantize_dynamic(nn.Sequential(layer), {type(layer)})[0]
                rivals.append(rival(small, "int8", size // 4))
        except Exception as error:  # it depends on the version and the processor
            print(f"torch int8 is left out: {type(error).__name__}: {error}", file=sys.stderr)
    return rivals


def onnx_model(setting: Setting, weights: Weights) -> Any:
    """One LSTM or GRU node, with states in and out."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    order = {"lstm": (0, 3, 1, 2), "gru": (1, 0, 2)}[setting.cell]  # ONNX has i, o, f, c and z, r, h
    hidden = len(weights["weight_hh"]) // setting.gates

    def ordered(name: str) -> np.ndarray:
        parts = np.split(weights[name], setting.gates)
        return np.concatenate([parts[gate] for gate in order])[None]

    constants = {"W": ordered("weight_ih"), "R": ordered("weight_hh")}
    constants["B"] = np.concatenate([ordered("bias_ih"), ordered("bias_hh")], 1)
    states = ["h", "c"][: 2 if setting.cell == "lstm" else 1]
    shape = [1, setting.batch, hidden]
    options = {} if setting.cell == "lstm" else {"linear_before_reset": 1}
    names_in, names_out = ["x", "W", "R", "B", "", *states], ["y", *(f"{state}_out" for state in states)]
    node = helper.make_node(setting.cell.upper(), names_in, names_out, hidden_size=hidden, **options)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [setting.steps, setting.batch, setting.inputs])
    given = [helper.make_tensor_value_info(state, TensorProto.FLOAT, shape) for state in states]
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [setting.steps, 1, setting.batch, hidden])
    made = [helper.make_tensor_value_info(f"{state}_out", TensorProto.FLOAT, shape) for state in states]
    arrays = [numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in constants.items()]
    graph = helper.make_graph([node], "layer", [x, *given], [y, *made], arrays)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return model


def in_onnxruntime(
    setting: Setting, weights: Weights, x: np.ndarray, name: str, dtypes: tuple[str, ...]
) -> list[Rival]:
    try:
        import onnx
        import onnxruntime
        from onnxruntime.quantization import QuantType, quantize_dynamic
    except ImportError as error:
        print(f"onnxruntime is left out: {error}", file=sys.stderr)
        return []
    size, model = sum(weight.nbytes for weight in weights.values()), onnx_model(setting, weights)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = setting.threads, 1
    options.add_session_config_entry("session.set_denormal_as_zero", "1")
    expected, rivals = reference(setting, weights, x), []
    for dtype in dtypes:
        with TemporaryDirectory() as folder:
            path = Path(folder) / "layer.onnx"
            if dtype == "int8":
                quantize_dynamic(model, path, weight_type=QuantType.QInt8, op_types_to_quantize=[setting.cell.upper()])
                if all(node.op_type == setting.cell.upper() for node in onnx.load(path).graph.node):
                    print(f"onnxruntime does not quantise {setting.cell}", file=sys.stderr)
                    continue
            else:
                onnx.save(model, path)
            session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        call, output = bound(session, setting, x)
        error = float(np.abs(output.reshape(expected.shape) - expected).max())
        rivals.append(Rival("onnxruntime", name, dtype, size if dtype == "float32" else size // 4, call, error))
    return rivals


def bound(session: Any, setting: Setting, x: np.ndarray) -> tuple[Callable[[], Any], np.ndarray]:
    """A call with arrays bound beforehand, each going on from the states of the one before; and the first output."""
    import onnxruntime

    states = [entry for entry in session.get_inputs() if entry.name != "x"]
    values = [[onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(entry.shape, np.float32)) for entry in states]]
    values.append([onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(entry.shape, np.float32)) for entry in states])
    frame = onnxruntime.OrtValue.ortvalue_from_numpy(x)
    shape = session.get_outputs()[0].shape
    output = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32))
    bindings = []
    for before, after in ((0, 1), (1, 0)):
        binding = session.io_binding()
        binding.bind_ortvalue_input("x", frame)
        binding.bind_ortvalue_output("y", output)
        for entry, old, new in zip(states, values[before], values[after], strict=True):
            binding.bind_ortvalue_input(entry.name, old)
            binding.bind_ortvalue_output(f"{entry.name}_out", new)
        bindings.append(binding)
    session.run_with_iobinding(bindings[0])
    first, turn = output.numpy().copy(), [1]

    def call() -> None:
        session.run_with_iobinding(bindings[turn[0]])
        turn[0] ^= 1

    return call, first


def smaller(setting: Setting, bytes: int, width: int) -> int:
    """Units of a dense layer of the same cell and input whose weights, each of `width` bytes, take as many bytes."""
    half = setting.inputs / 2
    return max(1, round(math.sqrt(half * half + bytes / (setting.gates * width)) - half))


def rivals_of(setting: Setting) -> list[Rival]:
    x, weights = inputs_of(setting), weights_of(setting, (1, 1))
    rivals = ours(setting, x)
    rivals += in_torch(setting, weights, x, "dense", with_int8=True)
    rivals += in_onnxruntime(setting, weights, x, "dense", ("float32", "int8"))
    bytes = {rival.format: rival.bytes for rival in rivals if rival.provider == "cpu_native"}
    for format, dtype, width in (("blocks", "float32", 4), ("int8_blocks", "int8", 1)):
        units = smaller(setting, bytes[format], width)
        small, name = weights_of(setting, (1, 1), units), f"dense, {units} units"
        rivals += in_torch(setting, small, x, name, with_int8=False) if dtype == "float32" else []
        rivals += in_onnxruntime(setting, small, x, name, (dtype,))
    return rivals


def timed(rivals: list[Rival], steps: int, rounds: int) -> list[float]:
    """Microseconds a step of each: the median of rounds that run all in turn, each for about as long."""
    times: list[list[float]] = [[] for _ in rivals]
    repeats = []
    for rival in rivals:
        for _ in range(3):
            begin = time.perf_counter()
            rival.call()
            taken = time.perf_counter() - begin
        repeats.append(max(1, round(ROUND_SECONDS / taken)))
    for turn in range(rounds):
        order = list(range(len(rivals)))
        for number in order if turn % 2 else reversed(order):
            call = rivals[number].call
            call()  # its weights come into the caches again
            begin = time.perf_counter()
            for _ in range(repeats[number]):
                call()
            times[number].append((time.perf_counter() - begin) / repeats[number] / steps)
    return [1e6 * statistics.median(each) for each in times]


def read_rate(bytes: int) -> float:
    """Gigabytes that are read a second of an array of so many bytes, over and over: the median of some rounds."""
    array, rates = np.ones(max(64, bytes), np.uint8), []
    repeats = max(1, int(2e7 / len(array)))
    for _ in range(9):
        begin = time.perf_counter()
        native.loaded().read_through(array, repeats, "")
        rates.append(len(array) * repeats / (time.perf_counter() - begin) / 1e9)
    return statistics.median(rates)


def measure(setting: Setting, rounds: int) -> list[dict[str, Any]]:
    """A row for each rival."""
    rivals = rivals_of(setting)
    times = timed(rivals, setting.steps, rounds)
    rows = []
    for rival, us in zip(rivals, times, strict=True):
        row = {"provider": rival.provider, "format": rival.format, "dtype": rival.dtype, "us": round(us, 3)}
        row |= {"bytes": rival.bytes, "max_error": rival.error}
        if rival.provider == "cpu_native" and setting.steps == 1:
            row |= {"gb_per_s": round(rival.bytes / us / 1e3, 1), "read_gb_per_s": round(read_rate(rival.bytes), 1)}
        rows.append(row)
    return rows


def machine(threads: int) -> dict[str, Any]:
    """Processor, caches, instruction sets and versions: a ratio means little without them."""
    described: dict[str, Any] = {"processor": platform.processor() or platform.machine(), "threads": threads}
    try:
        first = Path("/proc/cpuinfo").read_text().split("\n\n")[0].splitlines()
        fields = {key.strip(): value.strip() for key, _, value in (entry.partition(":") for entry in first)}
        described["processor"] = fields.get("model name", described["processor"])
        described |= {"family": fields.get("cpu family"), "model": fields.get("model")}
        described["amx"] = "amx_tile" in fields.get("flags", "").split()
        described["caches"] = {}
        for place in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
            level, kind, size = ((place / name).read_text().strip() for name in ("level", "type", "size"))
            described["caches"][f"L{level} {kind}"] = size
    except OSError:  # not Linux
        pass
    described["instruction_sets"] = native.loaded().instruction_sets()
    described["versions"] = {"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()}
    try:
        import onnxruntime

        described["versions"]["onnxruntime"] = onnxruntime.__version__
    except ImportError:
        pass
    return described


def line(row: dict[str, Any]) -> str:
    rates = f"{row['gb_per_s']:7.1f} of {row['read_gb_per_s']:5.1f} GB/s" if "gb_per_s" in row else ""
    return (
        f"{row['provider']:12} {row['format']:20} {row['dtype']:8} {row['us']:10.2f} us {row['bytes'] / 1e3:10.1f} KB  "
        f"max error {row['max_error']:.1e} {rates}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--hidden", type=int)
    parser.add_argument("--inputs", type=int, help="width of the input; as many as units unless given")
    parser.add_argument("--sparsity", type=float, default=0.9)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--cell", choices=sorted(CELLS), help="lstm unless given; the grid has both")
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--json", action="store_true", help="print one JSON object in place of a table")
    parser.add_argument("--out", type=Path, default=FOLDER / "sequence.json", help="file of the grid")
    arguments = parser.parse_args()
    if native.module is None:
        sys.exit(f"no figure: {native.why_absent()}")
    logging.getLogger().setLevel(logging.ERROR)  # onnxruntime's quantisation warns of what does not apply here
    set_flush_denormal()
    torch.set_num_threads(arguments.threads)
    about = machine(arguments.threads)
    if arguments.hidden is None:
        return grid(arguments, about)
    names = ("cell", "hidden", "sparsity", "steps", "batch", "threads")
    sizes = {name: getattr(arguments, name) for name in names} | {"cell": arguments.cell or "lstm"}
    setting = Setting(inputs=arguments.inputs or arguments.hidden, **sizes)
    rows = measure(setting, arguments.rounds)
    if arguments.json:
        print(json.dumps({"rows": rows, "machine": about}))
    else:
        print(about, *map(line, rows), sep="\n")


def grid(arguments: argparse.Namespace, about: dict[str, Any]) -> None:
    """Writes the figures of many settings as JSON, and the times as a table."""
    rows: list[dict[str, Any]] = []
    for sizes in GRID:
        if arguments.cell not in (None, sizes["cell"]):
            continue
        setting = Setting(sparsity=arguments.sparsity, threads=arguments.threads, **sizes)
        for row in measure(setting, arguments.rounds):
            rows.append(vars(setting) | row)
            print(f"{setting.cell} {setting.hidden:5} x{setting.steps:4} batch {setting.batch} {line(row)}", flush=True)
    arguments.out.write_text(json.dumps({"benchmark": "sequence", "machine": about, "rows": rows}, indent=1) + "\n")
    arguments.out.with_suffix(".md").write_text(table(rows, about))


def table(rows: list[dict[str, Any]], about: dict[str, Any]) -> str:
    """Microseconds a step, a line for each setting and a column for each rival."""
    settings: dict[tuple[Any, ...], dict[str, float]] = {}
    for row in rows:
        if "," in row["format"]:
            key = f"{row['provider']} {row['dtype']}, as many bytes"
        else:
            key = f"{row['provider']} {row['dtype'] if row['provider'] != 'cpu_native' else row['format']}"
        settings.setdefault((row["cell"], row["hidden"], row["steps"], row["batch"]), {})[key] = row["us"]
    columns = list(dict.fromkeys(key for times in settings.values() for key in times))
    head = ["cell", "units", "steps", "batch", *columns]
    machine_line = f"{about['processor']}, family {about.get('family')}, model {about.get('model')}"
    lines = [f"Microseconds a step, {rows[0]['sparsity']:.0%} zeros, threads: {about['threads']}. {machine_line}.", ""]
    lines += ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for setting, times in settings.items():
        cells = [*map(str, setting), *(f"{times[key]:.2f}" if key in times else "" for key in columns)]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
