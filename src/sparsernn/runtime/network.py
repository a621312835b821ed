"""A whole network without torch: an embedding, recurrent layers in both directions, pooling, a linear head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from sparsernn.cells.cell import Cell
from sparsernn.errors import UserError
from sparsernn.runtime.kernel_head import KernelHead
from sparsernn.runtime.layers import RecurrentLayer, States, Stream

Array = np.ndarray
POOLS = ("last", "mean", "max", "mean_max_last")
KINDS = ("recurrent", "classification", "tagging", "forecasting", "language_model")
TOKENS_AT_ONCE = 256
"""Of a running text, so that their outputs fit in memory."""


@dataclass(frozen=True)
class LayerSpec:
    """One recurrent layer in one direction.

    Arguments:
        cell: what a step computes; weights: local name -> array; format: see `RecurrentLayer`.
    """

    cell: Cell
    weights: Mapping[str, Array]
    format: str = "dense"

    def build(self) -> RecurrentLayer:
        """The layer, packed."""
        return RecurrentLayer(self.cell, self.weights, self.format)


@dataclass(frozen=True)
class NetworkSpec:
    """A network in parts.

    Arguments:
        kind: one of `KINDS`: what the head reads and how outputs are laid out.
        layers: bottom first; with two directions forward and backward beside each other.
        directions: 1 or 2.
        embedding: a row a living word [row unit]; rows: the row of every word, -1 for a dead one, or None: as numbered.
        head: weight [output unit]; bias: [output]; None where there is no head.
        pool: "last", "mean" or "max" over the steps of a sequence, or "mean_max_last", all three beside each other.
        residual: the column of the input that a forecast is a change of, or None; several: how many columns are
            forecast, that one and those after it, one after the other; skip: what the forecast of each adds of its own
            window [several*horizon step], or None. With it the layers read every column less its last value.
        at_once: labels that a tagger tells at every step.
        kernels: what random kernels add to the scores of classes, or None; with it there may be no layers.
    """

    kind: str
    layers: Sequence[LayerSpec]
    directions: int = 1
    embedding: Array | None = None
    rows: Array | None = None
    head: Array | None = None
    bias: Array | None = None
    pool: str = "last"
    residual: int | None = None
    labels: Sequence[str] = field(default_factory=tuple)
    at_once: int = 1
    skip: Array | None = None
    several: int = 1
    kernels: KernelHead | None = None


class Network:
    """Runs sequences through a network; it never changes, and threads may share it.

    Arguments:
        spec: its parts.
    Attributes:
        kind, labels: as the specification has them.
        inputs, outputs: numbers that are read at a time, where these are no words, and given for one label or forecast.
        bytes: what a step may read of the recurrent layers' weights.
    """

    def __init__(self, spec: NetworkSpec):
        self.spec, self.kind, self.labels = spec, spec.kind, tuple(spec.labels)
        self.layers = [layer.build() for layer in spec.layers]
        self.inputs = self.layers[0].inputs if self.layers else 0 if spec.kernels is None else spec.kernels.inputs
        top = self.layers[-1].hidden if self.layers else 0 if spec.kernels is None else len(spec.kernels.bias)
        self.outputs = top if spec.head is None else len(spec.head) // spec.at_once
        self.bytes = sum(layer.bytes for layer in self.layers)

    def run(self, x: Array, lengths: Array | None = None) -> Array:
        """Outputs for whole sequences.

        Arguments:
            lengths: of each sequence; steps behind it count for nothing. [batch]
        Shapes: x float32 [batch time input], or whole numbers [batch time] where words are read. -> a classification
            [batch class], a forecast [batch horizon], a tagger of several labels at once [batch time label class],
            else [batch time output].
        Raises: UserError for an input of another shape or type, or a word outside the vocabulary.
        """
        if self.spec.skip is not None:
            return self._forecast(x, lengths)
        vectors = np.ascontiguousarray(np.swapaxes(self._vectors(x), 0, 1))
        time, batch = vectors.shape[:2]
        ends = np.full(batch, time, np.int64) if lengths is None else np.asarray(lengths, np.int64)
        if ends.shape != (batch,) or (batch and not (ends.min() >= 1 and ends.max() <= time)):
            raise UserError(
                f"lengths are {ends.tolist()[:5]}", f"{batch} numbers from 1 to {time}", "pass each sequence's steps"
            )
        if not self.layers:
            return self._kernels(x, ends)
        output = self._recurrent(vectors, None if lengths is None else ends)
        if self.kind in ("classification", "forecasting"):
            pooled = np.concatenate([self._pooled(output, ends, how) for how in self.spec.pool.split("_")], -1)
            result = self._head(pooled)
            if self.spec.residual is None:
                return result if self.spec.kernels is None else result + self._kernels(x, ends)
            return result + self._ahead(np.asarray(x)[np.arange(batch), ends - 1], result.shape[1])
        outputs = self._head(np.swapaxes(output, 0, 1))
        return outputs if self.spec.at_once == 1 else outputs.reshape(*outputs.shape[:2], self.spec.at_once, -1)

    def _kernels(self, x: Array, ends: Array) -> Array:
        """What random kernels say. [batch class]"""
        if self.spec.kernels is None:
            raise ValueError("the network has neither layers nor kernels")
        return self.spec.kernels.scores(np.asarray(x), ends)

    def _forecast(self, x: Array, lengths: Array | None) -> Array:
        """What the layers and the skip make of windows, each less its last step. [batch horizon]"""
        spec, x = self.spec, self._vectors(x)
        steps = 0 if spec.skip is None else spec.skip.shape[1]
        if spec.skip is None or x.shape[1] != steps or lengths is not None:
            raise UserError(
                f"windows of {x.shape[1]} steps" if lengths is None else "windows with lengths",
                f"{steps} steps each",
                "cut the series so",
            )
        last = x[:, -1:]
        x = x - last
        ends = np.full(len(x), steps, np.int64)
        output = self._recurrent(np.ascontiguousarray(np.swapaxes(x, 0, 1)), None)
        change = self._head(self._pooled(output, ends, "last"))
        skips = spec.skip.reshape(spec.several, -1, steps)
        windows = x[:, :, self._forecast_columns].transpose(2, 0, 1)
        linear = (windows @ skips.transpose(0, 2, 1)).transpose(1, 0, 2).reshape(change.shape)
        return change + linear + self._ahead(last[:, 0], change.shape[1])

    @property
    def _forecast_columns(self) -> slice:
        first = self.spec.residual or 0
        return slice(first, first + self.spec.several)

    def _ahead(self, last: Array, values: int) -> Array:
        """The last value of each column that is forecast, at all steps ahead. [batch column] -> [batch values]"""
        return last[:, self._forecast_columns].repeat(values // self.spec.several, 1)

    def log_probabilities(self, tokens: Array) -> Array:
        """Natural logarithms of the probability of each token of a running text but the first, given all before it.

        Shapes: tokens whole numbers [token] -> float64 [token - 1].
        Raises: UserError for a network that predicts no tokens, or tokens outside its vocabulary.
        """
        tokens = np.asarray(tokens)
        if self.kind != "language_model" or tokens.ndim != 1:
            raise UserError(
                f"the network is for {self.kind.replace('_', ' ')}, the text of shape {list(tokens.shape)}",
                "a language model and the numbers of a text's words, one after the other",
                "call run() with another network",
            )
        self._check_words(tokens)
        states: list[States | None] = [None] * len(self.layers)
        scores = []
        for start in range(0, len(tokens) - 1, TOKENS_AT_ONCE):
            part = tokens[start : start + TOKENS_AT_ONCE + 1]
            x = np.ascontiguousarray(self._vectors(part[:-1])[:, None])
            for number, layer in enumerate(self.layers):
                x, states[number] = layer.run(x, states[number])
            scores.append(log_shares(self._head(x[:, 0]), part[1:]))
        return np.concatenate(scores) if scores else np.zeros(0)

    def stream(self, batch: int = 1) -> NetworkStream:
        """Sequences that run on, one step a call.

        Raises: UserError for a network that reads backwards or whole windows, or pools over steps that have not come.
        """
        pools = self.kind == "classification" and self.spec.pool != "last"
        whole = self.spec.skip is not None or self.spec.kernels is not None
        if self.spec.directions == 2 or pools or whole:
            raise UserError(
                "this network needs whole sequences: it reads backwards, or pools over all steps",
                "layers of one direction, and the last step read",
                "call run() with whole sequences",
            )
        return NetworkStream(self, [layer.stream(batch) for layer in self.layers])

    def _vectors(self, x: Array) -> Array:
        """What the first layer reads. [batch time unit]"""
        x, spec = np.asarray(x), self.spec
        if spec.embedding is None:
            if x.ndim < 2 or x.shape[-1] != self.inputs or x.dtype != np.float32:
                raise UserError(
                    f"the input is {x.dtype} of shape {list(x.shape)}",
                    f"float32 with {self.inputs} features in the last dimension",
                    "convert it first: nothing is converted silently",
                )
            return x
        self._check_words(x)
        places = x if spec.rows is None else spec.rows[x]
        vectors = spec.embedding[np.maximum(places, 0)]
        return np.where((places >= 0)[..., None], vectors, np.float32(0)).astype(np.float32, copy=False)

    def _check_words(self, x: Array) -> None:
        """Raises: UserError unless these are numbers of words."""
        table = self.spec.embedding if self.spec.rows is None else self.spec.rows
        words = 0 if table is None else len(table)
        if x.dtype.kind not in "iu":
            raise UserError(f"the input is {x.dtype}", "numbers of words", "pass whole numbers")
        if x.size and not (x.min() >= 0 and x.max() < words):
            raise UserError(
                f"the input has words {int(x.min())} to {int(x.max())}", f"0 to {words - 1}", "encode the text first"
            )

    def _recurrent(self, x: Array, lengths: Array | None) -> Array:
        """The output of the last layer, both directions beside each other. [time batch unit]"""
        for first in range(0, len(self.layers), self.spec.directions):
            outputs = [self.layers[first].run(x, None, lengths)[0]]
            if self.spec.directions == 2:
                backward = self.layers[first + 1].run(_reversed(x, lengths), None, lengths)[0]
                outputs.append(_reversed(backward, lengths))
            x = outputs[0] if len(outputs) == 1 else np.ascontiguousarray(np.concatenate(outputs, -1))
        return x

    def _pooled(self, output: Array, ends: Array, how: str) -> Array:
        """One vector a sequence. [batch unit]"""
        if how in ("mean", "max"):
            if ends.min(initial=len(output)) < len(output):
                inside = (np.arange(len(output))[:, None] < ends)[..., None]
                output = np.where(inside, output, np.float32(0 if how == "mean" else -np.inf))
            return np.add.reduce(output) / ends[:, None].astype(np.float32) if how == "mean" else output.max(0)
        last = output[ends - 1, np.arange(output.shape[1])]
        if self.spec.directions == 1:
            return last
        half = output.shape[-1] - self.layers[-1].width
        return np.concatenate([last[:, :half], output[0][:, half:]], -1)

    def _head(self, vectors: Array) -> Array:
        if self.spec.head is None:
            return vectors
        rows = np.ascontiguousarray(vectors).reshape(-1, vectors.shape[-1])  # one product: numpy makes many of a stack
        result = rows @ self.spec.head.T
        if self.spec.bias is not None:
            result += self.spec.bias
        return result.reshape(*vectors.shape[:-1], -1)


class NetworkStream:
    """Sequences in the midst of a network. One thread at a time may use it.

    Attributes:
        state: of every layer.
    """

    def __init__(self, network: Network, streams: Sequence[Stream]):
        self._network, self._streams = network, streams
        # A layer checks by itself what it is given: a step takes less than a microsecond, each test here a tenth of it.
        self._first = streams[0].step if network.spec.embedding is None else self._read
        self._others = tuple(stream.step for stream in streams[1:])
        self._head = None if network.spec.head is None else network._head

    @property
    def state(self) -> list[States]:
        return [stream.state for stream in self._streams]

    def step(self, x: Array) -> Array:
        """The output of one step. Shapes: x float32 [batch input], or words [batch] -> [batch output]."""
        try:
            vectors = self._first(x)
        except (ValueError, TypeError):
            vectors = None
        if vectors is None:
            vectors = self._read(x)
        for step in self._others:
            vectors = step(vectors)
        return vectors if self._head is None else self._head(vectors)

    def _read(self, x: Array) -> Array:
        """What the first layer makes of an input that may be converted or refused."""
        return self._streams[0].step(np.ascontiguousarray(self._network._vectors(x)))

    def reset(self) -> None:
        """Every state as it is before the first step."""
        for stream in self._streams:
            stream.reset()


def log_shares(logits: Array, tokens: Array) -> Array:
    """Logarithms of the softmax of some outputs at one place each. Shapes: [row output], [row] -> [row]"""
    logits = logits - logits.max(1, keepdims=True)
    at_token = logits[np.arange(len(tokens)), tokens].astype(np.float64)
    return at_token - np.log(np.exp(logits).sum(1, dtype=np.float64))


def _reversed(x: Array, lengths: Array | None) -> Array:
    """Each sequence turned round, its padding left at the end. Shapes: [time batch unit]"""
    if lengths is None:
        return np.ascontiguousarray(x[::-1])
    time = np.arange(len(x))[:, None]
    places = np.where(time < lengths, lengths - 1 - time, time)
    return np.ascontiguousarray(x[places, np.arange(x.shape[1])])
