"""Networks whose forms `end_to_end.py` compares by what reads a whole call: reviews, a deep decoder, a policy."""

from __future__ import annotations

import copy
import ctypes
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import shrink as shrinking
import torch
from forms import TOLERANCE, Form, Outputs, bytes_of, interleaved, largest_difference, onnx_session
from torch import Tensor, nn

from sparsernn import (
    accelerate,
    compact,
    export_c,
    export_onnx,
    load_compact,
    runtime,
    save_compact,
    shrink,
    sparsify,
)
from sparsernn.compaction.files import plain_size
from sparsernn.data.imdb import Imdb
from sparsernn.deploy.c_source import Source
from sparsernn.deploy.packing import pack
from sparsernn.methods.magnitude import Magnitude
from sparsernn.sparsifying.sparsifier import Sparsifier

UNITS = 64
TRAINED, AGAIN = 60_000, 30_000
"""Observations that the policy is trained on, and trained on while it is pruned."""
Arguments = tuple[Tensor, ...]
Quality = Callable[[Callable[[Arguments], np.ndarray]], float | None]


@dataclass(frozen=True)
class Way:
    """A form of a network that can be run.

    Attributes:
        run: arguments of a call -> what it gives.
        bytes: that are shipped.
        like: the form that it must equal; exact: whether in float32.
    """

    name: str
    run: Callable[[Arguments], np.ndarray]
    bytes: int
    like: str | None = None
    exact: bool = True


def compared(
    ways: Sequence[Way], calls: Sequence[Arguments], once: Arguments, quality: Quality, count: int
) -> list[Form]:
    """Lines of a table. Raises: SystemExit where a form in float32 is not what it must equal."""
    outputs: dict[str, Outputs] = {way.name: [way.run(arguments) for arguments in calls] for way in ways}
    times = interleaved({way.name: lambda way=way: way.run(once) for way in ways}, rounds=9, count=count)
    lines = []
    for way in ways:
        difference = None if way.like is None else largest_difference(outputs[way.name], outputs[way.like])
        if way.exact and difference is not None and not difference <= TOLERANCE:
            sys.exit(f"no figure: the outputs of {way.name} differ by {difference:.3g}")
        lines.append(Form(way.name, quality(way.run), way.bytes, times[way.name], difference))
    return lines


def of_torch(model: nn.Module) -> Callable[[Arguments], np.ndarray]:
    def run(arguments: Arguments) -> np.ndarray:
        with torch.inference_mode():
            result = model(*arguments)
        return (result[0] if isinstance(result, tuple) else result).numpy()

    return run


def in_onnx(model: nn.Module, example: Arguments, path: Path, int8: bool = False) -> tuple[Any, int]:
    written = export_onnx(model, path, example=example, int8=int8)
    return onnx_session(path), written.bytes


def of_session(session: Any) -> Callable[[Arguments], np.ndarray]:
    names = [one.name for one in session.get_inputs()]

    def run(arguments: Arguments) -> np.ndarray:
        feeds = {name: tensor.numpy() for name, tensor in zip(names, arguments, strict=True)}
        return session.run(None, feeds)[0]

    return run


def imdb(folder: Path, keep: Path | None) -> list[Form]:
    """A BiLSTM over the words of a review; a call is one review of 150 words, quality that of 2,500 test reviews."""
    data = Imdb(length=150).load()
    dense, small = reviewers(data, keep)
    example = (torch.randint(data.inputs, (2, 150)),)
    reviews = list(data.test.batches(250))[::10]
    ways = [
        Way("torch, dense", of_torch(dense), bytes_of(dense)),
        Way("torch, small", of_torch(small), bytes_of(small), "torch, small"),
        Way("engine", of_torch(accelerate(small)), bytes_of(small), "torch, small"),
    ]
    for name, model, int8 in (("ONNX, dense", dense, False), ("ONNX", small, False), ("ONNX, int8", small, True)):
        session, size = in_onnx(model, example, folder / f"{len(ways)}.onnx", int8)
        like = "torch, dense" if model is dense else "torch, small"
        ways.append(Way(name, of_session(session), size, like, not int8))

    def accuracy(run: Callable[[Arguments], np.ndarray]) -> float:
        right = [int((run((one.inputs,)).argmax(1) == one.targets.numpy()).sum()) for one in reviews]
        return sum(right) / sum(len(one.targets) for one in reviews)

    calls = [(one.inputs,) for one in reviews[:2]]
    return compared(ways, calls, (reviews[0].inputs[:1],), accuracy, count=5)


def reviewers(data: Any, keep: Path | None) -> tuple[nn.Module, nn.Module]:
    """The network as it was trained, and shrunk to a tenth of its file; read from `keep` if they are there."""
    blank = shrinking.Reviewer(data.inputs)
    paths = [None if keep is None else keep / f"{name}.safetensors" for name in ("dense", "small")]
    if paths[1] is not None and paths[1].exists():
        safetensors.torch.load_model(blank, paths[0])
        return blank.eval(), load_compact(paths[1], shrinking.Reviewer(data.inputs)).eval()
    batches = shrinking.Shuffled(data.train, 64, False)
    dense = shrinking.train(blank, batches, data.valid, epochs=3, rate=2e-3).eval()

    def quality(model: nn.Module) -> float:
        return shrinking.accuracy(model, data.valid, False)

    budget = {"bytes": plain_size(dense) // 10}
    shrunk = shrink(dense, batches, shrinking.loss, quality, budget=budget, floor=quality(dense) - 0.005)
    print(shrunk)
    if keep is not None:
        keep.mkdir(parents=True, exist_ok=True)
        safetensors.torch.save_model(dense, paths[0])
        save_compact(paths[1], shrunk.model)
    return dense, shrunk.model.eval()


class Decoder(nn.Module):
    """Five GRU layers of 768 units, and what 80 numbers read of the last.

    Shapes: x [batch time 256], state [5 batch 768] -> [batch time 80], state
    """

    def __init__(self) -> None:
        super().__init__()
        self.layers, self.head = nn.GRU(256, 768, 5, batch_first=True), nn.Linear(768, 80)

    def forward(self, x: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        output, state = self.layers(x, state)
        return self.head(output), state


def decoder(folder: Path, keep: Path | None) -> list[Form]:
    """As PyTorch makes it, not trained; a call is one step that is handed the states."""
    frames, state = torch.randn(1, 20, 256), torch.zeros(5, 1, 768)
    example = torch.randn(2, 3, 256), torch.zeros(5, 2, 768)
    ways = ways_of_decoder("", Decoder().eval(), folder)
    for name, granularity, share in (("half the units", "neuron", 0.5), ("90 % zeros in blocks", "16x1", 0.9)):
        torch.manual_seed(0)
        model = Decoder().eval()
        masks = sparsify(model.layers, Magnitude(share, granularity=granularity))
        small = model
        if granularity == "neuron":
            masks = sparsify(model, Magnitude(share, granularity=granularity), example=example)
            small, _ = compact(model, masks, example=example, carried_states=True)
        ways += ways_of_decoder(f", {name}", small, folder, model)
    return compared(ways, [(frames, state)], (frames[:, :1], state), lambda run: None, count=3)


def ways_of_decoder(name: str, model: Decoder, folder: Path, masked: Decoder | None = None) -> list[Way]:
    """In torch, in ONNX and in the runtime without torch, each compared with the masked network."""
    path, head = folder / "layers.sparse", [part.detach().numpy() for part in model.head.parameters()]
    pack(path, model.layers, steps=1)
    layers = runtime.load(path)
    session, size = in_onnx(model, (torch.randn(2, 3, 256), torch.zeros(5, 2, 768)), folder / "decoder.onnx")
    stream = layers.stream()

    def run(arguments: Arguments) -> np.ndarray:
        steps = arguments[0].numpy().swapaxes(0, 1)
        one = stream if len(steps) == 1 else layers.stream()
        return np.stack([one.step(np.ascontiguousarray(x)) @ head[0].T + head[1] for x in steps], 1)

    like = f"torch{name}"
    masked_ways = [] if masked in (None, model) else [Way(f"torch{name}, masked", of_torch(masked), bytes_of(masked))]
    like = masked_ways[0].name if masked_ways else like
    size_of_head = sum(part.nbytes for part in head)
    return [
        *masked_ways,
        Way(f"torch{name}", of_torch(model), bytes_of(model), like),
        Way(f"ONNX{name}", of_session(session), size, like),
        Way(f"runtime{name}", run, path.stat().st_size + size_of_head, like),
    ]


class Actor(nn.Module):
    """What a recurrent policy does with an observation.

    Shapes: observation [batch time number], states [1 batch unit] -> [batch time action], states
    """

    def __init__(self, policy: Any):
        super().__init__()
        self.lstm, self.between = policy.lstm_actor, policy.mlp_extractor.policy_net
        self.action = policy.action_net

    def forward(self, observation: Tensor, hidden: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        output, (hidden, memory) = self.lstm(observation.transpose(0, 1), (hidden, memory))
        return self.action(self.between(output)).transpose(0, 1), hidden, memory


class Player:
    """An actor that is handed one observation after the other.

    Arguments:
        call: observation [1 1 number], states -> what to do, states.
    """

    def __init__(self, call: Callable[..., Sequence[np.ndarray]], units: int):
        self.call, self.units = call, units
        self.reset()

    def reset(self) -> None:
        """As before the first observation."""
        self.states = [np.zeros((1, 1, self.units), np.float32)] * 2

    def step(self, observation: np.ndarray) -> np.ndarray:
        """How much each action is worth. Shapes: [number] -> [action]"""
        result, *self.states = self.call(observation.astype(np.float32).reshape(1, 1, -1), *self.states)
        return result.ravel()


class PlayerInC:
    """The same of a network in C."""

    def __init__(self, source: Source):
        library = source.source.with_suffix(".so")
        command = [
            "gcc",
            "-std=c99",
            "-O3",
            "-march=native",
            "-shared",
            "-fPIC",
            str(source.source),
            "-o",
            str(library),
        ]
        subprocess.run(command, check=True)
        self.bytes, name, program = source.constants, source.source.stem, ctypes.CDLL(str(library))
        self._reset, self._step = program[f"{name}_reset"], program[f"{name}_step"]
        self.state, self.result = np.zeros(source.state, np.float32), np.zeros(source.outputs, np.float32)
        self._pointers = [array.ctypes.data_as(ctypes.c_void_p) for array in (self.state, self.result)]

    def reset(self) -> None:
        """As before the first observation."""
        self._reset(self._pointers[0])

    def step(self, observation: np.ndarray) -> np.ndarray:
        """How much each action is worth. Shapes: [number] -> [action]"""
        numbers = np.ascontiguousarray(observation, np.float32)
        self._step(self._pointers[0], numbers.ctypes.data_as(ctypes.c_void_p), self._pointers[1])
        return self.result


def policy(folder: Path, keep: Path | None) -> list[Form]:
    """RecurrentPPO on a pole whose speeds are not seen; quality is the mean return of 100 games, 500 being the most."""
    dense, masked, small = agents()
    example = torch.randn(3, 4, 2), torch.zeros(1, 3, UNITS), torch.zeros(1, 3, UNITS)
    like = "torch, pruned"
    players: list[tuple[str, Any, int, str | None, bool]] = [
        ("torch, dense", _in_torch(dense), bytes_of(dense), None, True),
        (like, _in_torch(masked), bytes_of(masked), None, True),
        ("torch, small", _in_torch(small), bytes_of(small), like, True),
    ]
    for name, int8 in (("ONNX", False), ("ONNX, int8", True)):
        session, size = in_onnx(small, example, folder / f"{name}.onnx", int8)
        names = [one.name for one in session.get_inputs()]

        def call(*arrays: np.ndarray, session: Any = session, names: Sequence[str] = names) -> Sequence[np.ndarray]:
            return session.run(None, dict(zip(names, arrays, strict=True)))

        players.append((name, Player(call, UNITS), size, like, not int8))
    for name, int8 in (("C", False), ("C, int8", True)):
        player = PlayerInC(export_c(small, folder, f"policy{int(int8)}", example, int8=int8))
        players.append((name, player, player.bytes, like, not int8))
    return lines_of_players(players)


def lines_of_players(players: Sequence[tuple[str, Any, int, str | None, bool]]) -> list[Form]:
    """Lines of a table. Raises: SystemExit where a form in float32 is not what it must equal."""
    observations = np.random.default_rng(0).normal(size=(50, 2)).astype(np.float32)
    outputs, lines = {}, []
    for name, player, *_ in players:
        player.reset()
        outputs[name] = [np.stack([player.step(one).copy() for one in observations])]
    steps = {name: lambda player=player: player.step(observations[0]) for name, player, *_ in players}
    times = interleaved(steps, count=20)
    for name, player, size, like, exact in players:
        difference = None if like is None else largest_difference(outputs[name], outputs[like])
        if exact and difference is not None and not difference <= TOLERANCE:
            sys.exit(f"no figure: the outputs of {name} differ by {difference:.3g}")
        lines.append(Form(name, mean_return(player), size, times[name], difference))
    return lines


def _in_torch(actor: Actor) -> Player:
    def call(*arrays: np.ndarray) -> Sequence[np.ndarray]:
        with torch.inference_mode():
            return [one.numpy() for one in actor(*map(torch.from_numpy, arrays))]

    return Player(call, UNITS)


def mean_return(player: Any, games: int = 100) -> float:
    """Of games that begin the same for all."""
    total, world = 0.0, half_seen_pole()
    for number in range(games):
        observation, over = world.reset(seed=number)[0], False
        player.reset()
        while not over:
            observation, reward, failed, late, _ = world.step(int(player.step(observation).argmax()))
            total, over = total + float(reward), failed or late
    return total / games


def half_seen_pole() -> Any:
    """A cart and a pole, of which only places and angles are seen."""
    import gymnasium

    class Places(gymnasium.ObservationWrapper):
        def __init__(self) -> None:
            super().__init__(gymnasium.make("CartPole-v1"))
            space = self.env.observation_space
            self.observation_space = gymnasium.spaces.Box(space.low[::2], space.high[::2])

        def observation(self, observation: np.ndarray) -> np.ndarray:
            return observation[::2]

    return Places()


def agents() -> tuple[Actor, Actor, Actor]:
    """Trained by RecurrentPPO: the dense one, the same with half of its units pruned while it trains on, and compacted.

    Raises: SystemExit where the library is not installed.
    """
    try:
        from sb3_contrib import RecurrentPPO
    except ImportError:
        sys.exit('the policy needs sb3-contrib: pip install "sb3-contrib>=2.9"')
    settings = {"lstm_hidden_size": UNITS, "enable_critic_lstm": False, "net_arch": [32]}
    sizes = {"n_steps": 256, "batch_size": 256, "n_epochs": 8, "learning_rate": 1e-3, "gae_lambda": 0.98, "seed": 0}
    agent = RecurrentPPO("MlpLstmPolicy", half_seen_pole(), device="cpu", policy_kwargs=settings, **sizes)
    agent.learn(TRAINED)
    dense = copy.deepcopy(Actor(agent.policy)).eval()
    method = Magnitude(0.5, granularity="neuron")
    updates = AGAIN // sizes["n_steps"] * sizes["n_epochs"]
    run = Sparsifier(agent.policy, method, agent.policy.optimizer, steps=updates)
    agent.learn(AGAIN, reset_num_timesteps=False)
    run.finalize()
    masked = Actor(agent.policy).eval().requires_grad_(False)
    example = torch.randn(3, 4, 2), torch.zeros(1, 3, UNITS), torch.zeros(1, 3, UNITS)
    masks = sparsify(masked, method, example=example)  # the units that are zero by now
    small, _ = compact(masked, masks, example=example, carried_states=True)
    return dense, masked, small.eval()


WHOLE = {"imdb": imdb, "decoder": decoder, "policy": policy}
