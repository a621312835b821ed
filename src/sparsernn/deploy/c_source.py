"""A whole network as one C source and one header: constant weights, no dependencies, one step a call."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn
from torch.utils import _pytree as tree

from sparsernn import durable
from sparsernn.deploy.c_forward import Remembered, StepWriter
from sparsernn.deploy.c_functions import PRODUCTS
from sparsernn.deploy.c_products import ConstantProducts, Constants, write_product
from sparsernn.deploy.c_step import Body, CMath, Named, number, with_functions, write_step
from sparsernn.deploy.parts import Layer, NoChain, Parts, parts_of_network, require_stream
from sparsernn.deploy.plain import plain_copy
from sparsernn.deploy.rolling import rolled
from sparsernn.deploy.stepping import Stream, compare, no_steps, stream_of
from sparsernn.deploy.to_onnx.exporting import quietly
from sparsernn.errors import UserError
from sparsernn.runtime.layouts import quantised

HEADER = """/* {about}

   Written by sparsernn. One call of {name}_step reads {NAME}_INPUTS numbers and writes {NAME}_OUTPUTS.
   Everything that changes lies in the state, an array of {NAME}_STATE numbers that the caller keeps, one for each
   stream; {name}_reset makes it what it is before the first step.{input} */
#ifndef {NAME}_H
#define {NAME}_H

#define {NAME}_STATE {state}
#define {NAME}_INPUTS {inputs}
#define {NAME}_OUTPUTS {outputs}

#ifdef __cplusplus
extern "C" {{
#endif

void {name}_reset(float *state);
void {name}_step(float *state, const float *input, float *output);

#ifdef __cplusplus
}}
#endif

#endif
"""


@dataclass(frozen=True)
class Source:
    """What was written.

    Attributes:
        source, header: the files.
        constants: bytes of weights, biases and indices, which stay where the program lies.
        state, inputs, outputs: numbers, as the header has them.
    """

    source: Path
    header: Path
    constants: int
    state: int
    inputs: int
    outputs: int


def export_c(
    model_or_artifact: Any,
    folder: Path | str,
    name: str = "network",
    example: Any = None,
    format: str | None = None,
    int8: bool = False,
) -> Source:
    """Write a network as NAME.c and NAME.h, in C99 that is C++ as well.

    Every cell is written from the step that torch and numpy run. Weights are constants; the caller keeps the state, so
    that there may be any number of streams, and of networks in one program. Nothing is allocated and nothing linked.
    The elementary functions are those of the extension.

    Arguments:
        model_or_artifact: a model of torch or of `sparsernn.models`, what `runtime.load` gives, or the path of
            its file.
        name: of files and functions, an identifier of C.
        example: the arguments of a model that is not a recurrent layer or one of `sparsernn.models`.
        format: of all matrices: "dense", "rows" or "blocks"; None chooses the quickest for each on a processor that
            computes many numbers at once, "smallest" the one of the fewest bytes.
        int8: whether matrices are rounded to 8 bits with a scale a row, and vectors with one a step.
    Of a model of torch it is the forward of a sequence that has come so far: lengths are the steps so far, means,
    sums and maxima over time are over those, convolutions over the past keep what they need of it. States that the
    forward takes and returns are the first in the state, and zero at its start.

    Raises: UserError for a network that reads backwards, looks at steps that have not come, or uses an operator that
        has no form in C.
    """
    if not isinstance(name, str) or not re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name):
        raise UserError(f"the name is {name!r}", "an identifier of C", 'pass letters, digits and "_", a letter first')
    folder = durable.path_of(folder)
    if format == "int8":
        int8 = True
    written = _writer_of(model_or_artifact, example, name, "int8" if int8 else format)
    paths = _write(folder, name, written.source(), written.header())
    return Source(*paths, written.constants.bytes, written.state, written.inputs, written.outputs)


def _writer_of(network: Any, example: Any, name: str, format: str | None) -> "_Writer":
    """A chain is written from its parts; of any other model what its forward does in a step."""
    example = tree.tree_map_only(Tensor, lambda one: one.float() if one.is_floating_point() else one, example)
    try:
        return _ChainWriter(parts_of_network(network, example), name, format)
    except NoChain:
        require_stream(2 if any(getattr(module, "bidirectional", False) for module in network.modules()) else 1)
        return _forward_writer(plain_copy(network).float(), example, name, format)


def _forward_writer(network: nn.Module, example: object, name: str, format: str | None) -> "_ForwardWriter":
    """Writes what a forward does in a step. Raises: UserError with the first reason where that is not known."""
    first: UserError | None = None
    with quietly():
        for stream in _streams(network, example):
            try:
                return _ForwardWriter(stream, name, format)
            except UserError as error:
                first = first or error
    raise first or no_steps(network)


def _streams(network: nn.Module, example: object) -> Iterator[Stream]:
    """What may be a step: the forward as it is, its own loops, one whose whole numbers are no lengths.

    Then the same, with states that are computed from the first step alone.
    """
    streams = [stream_of(network, example)]
    yield streams[0]
    if (loops := rolled(streams[0])) is not None:
        streams.append(loops)
        yield loops
    if streams[0].lengths:
        streams.append(stream_of(network, example, has_lengths=False))
        yield streams[-1]
    for stream in streams:
        yield replace(stream, begins=True)


def _write(folder: Path, name: str, source: str, header: str) -> tuple[Path, Path]:
    paths = folder / f"{name}.c", folder / f"{name}.h"
    with durable.one_clear_error("The source", folder, "nothing was lost"):
        folder.mkdir(parents=True, exist_ok=True)
    for path, text in zip(paths, (source, header), strict=True):
        durable.replace(path, text)
    return paths


class _Writer:
    """Writes the two files of a network.

    Attributes:
        layers: recurrent layers, the functions of which are called NAME_layerN.
        remembered: parts of the state.
        inputs, outputs: how many numbers.
        about: what the header says of them.
    """

    def __init__(self, name: str, format: str | None):
        self.name, self.format = name, format
        self.constants = Constants(f"{name}_")
        self.layers: Sequence[Layer] = ()
        self.remembered: Sequence[Remembered] = ()
        self.inputs = self.outputs = 0
        self.about = ""

    @property
    def state(self) -> int:
        """How many numbers."""
        return sum(part.width for part in self.remembered)

    def header(self) -> str:
        """NAME.h"""
        cells = ", ".join(type(layer.cell).__name__ for layer in self.layers)
        return HEADER.format(
            about=f"A network of {len(self.layers)} recurrent layers ({cells or 'none'}).",
            name=self.name,
            NAME=self.name.upper(),
            input=self.about,
            state=self.state,
            inputs=self.inputs,
            outputs=self.outputs,
        )

    def source(self) -> str:
        """NAME.c"""
        layers = [self._layer(number, layer) for number, layer in enumerate(self.layers)]
        functions = "\n".join([*layers, self._reset(), self._step()])
        code = with_functions(f"{self.constants.read_by(functions)}\n{functions}", PRODUCTS)
        for helper in PRODUCTS:
            code = re.sub(rf"\b{helper}\(", f"{self.name}_{helper}(", code)
        return f'#include "{self.name}.h"\n\n{code}'

    def _layer(self, number_: int, layer: Layer) -> str:
        body = Body()
        multiply = ConstantProducts(body, self.constants, layer.cell, layer.weights, self.format)
        write_step(body, layer.cell, layer.sizes, multiply)
        body.lines += [*_unread(body, "x"), *_unread_arrays(body)]
        arguments = "const float *x, float *state"
        return f"static void {self.name}_layer{number_}({arguments}) {{\n{body.text()}\n}}\n"

    def _reset(self) -> str:
        lines = []
        for part in self.remembered:
            values = np.broadcast_to(np.asarray(part.values, np.float32), part.width)
            alike = (values == values[:1]).all()
            value = number(values[0]) if alike else self.constants.number(values)
            lines.append(f"    for (int j = 0; j < {part.width}; ++j) state[{part.start} + j] = {value};")
        lines = lines or ["    (void)state;"]
        return _function(f"void {self.name}_reset(float *state)", lines)

    def _step(self) -> str:
        body = Body()
        self._write(body)
        body.lines += [*_unread(body, "input"), *_unread(body, "state"), *_unread_arrays(body)]
        lines = body.text().splitlines()
        return _function(f"void {self.name}_step(float *state, const float *input, float *output)", lines)

    def _write(self, body: Body) -> None:
        """The statements of a step."""
        raise NotImplementedError


class _ChainWriter(_Writer):
    """Writes a chain of layers."""

    def __init__(self, parts: Parts, name: str, format: str | None):
        super().__init__(name, format)
        self.parts, self.layers, self.remembered = parts, parts.layers, []
        for layer in parts.layers:
            values = layer.cell.starting_values(layer.sizes)
            for value, axis in zip(values, layer.cell.state_axes, strict=True):
                self.remembered.append(Remembered(self.state, layer.sizes[axis], value))
        self.inputs = parts.layers[0].sizes["input"] if parts.embedding is None else 1
        self.about = "" if parts.embedding is None else "\n   The input is the number of a word."
        last = parts.layers[-1]
        self.outputs = last.sizes[last.cell.state_axes[0]] if parts.head is None else len(parts.head)
        self.outputs = self.outputs if parts.filled is None else len(parts.filled)

    def _write(self, body: Body) -> None:
        read, start = self._vector(body), 0
        for number_, layer in enumerate(self.layers):
            body.lines.append(f"{self.name}_layer{number_}({read}, state + {start});")
            read = f"state + {start}"
            start += sum(layer.sizes[axis] for axis in layer.cell.state_axes)
        parts, last = self.parts, self.parts.layers[-1]
        body.lines.append(f"const float *top = {read};")
        result = Named(body, "top[j]", last.sizes[last.cell.state_axes[0]])
        if parts.head is not None:
            vector = Named(body, "top[j]", parts.head.shape[1])
            result = write_product(body, self.constants, parts.head, parts.bias, vector, self.format)
        if parts.residual is not None:
            result = result + Named(body, f"input[{parts.residual}]", 1)
        if parts.filled is not None:
            result = CMath(body).take(result, tuple(parts.filled.tolist()), 0.0)
        body.lines.append(f"for (int j = 0; j < {self.outputs}; ++j) output[j] = {result.text};")

    def _vector(self, body: Body) -> str:
        """What the first layer reads."""
        table = self.parts.embedding
        if table is None:
            return "input"
        rows = self.parts.rows
        words, width = len(table) if rows is None else len(rows), table.shape[1]
        body.lines.append("const int32_t word = (int32_t)input[0];")
        body.lines.append(f"float vector[{width}];")
        row = "word"
        if rows is not None:
            places = self.constants.add((rows + 1).astype(np.uint32))
            row = f"((int32_t){places}[word] - 1)"
        body.lines.append(f"const int32_t row = word < 0 || word >= {words} ? -1 : {row};")
        if self.format == "int8":
            rounded, scales = quantised(table)
            names = self.constants.add(rounded), self.constants.add(scales)
            value = f"(float){names[0]}[row * {width} + j] * {names[1]}[row]"
        else:
            value = f"{self.constants.add(table)}[row * {width} + j]"
        body.lines.append(f"for (int j = 0; j < {width}; ++j) vector[j] = row < 0 ? 0.0f : {value};")
        return "vector"


class _ForwardWriter(_Writer):
    """Writes whatever a forward does in a step."""

    def __init__(self, stream: Stream, name: str, format: str | None):
        super().__init__(name, format)
        self.step = StepWriter(stream, name, self.constants, format)
        self.outputs, self.about = self.step.write_step()
        compare(stream, self.step.kept, self.step.mixed)
        self.layers, self.remembered = self.step.layers, self.step.remembered
        self.inputs = sum(stream.sizes.values())

    def _write(self, body: Body) -> None:
        body.tables, body.lines, body.count = self.step.body.tables, list(self.step.body.lines), self.step.body.count


def _unread(body: Body, argument: str) -> list[str]:
    """A statement for an argument that nothing reads, as where all weights of the input are gone."""
    return [] if re.search(rf"\b{argument}\b", body.text()) else [f"(void){argument};"]


def _unread_arrays(body: Body) -> list[str]:
    """The same for arrays that are written alone, as where the gate that they go into is shut."""
    text = body.text()
    names = re.findall(r"^\s*float (\w+)\[\d+\];$", text, re.MULTILINE)
    return [f"(void){name};" for name in names if not re.search(rf"(?<!float )\b{name}\b(?!\[[^\]]*\] =[^=])", text)]


def _function(head: str, lines: list[str]) -> str:
    return "\n".join([f"{head} {{", *lines, "}", ""])
