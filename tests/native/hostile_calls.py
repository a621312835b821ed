"""Hostile calls of everything that the extension exports: each computes, or is refused in one sentence.

A call that computes must have written all of its output. Meant to be run by itself, with an extension that was built
with sanitizers: python tests/native/hostile_calls.py --module _native.so --calls 30000 (see sanitized.py). It needs
numpy alone.
"""

from __future__ import annotations

import argparse
import importlib.util
import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

SENTINEL = 12345.678
WHOLE = (-1, 0, 1, 2, 3, 7, 2**31 - 1, 2**31, 2**32, 2**62, 2**63 - 1, 2**63, 2**64 - 1, -(2**63), 2**70)
OTHERS = (None, 1.5, "1", True, [], {}, np.int64(1), np.zeros(1, np.int64))
REFUSALS = (ValueError, TypeError, MemoryError)


@dataclass
class Call:
    """A call that would compute.

    Arguments:
        function: what is called; values: its arguments, by name.
        written: names of arrays that it has to write whole.
    """

    function: Callable[..., Any]
    values: dict[str, Any]
    written: tuple[str, ...] = ()
    inputs: dict[str, Any] = field(default_factory=dict)


class Calls:
    """Makes calls of every entry.

    Arguments:
        module: the extension. seed: of the random numbers.
    """

    def __init__(self, module: Any, seed: int):
        self.module, self.generator = module, np.random.default_rng(seed)
        self.sets = ["", *module.instruction_sets()]
        self.entries = {
            "pack_bits": self.pack_bits,
            "unpack_bits": self.unpack_bits,
            "read_through": self.read_through,
            "text_grams": self.text_grams,
            "ascii_grams": self.ascii_grams,
            "gram_sums": self.gram_sums,
            "scan_forward": self.scan_forward,
            "scan_backward": self.scan_backward,
            "SparseRows": self.rows,
            "SparseRows.product": self.product,
            "SparseRows.sampled": self.sampled,
            "sparse_layer_forward": self.layer_forward,
            "sparse_layer_backward": self.layer_backward,
            "PackedWeight": self.weight,
            "RecurrentLayer": self.layer,
            "RecurrentLayer.run": self.run,
            "RecurrentStream": self.stream,
            "RecurrentStream.step": self.step,
        }

    def size(self, most: int = 6, least: int = 0) -> int:
        return int(self.generator.integers(least, most + 1))

    def pick(self, choices: Any) -> Any:
        return choices[int(self.generator.integers(len(choices)))]

    def numbers(self, *shape: int, kind: Any = np.float32) -> np.ndarray:
        numbers = self.generator.standard_normal(shape).astype(kind)
        if numbers.size and self.generator.random() < 0.1:
            numbers.flat[self.size(numbers.size - 1)] = self.pick((np.nan, np.inf, -np.inf, 1e-40, 3e38))
        return numbers

    def blank(self, *shape: int, kind: Any = np.float32) -> np.ndarray:
        return np.full(shape, SENTINEL, kind)

    def threads(self) -> int:
        return self.pick((1, 2, 3, 8))

    def pack_bits(self) -> Call:
        return Call(self.module.pack_bits, {"flags": self.generator.integers(0, 3, self.size(70)).astype(np.uint8)})

    def unpack_bits(self) -> Call:
        count = self.size(70)
        bits = self.generator.integers(0, 256, -(-count // 8)).astype(np.uint8)
        return Call(self.module.unpack_bits, {"bits": bits, "count": count})

    def read_through(self) -> Call:
        numbers = self.generator.integers(0, 256, self.size(700)).astype(np.uint8)
        values = {"bytes": numbers, "times": self.size(3), "instructions": self.pick(self.sets)}
        return Call(self.module.read_through, values)

    def text_grams(self) -> Call:
        characters = self.generator.integers(30, 40, self.size(70)).astype(np.uint32)
        return Call(self.module.text_grams, {"characters": characters, "bits": self.size(30, 1)})

    def ascii_grams(self) -> Call:
        characters = self.generator.integers(0, 128, self.size(70)).astype(np.uint8)
        return Call(self.module.ascii_grams, {"characters": characters, "bits": self.size(30, 1)})

    def gram_sums(self) -> Call:
        bits, count, outputs = 8, self.size(40), self.size(3)
        places = np.sort(self.generator.choice(1 << bits, count, replace=False)).astype(np.int32)
        words, others = self.size(), self.size(20)
        text = self.generator.integers(0, 1 << bits, 1 + words + others).astype(np.int32)
        text[0] = words
        values = {
            "text": text,
            "places": places.searchsorted(np.arange(0, 1 << bits, 32)).astype(np.uint64) << 32
            | np.packbits(np.isin(np.arange(1 << bits), places), bitorder="little").view(np.uint32),
            "weights": self.numbers(count, outputs),
            "rows": self.generator.integers(0, 9, count).astype(np.int32),
            "sums": self.blank(outputs),
            "words": self.blank(words, kind=np.int32),
        }
        return Call(self.module.gram_sums, values, ("sums", "words"))

    def scan_arguments(self) -> tuple[dict[str, Any], int, int, int, int, Any]:
        kind, patterns = self.pick((np.float32, np.float64)), self.size(4)
        sizes = [self.size(4, 1) for _ in range(patterns)]
        time, batch, states = self.size(), self.size(), sum(sizes)
        values = {
            "semiring": self.pick(("plus_times", "max_times", "max_plus", "log")),
            "sizes": sizes,
            "hold": [self.size(1) for _ in sizes],
            "projected": self.numbers(time, batch, 2 * states, kind=kind),
            "bias": self.numbers(states, kind=kind),
            "final": self.numbers(states, kind=kind),
            "skip": self.numbers(states, kind=kind) if self.size(1) else None,
            "start": self.numbers(batch, states, kind=kind),
            "lengths": self.generator.integers(0, time + 1, batch) if self.size(1) else None,
        }
        return values, time, batch, states, patterns, kind

    def scan_forward(self) -> Call:
        values, time, batch, states, patterns, kind = self.scan_arguments()
        values |= {
            "output": self.blank(time, batch, patterns, kind=kind),
            "trace": self.blank(time, batch, states, kind=kind) if self.size(1) else None,
            "end": self.blank(batch, states, kind=kind),
            "threads": self.threads(),
            "instructions": self.pick(self.sets),
        }
        return Call(self.module.scan_forward, values, ("output", "trace", "end"))

    def scan_backward(self) -> Call:
        values, time, batch, states, patterns, kind = self.scan_arguments()
        values |= {
            "output": self.numbers(time, batch, patterns, kind=kind),
            "trace": self.numbers(time, batch, states, kind=kind),
            "by_output": self.numbers(time, batch, patterns, kind=kind) if self.size(1) else None,
            "by_end": self.numbers(batch, states, kind=kind) if self.size(1) else None,
            "by_projected": self.blank(time, batch, 2 * states, kind=kind),
            "by_bias": self.blank(batch, states, kind=kind),
            "by_final": self.blank(batch, states, kind=kind),
            "by_skip": None if values["skip"] is None else self.blank(batch, states, kind=kind),
            "by_start": self.blank(batch, states, kind=kind),
            "threads": self.threads(),
            "instructions": self.pick(self.sets),
        }
        written = ("by_projected", "by_bias", "by_final", "by_skip", "by_start")
        return Call(self.module.scan_backward, values, written)

    def places(self, height: int, width: int) -> dict[str, Any]:
        mask = self.generator.random((height, width)) < self.pick((0.0, 0.3, 1.0))
        starts = np.concatenate([[0], mask.sum(1).cumsum()]).astype(np.int32)
        return {"starts": starts, "columns": np.nonzero(mask)[1].astype(np.int32), "width": width}

    def rows(self) -> Call:
        return Call(self.module.SparseRows, self.places(self.size(), self.size()))

    def matrix(self, height: int, width: int, kind: Any) -> tuple[Any, np.ndarray]:
        places = self.places(height, width)
        return self.module.SparseRows(**places), self.numbers(len(places["columns"]), kind=kind)

    def product(self) -> Call:
        kind, height, width, time, many = self.pick((np.float32, np.float64)), *(self.size() for _ in range(4))
        many = self.pick((many, 40))
        rows, numbers = self.matrix(height, width, kind)
        values = {
            "values": numbers,
            "dense": self.numbers(time, width, many, kind=kind),
            "out": self.blank(time, height, many, kind=kind),
            "threads": self.threads(),
            "instructions": self.pick(self.sets),
        }
        return Call(rows.product, values, ("out",))

    def sampled(self) -> Call:
        kind, height, width, time, many = self.pick((np.float32, np.float64)), *(self.size() for _ in range(4))
        many, above = self.pick((many, 40)), self.size(3)
        rows, numbers = self.matrix(height, width, kind)
        values = {
            "left": self.numbers(time, above + height, many, kind=kind),
            "from": above,
            "right": self.numbers(time, width, many, kind=kind),
            "values": self.blank(len(numbers), kind=kind),
            "threads": self.threads(),
            "instructions": self.pick(self.sets),
        }
        return Call(rows.sampled, values, ("values",))

    def cell(self) -> tuple[str, int, int, bool, bool, bool]:
        """Name, gates, gates that wait, whether numbers are kept, memory, whether products differ."""
        cells = (
            ("lstm", 4, 0, True, True, False),
            ("gru_reset_before", 3, 1, True, False, False),
            ("gru_reset_after", 3, 0, True, False, True),
            ("rnn_tanh", 1, 0, False, False, False),
            ("rnn_relu", 1, 0, False, False, False),
        )
        return self.pick(cells)

    def layer_forward(self) -> Call:
        name, gates, inner, keeps, memory, _ = self.cell()
        kind, time, inputs, hidden, batch = self.pick((np.float32, np.float64)), *(self.size() for _ in range(4))
        by_input, by_state, by_inner = (
            self.matrix(rows, width, kind)
            for rows, width in ((gates * hidden, inputs), ((gates - inner) * hidden, hidden), (inner * hidden, hidden))
        )
        has_inner = inner * hidden > 0
        states = [self.blank(time + 1, hidden, batch, kind=kind) for _ in range(2)]
        for part in states:
            part[0] = 0.5
        values = {
            "cell": name,
            "input": by_input[0],
            "of_input": by_input[1],
            "recurrent": by_state[0],
            "of_recurrent": by_state[1],
            "inner": by_inner[0] if has_inner else None,
            "of_inner": by_inner[1] if has_inner else None,
            "bias": self.numbers(gates * hidden, kind=kind) if self.size(1) else None,
            "inner_bias": self.numbers(hidden, kind=kind) if self.size(1) else None,
            "x": self.numbers(time, inputs, batch, kind=kind),
            "activations": self.blank(time, gates * hidden, batch, kind=kind),
            "kept": self.blank(time, hidden, batch, kind=kind) if keeps else None,
            "states": states[0],
            "memories": states[1] if memory else None,
            "threads": self.threads(),
            "instructions": self.pick(self.sets),
        }
        return Call(self.module.sparse_layer_forward, values, ("activations", "kept", "states", "memories"))

    def layer_backward(self) -> Call:
        name, gates, inner, keeps, memory, differ = self.cell()
        kind, time, hidden, batch = self.pick((np.float32, np.float64)), *(self.size() for _ in range(3))
        by_state = self.matrix(hidden, (gates - inner) * hidden, kind)
        by_inner = self.matrix(inner * hidden, hidden, kind)
        has_inner, all_gates = inner * hidden > 0, (time, gates * hidden, batch)
        values = {
            "cell": name,
            "recurrent": by_state[0],
            "of_recurrent": by_state[1],
            "inner": by_inner[0] if has_inner else None,
            "of_inner": by_inner[1] if has_inner else None,
            "activations": self.numbers(*all_gates, kind=kind),
            "kept": self.numbers(time, hidden, batch, kind=kind) if keeps else None,
            "states": self.numbers(time + 1, hidden, batch, kind=kind),
            "memories": self.numbers(time + 1, hidden, batch, kind=kind) if memory else None,
            "by_states": self.numbers(time, hidden, batch, kind=kind),
            "by_activations": self.blank(*all_gates, kind=kind),
            "by_products": self.blank(*all_gates, kind=kind) if differ else None,
            "by_start": self.blank(hidden, batch, kind=kind),
            "by_memory": self.numbers(hidden, batch, kind=kind) if memory else None,
            "threads": self.threads(),
            "instructions": self.pick(self.sets),
        }
        return Call(self.module.sparse_layer_backward, values, ("by_activations", "by_products", "by_start"))

    def packed(self, layout: str, slices: int, columns: int, gates: int = 1, outer: int = 1) -> dict[str, Any]:
        """A weight with random places."""
        width, entry_values, entry_indices, quantised = self.module.RECURRENCE_FORMATS[layout]
        owners = np.concatenate(
            [
                np.flatnonzero((np.arange(slices) % gates < outer) == first).repeat(self.size(2))
                for first in (True, False)
            ]
        )
        outer_runs = int(np.count_nonzero(owners % gates < outer))
        starts = np.concatenate([[0], self.generator.integers(0, 4, len(owners)).cumsum()]).astype(np.uint32)
        entries, last = int(starts[-1]), (columns - 1) // width
        bases = self.generator.integers(0, last + 1, len(owners)).astype(np.uint32) if self.size(1) else None
        places = np.zeros(len(owners) if entry_indices else entries, np.uint16)
        if bases is None:
            places = self.generator.integers(0, last + 1, len(places)).astype(np.uint16)
        values = self.generator.integers(0, 256, (entries, entry_values)).astype(np.uint8)
        if not quantised:
            values = self.numbers(entries, entry_values // 4).view(np.uint8).reshape(entries, entry_values)
        return {
            "layout": layout,
            "slices": slices,
            "columns": columns,
            "outer_runs": outer_runs,
            "starts": starts,
            "owners": owners.astype(np.uint16),
            "bases": bases,
            "places": places,
            "values": values,
            "indices": self.generator.integers(0, width, (entries if entry_indices else 0, entry_indices)).astype(
                np.uint8
            ),
            "scales": self.numbers(slices if quantised else 0, 16),
        }

    def weight(self) -> Call:
        layout = self.pick(list(self.module.RECURRENCE_FORMATS))
        columns = self.pick((1, 5, 70, 300, 70000))
        return Call(self.module.PackedWeight, self.packed(layout, self.size(5, 1), columns))

    def layer(self) -> Call:
        cells = {
            "lstm": (4, 4, 0), "peephole_lstm": (4, 4, 3), "gru_reset_after": (3, 2, 0),
            "gru_reset_before": (3, 2, 0), "rnn_tanh": (1, 1, 0), "rnn_relu": (1, 1, 0),
            "recurrent_highway": (2, 2, 0),
        }  # fmt: skip
        name, layout = self.pick(list(cells)), self.pick(list(self.module.RECURRENCE_FORMATS))
        (gates, outer, diagonals), inputs, hidden = cells[name], self.pick((1, 5, 70)), self.pick((1, 16, 21))
        groups, has_memory = -(-hidden // 16), name in ("lstm", "peephole_lstm")
        width = self.size(30, 1) if has_memory and self.size(1) else hidden
        levels = self.size(3, 1) if name == "recurrent_highway" else 1

        def made(slices: int, columns: int, count: int = 1, first: int = 1) -> Any:
            return self.module.PackedWeight(**self.packed(layout, slices, columns, count, first))

        values = {
            "cell": name,
            "inputs": inputs,
            "hidden": hidden,
            "width": width,
            "input": made(groups * gates, inputs),
            "recurrent": [made(groups * gates, width, gates, outer) for _ in range(levels)],
            "memory": made(groups * gates, hidden) if has_memory and self.size(1) else None,
            "projection": made(-(-width // 16), hidden) if width != hidden else None,
            "bias": self.numbers(groups * gates, 16),
            "inner_bias": self.numbers(groups if name == "gru_reset_after" else 0, 16),
            "level_biases": self.numbers((levels - 1) * groups * gates, 16),
            "diagonals": self.numbers(groups * diagonals, 16),
            "instructions": self.pick(self.sets),
        }
        inputs_of = {"inputs": inputs, "hidden": hidden, "width": width, "memory": has_memory}
        return Call(self.module.RecurrentLayer, values, (), inputs_of)

    def run(self) -> Call:
        made = self.layer()
        time, batch, about = self.size(), self.pick((0, 1, 3, 5, 16, 19)), made.inputs
        values = {
            "x": self.numbers(time, batch, about["inputs"]),
            "output": self.blank(time, batch, about["width"]),
            "hidden": self.numbers(batch, about["width"]),
            "memory": self.numbers(batch if about["memory"] else 0, about["hidden"]),
            "lengths": self.generator.integers(0, time + 1, batch) if self.size(1) else None,
        }
        return Call(made.function(**made.values).run, values, ("output",))

    def stream(self) -> Call:
        made = self.layer()
        return Call(self.module.RecurrentStream, {"layer": made.function(**made.values), "batch": self.size(20, 1)})

    def step(self) -> Call:
        made, batch = self.layer(), self.size(20, 1)
        stream = self.module.RecurrentStream(made.function(**made.values), batch)
        if self.size(1):
            for part in stream.state:
                part[:] = self.numbers(*part.shape)
        return Call(stream.step, {"x": self.numbers(batch, made.inputs["inputs"])})

    def spoil(self, values: dict[str, Any]) -> None:
        """Changes some arguments of a call."""
        sound = dict(values)
        for name in self.generator.permutation(list(values))[: self.size(2, 1)]:
            value = values[name]
            if isinstance(value, np.ndarray):
                values[name] = self.spoilt(value, sound)
            elif isinstance(value, str):
                values[name] = self.pick(("", "lstm", "log", "blocks", "nothing", "x" * 1000, None, b"log", "baseline"))
            elif isinstance(value, list):
                values[name] = self.pick((value[1:], value * 2, [*value, self.pick(WHOLE)], tuple(value), None, "ab"))
            else:
                values[name] = self.pick(WHOLE) if self.size(2) else self.pick(OTHERS)

    def spoilt(self, array: np.ndarray, values: dict[str, Any]) -> Any:
        """An array in another way."""
        kinds = (
            np.float32,
            np.float64,
            np.float16,
            np.int64,
            np.int32,
            np.uint16,
            np.uint8,
            np.complex64,
            ">f4",
            object,
        )
        arrays = [other for other in values.values() if isinstance(other, np.ndarray)]
        ways = (
            lambda: np.nan_to_num(array).astype(self.pick(kinds)),
            lambda: array[..., ::-1],
            lambda: array[::2],
            lambda: array.T,
            lambda: np.asfortranarray(array),
            lambda: array[..., None],
            lambda: array[..., :-1],
            lambda: np.concatenate([array, array]),
            lambda: array[:0],
            lambda: array.reshape(-1),
            lambda: np.broadcast_to(array[:1], array.shape),
            lambda: np.lib.stride_tricks.as_strided(array, (2**31 + 3, *array.shape[1:]), (0, *array.strides[1:])),
            lambda: np.empty(array.nbytes + 1, np.uint8)[1:].view(array.dtype).reshape(array.shape),
            lambda: self.frozen(array),
            lambda: self.wild(array),
            lambda: self.wild(array),
            lambda: np.zeros((*self.pick(((2**40, 0, 3), (0, 2**40, 1), (2**40, 2, 0))),)[: array.ndim], array.dtype),
            lambda: self.pick(arrays),
            lambda: list(array),
            lambda: memoryview(array),
            lambda: np.ma.masked_array(array),
            lambda: self.pick(OTHERS),
        )
        try:
            with np.errstate(all="ignore"):
                return self.pick(ways)()
        except (ValueError, MemoryError):  # numpy itself does not make it
            return None

    def frozen(self, array: np.ndarray) -> np.ndarray:
        copy = array.copy()
        copy.flags.writeable = False
        return copy

    def wild(self, array: np.ndarray) -> np.ndarray:
        """One number is another, the largest or the smallest that there is."""
        copy = array.copy()
        if copy.size:
            about = np.iinfo(array.dtype) if array.dtype.kind in "iu" else None
            choices = (0, 1, about.max, about.min) if about else (np.nan, np.inf)
            copy.flat[self.size(copy.size - 1)] = self.pick(choices)
        return copy

    def check(self, name: str, hostile: bool) -> str:
        """Makes a call of one entry. Returns what came of it. Raises: AssertionError if it computed half of it."""
        call = self.entries[name]()
        if hostile:
            self.spoil(call.values)
        try:
            call.function(**call.values)
        except REFUSALS as error:
            assert hostile or "memory" in str(error), (name, str(error))
            assert str(error), name
            return "refused"
        for written in call.written:
            array = call.values[written]
            if isinstance(array, np.ndarray) and array.size:
                assert not (array == array.dtype.type(SENTINEL)).any(), f"{name} left {written} unwritten"
        return "computed"


def fuzz(module: Any, calls: int, seed: int) -> Counter[tuple[str, str]]:
    """So many calls, in turn of every entry, nine of ten spoilt."""
    made, results = Calls(module, seed), Counter()
    for number in range(calls):
        name = list(made.entries)[number % len(made.entries)]
        results[name, made.check(name, number // len(made.entries) % 10 > 0)] += 1
    return results


def share(module: Any, threads: int, rounds: int) -> None:
    """Many threads that use one layer and one matrix, and each a stream of its own; all get what one gets."""
    made = Calls(module, 5)
    call = made.layer()
    layer, about = call.function(**call.values), call.inputs
    rows, numbers = made.matrix(40, 30, np.float32)
    x = made.numbers(20, 3, about["inputs"])
    dense = made.numbers(6, 30, 20)

    def work() -> bytes:
        output, hidden = np.empty((20, 3, about["width"]), np.float32), np.zeros((3, about["width"]), np.float32)
        memory, product = (
            np.zeros((3 if about["memory"] else 0, about["hidden"]), np.float32),
            np.empty((6, 40, 20), "f4"),
        )
        layer.run(x, output, hidden, memory, None)
        rows.product(numbers, dense, product, 3, "")
        stream = module.RecurrentStream(layer, 3)
        steps = [stream.step(vector).copy() for vector in x]
        return b"".join(part.tobytes() for part in (output, hidden, memory, product, *steps))

    expected, results = work(), []
    team = [threading.Thread(target=lambda: results.extend(work() for _ in range(rounds))) for _ in range(threads)]
    for one in team:
        one.start()
    for one in team:
        one.join()
    assert len(results) == threads * rounds and set(results) == {expected}


def load(path: str) -> Any:
    spec = importlib.util.spec_from_file_location("_native", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--module", required=True, help="the compiled extension")
    parser.add_argument("--calls", type=int, default=30000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    module = load(options.module)
    results = fuzz(module, options.calls, options.seed)
    for name in dict.fromkeys(name for name, _ in results):
        print(f"{name:24} {results[name, 'computed']:6} computed {results[name, 'refused']:6} refused")
    share(module, options.threads, 5)
    print(f"{sum(results.values())} calls, {options.threads} threads: nothing unwritten, nothing different")


if __name__ == "__main__":
    sys.exit(main())
