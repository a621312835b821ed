"""Ridge regression from windows against scikit-learn, and forecasters that begin as it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from sparsernn.data.splits import WindowSplit
from sparsernn.data.task import Loaded
from sparsernn.errors import UserError
from sparsernn.experiments import ridge
from sparsernn.experiments.naive import period_of
from sparsernn.experiments.network import describe, prepare
from sparsernn.experiments.rows import Row
from sparsernn.experiments.sources.ridge_skip import RidgeSkip

WINDOW, HORIZON = 6, 3


def windows(first, last, series):
    return WindowSplit(series, np.arange(first, last), WINDOW, HORIZON, 1)


def waves():
    """Two columns, of which the second follows its own past and the first one's."""
    chance, series = np.random.default_rng(0), np.zeros((300, 2))
    for step in range(2, 300):
        series[step, 0] = 0.6 * series[step - 1, 0] + chance.normal()
        series[step, 1] = 0.9 * series[step - 2, 1] + 0.5 * series[step - 1, 0] + 0.1 * chance.normal() + 0.2
    return series.astype(np.float32)


def as_arrays(split, reading):
    rows = [split.series[start : start + WINDOW].astype(float) for start in split.starts]
    right = np.stack([split.series[start + WINDOW : start + WINDOW + HORIZON, 1] for start in split.starts])
    columns = slice(None) if reading.every else slice(1, 2)
    base = np.stack([row[-1] for row in rows]) if reading.changes else np.zeros((len(rows), 2))
    values = np.stack([(row - one)[:, columns].flatten() for row, one in zip(rows, base, strict=True)])
    return values, right - base[:, 1:], base[:, 1:]


@pytest.mark.parametrize("changes", [True, False])
@pytest.mark.parametrize("every", [True, False])
def test_it_is_scikit_learns_of_the_strength_that_validation_prefers(changes, every):
    reading, series = ridge.Reading(changes, every), waves()
    train, valid, test = windows(0, 200, series), windows(200, 240, series), windows(240, 290, series)
    fitted = ridge.fit(train, valid, reading)
    parts = [as_arrays(split, reading) for split in (train, valid, test)]
    models = [Ridge(strength).fit(*parts[0][:2]) for strength in ridge.STRENGTHS]
    errors = [np.square(one.predict(parts[1][0]) - parts[1][1]).mean() for one in models]
    best = models[int(np.argmin(errors))]
    assert fitted.error == pytest.approx(min(errors), rel=1e-6)
    np.testing.assert_allclose(fitted.forecast(test), best.predict(parts[2][0]) + parts[2][2], atol=1e-6)


def test_a_share_of_the_window_keeps_what_tells_most():
    series = waves()
    fitted = ridge.fit(windows(0, 200, series), windows(200, 240, series), ridge.Reading(changes=False), share=1 / 3)
    # The value two steps ahead is 0.9 of the last but its neighbour: the last two steps of the window are what matters.
    assert np.flatnonzero(np.abs(fitted.weights).sum(1)).tolist() == [WINDOW - 2, WINDOW - 1]


@pytest.mark.parametrize("near, least, most", [(0.0, 1, 1), (10.0, 1, 1), (0.05, 8, 12)])
def test_more_of_the_window_is_read_where_that_tells_more(near, least, most):
    chance = np.random.default_rng(0)
    values = list(chance.normal(size=12))
    for _ in range(400):  # the mean of the last twelve values: each of them tells as much as another
        values.append(0.98 * np.mean(values[-12:]) + chance.normal(0, 0.1))
    series = np.array(values)[:, None]
    train, valid = (WindowSplit(series, np.arange(*bounds), 12, 1, 0) for bounds in ((12, 300), (300, 390)))
    fitted = ridge.thrifty(train, valid, ridge.Reading(changes=False), 1 / 12, near)
    assert least <= np.count_nonzero(fitted.weights) <= most


@pytest.mark.parametrize("several", [1, 2])
def test_a_forecaster_begins_as_the_regression_and_keeps_it(several):
    series = waves()
    parts = [
        WindowSplit(series, np.arange(*bounds), WINDOW, HORIZON, 0, several)
        for bounds in ((0, 200), (200, 240), (240, 290))
    ]
    loaded = Loaded.of_forecasts(parts, "x", inputs=2, horizon=HORIZON * several, note="")
    options = {"units": 4, "residual": 0, "window": WINDOW, "several": several}
    row = Row("dense", None, "forecaster", options, sources=(RidgeSkip(),))
    network = prepare(row, loaded, describe(loaded), None).network.eval()
    expected = []
    for column in range(several):
        one = [WindowSplit(series, split.starts, WINDOW, HORIZON, column) for split in parts]
        expected.append(ridge.fit(one[0], one[1], ridge.Reading()).forecast(one[2]))
    with torch.no_grad():
        batch = next(parts[2].batches(1000))
        np.testing.assert_allclose(network(batch.inputs).numpy(), np.concatenate(expected, 1), atol=1e-4)
    frozen = [name for name, weight in network.named_parameters() if not weight.requires_grad]
    assert frozen == [f"skips.{number}.weight" for number in range(several)]


def test_another_network_has_no_place_for_it():
    series = waves()
    loaded = Loaded.of_forecasts([windows(0, 9, series)] * 3, "x", inputs=2, horizon=HORIZON, note="")
    row = Row("dense", None, "forecaster", {"units": 4, "residual": 0}, sources=(RidgeSkip(),))
    with pytest.raises(UserError, match="no place for a regression"):
        prepare(row, loaded, describe(loaded), None)


def test_the_period_is_read_off_the_training_windows():
    series = np.tile(np.array([3.0, 1.0, 4.0, 1.0, 5.0]), 30)[:, None]
    assert period_of(WindowSplit(series, np.arange(100), 12, 4, 0)) == 5
    assert period_of(WindowSplit(series, np.arange(100), 1, 4, 0)) == 1
