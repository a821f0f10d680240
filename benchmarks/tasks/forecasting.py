"""Forecasting a series from what came before."""

import numpy as np

from benchmarks.tasks.task import Batch
from benchmarks.tasks.task import Task
from benchmarks.tasks.task import check_count


class Forecasting(Task):
    """The next `horizon` steps of a series, from a row of any length.

    The series is cut in time: 70 % to train on, 10 % to choose by, 20 % held
    out; no training row has a step of what follows. Every channel is
    standardised by the training part's mean and deviation. Held-out targets
    begin at the same steps whatever the row's length, so that longer rows are
    judged by the same figures; rows reach back into the parts before.

    `score` gives `mse` and `mae`, means over all steps and channels.

    Args:
        length: Steps of a training row.
        horizon: Steps to forecast.
        series: `(steps, channels)`.
        stride: Steps from one held-out target to the next.
        patch: Steps that are read as one, side by side: a row of `length`
            steps is `length / patch` long and `patch * channels` wide.
    """

    def __init__(self, length, horizon, series, stride=1, patch=1):
        super().__init__(length)
        check_count("horizon", horizon)
        check_count("stride", stride)
        check_count("patch", patch)
        self.horizon = horizon
        self.stride = stride
        self.patch = patch
        self._check_whole_patches(length)
        steps = len(series)
        self.training_end = steps * 7 // 10
        self.held_out_start = steps * 8 // 10
        if self.training_end < length + horizon:
            raise ValueError(
                "Arguments `length` and `horizon` must add up to at most "
                f"{self.training_end}, the steps to train on. Received: "
                f"length={length}, horizon={horizon}."
            )
        known = series[: self.training_end]
        self.mean, self.deviation = known.mean(axis=0), known.std(axis=0)
        scaled = (series - self.mean) / self.deviation
        self.series = scaled.astype("float32")

    @property
    def channels(self):
        return self.series.shape[1]

    def unpatched(self, inputs):
        """`(batch, length / patch, patch * channels)` to steps of channels."""
        return inputs.reshape(len(inputs), -1, self.channels)

    @property
    def training_series(self):
        """`(steps, channels)`: all that there is to train on."""
        return self.series[: self.training_end]

    def training_row(self, rng):
        last = self.training_end - self.horizon
        return self._row(rng.integers(self.length, last + 1), self.length)

    def held_out_row(self, rng, length, index):
        self._check_whole_patches(length)
        if length > self.held_out_start:
            raise ValueError(
                f"Argument `length` must be at most {self.held_out_start}, the "
                f"steps before the held-out ones. Received: length={length}."
            )
        return self._row(self.held_out_start + index * self.stride, length)

    def available(self, length):
        steps = len(self.series) - self.held_out_start - self.horizon
        return steps // self.stride + 1

    def _check_whole_patches(self, length):
        if length % self.patch:
            raise ValueError(
                "Argument `patch` must divide `length`. Received: "
                f"patch={self.patch}, length={length}."
            )

    def _row(self, now, length):
        targets = self.series[now : now + self.horizon]
        inputs = self.series[now - length : now]
        inputs = inputs.reshape(length // self.patch, -1)
        return Batch(inputs, targets, np.ones_like(targets), {})

    def marks(self, outputs, batch):
        """`squared` and `absolute` errors, `(batch, horizon, channels)`."""
        outputs = np.asarray(outputs)
        if outputs.shape != batch.targets.shape:
            raise ValueError(
                "Argument `outputs` must be forecasts of shape "
                f"{batch.targets.shape}. Received: shape {outputs.shape}."
            )
        error = outputs.astype("float64") - batch.targets
        return {"squared": error**2, "absolute": np.abs(error)}

    def score(self, marked):
        squared = absolute = count = 0.0
        for _, marks in marked:
            squared += marks["squared"].sum()
            absolute += marks["absolute"].sum()
            count += marks["squared"].size
        return {"mse": float(squared / count), "mae": float(absolute / count)}


class Electricity(Forecasting):
    """Half-hourly electricity demand of Victoria, Australia, 2012 to 2014.

    Args:
        length: Half-hours of a training row.
        horizon: Half-hours to forecast, usually one of `HORIZONS`.
        channels: Any of `"Demand"` and `"Temperature"`.
        stride: Half-hours from one held-out target to the next.
        patch: Half-hours that are read as one.
    """

    rows_of = "half-hours"

    HORIZONS = (96, 192, 336, 720)  # what others report
    # In half-hours. Weekends differ: a week is by far the better season.
    DAY, WEEK = 48, 336

    def __init__(
        self, length, horizon, channels=("Demand",), stride=1, patch=1
    ):
        from tsdata import fpp3

        known = ("Demand", "Temperature")
        if not channels or not set(channels) <= set(known):
            raise ValueError(
                f"Argument `channels` must be some of {known}. Received: "
                f"channels={channels!r}."
            )
        series = fpp3.raw["vic_elec"][list(channels)].to_numpy("float64")
        super().__init__(length, horizon, series, stride, patch)
