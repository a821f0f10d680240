"""What any forecaster must beat: the last season, and linear maps.

    forecast = LinearForecast(336, 96, "last").fit(task.training_series)
    task.evaluate(forecast, length=336)
    task.evaluate(SeasonalNaive(96, Electricity.WEEK), length=336)

The linear ones are those of "Are Transformers Effective for Time Series
Forecasting?" (arXiv 2205.13504), one map for all channels, at the optimum:
squared error has one, so nothing is trained by steps.
"""

import numpy as np

from benchmarks.tasks.task import check_choice
from benchmarks.tasks.task import check_count


class SeasonalNaive:
    """Everything is as it was a season ago."""

    def __init__(self, horizon, season):
        check_count("horizon", horizon)
        check_count("season", season)
        self.horizon, self.season = horizon, season
        self.weight_shapes = []

    def __call__(self, inputs):
        """`(batch, length, channels)` to `(batch, horizon, channels)`."""
        if inputs.shape[1] < self.season:
            raise ValueError(
                f"Argument `inputs` must have a season, {self.season} steps. "
                f"Received: shape {inputs.shape}."
            )
        steps = np.arange(self.horizon) % self.season - self.season
        return inputs[:, steps]


class LinearForecast:
    """A linear map from the last steps to the next ones.

    With `subtract="last"`, NLinear: the row's last value is taken off before
    and put back after. With `subtract=None`, DLinear: it maps a moving average
    and the rest apart and adds the two, but both are linear in the row, so the
    best such sum is the best single map.

    Args:
        length: How many last steps are seen.
        horizon: Steps to forecast.
        subtract: `"last"` or None.
        ridge: What is added to the diagonal of the normal equations, as a
            share of its mean: enough that neighbouring steps, nearly equal,
            leave them solvable.
    """

    def __init__(self, length, horizon, subtract="last", ridge=1e-7):
        check_count("length", length)
        check_count("horizon", horizon)
        check_choice("subtract", subtract, ("last", None))
        self.length, self.horizon = length, horizon
        self.subtract, self.ridge = subtract, ridge
        self.weight_shapes = [(length + 1, horizon)]

    def fit(self, series, windows_at_once=2048):
        """From every window of `(steps, channels)`."""
        size = self.length + self.horizon
        if len(series) < size:
            raise ValueError(
                f"Argument `series` must have at least {size} steps. "
                f"Received: {len(series)}."
            )
        views = np.lib.stride_tricks.sliding_window_view(series, size, axis=0)
        gram = np.zeros((self.length + 1, self.length + 1))
        cross = np.zeros((self.length + 1, self.horizon))
        for start in range(0, len(views), windows_at_once):
            rows = views[start : start + windows_at_once].reshape(-1, size)
            rows = rows.astype("float64")
            past, future = np.split(rows, [self.length], axis=1)
            level = self._level(past)
            features = self._features(past - level)
            gram += features.T @ features
            cross += features.T @ (future - level)
        diagonal = np.diagonal(gram).mean() * self.ridge
        gram[np.diag_indices_from(gram)] += diagonal
        self.weights = np.linalg.solve(gram, cross)
        return self

    def __call__(self, inputs):
        """`(batch, length or more, channels)` to `(batch, horizon, ...)`."""
        if inputs.shape[1] < self.length:
            raise ValueError(
                f"Argument `inputs` must have at least {self.length} steps. "
                f"Received: shape {inputs.shape}."
            )
        past = inputs[:, -self.length :].swapaxes(1, 2).astype("float64")
        level = self._level(past)
        forecast = self._features(past - level) @ self.weights + level
        return forecast.swapaxes(1, 2)

    def _level(self, past):
        return past[..., -1:] if self.subtract == "last" else 0.0

    def _features(self, past):
        return np.concatenate([past, np.ones_like(past[..., :1])], axis=-1)
