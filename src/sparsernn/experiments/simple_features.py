"""Figures of whole series, or of single steps, for models that nobody trains to read them."""

from dataclasses import replace

import numpy as np

from sparsernn.data.splits import SequenceSplit
from sparsernn.data.task import IGNORED, Split

Array = np.ndarray


def steps_of(split: Split) -> tuple[list[Array], Array]:
    """Series and their labels, without padding. Shapes: [time channel] each, [series]"""
    if isinstance(split, SequenceSplit):
        split = replace(split, patches=None)
    series: list[Array] = []
    labels = []
    for batch in split.batches(256):
        lengths = [batch.inputs.shape[1]] * len(batch.inputs) if batch.lengths is None else batch.lengths.tolist()
        series += [one[:length] for one, length in zip(batch.inputs.numpy(), lengths, strict=True)]
        labels += list(batch.targets.numpy())
    return series, np.array(labels) if labels and np.ndim(labels[0]) == 0 else np.concatenate(labels)


def features(split: Split) -> tuple[Array, Array]:
    """Simple features and labels: a row a series, or a step where each has a label."""
    series, labels = steps_of(split)
    if len(labels) == len(series):
        return np.stack([summary(one) for one in series]), labels
    return np.concatenate(series), labels[labels != IGNORED]


def summary(series: Array) -> Array:
    """Mean, deviation, least, most and last of every channel."""
    return np.concatenate([series.mean(0), series.std(0), series.min(0), series.max(0), series[-1]])
