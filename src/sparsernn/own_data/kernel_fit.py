"""A small linear model on few random kernels, to stand beside a network in its file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sparsernn.data.task import Loaded, Split
from sparsernn.runtime.kernel_head import KernelHead, series_of
from sparsernn.runtime.random_kernels import RandomKernels

DRAWN, KEPT_A_CLASS, MOST_KEPT = 2_016, 100, 400
MOST_SELECTED, MOST_FITTED = 2_000, 20_000  # series by which kernels are selected, and then weighed
STRENGTHS = np.logspace(-3, 4, 10)
SHARPER = 2.0 ** np.arange(-1, 6)  # what scores are multiplied by to be logarithms of probabilities

Array = np.ndarray


@dataclass(frozen=True)
class Fit:
    """A ridge regression. weights: [feature class]. left_out: what it says of each row without that row. [row class]"""

    weights: Array
    bias: Array
    left_out: Array


def fit(loaded: Loaded, steps: int, share: float = 1.0) -> KernelHead:
    """The kernels that matter most of those that are drawn, and what each says for each class.

    Half of the features, those of the smallest weights, are dropped again and again, and the others fitted anew.

    Arguments:
        steps: of a patch of the network's input. share: of the kernels that are usually kept.
    """
    kept = max(1, round(share * min(MOST_KEPT, KEPT_A_CLASS * loaded.outputs)))
    series, labels = read(loaded.train, steps)
    every = slice(None, None, -(-len(series) // MOST_SELECTED))
    kernels = RandomKernels.drawn(series[every], DRAWN)
    rows, targets = kernels.features(series[every]), coded(labels[every], loaded.outputs)
    while len(kernels.owners) > kept:
        deviations = rows.std(0)
        worth = np.linalg.norm(ridge(rows, targets).weights, axis=1) * deviations
        stay = np.sort(np.argsort(-worth, kind="stable")[: max(kept, len(worth) // 2)])
        mask = np.isin(np.arange(len(worth)), stay)
        kernels, rows = kernels.only(mask), rows[:, mask]
    every = slice(None, None, -(-len(series) // MOST_FITTED))
    fitted = ridge(kernels.features(series[every]), coded(labels[every], loaded.outputs))
    sharp = sharpness(fitted.left_out, labels[every])
    weights, bias = (sharp * one for one in (fitted.weights, fitted.bias))
    return KernelHead(kernels, weights.astype(np.float32), bias.astype(np.float32), steps)


def read(split: Split, steps: int) -> tuple[list[Array], Array]:
    """Series as the head sees them, and their labels."""
    series: list[Array] = []
    labels: list[Array] = []
    for batch in split.batches(256):
        x = batch.inputs.numpy()
        lengths = np.full(len(x), x.shape[1]) if batch.lengths is None else batch.lengths.numpy()
        series += series_of(x, lengths, steps)
        labels.append(batch.targets.numpy())
    return series, np.concatenate(labels)


def coded(labels: Array, classes: int) -> Array:
    """1 for the class of a row, -1 for the others. [row class]"""
    return 2.0 * (labels[:, None] == np.arange(classes)) - 1


def ridge(rows: Array, targets: Array) -> Fit:
    """Ridge regression of the strength that is best when each row in turn is left out.

    Source: Golub, Heath & Wahba 1979, on the leave-one-out error in closed form.
    """
    means, deviations = rows.mean(0), rows.std(0)
    deviations = np.where(deviations > 1e-9, deviations, 1)
    scaled = ((rows - means) / deviations).astype(np.float64)
    middle = targets.mean(0)
    vectors, sizes, directions = decomposed(scaled)
    turned = vectors.T @ (targets - middle)
    fits = []
    for strength in STRENGTHS:
        shares = sizes**2 / (sizes**2 + strength)
        off = targets - middle - vectors @ (shares[:, None] * turned)
        leverage = 1 / len(rows) + np.square(vectors) @ shares
        off = off / np.maximum(1 - leverage, 1e-6)[:, None]
        fits.append((float(np.square(off).mean()), strength, targets - off))
    _, strength, left_out = min(fits, key=lambda one: one[0])
    weights = directions @ ((sizes / (sizes**2 + strength))[:, None] * turned) / deviations[:, None]
    return Fit(weights, middle - means @ weights, left_out)


def decomposed(rows: Array) -> tuple[Array, Array, Array]:
    """Singular vectors and values, by the smaller of the two products of rows. [row part], [part], [feature part]"""
    wide = rows.shape[0] <= rows.shape[1]
    values, vectors = np.linalg.eigh(rows @ rows.T if wide else rows.T @ rows)
    used = values > 1e-10 * max(float(values[-1]), 1e-300)
    sizes, vectors = np.sqrt(values[used]), vectors[:, used]
    other = (rows.T if wide else rows) @ vectors / sizes
    return (vectors, sizes, other) if wide else (other, sizes, vectors)


def sharpness(scores: Array, labels: Array) -> float:
    """What scores are best multiplied by before a softmax. Shapes: [row class], [row]"""
    losses = [log_loss(sharp * scores, labels) for sharp in SHARPER]
    return float(SHARPER[int(np.argmin(losses))])


def log_loss(logits: Array, labels: Array) -> float:
    """Mean negative logarithm of the probability of the right class. Shapes: [row class], [row]"""
    shifted = logits - logits.max(1, keepdims=True)
    totals = np.log(np.exp(shifted).sum(1))
    return float((totals - shifted[np.arange(len(labels)), labels]).mean())
