"""The baselines are the least squares solutions they claim to be."""

import numpy as np
import pytest

from benchmarks.tasks.forecasting import Electricity
from benchmarks.tasks.linear_forecasts import LinearForecast
from benchmarks.tasks.linear_forecasts import SeasonalNaive

LENGTH, HORIZON = 6, 3


@pytest.fixture
def series():
    rng = np.random.default_rng(0)
    return np.cumsum(rng.normal(size=(60, 2)), axis=0)


def windows(series):
    """Every past and the future after it, of each channel."""
    past, future = [], []
    for channel in series.T:
        for now in range(LENGTH, len(channel) - HORIZON + 1):
            past.append(channel[now - LENGTH : now])
            future.append(channel[now : now + HORIZON])
    return np.array(past), np.array(future)


def least_squares(features, targets):
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    return features @ np.linalg.lstsq(features, targets, rcond=None)[0]


def fitted(series, subtract):
    forecast = LinearForecast(LENGTH, HORIZON, subtract, ridge=1e-12)
    past, _ = windows(series)
    forecast.fit(series, windows_at_once=7)
    return forecast(past[:, :, None])[..., 0]


def test_nlinear(series):
    past, future = windows(series)
    last = past[:, -1:]
    wanted = least_squares((past - last)[:, :-1], future - last) + last
    np.testing.assert_allclose(fitted(series, "last"), wanted, atol=1e-7)


def test_dlinear_is_the_same_with_and_without_decomposition(series):
    """Its two maps, of the moving average and of the rest, written out."""
    past, future = windows(series)
    trend = np.zeros_like(past)
    for i in range(LENGTH):
        near = [min(max(j, 0), LENGTH - 1) for j in (i - 1, i, i + 1)]
        trend[:, i] = past[:, near].mean(axis=1)
    wanted = least_squares(
        np.concatenate([trend, past - trend], axis=1), future
    )
    np.testing.assert_allclose(fitted(series, None), wanted, atol=1e-7)


def test_channels_are_kept_apart(series):
    forecast = LinearForecast(LENGTH, HORIZON).fit(series)
    both = forecast(series[None, :20])
    assert both.shape == (1, HORIZON, 2)
    for i in range(2):
        one = forecast(series[None, :20, i : i + 1])
        np.testing.assert_allclose(both[..., i : i + 1], one)
    recent = forecast(series[None, 20 - LENGTH : 20])
    np.testing.assert_array_equal(both, recent)


@pytest.mark.parametrize("horizon", [2, 4, 7])
def test_seasonal_naive(horizon):
    inputs = np.arange(10.0).reshape(1, 10, 1)
    wanted = [[6, 7, 8, 9][i % 4] for i in range(horizon)]
    have = SeasonalNaive(horizon, 4)(inputs)
    assert have.ravel().tolist() == wanted


def test_what_is_too_short_is_named(series):
    with pytest.raises(ValueError, match="`inputs` must have a season, 4"):
        SeasonalNaive(2, 4)(np.zeros((1, 3, 1)))
    with pytest.raises(ValueError, match="`series` must have at least 9"):
        LinearForecast(LENGTH, HORIZON).fit(series[:8])
    with pytest.raises(ValueError, match="`inputs` must have at least 6"):
        LinearForecast(LENGTH, HORIZON).fit(series)(np.zeros((1, 5, 1)))
    with pytest.raises(ValueError, match="`subtract` must be one of"):
        LinearForecast(LENGTH, HORIZON, "mean")


def test_on_electricity_the_map_beats_the_season():
    pytest.importorskip("tsdata")
    task = Electricity(Electricity.WEEK, 48, stride=97)
    day, week = (
        task.evaluate(SeasonalNaive(48, season), batch_size=64)
        for season in (task.DAY, task.WEEK)
    )
    linear = LinearForecast(task.WEEK, 48).fit(task.training_series)
    score = task.evaluate(linear, batch_size=64)
    for metric in ("mse", "mae"):
        assert score[metric] < week[metric] < day[metric] < 1
