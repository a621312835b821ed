"""From a trained torch network to the parts that run without torch, and to one file of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from sparsernn.deploy.planning import Choice, plan
from sparsernn.errors import UserError
from sparsernn.models.classifier import Classifier
from sparsernn.models.encoder import Encoder
from sparsernn.models.forecaster import Forecaster
from sparsernn.models.language_model import LanguageModel
from sparsernn.models.tagger import Tagger
from sparsernn.running.modules import Recurrent
from sparsernn.running.torch_layers import parts_of
from sparsernn.runtime import artifact
from sparsernn.runtime.layers import checked_sizes
from sparsernn.runtime.network import LayerSpec, Network, NetworkSpec
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import unwrap
from sparsernn.structure.words import LivingWords
from sparsernn.tracing.copying import copy_of

KINDS: dict[type[nn.Module], str] = {
    Classifier: "classification",
    Tagger: "tagging",
    Forecaster: "forecasting",
    LanguageModel: "language_model",
}


@dataclass(frozen=True)
class About:
    """What a file says beside the network.

    Arguments:
        labels: names of the classes.
        preparation: how a text or table becomes input, as `sparsernn train` has it.
    """

    labels: Sequence[str] = ()
    preparation: str = ""


def pack(
    path: Path | str,
    network: nn.Module,
    masks: Masks | Mapping[str, Tensor] | None = None,
    *,
    steps: int = 100,
    batch: int = 1,
    int8: bool = False,
    dtype: str | None = None,
    about: About | None = None,
) -> list[Choice]:
    """Write a network as one file that `sparsernn.runtime.load` reads without torch.

    Arguments:
        network: a model of `sparsernn.models`, or a recurrent module of torch or of this package.
        masks: of the network; weights that they leave out are zero in the file.
        steps, batch, int8: how it will be called; see `planning.plan`. With no steps the same network gives the same
            bytes.
        dtype: "float16", "int8", "int6" or "int4" stores matrices so; None keeps every bit. With `int8` layers that
            compute in 8 bits lose nothing more by "int8".
        about: what the file says beside the network.
    Returns: the formats there were to choose from.
    Raises: UserError for a network that the runtime does not know, or that computes something else than its class, as
        one with a forward or hooks of its own.
    """
    network, about = copy_of(unwrap(network)).eval(), about or About()
    Masks.write_(masks, network)
    spec = spec_of(network, about.labels)
    _compare(network, spec)
    spec, choices = plan(spec, steps, batch, int8)
    artifact.save(path, spec, about.preparation, dtype)
    return choices


@torch.no_grad()
def _compare(network: nn.Module, spec: NetworkSpec) -> None:
    """Raises: UserError unless the parts compute what the network does, on two made-up sequences."""
    generator = torch.Generator().manual_seed(0)
    inputs = checked_sizes(spec.layers[0].cell, spec.layers[0].weights)["input"]
    if spec.embedding is None:
        steps = 5 if spec.skip is None else spec.skip.shape[1]
        x = torch.randn(2, steps, inputs, generator=generator)
    else:
        words = len(spec.embedding if spec.rows is None else spec.rows)
        x = torch.randint(words, (2, 5), generator=generator)
    batch_first = spec.kind not in ("recurrent", "language_model") or bool(getattr(network, "batch_first", False))
    result = network(x if batch_first else x.transpose(0, 1))
    expected = result[0] if isinstance(result, tuple) else result
    expected = (expected if batch_first else expected.transpose(0, 1)).numpy()
    outputs = Network(spec).run(x.numpy())
    scale = 1 + float(np.abs(expected).max(initial=0))
    if outputs.shape != expected.shape or not np.abs(outputs - expected).max(initial=0) <= 1e-4 * scale:
        raise UserError(
            f"{type(network).__name__} computes something else than its layers and its head",
            "a network without a forward or hooks of its own",
            "pack its recurrent layers alone, or use sparsernn.accelerate with torch",
        )


def spec_of(network: nn.Module, labels: Sequence[str] = ()) -> NetworkSpec:
    """A network in parts. Raises: UserError for one that the runtime does not know."""
    network = unwrap(network)
    if isinstance(network, Recurrent | nn.LSTM | nn.GRU | nn.RNN):
        return NetworkSpec("recurrent", _layers([network]), 1 + int(network.bidirectional))
    kind = next((kind for model, kind in KINDS.items() if isinstance(network, model)), None)
    if kind is None:
        raise UserError(
            f"the runtime does not know {type(network).__name__}",
            f"a recurrent module, or one of {', '.join(model.__name__ for model in KINDS)}",
            "pack its recurrent layers alone, or use sparsernn.accelerate with torch",
        )
    head, embedding = network.head, network.embedding
    if not isinstance(head, nn.Linear):
        raise TypeError(type(head).__name__)
    parts = {**words_of(embedding), "head": array_of(head.weight), "bias": array_of(head.bias), "labels": tuple(labels)}
    if isinstance(network, LanguageModel):
        return NetworkSpec(kind, _layers(list(network.cells)), **parts)
    if not isinstance(network, Encoder):
        raise TypeError(type(network).__name__)
    if isinstance(network, Classifier):
        parts["pool"] = network.pool
    if isinstance(network, Tagger):
        parts["at_once"] = network.at_once
    if isinstance(network, Forecaster):
        parts["residual"] = network.residual
        parts["several"] = 1 if network.residual is None else network.several
        if network.window:
            parts["skip"] = array_of(torch.cat(list(network.skips.parameters())))
    return NetworkSpec(kind, _layers([network.cell]), network.directions, **parts)


def runs_without_torch(network: nn.Module) -> bool:
    """Whether the runtime knows a network and its cells, whose gates have to read the input by one matrix."""
    try:
        return bool(spec_of(network).layers)
    except UserError:
        return False


def _layers(modules: Sequence[nn.Module]) -> list[LayerSpec]:
    layers = []
    for module in modules:
        for part in parts_of(module):
            if not part.cell.axes["weight_ih"].startswith("gate hidden <- input") or part.cell.passes_input:
                raise UserError(
                    f"the runtime does not know the cell {type(part.cell).__name__}",
                    "a cell whose gates read the input by one matrix, such as an LSTM or a GRU",
                    "export another network, or run this one with torch",
                )
            layers.append(LayerSpec(part.cell, arrays_of(part.weights)))
    return layers


def words_of(embedding: object) -> dict[str, Any]:
    """The vectors of an embedding, and of words their rows where some are cut; nothing of anything else."""
    if not isinstance(embedding, nn.Embedding):
        return {}
    rows = array_of(embedding.row_of_word) if isinstance(embedding, LivingWords) else None
    return {"embedding": array_of(embedding.weight), "rows": rows}


def arrays_of(weights: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """Weights of a layer as numpy's, by the same names."""
    return {local: array_of(weight) for local, weight in weights.items()}


def array_of(tensor: Tensor) -> np.ndarray:
    """A tensor as numpy has it, in C order."""
    return np.ascontiguousarray(tensor.detach().cpu().numpy())
