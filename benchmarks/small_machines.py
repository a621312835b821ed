"""Exported C on small machines: bytes of code, weights and memory, and what a step takes, in one table.

    python benchmarks/small_machines.py [NETWORK ...] [--out FILE.json]

A NETWORK is what `sparsernn pack` wrote; without any, networks with made-up weights are taken. Machines:

- an ATmega328P (Arduino Uno, 16 MHz) in simavr, which counts cycles: gcc-avr, avr-libc, simavr;
- a Cortex-M4 with its floating-point unit, and a Cortex-M0+ without one, in qemu, which counts instructions, not
  cycles: gcc-arm-none-eabi, libnewlib-arm-none-eabi, qemu-system-arm;
- WebAssembly in node: ziglang from PyPI, node;
- this processor: gcc.

All are Debian's packages but ziglang. A machine whose tools are absent is left out with a message. Every machine has to
give what this processor gives; otherwise there is no figure.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from sparsernn import export_c, runtime
from sparsernn.deploy.c_source import Source
from sparsernn.nn import GRU, LSTM, FastGRNN
from sparsernn.reports.quantities import Table

DRIVERS = Path(__file__).parent / "small_machines"
STEPS = 8
"""Steps that are compared and counted; the first is counted too."""
AVR_FLASH, AVR_MEMORY, AVR_REST = 24_000, 2048, 200
"""Bytes of an ATmega328P for weights, for all that changes, and of that for what is not the network."""
TOLERANCE = 2e-3
"""Of outputs, whose largest is about 1: in 8 bits a number between two whole ones may go either way."""


@dataclass(frozen=True)
class Figures:
    """Of one network on one machine: bytes of code and of the deepest stack, and what a step takes."""

    code: int
    stack: int | None
    count: float
    unit: str
    outputs: np.ndarray


@dataclass(frozen=True)
class Machine:
    """A machine, the programs that it needs, and what compiles and runs a folder with g.c, g.h and x.h there."""

    name: str
    needs: tuple[str, ...]
    run: Callable[[Path, Source], Figures | None]
    format: str | None = "smallest"

    @property
    def missing(self) -> list[str]:
        """Programs that are not here."""
        return [program for program in self.needs if not _is_here(program)]


def _is_here(program: str) -> bool:
    if program == "ziglang":
        return (
            subprocess.run([sys.executable, "-c", "import ziglang"], capture_output=True, check=False).returncode == 0
        )
    return shutil.which(program) is not None


def call(*command: str | Path, limit: int = 120) -> str:
    """What a program prints. Raises: SystemExit with what it says where it fails."""
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=limit, check=False)
    if done.returncode:
        sys.exit(f"no figure: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def printed(text: str) -> tuple[float, np.ndarray]:
    """A driver prints "count NUMBER" and "output BITS ..." in hexadecimal."""
    count = float(re.search(r"count (\d+)", text)[1])  # type: ignore[index]
    words = re.search(r"output ([0-9a-f ]+)", text)[1].split()  # type: ignore[index]
    return count, np.array([int(word, 16) for word in words], np.uint32).view(np.float32)


def on_avr(folder: Path, source: Source) -> Figures | None:
    """Cycles of one step on an ATmega328P, by its own timer; None where it has no room."""
    if source.constants > AVR_FLASH:
        return None
    program = folder / "avr.elf"
    flags = ["-mmcu=atmega328p", "-std=gnu99", "-O2", "-DF_CPU=16000000UL", f"-DSTEPS={STEPS}", "-I", folder]
    stack = deepest("avr-gcc", [*flags, "-mcall-prologues"], folder, source)
    if vectors(source) + stack + AVR_REST > AVR_MEMORY:
        return None
    call("avr-gcc", *flags, DRIVERS / "avr.c", source.source, "-o", program)
    count, outputs = printed(call("simavr", "-m", "atmega328p", "-f", "16000000", program))
    return Figures(sections(program, "avr-size") - source.constants, stack, count / STEPS, "cycles", outputs)


def on_cortex(folder: Path, source: Source, *, flags: tuple[str, ...], board: str) -> Figures:
    """Instructions of one step, by the clock of qemu, of which each instruction takes a nanosecond."""
    program = folder / "arm.elf"
    options = [*flags, "-mthumb", "-std=gnu99", "-O2", "-ffunction-sections", f"-DSTEPS={STEPS}", "-I", folder]
    link = ["-nostartfiles", "--specs=nano.specs", "-T", DRIVERS / "cortex.ld", "-Wl,--gc-sections"]
    stack = deepest("arm-none-eabi-gcc", options, folder, source)
    call("arm-none-eabi-gcc", *options, *link, DRIVERS / "cortex.c", source.source, "-o", program)
    emulator = ["qemu-system-arm", "-M", board, "-nographic", "-semihosting", "-icount", "shift=0", "-kernel", program]
    count, outputs = printed(call(*emulator))
    code = sections(program, "arm-none-eabi-size") - source.constants
    return Figures(code, stack, count / STEPS, "instructions", outputs)


def on_wasm(folder: Path, source: Source) -> Figures:
    """Nanoseconds of one step in node."""
    program = folder / "wasm.wasm"
    flags = ["-target", "wasm32-wasi", "-mexec-model=reactor", "-O3", "-msimd128", "-s", f"-DSTEPS={STEPS}"]
    flags += [f"-Wl,--export={name}" for name in ("run", "outputs")]
    compiler = (sys.executable, "-m", "ziglang", "cc")
    call(*compiler, *flags, "-I", folder, DRIVERS / "wasm.c", source.source, "-o", program, limit=900)
    count, outputs = printed(call("node", DRIVERS / "wasm.mjs", program, str(source.outputs)))
    return Figures(program.stat().st_size - source.constants, None, count, "ns", outputs)


def on_this(folder: Path, source: Source) -> Figures:
    """Nanoseconds of one step here."""
    program = folder / "host"
    flags = ["-std=c99", "-O3", "-march=native", f"-DSTEPS={STEPS}", "-I", folder]
    call("gcc", *flags, DRIVERS / "host.c", source.source, "-o", program)
    call("gcc", *flags, "-c", source.source, "-o", folder / "g.o")
    count, outputs = printed(call(program))
    return Figures(sections(folder / "g.o", "size") - source.constants, None, count, "ns", outputs)


def outputs_of_c(source: Source, sequences: Sequence[np.ndarray]) -> list[np.ndarray]:
    """What the C of a network gives on this processor. Shapes: [time input] -> [time output] each"""
    library = Path(tempfile.mkdtemp(dir=source.source.parent)) / "network.so"  # a name that was not loaded before
    call("gcc", "-std=c99", "-O2", "-march=native", "-shared", "-fPIC", source.source, "-o", library)
    program, results = ctypes.CDLL(str(library)), []
    state, output = np.zeros(source.state, np.float32), np.zeros(source.outputs, np.float32)
    places = [array.ctypes.data_as(ctypes.c_void_p) for array in (state, output)]
    for x in sequences:
        program.g_reset(places[0])
        results.append(np.empty((len(x), source.outputs), np.float32))
        for step, frame in enumerate(np.ascontiguousarray(x, np.float32)):
            program.g_step(places[0], frame.ctypes.data_as(ctypes.c_void_p), places[1])
            results[-1][step] = output
    return results


def deepest(compiler: str, flags: Sequence[str | Path], folder: Path, source: Source) -> int:
    """Bytes of stack that the functions of a network take together, which is more than they take at once."""
    call(compiler, *flags, "-fstack-usage", "-c", source.source, "-o", folder / "stack.o")
    return sum(int(line.split("\t")[1]) for line in (folder / "stack.su").read_text().splitlines())


def vectors(source: Source) -> int:
    """Bytes of what the caller keeps."""
    return 4 * (source.state + source.inputs + source.outputs)


def sections(program: Path, size: str) -> int:
    """Bytes that lie in flash: code, constants, and first values of what changes."""
    text, data, *_ = call(size, program).splitlines()[1].split()
    return int(text) + int(data)


M4 = ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")
M0 = ("-mcpu=cortex-m0plus",)
ARM = ("arm-none-eabi-gcc", "qemu-system-arm")


def _cortex(flags: tuple[str, ...], board: str) -> Callable[[Path, Source], Figures | None]:
    return lambda folder, source: on_cortex(folder, source, flags=flags, board=board)


MACHINES = [
    Machine("ATmega328P", ("avr-gcc", "simavr"), on_avr),
    Machine("Cortex-M0+", ARM, _cortex(M0, "mps2-an385")),
    Machine("Cortex-M4", ARM, _cortex(M4, "mps2-an386")),
    Machine("WebAssembly", ("ziglang", "node"), on_wasm, "rows"),
    Machine("this processor", ("gcc",), on_this, None),
]


def made_up() -> dict[str, nn.Module]:
    """Networks of a size that such machines run, the larger ones with 90 % zeros in their matrices."""
    torch.manual_seed(0)
    hard = {"gate_activation": "hard_sigmoid", "activation": "hard_tanh"}
    networks: dict[str, tuple[nn.Module, float]] = {
        "FastGRNN 16": (FastGRNN(6, 16), 0.5),
        "FastGRNN 16, hard, rank 6": (FastGRNN(6, 16, hidden_rank=6, zeta=0.8, nu=0.05, **hard), 0.0),
        "GRU 16": (GRU(6, 16), 0.5),
        "LSTM 32": (LSTM(6, 32), 0.9),
        "GRU 64": (GRU(40, 64), 0.9),
        "GRU 128": (GRU(40, 128), 0.9),
    }
    with torch.no_grad():
        for network, sparsity in networks.values():
            for parameter in network.parameters():
                if parameter.dim() == 2:
                    parameter *= torch.rand_like(parameter) >= sparsity
    return {name: network for name, (network, _) in networks.items()}


def measured(network: Any, int8: bool, machines: list[Machine]) -> list[dict[str, Any]]:
    """A line for each machine that the network fits on."""
    lines = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for machine in machines:
            source = export_c(network, folder, "g", format=machine.format, int8=int8)
            x = np.random.default_rng(0).normal(size=(STEPS, source.inputs)).astype(np.float32)
            write_inputs(folder, x)
            figures = machine.run(folder, source)
            if figures is not None:
                lines.append(_line(machine, source, figures, _expected(network, x), int8))
    return lines


def _line(machine: Machine, source: Source, figures: Figures, expected: np.ndarray, int8: bool) -> dict[str, Any]:
    difference = float(np.abs(figures.outputs - expected).max())
    if not difference <= (0.1 if int8 else TOLERANCE):
        sys.exit(f"no figure: outputs on {machine.name} differ by {difference:.3g}")
    return {
        "machine": machine.name,
        "format": "int8" if int8 else "float32",
        "code": figures.code,
        "weights": source.constants,
        "memory": vectors(source) + (figures.stack or 0),
        "count": figures.count,
        "unit": figures.unit,
        "difference": difference,
    }


def _expected(network: Any, x: np.ndarray) -> np.ndarray:
    """Outputs of the last step."""
    if isinstance(network, nn.Module):
        with torch.no_grad():
            return network(torch.from_numpy(x).unsqueeze(1))[0][-1, 0].numpy()
    stream = runtime.load(network).stream()
    return [stream.step(frame[None])[0].copy() for frame in x][-1]


def write_inputs(folder: Path, x: np.ndarray) -> None:
    """x.h, which drivers read. Shapes: x [step input]"""
    rows = ",\n".join("{" + ", ".join(f"{float(value)!r}f" for value in row) + "}" for row in x)
    (folder / "x.h").write_text(f"static INPUTS_ float XS[{len(x)}][{x.shape[1]}] = {{\n{rows}}};\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("networks", nargs="*", type=Path)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    for machine in MACHINES:
        if machine.missing:
            print(f"{machine.name} is left out: {', '.join(machine.missing)} not found here")
    machines = [machine for machine in MACHINES if not machine.missing]
    networks: Mapping[str, Any] = {path.name: path for path in arguments.networks} or made_up()
    rows, lines = [], []
    for name, network in networks.items():
        for int8 in (False, True):
            for line in measured(network, int8, machines):
                lines.append({"network": name} | line)
                sizes = [f"{line[part]:,}" for part in ("code", "weights", "memory")]
                rows.append((name, line["machine"], line["format"], *sizes, f"{line['count']:,.0f} {line['unit']}"))
    print(Table(("network", "machine", "numbers", "code", "weights", "memory", "a step"), tuple(rows)).markdown())
    if arguments.out:
        arguments.out.write_text(json.dumps(lines, indent=1) + "\n")


if __name__ == "__main__":
    main()
