"""A model's recurrent layers run in plain operations, differentiable twice, and what each of them was given."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

from sparsernn.running.stacked import align_states, reverse
from sparsernn.structure.layer import Recurrence, State, Weights
from sparsernn.structure.wiring import Wiring

_tapes: list[Tape] = []


@dataclass(frozen=True)
class Pass:
    """What one recurrent layer, in one direction, was given in a forward; a backward direction sees time turned round.

    Attributes:
        recurrence: the layer.
        inputs: [time batch input]
        start: initial states. [batch unit] each
        lengths: of each sequence, or None. [batch]
    """

    recurrence: Recurrence
    inputs: Tensor
    start: State
    lengths: Tensor | None = None


class Tape:
    """The passes of all layers of a model, in the order in which they ran.

    A torch cell that a user's loop calls step by step, each time with the state it has just returned, makes one pass.
    """

    def __init__(self, model: nn.Module, wiring: Wiring):
        self.passes: list[Pass] = []
        self._ends: dict[int, State] = {}
        self._by_weight = {name: found for found in reversed(wiring.recurrences) for name in found.weights.values()}
        self._paths = {id(module): path for path, module in model.named_modules()}
        self._tied = wiring.tied

    def recurrence(self, module: nn.Module, local: str) -> Recurrence | None:
        """The layer of a module to which the weight of this local name belongs."""
        if id(module) not in self._paths:
            return None
        path = self._paths[id(module)]
        name = f"{path}.{local}" if path else local
        return self._by_weight.get(self._tied.get(name, name))

    def add(self, module: nn.Module, local: str, x: Tensor, start: State, lengths: Tensor | None = None) -> None:
        """Note one pass."""
        if (recurrence := self.recurrence(module, local)) is not None:
            start = tuple(part.detach() for part in start)
            self.passes.append(Pass(recurrence, x.detach(), start, lengths))

    def add_step(self, module: nn.Module, x: Tensor, start: State, end: State) -> None:
        """Note one step of a cell; it continues the last pass if that one ended with these very states."""
        before = self._ends.get(id(module), ())
        place = next((i for i in reversed(range(len(self.passes))) if self._is_of(module, self.passes[i])), None)
        if place is not None and before and all(ours is theirs for ours, theirs in zip(before, start, strict=True)):
            longer = torch.cat([self.passes[place].inputs, x.detach().unsqueeze(0)])
            self.passes[place] = replace(self.passes[place], inputs=longer)
        else:
            self.add(module, "weight_ih", x.unsqueeze(0), start)
        self._ends[id(module)] = end

    def _is_of(self, module: nn.Module, found: Pass) -> bool:
        return found.recurrence is self.recurrence(module, "weight_ih")


def is_active() -> bool:
    """Whether layers must run in operations that can be differentiated twice."""
    return bool(_tapes)


def note(module: nn.Module, local: str, x: Tensor, start: State, lengths: Tensor | None) -> None:
    """Called by every layer that runs itself: `local` is the name of one of its weights. See `Pass` for the rest."""
    if _tapes:
        _tapes[-1].add(module, local, x, start, lengths)


@contextmanager
def stepwise(model: nn.Module, wiring: Wiring) -> Iterator[list[Pass]]:
    """Inside, every recurrent layer runs step by step and notes what it is given; compiled code is not used.

    Arguments:
        model: the unwrapped module.
        wiring: of this model.
    """
    tape = Tape(model, wiring)
    replaced = [module for module in model.modules() if _runs_fused(module, tape)]
    before = [vars(module).get("forward") for module in replaced]
    for module in replaced:
        module.forward = (_CellForward if isinstance(module, nn.RNNCellBase) else _StackForward)(module, tape)
    _tapes.append(tape)
    try:
        with torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext():
            yield tape.passes
    finally:
        _tapes.pop()
        for module, forward in zip(replaced, before, strict=True):
            del module.forward
            if forward is not None:
                module.forward = forward


def _runs_fused(module: nn.Module, tape: Tape) -> bool:
    """Whether it is one of torch's recurrent modules that `torch_modules` knows."""
    if isinstance(module, nn.RNNBase):
        return tape.recurrence(module, "weight_ih_l0") is not None
    return isinstance(module, nn.RNNCellBase) and tape.recurrence(module, "weight_ih") is not None


def run_layer(
    recurrence: Recurrence, weights: Weights, x: Tensor, state: State, lengths: Tensor | None
) -> tuple[Tensor, State]:
    """Outputs [time batch unit] and final states of one layer, step by step."""
    outputs, projected = [], recurrence.project(weights, x)
    for time in range(x.shape[0]):
        following = recurrence.advance(weights, projected[time], state)
        if lengths is None:
            state = following
            outputs.append(state[0])
            continue
        running = (lengths > time).unsqueeze(-1)
        state = tuple(torch.where(running, new, old) for new, old in zip(following, state, strict=True))
        outputs.append(state[0].masked_fill(~running, 0))
    return torch.stack(outputs), state


class _CellForward:
    """The forward of nn.LSTMCell, nn.GRUCell and nn.RNNCell by the recurrence's own step."""

    def __init__(self, module: nn.RNNCellBase, tape: Tape):
        self.module, self.tape = module, tape

    def __call__(self, input: Tensor, hx: Any = None) -> Any:
        recurrence = self.tape.recurrence(self.module, "weight_ih")
        weights = {local: getattr(self.module, local) for local in recurrence.weights}
        unbatched = input.dim() == 1
        given = (hx,) if isinstance(hx, Tensor) else hx
        if given is None:
            given = (input.new_zeros(*input.shape[:-1], self.module.hidden_size),) * len(recurrence.states)
        x, state = (input.unsqueeze(0), tuple(part.unsqueeze(0) for part in given)) if unbatched else (input, given)
        end = recurrence.step(weights, x, state)
        end = tuple(part.squeeze(0) for part in end) if unbatched else end
        if unbatched:
            self.tape.add(self.module, "weight_ih", x.unsqueeze(0), state)
        else:
            self.tape.add_step(self.module, x, tuple(given), end)
        return end if len(end) > 1 else end[0]


class _StackForward:
    """The forward of nn.LSTM, nn.GRU and nn.RNN: all layers, directions, states, packing and dropout."""

    def __init__(self, module: nn.RNNBase, tape: Tape):
        self.module, self.tape = module, tape

    def __call__(self, input: Tensor | PackedSequence, hx: Any = None) -> tuple[Any, Any]:
        packed = input if isinstance(input, PackedSequence) else None
        x, lengths = (input, None) if packed is None else pad_packed_sequence(packed)
        unbatched, turned = x.dim() == 2, self.module.batch_first and packed is None
        x = x.unsqueeze(1) if unbatched else x.transpose(0, 1) if turned else x
        given = [hx] if isinstance(hx, Tensor) else list(hx) if hx is not None else []
        given = [part.unsqueeze(1) for part in given] if unbatched else given
        output, finals = self._run(x, None if lengths is None else lengths.to(x.device), given)
        if packed is not None:
            output = pack_padded_sequence(output, lengths, enforce_sorted=packed.sorted_indices is None)
        else:
            output = output.squeeze(1) if unbatched else output.transpose(0, 1) if turned else output
        finals = tuple(part.squeeze(1) for part in finals) if unbatched else finals
        return output, finals if len(finals) > 1 else finals[0]

    def _run(self, x: Tensor, lengths: Tensor | None, given: list[Tensor]) -> tuple[Tensor, tuple[Tensor, ...]]:
        module, ends = self.module, []
        for layer in range(module.num_layers):
            if layer and module.dropout and module.training:
                x = F.dropout(x, module.dropout)
            outputs = []
            for direction in range(1 + module.bidirectional):
                suffix = f"_l{layer}" + ("_reverse" if direction else "")
                recurrence = self.tape.recurrence(module, "weight_ih" + suffix)
                weights = {local: getattr(module, local + suffix) for local in recurrence.weights}
                seen = reverse(x, lengths) if direction else x
                state = self._start(x, given, layer * (1 + module.bidirectional) + direction, len(recurrence.states))
                self.tape.add(module, "weight_ih" + suffix, seen, state, lengths)
                output, end = run_layer(recurrence, weights, seen, state, lengths)
                outputs.append(reverse(output, lengths) if direction else output)
                ends.append(end)
            x = torch.cat(outputs, -1)
        return x, tuple(torch.stack(parts) for parts in align_states(ends, None))

    def _start(self, x: Tensor, given: list[Tensor], position: int, states: int) -> State:
        if given:
            return tuple(part[position] for part in given)
        widths = [self.module.proj_size or self.module.hidden_size, self.module.hidden_size]
        return tuple(x.new_zeros(x.shape[1], width) for width in widths[:states])
