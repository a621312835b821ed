"""What is measured on a trained row: quality on the test split, size and work."""

import json
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sparsernn import durable
from sparsernn.compaction.files import plain_size
from sparsernn.compaction.remains import remains
from sparsernn.compaction.vanilla_units import make_vanilla_
from sparsernn.data.task import Batch, Loaded
from sparsernn.errors import UserError
from sparsernn.experiments import spectra
from sparsernn.experiments.compacted import Compacted, arguments, carries, cut, write_final
from sparsernn.experiments.trained import COMPACT, Trained
from sparsernn.measure import cost
from sparsernn.measure.gate_maps import GateMap
from sparsernn.measure.gradient_by_lag import gradient_by_lag
from sparsernn.structure.masks import Masks
from sparsernn.structure.wiring import Wiring
from sparsernn.training import objectives
from sparsernn.training.batches import Split
from sparsernn.training.objectives import IGNORED, OBJECTIVES, evaluation_batches

LAGS = "lags.json"
SEQUENCES = 32
STEPS = 100
REMAINS = "structure.json"
"""File of a run folder that says which units, gates and words of its network live, for the maps of a report."""


@dataclass(frozen=True)
class Scored:
    """A row's figures by name, and the seconds that training and scoring took."""

    metrics: Mapping[str, object]
    seconds: float


def score(trained: Trained, loaded: Loaded, folder: Path) -> Scored:
    """Cut the trained network where the row says so, and measure what is left on the test split.

    The run folder gets the final network, packed, what lives of the uncut one, the confusion of classes, the spectra
    and the gradients by lag, where there are any.
    """
    started = time.perf_counter()
    row, network = trained.row, trained.network
    example = objectives.to_device(batch_of(loaded, 1), next(network.parameters()).device)
    describe_living(trained, loaded, folder, example)
    final, vanilla = Compacted(network, trained.masks, None), None
    if row.measure.compact:
        if row.measure.vanilla_units:
            vanilla = make_vanilla_(network, trained.masks, arguments(example))
        final = cut(network, trained.masks, example)
    write_final(folder, final)
    valid_batch_size = row.settings.valid_batch_size or row.settings.batch_size
    valid = objectives.evaluate(final.network, loaded.valid, loaded.objective, valid_batch_size)
    test = objectives.evaluate(final.network, loaded.test, loaded.objective, row.measure.test_batch_size)
    if loaded.labels and loaded.objective in ("classification", "tagging"):
        durable.replace(folder / "confusion.json", json.dumps(confusion(final.network, loaded.test, loaded.labels)))
    figures = {**test, **{f"valid_{name}": value for name, value in valid.items()}}
    metrics = {**named(figures, loaded), **sizes(trained, final, example, folder)}
    metrics |= structure(network, final.network, final.masks)
    for source in row.sources:
        metrics |= source.figures(row)
    if vanilla is not None:
        metrics |= {"vanilla_units": vanilla.count, "vanilla_difference": vanilla.change}
    if final.difference is not None:
        metrics["compaction_difference"] = final.difference
    if trained.spectra is not None:
        spectra.write(folder, trained.spectra, spectra.describe(loaded, network, trained.masks))
    return Scored(metrics, trained.seconds + time.perf_counter() - started)


def describe_living(trained: Trained, loaded: Loaded, folder: Path, example: Batch) -> None:
    """Leave in the run folder what lives of the trained network and, where they are asked for, gradients by lag."""
    living = write_remains(folder, loaded, trained.network, trained.masks, example)
    if trained.row.measure.lags:
        write_lags(folder, loaded, trained.network, living)


def named(figures: dict[str, float], loaded: Loaded) -> dict[str, float]:
    """Figures of a text: its perplexity under the name of the split too; bits of a token that is a character so. Errors
    of a regression are in the unit of its labels."""
    if "perplexity" in figures:
        figures = {**figures, "test_perplexity": figures["perplexity"]}
    if loaded.objective == "regression":
        powers = {"mae": 1, "rmse": 1, "mse": 2}
        return {
            name: value * loaded.unit ** powers.get(name.removeprefix("valid_"), 0) for name, value in figures.items()
        }
    if loaded.metric != "bits_per_character":
        return figures
    return {name.replace("bits_per_token", loaded.metric): value for name, value in figures.items()}


def sizes(trained: Trained, final: Compacted, example: Batch, folder: Path) -> dict[str, object]:
    """`bytes` is the size of the final network's file in the run folder. `weights` and `bytes_dense` are of the network
    as it was built, `bytes_dense` being the size of its file if nothing is packed.
    """
    before = cost.count(trained.network)
    left = cost.count(final.network, final.masks, example=arguments(example))
    return {
        "sparsity": trained.masks.sparsity(),
        "weights": before.weights + before.biases,
        "weights_kept": left.kept + left.biases,
        "bytes_dense": plain_size(trained.network),
        "bytes": (folder / COMPACT).stat().st_size,
        "macs_per_token": left.macs(),
        **cost.own_figures(final.network),
    }


def batch_of(loaded: Loaded, size: int) -> Batch:
    """A batch of exactly `size` test sequences, repeated where the split is shorter."""
    batch = next(loaded.test.batches(size))
    axis = objectives.find_objective(loaded.objective).batch_axis
    rows = torch.arange(size) % batch.inputs.shape[axis]
    lengths = None if batch.lengths is None else batch.lengths[rows]
    targets = batch.targets.index_select(axis if batch.targets.dim() > axis else 0, rows)
    return Batch(batch.inputs.index_select(axis, rows), targets, lengths)


def write_remains(folder: Path, loaded: Loaded, network: nn.Module, masks: Masks, example: Batch) -> dict[str, object]:
    """Leave what lives of a network in the run folder, unless it has no recurrent layer; and return it."""
    living = remains(network, masks, arguments(example), loaded.vocabulary if loaded.tokens else (), carries(network))
    if living["layers"]:
        durable.replace(folder / REMAINS, json.dumps(living))
    return living


def confusion(model: nn.Module, split: Split, labels: Sequence[str], *, batch_size: int = 250) -> dict[str, object]:
    """{"labels": [...], "matrix": [[...]]}: examples (or steps, for a label per step) by true and predicted class.

    Arguments:
        model: gives scores with the classes last, for a sequence or for each of its steps.
        split: its `batches(size)` give inputs, targets and lengths or None.
        labels: names of the classes, in the order of their numbers.
        batch_size: examples scored at once.
    Raises: UserError if the model gives another number of scores than there are labels.
    """
    classes = len(labels)
    counts = torch.zeros(classes * classes, dtype=torch.long)
    with evaluation_batches(model, split, batch_size) as batches:
        for batch in batches:
            objective = OBJECTIVES["tagging" if batch.targets.dim() > 1 else "classification"]
            scores = model(*objective.arguments(batch))
            if scores.shape[-1] != classes:
                raise UserError(
                    f"the model gives {scores.shape[-1]} scores for {classes} labels",
                    "one score for each label",
                    "build the model with the task's number of outputs",
                )
            targets = objective.targets(batch)
            targets = targets[:, : scores.shape[1]] if targets.dim() > 1 else targets
            scored = targets != IGNORED
            pairs = targets[scored] * classes + scores.argmax(-1)[scored]
            counts += torch.bincount(pairs.cpu(), minlength=classes * classes)
    return {"labels": [str(label) for label in labels], "matrix": counts.view(classes, classes).tolist()}


def structure(whole: nn.Module, final: nn.Module, masks: Masks) -> dict[str, object]:
    """Figures of a network that was cut, beside the one it was cut from; an empty dictionary without recurrent layers.

    Arguments:
        whole: before anything was taken away.
        final: what was left; masks: of it.
    Returns: `compression`, all weights by those that are left, biases excluded; the same of the recurrent layers under
        the name of their cell, such as `lstm_compression`; `neurons` and `gates` that are not constant, a number a
        layer and direction.
    Source: Lobacheva et al. 2020, Table 1.
    """
    before, after = Wiring.local(whole), Wiring.local(final)
    if not before.layers:
        return {}
    figures: dict[str, object] = {"compression": _ratio(before, after, whole, final, masks)}
    for kind in dict.fromkeys(type(layer.cell).__name__.lower() for layer in before.layers):
        figures[f"{kind}_compression"] = _ratio(before, after, whole, final, masks, kind)
    constant = Counter(layer for layer, _, _ in masks.constant_gates)
    figures["neurons"] = [layer.sizes["hidden"] for layer in after.layers]
    figures["gates"] = [len(layer.cell.gates) * layer.sizes["hidden"] - constant[layer.label] for layer in after.layers]
    return figures


def _ratio(before: Wiring, after: Wiring, whole: nn.Module, final: nn.Module, masks: Masks, kind: str = "") -> float:
    """Weights with an arrow, of one kind of cell or of all modules: before by after."""
    counts = []
    for wiring, model, kept in ((before, whole, {}), (after, final, masks.kept)):
        names = {
            name
            for layer in wiring.layers
            for name in layer.weights.values()
            if type(layer.cell).__name__.lower() == kind
        }
        count = 0
        for name, parameter in wiring.parameters(model).items():
            if wiring.weights[name].layout.incoming and (not kind or name in names):
                count += int(kept[name].sum()) if name in kept else parameter.numel()
        counts.append(count)
    return counts[0] / max(counts[1], 1)


def write_lags(folder: Path, loaded: Loaded, network: nn.Module, living: Mapping[str, Any]) -> None:
    """Leave the norms in the run folder, with the number of units behind each; only of cells that read their state.

    Arguments:
        living: what `compaction.remains` says of the network.
    """
    if not all(layer.cell.reads_state for layer in Wiring.local(network).layers) or not living["layers"]:
        return
    kinds, counts = {}, {}
    for one in map(GateMap.from_json, living["layers"]):
        kinds[one.label] = {", ".join(kind) or "none": units for kind, units in one.kinds().items()}
        counts[one.label] = {"all": one.living} | {kind: len(units) for kind, units in kinds[one.label].items()}
    batch = objectives.to_device(at_the_end(loaded), next(network.parameters()).device)
    objective = objectives.find_objective(loaded.objective)
    norms = gradient_by_lag(network.eval(), lambda: objective.loss(network, batch)[0], kinds, batch.lengths)
    layers = {label: {**layer, "units": counts[label]} for label, layer in norms.items() if label in counts}
    durable.replace(folder / LAGS, json.dumps({"layers": layers}))


def at_the_end(loaded: Loaded) -> Batch:
    """Test sequences of which the last step alone is scored; a text is read on for `STEPS` steps."""
    batches = iter(loaded.test.batches(SEQUENCES))
    batch = next(batches)
    if loaded.objective == "language_model":
        while loaded.test.carries_state and len(batch.inputs) < STEPS and (more := next(batches, None)) is not None:
            if more.inputs.shape[1:] != batch.inputs.shape[1:]:
                break
            joined = zip(batch[:2], more[:2], strict=True)
            batch = Batch(*(torch.cat(parts) for parts in joined))
        targets = torch.full_like(batch.targets, objectives.IGNORED)
        targets[-1] = batch.targets[-1]
        return batch._replace(targets=targets)
    if loaded.objective != "tagging":
        return batch
    rows = torch.arange(len(batch.targets))
    last = batch.targets.shape[1] - 1 if batch.lengths is None else batch.lengths - 1
    targets = torch.full_like(batch.targets, objectives.IGNORED)
    targets[rows, last] = batch.targets[rows, last]
    return batch._replace(targets=targets)
