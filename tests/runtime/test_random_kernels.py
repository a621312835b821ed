"""Random-kernel features against convolutions written out, and a network that has them in its file."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from sparsernn import runtime
from sparsernn.data.patches import Patches
from sparsernn.deploy.packing import spec_of
from sparsernn.deploy.spec_model import SpecModel
from sparsernn.errors import UserError
from sparsernn.models.classifier import Classifier
from sparsernn.runtime import artifact
from sparsernn.runtime.kernel_head import KernelHead
from sparsernn.runtime.network import NetworkSpec
from sparsernn.runtime.random_kernels import WEIGHTS, RandomKernels


def series(count=6, channels=2):
    chance = np.random.default_rng(0)
    return [chance.normal(size=(int(length), channels)).astype(np.float32) for length in chance.integers(5, 60, count)]


def by_hand(one, kernels, feature):
    """The share of steps above the threshold, step by step."""
    kernel = kernels.owners[feature]
    distance, shape = int(kernels.distances[kernel]), int(kernels.shapes[kernel])
    summed, values = one @ kernels.channels[kernel], []
    for step in range(len(one)):
        places = [step + distance * (number - 4) for number in range(9)]
        if shape % 2 and len(one) > 8 * distance and not (places[0] >= 0 and places[-1] < len(one)):
            continue
        inside = [summed[place] if 0 <= place < len(one) else 0.0 for place in places]
        values.append(float(np.dot(WEIGHTS[shape], inside)))
    return np.mean(np.array(values) > kernels.thresholds[feature])


def test_weights_are_every_choice_of_three_in_nine():
    assert len({tuple(row) for row in WEIGHTS}) == 84 and set(WEIGHTS.flatten()) == {-1, 2}
    assert (WEIGHTS.sum(1) == 0).all()


def test_features_are_shares_of_steps_above_a_threshold():
    every = series()
    kernels = RandomKernels.drawn(every, 400, seed=3)
    features = kernels.features(every)
    assert features.shape == (6, len(kernels.owners)) and len(kernels.owners) >= 336
    assert len(np.unique(kernels.distances)) > 1 and features.std(0).max() > 0.1
    for feature in range(0, len(kernels.owners), 7):
        expected = [by_hand(one, kernels, feature) for one in every]
        np.testing.assert_allclose(features[:, feature], expected, atol=0.02)  # a sum may fall beside its threshold


def test_the_same_seed_draws_the_same_and_some_can_be_kept():
    every = series()
    first, second = (RandomKernels.drawn(every, 200, seed=1) for _ in range(2))
    np.testing.assert_array_equal(first.features(every), second.features(every))
    kept = np.random.default_rng(1).random(len(first.owners)) < 0.1
    some = first.only(kept)
    assert len(some.distances) < len(first.distances)
    np.testing.assert_allclose(some.features(every), first.features(every)[:, kept], atol=1e-6)


def head(steps=2, classes=3):
    kernels = RandomKernels.drawn(series(), 84)
    chance = np.random.default_rng(2)
    weights = chance.normal(size=(len(kernels.owners), classes)).astype(np.float32)
    return KernelHead(kernels, weights, chance.normal(size=classes).astype(np.float32), steps)


def batch_of(steps=2):
    every = series()
    lengths = np.array([len(one) for one in every])
    values = np.zeros((len(every), lengths.max(), 2), np.float32)
    for row, one in zip(values, every, strict=True):
        row[: len(one)] = one
    return every, *Patches(steps)(values, lengths)


def test_a_file_adds_kernels_to_layers_or_has_them_alone(tmp_path):
    every, x, lengths = batch_of()
    torch.manual_seed(0)
    network = Classifier(8, 3, units=4, bidirectional=True, pool="mean_max_last").eval()
    spec = dataclasses.replace(spec_of(network, ("a", "b", "c")), kernels=head())
    with torch.no_grad():
        expected = network(torch.from_numpy(x), torch.from_numpy(lengths)).numpy()
    whole = [np.concatenate([one, one[-1:]]) if len(one) % 2 else one for one in every]
    kernels = head().kernels.features(whole) @ head().weights + head().bias
    artifact.save(tmp_path / "both", spec)
    both = runtime.load(tmp_path / "both")
    np.testing.assert_allclose(both.run(x, lengths), expected + kernels, atol=1e-3)
    artifact.save(tmp_path / "alone", NetworkSpec("classification", [], labels=("a", "b", "c"), kernels=head()))
    alone = runtime.load(tmp_path / "alone")
    np.testing.assert_allclose(alone.run(x, lengths), kernels, atol=1e-3)
    assert (alone.inputs, alone.outputs) == (both.inputs, both.outputs) == (8, 3)
    with pytest.raises(UserError, match="whole sequences"):
        alone.stream()
    with pytest.raises(UserError, match="random kernels"):
        SpecModel(spec)


DAMAGES = {
    "an owner that is none": lambda parts: parts | {"kernels.owners": parts["kernels.owners"] + 84},
    "no distance": lambda parts: parts | {"kernels.distances": parts["kernels.distances"] * 0},
    "an unknown shape": lambda parts: parts | {"kernels.shapes": parts["kernels.shapes"] + 84},
    "fewer thresholds": lambda parts: parts | {"kernels.thresholds": parts["kernels.thresholds"][:-1]},
    "weights of another number": lambda parts: parts | {"kernels.weights": parts["kernels.weights"][:-1]},
    "a part less": lambda parts: {name: part for name, part in parts.items() if name != "kernels.bias"},
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_whose_kernels_do_not_fit_is_refused(damage, tmp_path, monkeypatch):
    made = KernelHead.tensors
    monkeypatch.setattr(KernelHead, "tensors", lambda self: DAMAGES[damage](made(self)))
    artifact.save(tmp_path / "file", NetworkSpec("classification", [], labels=("a", "b", "c"), kernels=head()))
    with pytest.raises(UserError, match="not a readable network"):
        runtime.load(tmp_path / "file")


def test_other_layers_than_the_kernels_read_are_refused(tmp_path):
    network = Classifier(6, 3, units=4).eval()
    artifact.save(tmp_path / "file", dataclasses.replace(spec_of(network), kernels=head()))
    with pytest.raises(UserError, match="do not fit its layers"):
        runtime.load(tmp_path / "file")
