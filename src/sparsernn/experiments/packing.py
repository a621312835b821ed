"""The network of a finished run as one file without torch, and how long a step of it takes."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from sparsernn import runtime
from sparsernn.data.task import Batch
from sparsernn.deploy import planning
from sparsernn.deploy.packing import About, pack
from sparsernn.deploy.planning import Choice
from sparsernn.durable import scratch
from sparsernn.errors import UserError
from sparsernn.experiments import trained
from sparsernn.experiments.compacted import arguments, made_up_batch
from sparsernn.experiments.jobs import threads
from sparsernn.experiments.trained import read_final
from sparsernn.reading import json_file
from sparsernn.seals import opened_json

PREPARATION = "preparation.json"
ROUNDS = 9


def pack_run(folder: Path, out: Path, steps: int, batch: int, int8: bool, dtype: str | None) -> list[Choice]:
    """Write the network that a run ended with to a file; see `deploy.packing.pack`.

    Arguments:
        folder: of one run.
    Returns: the formats that were timed.
    """
    _, data = trained.described(folder)
    prepared = folder / PREPARATION
    text = json.dumps(opened_json(json_file(prepared))) if prepared.exists() else ""
    options = {"steps": steps, "batch": batch, "int8": int8, "dtype": dtype}
    return pack(out, read_final(folder).eval(), about=About(list(data.get("labels") or ()), text), **options)


def bench(target: Path, steps: int, batch: int) -> list[tuple[str, float, int]]:
    """What computes a network, microseconds a step of a sequence, and bytes of the file.

    Arguments:
        target: a run folder, whose dense, masked and final networks are timed by torch on one thread, and whose final
            network by the engine; or a file that `pack` wrote, whose sequences and steps are timed.
    Raises: UserError for fewer steps or sequences than one, or a file or folder that is neither.
    """
    if steps < 1 or batch < 1:
        raise UserError(f"steps is {steps}, batch {batch}", "at least 1 each", "pass how the network will be called")
    if target.is_file():
        loaded = runtime.load(target)
        x = _input_of(loaded, steps, batch)
        calls: dict[str, Callable[[], object]] = {"engine, whole sequences": partial(loaded.run, x)}
        size = target.stat().st_size
        times = in_turns(calls, steps)
        if loaded.spec.directions == 1 and loaded.kind != "classification":
            stream, frame = loaded.stream(batch), np.ascontiguousarray(x[:, 0])
            times |= in_turns({"engine, one step a call": partial(stream.step, frame)}, 1)
        return [(name, us, size) for name, us in times.items()]
    whole, final = trained.read(target), read_final(target).eval()
    sequences = made_up_batch(whole.data, batch, steps)
    with scratch() as folder:
        packed = folder / "packed"
        pack(packed, final, steps=steps, batch=batch)
        loaded, size = runtime.load(packed), packed.stat().st_size
    ids = sequences.inputs.numpy()
    x = ids.T if whole.data["objective"] == "language_model" else ids
    calls = {
        "torch, all weights": partial(_forward, whole.network.eval(), sequences),
        "torch, as it was cut": partial(_forward, final, sequences),
        "engine": partial(loaded.run, np.ascontiguousarray(x)),
    }
    return [(name, us, size) for name, us in in_turns(calls, steps).items()]


@torch.inference_mode()
def _forward(network: torch.nn.Module, batch: Batch) -> object:
    return network(*arguments(batch))


def _input_of(loaded: runtime.Artifact, steps: int, batch: int) -> np.ndarray:
    generator = np.random.default_rng(0)
    if loaded.spec.embedding is None:
        return generator.standard_normal((batch, steps, loaded.inputs), dtype=np.float32)
    words = len(loaded.spec.embedding if loaded.spec.rows is None else loaded.spec.rows)
    return generator.integers(0, words, (batch, steps))


def in_turns(calls: dict[str, Callable[[], object]], steps: int) -> dict[str, float]:
    """Median microseconds a step of each, in alternating rounds on one thread."""
    with threads(1):
        return planning.in_turns(calls, steps, ROUNDS)
